"""JMVAE: E_q[log p(X | z)] - β KL(q(z | X) ‖ p) - α Σ_m KL(q(z | X) ‖ q(z | x_m)), of Suzuki et al. (2016), eq. 6.

The objective in loops, its divergences by integration, its exact distance from the evidence, the posterior of every
subset of views in a model where that is known, its limits, and what its options do.
"""

import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.linear_model import LinearRegression
from torch import nn
from torch.distributions import Normal, kl_divergence

import manyview as mv
from manyview.data import Views
from manyview.datasets import make_linear_gaussian, make_multiview
from manyview.fusion import Joint, PoE
from manyview.latent import Gaussian
from manyview.likelihoods import as_likelihood
from manyview.network import Network
from manyview.nn import JointEncoder

from .helpers import as_batch, double, fixed_normal, gaussian_kl, linear, normal_experts, with_gaps
from .test_bounds import bounds
from .test_models import BETA, KINDS, SHAPES, B, M, Reference, Z, gradients, make_data
from .test_mvtcae import sparse_divergence, sparse_normal

NAMES = [f"view_{m}" for m in range(M)]
F = 5  # features that a joint encoder takes from each view


def make_network(model):
    """Nonlinear networks with random weights; the joint encoder's are others than those of the views."""
    torch.manual_seed(0)
    latent, fusion = model.latent(), model.fusion(NAMES)

    def encoder(shape, width):
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 8), nn.Tanh(), nn.Linear(8, width))

    head = nn.Sequential(nn.Linear(M * (F + 1), 8), nn.Tanh(), nn.Linear(8, latent.width))
    network = Network(
        latent,
        fusion,
        [encoder(shape, latent.width) for shape in SHAPES] if fusion.unimodal else [],
        [nn.Sequential(nn.Linear(Z, 8), nn.Tanh(), nn.Linear(8, int(np.prod(s))), nn.Unflatten(1, s)) for s in SHAPES],
        [as_likelihood(kind).build(shape) for kind, shape in zip(KINDS, SHAPES, strict=True)],
        [torch.randn(shape) for shape in SHAPES],
        joint_encoder=JointEncoder([encoder(shape, F) for shape in SHAPES], head),
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return network


def objective(model, network, batch, beta=BETA):
    torch.manual_seed(2)
    return model.objective(network, batch, beta)


# ---- the equation ---------------------------------------------------------------------------------------------------


class Joined(Reference):
    """A row whose joint encoder reads the features of what is there, zeros for the rest, and flags."""

    def h(self, m):
        if m != "joint":
            return super().h(m)
        encoder, inputs, flags = self.network.joint_encoder, [], []
        for n in range(M):
            x = self.batch.x[n][self.b : self.b + 1]
            inputs.append(encoder.trunks[n](x)[0] if n in self.views else torch.zeros(F, dtype=torch.float64))
            flags.append(float(n in self.views))
        return encoder.head(torch.cat([*inputs, double(flags)]).unsqueeze(0))[0]


def equation(ref, noise, alpha, sparse):
    """One row's objective, its views one after the other."""

    def posterior(m):
        return sparse_normal(ref, m) if sparse else ref.normal(m)

    q = posterior("joint")
    prior = Normal(torch.zeros_like(q.loc), torch.ones_like(q.loc))
    value = -BETA * (sparse_divergence(q) if sparse else kl_divergence(q, prior).sum())
    for m in ref.views:
        value = value + ref.log_lik(q.loc + q.scale * noise, m)
        if alpha:
            value = value - alpha * kl_divergence(q, posterior(m)).sum()
    return value


@pytest.mark.parametrize("case", ["complete", "views", "features"])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("sparse", [False, True], ids=["normal", "sparse"])
def test_objective_equals_equation_6(alpha, sparse, case):
    """Value and gradient of eq. 6, row by row, over the views that the row has; z is the joint posterior's."""
    model, batch = mv.JMVAE(z_dim=Z, alpha=alpha, sparse=sparse), make_data(case)
    network = make_network(model)
    value = objective(model, network, batch).value
    torch.manual_seed(2)
    noise = torch.randn(1, B, Z, dtype=torch.float64)[0]
    expected = torch.stack([equation(Joined(network, batch, b), noise[b], alpha, sparse) for b in range(B)])
    torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-9)
    for ours, theirs in zip(gradients(network, value), gradients(network, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


def test_alpha_weighs_its_term_alone():
    """L(α) = L(0) - α Σ_m KL_m, whatever β is, for the same networks and noise."""
    network, batch = make_network(mv.JMVAE(z_dim=Z)), make_data("views")
    for beta in (0.0, 1.0):
        low, high = (objective(mv.JMVAE(z_dim=Z, alpha=alpha), network, batch, beta) for alpha in (0.5, 2.0))
        kl = low.parts["kl_unimodal"]
        torch.testing.assert_close(low.value - high.value, 1.5 * kl.sum(0))
        assert ((kl > 0) == batch.present.T).all()


# ---- where everything is known --------------------------------------------------------------------------------------


class ExactHead(nn.Module):
    """The posterior of a linear-Gaussian model with one latent from Σ_m b_m w_m'(x_m - b_m)/σ_m² and the flags b."""

    def __init__(self, precisions, shift, widen):
        super().__init__()
        self.precisions, self.shift, self.widen = double(precisions), shift, widen

    def forward(self, inputs):
        features, flags = inputs.split(len(self.precisions), dim=1)
        precision = 1 + flags @ self.precisions
        return torch.stack([features.sum(1) / precision + self.shift, self.widen - precision.log()], dim=1)


def exact_network(truth, shift=0.0, widen=0.0):
    """Encoders of single views that are exact, and a joint one that is, up to its mean and its log-variance."""
    evidence = [w.T / sigma**2 for w, sigma in zip(truth.loadings, truth.noise, strict=True)]
    precisions = [(e @ w).item() for e, w in zip(evidence, truth.loadings, strict=True)]
    trunks = [linear(e, -e @ b) for e, b in zip(evidence, truth.offsets, strict=True)]
    encoders = [
        linear(np.vstack([e, 0 * e]) / (1 + t), np.concatenate([-e @ b / (1 + t), [-np.log(1 + t)]]))
        for e, b, t in zip(evidence, truth.offsets, precisions, strict=True)
    ]
    return Network(
        Gaussian(1),
        Joint("auto"),
        encoders,
        [linear(w, b) for w, b in zip(truth.loadings, truth.offsets, strict=True)],
        [fixed_normal(sigma) for sigma in truth.noise],
        [torch.zeros(len(b), dtype=torch.float64) for b in truth.offsets],
        joint_encoder=JointEncoder(trunks, ExactHead(precisions, shift, widen)),
    ).double()


@pytest.fixture(scope="module")
def truth():
    return make_linear_gaussian((4, 3, 2), 1, noise=1.5, random_state=3)


def only(views, names):
    return Views({m: views.array(m) if m in names else np.full_like(views.array(m), np.nan) for m in views.names})


@pytest.mark.parametrize("gaps", [[], [(0, "view_1", None), (1, "view_0", None), (1, "view_2", None)]])
@pytest.mark.parametrize(("shift", "widen"), [(0.0, 0.0), (0.3, 0.5)], ids=["exact", "wrong"])
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_distance_from_the_evidence(truth, alpha, shift, widen, gaps):
    """L = log p(X) - KL(q ‖ p(z | X)) - α Σ_m KL(q ‖ p(z | x_m)): below the evidence, tight for α = 0 and exact q."""
    views = with_gaps(truth.sample(4, random_state=4)[0], gaps)
    evidence, (means, covariances) = truth.log_evidence(views), truth.posterior(views)
    means, covariances = means + shift, covariances * np.exp(widen)
    expected = evidence.copy()
    for names, weight in [(views.names, 1.0), *(((name,), alpha) for name in views.names)]:
        here = views.present[:, [views.names.index(name) for name in names]].any(1)
        target = truth.posterior(only(views, names))
        for i in np.flatnonzero(here):
            expected[i] -= weight * gaussian_kl(means[i], covariances[i], target[0][i], target[1][i])
    mean, error = bounds(mv.JMVAE(z_dim=1, alpha=alpha), exact_network(truth, shift, widen), views)
    assert (error < 0.05).all()
    assert (np.abs(mean - expected) < 4 * error).all()
    assert (expected <= evidence + 1e-9).all()
    assert np.allclose(expected, evidence) == (alpha == 0 and shift == 0)


def test_divergences_equal_their_integrals(truth):
    """KL(q ‖ q_m) = ∫ q log(q / q_m) dz, of the joint posterior from the views' own and not the reverse."""
    views = truth.sample(3, random_state=5)[0]
    network = exact_network(truth, 0.4, -0.3)
    experts = network.experts(as_batch(views)).base_dist
    terms = objective(mv.JMVAE(z_dim=1, alpha=0.5), network, as_batch(views))
    for b in range(3):
        q = norm(experts.loc[-1, b].item(), experts.scale[-1, b].item())
        others = [norm(experts.loc[m, b].item(), experts.scale[m, b].item()) for m in range(3)]
        found = [*terms.parts["kl_unimodal"][:, b].tolist(), terms.parts["kl"][b].item()]
        for kl, p in zip(found, [*others, norm(0, 1)], strict=True):
            exact, reverse = (
                quad(lambda z, a=a, b=b: a.pdf(z) * (a.logpdf(z) - b.logpdf(z)), -9, 9)[0] for a, b in [(q, p), (p, q)]
            )
            assert kl == pytest.approx(exact, abs=1e-6)
            assert abs(kl - reverse) > 1e-3


def test_every_subset_has_its_exact_posterior(truth):
    """From exact q(z | x_m): p(z) Π_m q(z | x_m) / p(z) is p(z | x_S); a plain product is over-confident."""
    views = truth.sample(5, random_state=6)[0]
    network = exact_network(truth)
    for size in range(4):
        for names in itertools.combinations(views.names, size):
            batch = as_batch(only(views, names))
            mean, covariance = truth.posterior(only(views, names))
            with torch.no_grad():
                q, experts = network.posterior(batch), network.experts(batch).base_dist
            np.testing.assert_allclose(q.mean, mean, atol=1e-9)
            np.testing.assert_allclose(q.variance[:, 0], covariance[:, 0, 0], atol=1e-9)
            if size == 2:
                plain = PoE(prior_expert=False)(normal_experts(experts.loc[:3], experts.scale[:3]), batch.present)
                assert (plain.variance < 0.9 * q.variance).all()


def test_flags_tell_a_view_of_zeros_from_none(truth):
    """x_m = E[x_m] has features of zero, like a view that is absent; it still tells something."""
    names = truth.sample(1)[0].names
    views = Views({name: offset[None] for name, offset in zip(names, truth.offsets, strict=True)})
    network = exact_network(truth)
    there, absent = (network.experts(as_batch(data)) for data in (views, only(views, names[1:])))
    torch.testing.assert_close(there.mean[-1], absent.mean[-1])
    assert there.variance[-1] < 0.5 * absent.variance[-1]


# ---- the fusion, where experts are no posteriors of any model -------------------------------------------------------


def test_quotient_where_posteriors_are_wider_than_the_prior():
    """log q_S = Σ_m log q_m - (|S| - 1) log N(0, max(1, σ_m)²) + const: proper, and no wider than any of its views."""
    rng = np.random.RandomState(0)
    loc, scale = rng.standard_normal((5, 20, 3)), np.exp(rng.uniform(-1, 1, (5, 20, 3)))
    present = rng.uniform(size=(20, 4)) < 0.6
    present[:2] = [[False] * 4, [True] * 4]
    q = Joint("auto")(normal_experts(loc, scale), torch.from_numpy(present))
    assert (scale > 1).any(0).any()
    for b, i in itertools.product(range(20), range(3)):
        found = norm(q.mean[b, i].item(), q.stddev[b, i].item())
        members = np.flatnonzero(present[b])
        if len(members) == 4:
            assert (found.mean(), found.std()) == (loc[4, b, i], scale[4, b, i])
            continue
        if len(members) == 1:
            np.testing.assert_allclose([found.mean(), found.std()], [x[members[0], b, i] for x in (loc, scale)])
        assert found.std() <= min(scale[members, b, i], default=1.0) + 1e-9
        z = np.linspace(-3, 3, 7)
        widest = max([1.0, *scale[members, b, i]])
        expected = -(len(members) - 1) * norm.logpdf(z, 0, widest)
        expected += sum(norm.logpdf(z, loc[m, b, i], scale[m, b, i]) for m in members)
        assert np.ptp(found.logpdf(z) - expected) < 1e-6


def test_sparse_posteriors_are_multiplied():
    """Under an improper prior nothing is divided out; a row with no view gets the standard normal all the same."""
    rng = np.random.RandomState(1)
    loc, scale = rng.standard_normal((4, 6, 2)), np.exp(rng.uniform(-1, 1, (4, 6, 2)))
    present = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0]], dtype=torch.bool)
    q = mv.JMVAE(z_dim=2, sparse=True).fusion(NAMES)(normal_experts(loc, scale), present)
    plain = PoE(prior_expert=False)(normal_experts(loc[:3], scale[:3]), present)
    torch.testing.assert_close(q.mean, plain.mean)
    torch.testing.assert_close(q.variance, plain.variance)


