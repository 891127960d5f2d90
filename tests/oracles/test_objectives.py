"""Objectives against loops, and their gradients against each other and against integrals."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import laplace, norm
from torch.distributions import Independent, Laplace, Normal

from manyview.latent import map_parameters
from manyview.objectives import elbo, log_mean_exp, mixture_iwae

from .helpers import double, laplace_experts, normal_experts

S, M, B, Z = 4, 3, 5, 2
PRESENT = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]], dtype=bool)

# ---- elbo ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("with_active", [False, True])
@pytest.mark.parametrize("weights_shape", [None, (S, M), (1, 1), (1, M), (S, M, B), (1, 1, B), (S, 1, 1)])
@pytest.mark.parametrize("with_kl", [False, True])
def test_elbo_equals_loops(beta, with_active, weights_shape, with_kl):
    """Σ_s a_s [Σ_m w_sm L[s, m] - β KL_s], its parts before β, one source, view and row at a time."""
    rng = np.random.RandomState(0)
    log_lik, kl = rng.normal(size=(S, M, B)), rng.uniform(size=(S, B))
    w = np.ones((S, M, B))
    if weights_shape is not None:
        weights = rng.uniform(size=weights_shape)
        w = w * (weights if weights.ndim == 3 else weights[..., None])
    active = rng.uniform(size=(S, B)) < 0.6 if with_active else np.ones((S, B), dtype=bool)
    terms = elbo(
        double(log_lik),
        double(kl) if with_kl else None,
        beta=beta,
        weights=None if weights_shape is None else double(weights),
        active=torch.from_numpy(active) if with_active else None,
    )
    for b in range(B):
        total, divergence = 0.0, 0.0
        for s in range(S):
            if active[s, b]:
                total += sum(w[s, m, b] * log_lik[s, m, b] for m in range(M))
                divergence += kl[s, b]
        expected = total - beta * divergence if with_kl else total
        assert terms.value[b].item() == pytest.approx(expected, abs=1e-12)
        assert terms.parts["log_lik"].sum(0)[b].item() == pytest.approx(total, abs=1e-12)
        if with_kl:
            assert terms.parts["kl"][b].item() == pytest.approx(divergence, abs=1e-12)
    for m, b in itertools.product(range(M), range(B)):
        by_view = sum(w[s, m, b] * log_lik[s, m, b] for s in range(S) if active[s, b])
        assert terms.parts["log_lik"][m, b].item() == pytest.approx(by_view, abs=1e-12)
    assert ("kl" in terms.parts) == with_kl


def test_log_mean_exp():
    """log 1/K Σ exp, without overflow."""
    x = np.random.RandomState(0).normal(size=(6, 3)) + 900
    np.testing.assert_allclose(log_mean_exp(double(x), 0).numpy(), logsumexp(x, axis=0) - np.log(6), rtol=1e-14)


# ---- the mixture's importance-weighted bound: its value --------------------------------------------------------------

FAMILIES = pytest.mark.parametrize(
    ("make", "law", "family"),
    [(normal_experts, norm, Normal), (laplace_experts, laplace, Laplace)],
    ids=["normal", "laplace"],
)


def toy_log_lik(z, m):
    """Something like log p(x_m | z), (..., Z) to (...); numpy and torch alike."""
    return -((z - 0.4 * m) ** 2).sum(-1) * (0.5 + 0.3 * m) + 0.2 * z[..., 0]


@FAMILIES
@pytest.mark.parametrize("dreg", [False, True])
@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("present", [None, PRESENT], ids=["complete", "missing"])
def test_mixture_iwae_equals_loops(make, law, family, dreg, beta, k, present):
    """1/M Σ_m log 1/K Σ_k w(z_mk) with the mixture's density, over the views that are present: by hand."""
    rng = np.random.RandomState(1)
    loc, scale = rng.normal(size=(M, B, Z)), rng.uniform(0.4, 1.2, size=(M, B, Z))
    mask = np.ones((B, M), dtype=bool) if present is None else present

    def log_joint(z):
        matrix = torch.stack([toy_log_lik(z, m) for m in range(M)], -2) * torch.from_numpy(mask.T)
        return matrix.sum(-2) + beta * family(double(0.0), double(1.0)).log_prob(z).sum(-1)

    experts = map_parameters(make(loc, scale), lambda _, value: value.requires_grad_())
    torch.manual_seed(7)
    value = mixture_iwae(
        experts,
        log_joint,
        k,
        present=None if present is None else torch.from_numpy(present),
        beta=beta,
        doubly_reparametrised=dreg,
    )
    torch.manual_seed(7)
    noise = family(torch.zeros(M, B, Z, dtype=torch.float64), 1.0).rsample((k,)).numpy()
    for b in range(B):
        views = np.flatnonzero(mask[b])
        bounds = []
        for m in views:
            log_w = []
            for i in range(k):
                z = loc[m, b] + scale[m, b] * noise[i, m, b]
                log_q = logsumexp([law.logpdf(z, loc[j, b], scale[j, b]).sum() for j in views]) - np.log(len(views))
                log_p = law.logpdf(z).sum()
                log_w.append(sum(toy_log_lik(z, n) for n in views) + beta * (log_p - log_q))
            bounds.append(logsumexp(log_w) - np.log(k))
        assert value[b].item() == pytest.approx(np.mean(bounds), abs=1e-10)


