r"""Adversaries against what is known of the best ones (the tutorial's eq. 33 and 36, and their papers).

Eq. 33: at D* = p / (p + q) the discriminator's objective is 2 JSD(p, q) - log 4, where it is stationary, and -log 4
for D = 1/2. Eq. 36: the best critic of slope 1 has the Wasserstein-1 distance as its value. The gradient penalty
(Gulrajani et al., eq. 3) against slopes that are known, and the best penalised critic in one dimension in closed form.
Throughout, p is the prior N(0, 1) and q the distribution of the codes of all views together.
"""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm, wasserstein_distance
from torch import nn

from manyview.adversary import Discriminator, WassersteinCritic

from .helpers import double, linear

# The distribution N(loc, scale²) of the codes of each view.
CODES = [[(2.0, 1.0)], [(0.0, 2.0)], [(0.5, 0.7)], [(-1.0, 0.5), (2.0, 1.5)]]

ADVERSARIES = {
    "discriminator": lambda *args: Discriminator(*args),
    "saturating": lambda *args: Discriminator(*args, saturating=True),
    "penalised": lambda *args: WassersteinCritic(*args),
    "clipped": lambda *args: WassersteinCritic(*args, gradient_penalty=0, clip=0.1),
}
every_adversary = pytest.mark.parametrize("make", ADVERSARIES.values(), ids=ADVERSARIES)


def mixture_pdf(views):
    return lambda z: np.mean([norm.pdf(z, *view) for view in views], axis=0)


def quadrature(views, n=150):
    """Codes (M, n, 1) and draws of the prior alike, and weights (n,) under which sums over them are expectations."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    codes = double([loc + scale * nodes for loc, scale in views]).unsqueeze(-1)
    return codes, double([nodes] * len(views)).unsqueeze(-1), double(weights / weights.sum())


def draw(views, n, generator):
    """Codes (M, n, 1) and draws of the prior alike."""
    loc, scale = torch.tensor(views).view(-1, 2, 1, 1).unbind(1)
    codes, prior = torch.randn(2, len(views), n, 1, generator=generator)
    return loc + scale * codes, prior


class LogRatio(nn.Module):
    """The logit log p - log q of the best discriminator, as a function of parameters that distort it: 0 for none."""

    def __init__(self, views):
        super().__init__()
        self.parts = [torch.distributions.Normal(*double(view)) for view in views]
        self.distortion = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, z):
        z = z.double()
        log_q = torch.stack([part.log_prob(z) for part in self.parts]).logsumexp(0) - math.log(len(self.parts))
        log_p = torch.distributions.Normal(*double([0, 1])).log_prob(z)
        return log_p - log_q + torch.cat([torch.ones_like(z), z, z.sin()], 1) @ self.distortion.unsqueeze(1)


class Function(nn.Module):
    """A network that is a function of the codes, (rows, Z) to (rows,)."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, z):
        return self.function(z).unsqueeze(1)


def slope(weight, bias=0.5):
    """A linear network with this gradient."""
    return linear(np.asarray([weight]), np.asarray([bias])).float()