# ---- limits and options ---------------------------------------------------------------------------------------------

TINY = {"encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}, "max_epochs": 3, "random_state": 0, "verbose": False}


def test_without_alpha_the_joint_encoder_answers_for_all():
    """α = 0: no encoders of single views; a subset's posterior is the joint encoder's, a row of nothing has p(z)."""
    network, batch = make_network(mv.JMVAE(z_dim=Z, alpha=0.0)), make_data("views")
    assert len(network.encoders) == 0
    present = batch.present.clone()
    present[0] = False
    batch = type(batch)(batch.x, batch.observed, present)
    q, expected = network.posterior(batch), network.latent(network.joint_encoder(batch.x, present))
    torch.testing.assert_close(q.mean[1:], expected.mean[1:])
    torch.testing.assert_close(q.variance[1:], expected.variance[1:])
    assert (q.mean[0] == 0).all()
    assert (q.variance[0] == 1).all()


def test_one_view_is_refused():
    """There is nothing to be joint with."""
    with pytest.raises(ValueError, match="JMVAE relates views to each other and needs 2, but there is only 'view_0'"):
        mv.JMVAE(z_dim=1, **TINY).fit(make_multiview(60, (4,), random_state=0))


def test_joint_encoder_is_as_specified():
    """Settings make the head; a module is copied, and the copy learns, while the fusion has nothing to learn."""
    views = make_multiview(60, (4, 3), random_state=0)
    head = mv.JMVAE(z_dim=2, joint_encoder={"hidden": [11]}, **TINY).fit(views).network_.joint_encoder.head
    assert [layer.out_features for layer in head.modules() if isinstance(layer, nn.Linear)] == [11, 4]
    module = nn.Linear(2 * 65, 4)
    before = module.weight.detach().clone()
    network = mv.JMVAE(z_dim=2, joint_encoder=module, **TINY).fit(views).network_
    assert torch.equal(module.weight, before)
    assert not torch.equal(network.joint_encoder.head.weight, before)
    assert not list(network.fusion.parameters())


@pytest.fixture(scope="module")
def simulated():
    views, factors = make_multiview(1000, (10, 8, 6), n_shared=2, return_factors=True, random_state=0)
    return views, factors["shared"]


def learned(views, alpha, max_epochs):
    hidden = {"hidden": [16]}
    settings = {"encoder": hidden, "decoder": hidden, "joint_encoder": hidden, "learning_rate": 1e-2}
    model = mv.JMVAE(z_dim=2, alpha=alpha, max_epochs=max_epochs, random_state=0, verbose=False, **settings)
    return model.fit(views[:800])


def errors(model, views):
    """The mean squared error of the first view, from the second, from the second and third, and from all."""
    x = views[800:].array("view_0")
    return [
        np.mean((model.predict(views[800:], given=given, target="view_0")["view_0"] - x) ** 2)
        for given in (["view_1"], ["view_1", "view_2"], None)
    ]


def test_unimodal_encoders_answer_for_subsets(simulated):
    """It recovers the factors from any views. α > 0 predicts from some what α = 0 can only if it trained on gaps."""
    views, factors = simulated
    model, plain = (learned(views, alpha, 15) for alpha in (0.1, 0.0))
    for given in (None, ["view_0"], ["view_1", "view_2"]):
        z = model.transform(views, given=given)
        assert LinearRegression().fit(z[:800], factors[:800]).score(z[800:], factors[800:]) > 0.9
    matched, blind = errors(model, views), errors(plain, views)
    assert matched[0] > matched[1] > matched[2]
    assert matched[0] < 0.5 * blind[0]
    assert matched[2] < 1.1 * blind[2]
    present = np.random.RandomState(0).uniform(size=(1000, 3)) < 0.6
    present[~present.any(1)] = True
    used = errors(learned(Views(views, present=present), 0.0, 15), views)
    assert used[0] < 0.6 * blind[0]


def test_alpha_draws_the_posteriors_together(simulated):
    """The larger α, the smaller Σ_m KL(q ‖ q_m)."""
    views, _ = simulated
    sums = [
        learned(views, alpha, 6).history_.filter(regex="^kl_unimodal").iloc[-1].sum() for alpha in (0.01, 1.0, 10.0)
    ]
    assert sums[0] > sums[1] > sums[2]