@FAMILIES
@pytest.mark.parametrize("dreg", [False, True])
def test_absent_views_do_not_enter(make, law, family, dreg):
    """Whatever an absent view's expert says, the bound and its gradient are the same, and its own gradient is zero."""
    rng = np.random.RandomState(2)
    loc, scale = rng.normal(size=(M, B, Z)), rng.uniform(0.4, 1.2, size=(M, B, Z))
    absent = ~PRESENT.T
    mask = torch.from_numpy(PRESENT.T)
    found = []
    for filler in (0.0, -3.0, 1e6):
        experts = make(np.where(absent[..., None], filler, loc), scale)
        experts.base_dist.loc.requires_grad_()
        torch.manual_seed(3)
        value = mixture_iwae(
            experts,
            lambda z: torch.stack([toy_log_lik(z, m) for m in range(M)], -2).mul(mask).sum(-2),
            5,
            present=torch.from_numpy(PRESENT),
            doubly_reparametrised=dreg,
        )
        (gradient,) = torch.autograd.grad(value.sum(), experts.base_dist.loc)
        assert (gradient[torch.from_numpy(absent)] == 0).all()
        found.append((value.detach(), gradient))
    for value, gradient in found[1:]:
        torch.testing.assert_close(value, found[0][0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-12, atol=1e-12)


def test_dreg_with_frozen_encoders():
    """Experts without gradients (encoders that do not learn) leave the decoders' gradient: that of the plain bound."""
    found = []
    for doubly in (False, True):
        decoder = double([0.3, -0.2]).requires_grad_()
        torch.manual_seed(0)
        value = mixture_iwae(
            normal_experts(np.zeros((2, 1, 2)), np.ones((2, 1, 2))),
            lambda z, decoder=decoder: -(z - decoder).square().sum(-1),
            4,
            doubly_reparametrised=doubly,
        )
        found.append(torch.autograd.grad(value.sum(), decoder)[0])
    torch.testing.assert_close(*found)


# ---- its gradient ----------------------------------------------------------------------------------------------------


class Replicates:
    """N replicates of one small model, as rows with parameters of their own: the gradient of each is at hand.

    p(x | z) = N(x; tanh(V z), noise²) for each view; the parameters are the experts' loc and log-scale, and V.
    """

    def __init__(self, n_views, family, n, z_dim=2, missing=(), noise=0.5):
        rng = np.random.RandomState(5)
        self.family, self.n_views, self.noise = family, n_views, noise
        start = {
            "loc": rng.normal(size=(n_views, 1, z_dim)),
            "log_scale": rng.uniform(-0.9, 0.1, size=(n_views, 1, z_dim)),
            "decoder": rng.normal(size=(n_views, 1, 3, z_dim)),
        }
        self.parameters = {
            name: double(value).repeat(1, n, *[1] * (value.ndim - 2)).requires_grad_() for name, value in start.items()
        }
        self.x = double(rng.normal(size=(n_views, 3)))
        row = [m not in missing for m in range(n_views)]
        self.present = torch.tensor([row]).repeat(n, 1) if missing else None

    @property
    def experts(self):
        loc, scale = self.parameters["loc"], self.parameters["log_scale"].exp()
        return Independent(self.family(loc, scale, validate_args=False), 1, validate_args=False)

    def log_joint(self, z, beta):
        """log p(X | z) + β log p(z) of z (..., N, Z)."""
        total = beta * self.family(double(0.0), double(1.0)).log_prob(z).sum(-1)
        for m in range(self.n_views):
            if self.present is None or self.present[0, m]:
                eta = torch.einsum("ndz,...nz->...nd", self.parameters["decoder"][m], z).tanh()
                total = total + Normal(eta, double(self.noise)).log_prob(self.x[m]).sum(-1)
        return total

    def gradients(self, bound, k, beta=1.0, seed=0):
        """The gradient of each replicate's bound, (N, number of parameters)."""
        torch.manual_seed(seed)
        value = bound(self.experts, partial(self.log_joint, beta=beta), k, present=self.present, beta=beta)
        found = torch.autograd.grad(value.sum(), list(self.parameters.values()))
        return torch.cat([g.movedim(1, 0).flatten(1) for g in found], 1).numpy()


iwae = partial(mixture_iwae, doubly_reparametrised=False)
dreg = partial(mixture_iwae, doubly_reparametrised=True)


def log_mixture(q, z, present):
    """log q(z | X), (K, M, B), of z (K, M, B, Z)."""
    log_q = q.log_prob(z.unsqueeze(2))
    active = torch.ones_like(log_q[0, 0]) if present is None else present.T.to(log_q.dtype)
    return (log_q + active.log()).logsumexp(2) - active.sum(0).log()


def frozen(q):
    base = q.base_dist
    return Independent(type(base)(base.loc.detach(), base.scale.detach(), validate_args=False), 1, validate_args=False)


def no_scores(experts, log_joint, k, *, present, beta):
    """The path weighted by w² alone, no expert's score kept: unbiased for one view, biased for several."""
    z = experts.rsample((k,))
    scaled = z.view_as(z)
    log_w = log_joint(scaled) - beta * log_mixture(frozen(experts), scaled, present)
    w = log_w.softmax(0).detach()
    scaled.register_hook(lambda gradient: gradient * w.unsqueeze(-1))
    return (w * log_w).sum(0).mean(0)


def no_density_scores(experts, log_joint, k, *, present, beta):
    """The plain bound with the densities' parameters held fixed: unbiased for K = 1 only."""
    z = experts.rsample((k,))
    log_w = log_joint(z) - beta * log_mixture(frozen(experts), z, present)
    return log_mean_exp(log_w, 0).mean(0)


def deviations(first, second):
    """The difference of two mean gradients in its standard errors, one a parameter."""
    difference = first.mean(0) - second.mean(0)
    error = np.sqrt(first.var(0) / len(first) + second.var(0) / len(second))
    same = np.abs(difference) <= 1e-12  # parameters without a gradient, as of absent views
    return np.abs(np.where(same, 0.0, difference)) / np.where(same, 1.0, error)


@pytest.mark.parametrize("family", [Normal, Laplace], ids=["normal", "laplace"])
@pytest.mark.parametrize(
    ("n_views", "k", "beta", "missing"),
    [
        *((n_views, k, 1.0, ()) for n_views in (1, 2, 3) for k in (1, 5)),
        *[(1, 5, 0.4, ()), (2, 5, 0.4, ()), (3, 5, 1.0, (1,)), (3, 5, 0.4, (0,)), (2, 5, 1.0, (1,))],
    ],
)
def test_dreg_and_iwae_agree_in_expectation(family, n_views, k, beta, missing):
    """E[∇ DReG] = E[∇ IWAE] for every parameter of encoders and decoders, within 4 standard errors."""
    model = Replicates(n_views, family, 20_000, missing=missing)
    plain = model.gradients(iwae, k, beta, seed=1)
    doubly = model.gradients(dreg, k, beta, seed=2)
    assert np.isfinite(doubly).all()
    assert np.abs(plain.mean(0)).max() > 0.1
    assert deviations(plain, doubly).max() < 4
    absent = np.repeat([m in missing for m in range(n_views)], 2)
    assert (doubly[:, : 2 * n_views][:, absent] == 0).all()


@pytest.mark.parametrize(
    ("estimator", "n_views", "k", "biased"),
    [
        (no_scores, 1, 5, False),
        (no_scores, 2, 1, False),
        (no_scores, 2, 5, True),
        (no_scores, 3, 5, True),
        (no_density_scores, 1, 1, False),
        (no_density_scores, 2, 1, False),
        (no_density_scores, 1, 5, True),
        (no_density_scores, 2, 5, True),
    ],
)
def test_the_comparison_has_power(estimator, n_views, k, biased):
    """The same comparison finds estimators that drop scores, where that is a bias, and passes them where it is none."""
    model = Replicates(n_views, Normal, 20_000)
    worst = deviations(model.gradients(iwae, k, seed=1), model.gradients(estimator, k, seed=2)).max()
    assert worst > 8 if biased else worst < 4


@pytest.mark.parametrize("family", [Normal, Laplace], ids=["normal", "laplace"])
@pytest.mark.parametrize(("n_views", "share"), [(1, 0.02), (2, 0.7), (3, 0.9)])
def test_dreg_is_less_noisy_for_many_samples(family, n_views, share):
    """With K = 50 the encoders' gradients have less variance: hundreds of times less for one view.

    Experts are wider than the posterior, so that importance weights have a variance.
    """
    model = Replicates(n_views, family, 1000, noise=1.0)
    with torch.no_grad():
        model.parameters["log_scale"] += 0.9
    encoders = slice(0, 2 * 2 * n_views)
    noise = {bound: model.gradients(bound, 50, seed=1)[:, encoders].var(0).sum() for bound in (iwae, dreg)}
    assert noise[dreg] < share * noise[iwae]


@pytest.mark.parametrize("bound", [iwae, dreg], ids=["iwae", "dreg"])
@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("n_views", [1, 2])
def test_gradients_equal_those_of_the_integral(bound, k, n_views):
    """∇ 1/M Σ_m ∫ q_m(z^1) ... q_m(z^K) log 1/K Σ_k w(z^k), the integral on a grid of a one-dimensional latent."""
    exact = Replicates(n_views, Normal, 1, z_dim=1)
    q = exact.experts
    # The grid stands still, so that the gradient passes through the densities and not through z.
    grid = torch.linspace(-8, 8, 401, dtype=torch.float64)
    cell = grid[1] - grid[0]
    z = grid.view(-1, 1, 1, 1).expand(-1, n_views, 1, 1)
    log_w = exact.log_joint(z, 1.0) - log_mixture(q, z, None)  # (G, M, 1)
    density = q.log_prob(z).exp() * cell
    if k == 1:
        value = (density * log_w).sum(0).mean()
    else:
        pair = torch.logaddexp(log_w.unsqueeze(1), log_w.unsqueeze(0)) - np.log(2)
        value = (density.unsqueeze(1) * density.unsqueeze(0) * pair).sum((0, 1)).mean()
    found = torch.autograd.grad(value, list(exact.parameters.values()))
    expected = torch.cat([g.movedim(1, 0).flatten(1) for g in found], 1).numpy()[0]

    model = Replicates(n_views, Normal, 40_000, z_dim=1)
    gradients = model.gradients(bound, k)
    error = gradients.std(0) / np.sqrt(len(gradients))
    assert (np.abs(gradients.mean(0) - expected) < 4 * error + 1e-6).all()


@pytest.mark.parametrize("family", [Normal, Laplace], ids=["normal", "laplace"])
def test_dreg_of_one_view_is_that_of_tucker_et_al(family):
    """With M = 1: Σ_k w̃_k² ∂ log w_k / ∂z_k ∂z_k / ∂φ in each replicate, not only in expectation."""
    model = Replicates(1, family, 50)
    encoders = slice(0, 4)
    ours = model.gradients(dreg, 5)[:, encoders]
    theirs = model.gradients(no_scores, 5)[:, encoders]
    np.testing.assert_allclose(ours, theirs, atol=1e-10)