def train(adversary, views, n_steps, learning_rate, n=256):
    """Steps of the adversary alone, each with draws of its own."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(adversary.parameters(), learning_rate, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in range(n_steps):
        optimizer.zero_grad()
        (-adversary.objective(*draw(views, n, generator)).mean()).backward()
        optimizer.step()
        schedule.step()


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# ---- the discriminator, eq. 33 -------------------------------------------------------------------------------------


def jensen_shannon(views):
    """2 JSD(p, q) in nats."""
    p, q = norm.pdf, mixture_pdf(views)

    def integrand(z):
        m = (p(z) + q(z)) / 2
        return sum(f * math.log(f / m) if f > 0 else 0.0 for f in (p(z), q(z)))

    return quad(integrand, -20, 20, limit=200)[0]


@pytest.mark.parametrize("views", CODES)
def test_best_discriminator_has_the_jensen_shannon_divergence_as_its_value(views):
    """Eq. 33 at D* = p / (p + q) is 2 JSD(p, q) - log 4 (Goodfellow et al., theorem 1), and stationary in D there."""
    discriminator = Discriminator(1, LogRatio(views))
    codes, prior, weights = quadrature(views)
    value = discriminator.objective(codes, prior) @ weights
    assert value.item() == pytest.approx(jensen_shannon(views) - math.log(4), abs=1e-5)
    value.backward()
    np.testing.assert_allclose(discriminator.network.distortion.grad, 0, atol=1e-5)


@pytest.mark.parametrize("views", [CODES[0], CODES[3]])
def test_trained_discriminator_reaches_the_optimum(views):
    """Max_D of eq. 33, by gradient steps, is 2 JSD - log 4."""
    discriminator = Discriminator(1, {"hidden": [16], "activation": "tanh"})
    train(discriminator, views, 200, 0.05)
    codes, prior, weights = quadrature(views)
    value = discriminator.double().objective(codes, prior) @ weights
    best = jensen_shannon(views) - math.log(4)
    assert best - 0.02 < value.item() <= best + 1e-6


def test_discriminator_that_cannot_tell_has_the_value_minus_log_four():
    """Eq. 33 at D = 1/2; encoders then have log D = -log 2, or -log(1 - D) = log 2."""
    codes, prior = torch.randn(2, 3, 5, 2)
    network = slope([0.0, 0.0], bias=0.0)
    for saturating, expected in [(False, -math.log(2)), (True, math.log(2))]:
        discriminator = Discriminator(2, network, saturating=saturating)
        torch.testing.assert_close(discriminator.objective(codes, prior), torch.full((5,), -math.log(4)))
        torch.testing.assert_close(discriminator.generator(codes), torch.full((5,), expected))


@pytest.mark.parametrize(
    ("of_prior", "of_codes", "expected"), [(1e4, -1e4, 0.0), (-1e4, 1e4, -2e4), (1e4, 1e4, -1e4), (-1e4, -1e4, -1e4)]
)
def test_discriminator_is_stable_for_large_logits(of_prior, of_codes, expected):
    """log D + log(1 - D) of eq. 33 where D is 0 or 1 in floating point, and its gradient."""
    discriminator = Discriminator(1, slope([1.0], bias=0.0))
    value = discriminator.objective(torch.full((1, 1, 1), of_codes), torch.full((1, 1, 1), of_prior))
    value.sum().backward()
    assert value.item() == expected
    # d/dw = (1 - D(prior)) prior - D(code) code
    gradient = (of_prior < 0) * of_prior - (of_codes > 0) * of_codes
    assert discriminator.network.weight.grad.item() == gradient


@pytest.mark.parametrize(
    ("saturating", "logit", "value", "gradient"),
    [(False, -1e4, -1e4, 1), (False, 1e4, 0, 0), (True, -1e4, 0, 0), (True, 1e4, 1e4, 1)],
)
def test_only_the_saturating_generator_loses_its_gradient_where_the_discriminator_is_sure(
    saturating, logit, value, gradient
):
    """max log D has slope 1 - D in the logit, min log(1 - D) of eq. 33 has slope D: none where D knows the codes."""
    codes = torch.full((1, 1, 1), logit, requires_grad=True)
    objective = Discriminator(1, slope([1.0], bias=0.0), saturating=saturating).generator(codes)
    objective.sum().backward()
    assert (objective.item(), codes.grad.item()) == (value, gradient)


# ---- the critic, eq. 36 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("views", "best"),
    [
        ([(1.5, 1.0)], lambda z: -z[:, 0]),
        ([(-3.0, 1.0)], lambda z: z[:, 0]),
        ([(0.0, 2.5)], lambda z: -z[:, 0].abs()),
        ([(0.0, 0.5)], lambda z: z[:, 0].abs()),
        ([(1.0, 1.0), (2.0, 1.0)], lambda z: -z[:, 0]),
    ],
)
def test_best_critic_has_the_wasserstein_distance_as_its_value(views, best):
    """Eq. 36 at the best critic of slope 1 is W1(p, q), which for a shift is its length; the penalty is 0."""
    codes, prior, weights = quadrature(views)
    value = (WassersteinCritic(1, Function(best)).objective(codes, prior) @ weights).item()
    n = len(views)
    expected = wasserstein_distance(prior[0].ravel(), codes.ravel(), weights, weights.repeat(n))
    assert value == pytest.approx(expected, abs=1e-9)
    if all(scale == 1 for _, scale in views):
        assert value == pytest.approx(abs(np.mean([loc for loc, _ in views])), abs=1e-9)


def penalised_optimum(loc, weight):
    """The greatest value of E_p[C] - E_q[C] - λ E[(|C'| - 1)²] for q = N(loc, 1) with loc > 0, over all C.

    With c = -C' and the cumulative F, E_p[C] - E_q[C] = ∫ c (F_p - F_q); so c = 1 + (F_p - F_q) / (2 λ r) is best, with
    r the density of u a + (1 - u) b for a ~ p, b ~ q, u ~ U(0, 1).
    """
    z, u = np.linspace(-8, 8 + loc, 4001), (np.arange(400) + 0.5) / 400
    r = norm.pdf(z[:, None], (1 - u) * loc, np.sqrt(u**2 + (1 - u) ** 2)).mean(1)
    gap = norm.cdf(z) - norm.cdf(z, loc)
    return np.trapezoid(gap + gap**2 / (4 * weight * r), z)


@pytest.mark.parametrize(("loc", "weight", "one_sided"), [(1.0, 10.0, False), (2.0, 10.0, True)])
def test_trained_critic_reaches_the_optimum(loc, weight, one_sided):
    """Max_C of eq. 36 with the gradient penalty, by gradient steps: W1 = loc, and what the penalty leaves to gain."""
    network = {"hidden": [16], "activation": "tanh"}
    critic = WassersteinCritic(1, network, gradient_penalty=weight, one_sided=one_sided)
    with torch.no_grad():  # let it start with the sign that it needs
        last = critic.network.layers[-2].weight
        last.mul_(torch.sign(critic(torch.zeros(1, 1)) - critic(torch.ones(1, 1))))
    train(critic, [(loc, 1.0)], 200, 0.03)
    value = critic.objective(*draw([(loc, 1.0)], 100_000, torch.Generator().manual_seed(1))).mean().item()
    best = penalised_optimum(loc, weight)
    assert value == pytest.approx(best, rel=0.01)
    codes, prior, weights = quadrature([(loc, 1.0)])
    gap = ((critic.double()(prior) - critic(codes))[0] @ weights).item()
    assert gap == pytest.approx(2 * best - loc, rel=0.01)  # which is loc for a large λ
    steepest = np.gradient(critic(torch.linspace(-8, 8 + loc, 2000).double().unsqueeze(1)).tolist(), (16 + loc) / 1999)
    assert (
        0.85 * loc < gap / np.abs(steepest).max() <= loc
    )  # C / slope is a critic of slope 1, and W1 the most of these


@pytest.mark.parametrize("one_sided", [False, True])
def test_only_the_two_sided_penalty_holds_a_critic_of_the_wrong_sign(one_sided):
    """For C = s z and q = N(d, 1), -s d - λ (|s| - 1)² is greatest at -1 - d/2λ, but has a maximum at 1 - d/2λ too."""
    d, weight = 1.0, 2.0
    critic = WassersteinCritic(1, slope([0.5]), gradient_penalty=weight, one_sided=one_sided)
    prior = torch.randn(1, 1, 1)
    optimizer = torch.optim.SGD(critic.parameters(), 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (-critic.objective(prior + d, prior).mean()).backward()
        optimizer.step()
    expected = -1 - d / (2 * weight) if one_sided else 1 - d / (2 * weight)
    assert critic.network.weight.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("weight", [1.0, 10.0])
@pytest.mark.parametrize("gradient", [(0.6, 0.8), (3.0, 0.0), (0.1, -0.2), (0.0, 0.0)])
def test_gradient_penalty_of_a_linear_critic(gradient, weight, one_sided):
    """λ (s - 1)² for slope s: 0 for slope 1, and one-sided for those below. Its gradient is 2 λ (s - 1) w / s."""
    codes, prior = torch.randn(2, 3, 5, 2)
    critic = WassersteinCritic(2, slope(gradient), gradient_penalty=weight, one_sided=one_sided)
    s, w = math.hypot(*gradient), np.array(gradient)
    excess = max(s - 1, 0) if one_sided else s - 1
    value = critic.objective(codes, prior)
    gap = ((prior - codes) @ torch.tensor(gradient)).mean(0)
    torch.testing.assert_close(gap - value, torch.full((5,), weight * excess**2), atol=1e-5, rtol=1e-5)
    value.sum().backward()
    of_gap = (prior - codes).mean(0).sum(0).numpy()
    expected = of_gap - 5 * 2 * weight * excess * w / max(s, 1e-9)  # at s = 0, where there is none, 0 is taken
    np.testing.assert_allclose(critic.network.weight.grad[0], expected, atol=1e-4)


def test_gradient_penalty_is_taken_evenly_between_codes_and_prior():
    """E_u[(|ẑ| - 1)²] for C = |z|² / 2, whose slope at z is |z|, with ẑ between codes (3, 0) and draws (0, 4)."""
    n = 40_000
    codes, prior = torch.tensor([3.0, 0.0]).expand(1, n, 2), torch.tensor([0.0, 4.0]).expand(1, n, 2)
    critic = WassersteinCritic(2, Function(lambda z: z.square().sum(1) / 2), gradient_penalty=1)
    penalty = 3.5 - critic.objective(codes, prior)  # C(prior) - C(codes) = 3.5

    def of(u):
        return (math.hypot(3 * (1 - u), 4 * u) - 1) ** 2

    mean, square = quad(of, 0, 1)[0], quad(lambda u: of(u) ** 2, 0, 1)[0]
    assert penalty.mean().item() == pytest.approx(mean, abs=4 * math.sqrt((square - mean**2) / n))
    assert penalty.var().item() == pytest.approx(square - mean**2, rel=0.05)


def test_clipping_bounds_the_weights():
    """After a step of the critic: w ← clip(w, -c, c) (Arjovsky et al., algorithm 1)."""
    critic = WassersteinCritic(2, {"hidden": [8]}, gradient_penalty=0, clip=0.1)
    before = [weight.detach().clone() for weight in critic.parameters()]
    assert max(weight.abs().max() for weight in before) > 0.1
    critic.after_step()
    for weight, was in zip(critic.parameters(), before, strict=True):
        torch.testing.assert_close(weight.detach(), was.where(was.abs() < 0.1, 0.1 * was.sign()), rtol=0, atol=0)
        assert weight.requires_grad


@pytest.mark.parametrize("make", [ADVERSARIES["discriminator"], ADVERSARIES["penalised"]])
def test_other_adversaries_leave_their_weights_alone(make):
    adversary = make(2)
    before = [weight.detach().clone() for weight in adversary.parameters()]
    adversary.after_step()
    assert all(map(torch.equal, adversary.parameters(), before))


# ---- both ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (ADVERSARIES["discriminator"], lambda z, d: -d / (1 + np.exp(d**2 / 2 - d * z))),
        (ADVERSARIES["saturating"], lambda z, d: -d / (1 + np.exp(d * z - d**2 / 2))),
        (ADVERSARIES["penalised"], lambda z, d: -np.sign(d) * np.ones_like(z)),
    ],
)
@pytest.mark.parametrize("d", [-1.0, 2.0])
def test_codes_are_drawn_towards_the_prior(make, expected, d):
    """For q = N(d, 1): the logit of D* is d²/2 - d z, and C* = ∓z. -d (1 - D*), -d D* and ∓1 point to the prior."""
    logit = slope([-d], bias=d**2 / 2)
    adversary = make(1, logit if make is not ADVERSARIES["penalised"] else slope([-np.sign(d)]))
    codes = torch.linspace(-3, 3, 7).view(1, 7, 1).requires_grad_()
    adversary.generator(codes).sum().backward()
    np.testing.assert_allclose(codes.grad.ravel(), expected(np.linspace(-3, 3, 7), d), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("saturating", [False, True])
def test_alternating_steps_bring_the_codes_to_the_prior(saturating):
    """Min over encoders, max over D (eq. 33): codes a + b x with x ~ p come to a = 0 and |b| = 1.

    No such test of critics: near the prior, their alternating steps are known to circle it for long.
    """
    adversary = Discriminator(2, {"hidden": [16], "activation": "silu"}, saturating=saturating)
    encoder = torch.tensor([[1.0, -1.0], [0.5, 0.5]], requires_grad=True)
    adversary_steps, encoder_steps = (
        torch.optim.RMSprop(adversary.parameters(), 0.02),
        torch.optim.RMSprop([encoder], 0.02),
    )
    path = []
    for _ in range(120):
        x, prior = torch.randn(2, 1, 128, 2)
        codes = encoder[0] + encoder[1] * x
        for _ in range(2):
            adversary_steps.zero_grad()
            (-adversary.objective(codes, prior).mean()).backward()
            adversary_steps.step()
            adversary.after_step()
        encoder_steps.zero_grad()
        (-adversary.generator(codes).mean()).backward()
        encoder_steps.step()
        path.append(encoder.tolist())
    a, b = np.mean(path[-30:], axis=0)
    np.testing.assert_allclose(a, 0, atol=0.1)
    np.testing.assert_allclose(np.abs(b), 1, atol=0.1)


@every_adversary
def test_values_are_means_over_the_views_that_are_present(make):
    """1/M Σ_m of eq. 33 and 36, per sample, M counting the views present; 0 without views. Fillers change nothing."""
    adversary = make(2, {"hidden": [8], "activation": "tanh"})
    codes, prior = torch.randn(2, 3, 5, 2)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 1, 1]], dtype=torch.bool)

    def values(codes, prior, present):
        torch.manual_seed(3)  # the same interpolates
        codes = codes.clone().requires_grad_()
        objective, generator = adversary.objective(codes, prior, present), adversary.generator(codes, present)
        weights = torch.autograd.grad(objective.sum(), list(adversary.parameters()))
        return objective, generator, *weights, torch.autograd.grad(generator.sum(), codes)[0]

    with_mask = values(codes, prior, present)
    fillers = ~present.T.unsqueeze(-1)
    refilled = values(codes.masked_fill(fillers, 1e4), prior.masked_fill(fillers, -1e4), present)
    torch.testing.assert_close(refilled, with_mask)
    assert not with_mask[-1][fillers.squeeze(-1)].any()

    torch.manual_seed(3)
    by_view = adversary._told_apart(codes, prior), adversary._fooled(adversary(codes))
    for value, parts in zip(with_mask[:2], by_view, strict=True):
        for b, views in enumerate(present):
            expected = sum(parts[m, b].item() for m in range(3) if views[m]) / max(1, int(views.sum()))
            assert value[b].item() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(values(codes, prior, torch.ones(5, 3, dtype=torch.bool)), values(codes, prior, None))


@every_adversary
def test_each_objective_trains_its_own_side_alone(make):
    """max_D leaves the codes alone, min_G the adversary (eq. 33, 36)."""
    adversary = make(2)
    codes, prior = torch.randn(2, 3, 5, 2).requires_grad_().unbind()
    adversary.generator(codes).sum().backward(inputs=[codes, *adversary.parameters()])
    assert codes.grad.any()
    assert all(weight.grad is None for weight in adversary.parameters())
    objective = adversary.objective(codes, prior)
    of_codes, of_prior = torch.autograd.grad(objective.sum(), [codes, prior], retain_graph=True, allow_unused=True)
    assert of_codes is None
    assert of_prior is None
    objective.sum().backward()
    assert adversary.network.layers[1].weight.grad.any()


@every_adversary
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_values_need_no_gradients_around_them(make, mode):
    """Validation has the value that training has, gradient penalty included, and leaves no graph behind."""
    adversary = make(2)
    codes, prior = torch.randn(2, 3, 5, 2)
    torch.manual_seed(0)
    expected = adversary.objective(codes, prior), adversary.generator(codes)
    with mode():
        torch.manual_seed(0)
        inside = adversary.objective(codes + 0, prior + 0), adversary.generator(codes + 0)
    torch.testing.assert_close(inside, tuple(value.detach() for value in expected))
    assert not any(value.requires_grad for value in inside)
    assert all(weight.grad is None for weight in adversary.parameters())


@every_adversary
def test_the_architecture_is_the_users(make):
    """Settings, and modules, as for encoders; the network's output is linear."""
    layers = make(3, {"hidden": [64, 32]}).network.layers
    linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linears] == [64, 32, 1]
    network = slope([1.0, 2.0, 3.0], bias=-4.0)
    z = torch.randn(2, 5, 3)
    torch.testing.assert_close(make(3, network)(z), z @ torch.tensor([1.0, 2.0, 3.0]) - 4)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (Discriminator, {"n_steps": 0}, "n_steps=0: give a whole number, at least 1"),
        (Discriminator, {"learning_rate": 0.0}, "learning_rate must be above 0 and finite, but is 0.0"),
        (WassersteinCritic, {"learning_rate": math.nan}, "learning_rate must be above 0 and finite, but is nan"),
        (WassersteinCritic, {"gradient_penalty": -1}, "gradient_penalty must be at least 0 and finite, but is -1"),
        (WassersteinCritic, {"gradient_penalty": math.inf}, "gradient_penalty must be at least 0 and finite"),
        (WassersteinCritic, {"gradient_penalty": 0, "clip": 0}, "clip must be above 0 and finite, but is 0"),
        (WassersteinCritic, {"gradient_penalty": 0, "clip": 0.1, "one_sided": True}, "one_sided=True is about"),
        (WassersteinCritic, {"gradient_penalty": 0}, "gradient_penalty=0 and clip=None: .* in one way"),
        (WassersteinCritic, {"clip": 0.01}, "gradient_penalty=10.0 and clip=0.01: .* in one way; give"),
        (Discriminator, {"network": {"hiden": [8]}}, "'discriminator': .* did you mean 'hidden'"),
        (Discriminator, {"network": nn.Linear(2, 2)}, "'discriminator': .* is needed"),
        (WassersteinCritic, {"network": {"norm": "batch"}}, "must not depend on the other codes .* norm='layer'"),
    ],
)
def test_wrong_settings_are_refused(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(2, **settings)


@pytest.mark.parametrize("settings", [{"learning_rate": "fast"}, {"clip": True}, {"gradient_penalty": None}])
def test_settings_of_the_wrong_type_are_refused(settings):
    (name,) = settings
    with pytest.raises(TypeError, match=name):
        WassersteinCritic(2, **settings)
