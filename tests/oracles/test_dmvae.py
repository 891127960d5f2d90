"""DMVAE: Σ_s Σ_m (λ_m E[log p(x_m | z_s, h_m)] - β KL(q_s(z) ‖ p) - β KL(q(h_m | x_m) ‖ p)), an ELBO for each pair.

The objective in loops, in expectation where everything is linear, in its limits; what it separates. The facts that do
not depend on the fusion are shown of WeightedDMVAE too.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import nn
from torch.distributions import Normal, kl_divergence

import manyview as mv
from manyview import DMVAE, WeightedDMVAE
from manyview.data.batch import Batch
from manyview.datasets import LinearGaussian, make_linear_gaussian, make_multiview
from manyview.inference import log_evidence
from manyview.likelihoods import as_likelihood
from manyview.network import Network

from .helpers import as_batch, fixed_normal, gaussian_kl, linear, repeat, replicates, with_gaps
from .test_bounds import GAPS, bounds, only
from .test_models import BETA, KINDS, SHAPES, B, M, Reference, Z, make_data

H = 2
S = M + 1
NAMES = [f"view_{m}" for m in range(M)]
BOTH = pytest.mark.parametrize("cls", [DMVAE, WeightedDMVAE])


# ---- the objective in loops -----------------------------------------------------------------------------------------


def make_network(model, weights=None):
    """Nonlinear encoders and decoders with random weights, for z and h_m together."""
    torch.manual_seed(0)
    latent = model.latent()
    width = latent.width + (0 if latent.private is None else latent.private.width)
    sizes = [int(np.prod(shape)) for shape in SHAPES]
    network = Network(
        latent,
        model.fusion(NAMES),
        [nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.Tanh(), nn.Linear(8, width)) for size in sizes],
        [
            nn.Sequential(nn.Linear(Z + model.h_dim, 8), nn.Tanh(), nn.Linear(8, size), nn.Unflatten(1, shape))
            for size, shape in zip(sizes, SHAPES, strict=True)
        ],
        [as_likelihood(kind).build(shape) for kind, shape in zip(KINDS, SHAPES, strict=True)],
        [torch.randn(shape) for shape in SHAPES],
        weights=weights,
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return network


def fix_noise(monkeypatch, *noise):
    """Let normal distributions draw μ + σ ε with these ε, whichever has the shape asked for."""
    by_shape = {tuple(e.shape): e for e in noise}

    def rsample(q, sample_shape=()):
        return q.loc + q.scale * by_shape[(*sample_shape, *q.loc.shape)]

    monkeypatch.setattr(Normal, "rsample", rsample)


def draws(*shapes):
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def normal(numbers):
    mean, log_variance = numbers.chunk(2)
    return Normal(mean, log_variance.exp().sqrt())


def standard_kl(q):
    return kl_divergence(q, Normal(torch.zeros_like(q.loc), torch.ones_like(q.loc))).sum()


def log_uniform_kl(q):
    """The approximate divergence from the log-uniform prior, Molchanov et al., eq. 14, shifted."""
    log_alpha = 2 * torch.log(q.scale / (q.loc.abs() + 1e-6))
    gate = 1 / (1 + torch.exp(-(1.87320 + 1.48695 * log_alpha)))
    return (0.5 * torch.log(1 + torch.exp(-log_alpha)) + 0.63576 * (1 - gate)).sum()


def product(experts, powers, prior):
    precision = sum(a * q.scale**-2 for a, q in zip(powers, experts, strict=True)) + prior
    weighted = sum(a * q.scale**-2 * q.loc for a, q in zip(powers, experts, strict=True))
    return Normal(weighted / precision, precision**-0.5)


def equation(model, network, batch, b, noise_z, noise_h, weights):
    """The objective of one row, as it is printed above."""
    row = Reference(network, batch, b)
    experts, private = {}, {}
    for m in row.views:
        numbers = row.h(m)
        if model.sparse:
            mean = numbers[:Z]
            alpha = network.latent.log_alpha.exp()
            experts[m] = Normal(mean, alpha.sqrt() * (mean.abs() + 1e-6))
        else:
            experts[m] = normal(numbers[: 2 * Z])
        private[m] = normal(numbers[network.latent.width :])
    if isinstance(model, WeightedDMVAE):
        exponentials = network.fusion.logits.exp()[row.views]
        joint = product(experts.values(), exponentials / exponentials.sum(0), prior=0)
    else:
        joint = product(experts.values(), [1] * len(experts), prior=0 if model.sparse else 1)
    divergence = log_uniform_kl if model.sparse else standard_kl

    total = 0.0
    for s, q in [(0, joint), *((1 + n, experts[n]) for n in row.views)]:
        z = q.loc + q.scale * noise_z[s, b]
        if model.bounds == "sources":
            total = total - BETA * divergence(q)
        for m in row.views:
            h = private[m].loc + private[m].scale * noise_h[s, m, b]
            log_lik = row.log_lik(torch.cat([z, h]), m)
            total = total + weights[m] * log_lik - BETA * standard_kl(private[m])
            if model.bounds == "pairs":
                total = total - BETA * divergence(q)
    return total


def gradients(network, value):
    return torch.autograd.grad(value.mean(), list(network.parameters()), allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("case", ["complete", "views", "features"])
@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, [1.0] * M),
        ({}, [50.0, 1.0, 0.5]),
        ({"h_dim": 0}, [1.0] * M),
        ({"sparse": True}, [1.0] * M),
        ({"bounds": "sources"}, [1.0] * M),
    ],
    ids=["plain", "weights", "no private", "sparse", "sources"],
)
@BOTH
def test_objective_equals_its_equation(monkeypatch, cls, options, weights, case):
    """The value of each row and its gradient: own h_m with every z, λ of the decoded view, KLs as ``bounds`` says."""
    model = cls(**{"z_dim": Z, "h_dim": H} | options)
    network, batch = make_network(model, weights), make_data(case)
    noise = draws((S, B, Z), (S, M, B, model.h_dim))
    fix_noise(monkeypatch, *noise)
    value = model.objective(network, batch, BETA).value
    expected = torch.stack([equation(model, network, batch, b, *noise, weights) for b in range(B)])
    torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-9)
    for ours, theirs in zip(gradients(network, value), gradients(network, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


# ---- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["complete", "views"])
@pytest.mark.parametrize(("cls", "joint"), [(DMVAE, mv.MVAE), (WeightedDMVAE, mv.WeightedMVAE)])
def test_without_private_latents_it_is_a_joint_model_and_mcvae(monkeypatch, cls, joint, case):
    """h_dim = 0: the joint bound, and for each view's posterior a bound of all views, with M times the divergences.

    That is MEMVAE whose single-view sources decode every view, from q(z | x_m) alone: as in MCVAE.
    """
    model = cls(z_dim=Z, h_dim=0)
    network, batch = make_network(model), make_data(case)
    (noise,) = draws((S, B, Z))
    fix_noise(monkeypatch, noise, noise[:1], noise[1:])
    value = model.objective(network, batch, BETA).value
    counts = torch.full((B,), M) if batch.present is None else batch.present.sum(1)
    for n in counts.unique().tolist():
        parts = [other(z_dim=Z).objective(network, batch, n * BETA).value for other in (joint, mv.MCVAE)]
        torch.testing.assert_close(value[counts == n], sum(parts)[counts == n])


@pytest.mark.parametrize("views", [v for n in (1, 2) for v in itertools.combinations(range(M), n)], ids=str)
@BOTH
def test_missing_views_leave_the_objective_of_the_others(monkeypatch, cls, views):
    """Rows without some views have the value of a model that never knew of those."""
    model, keep = cls(z_dim=Z, h_dim=H), list(views)
    network, batch = make_network(model), make_data("complete")
    fusion = model.fusion([NAMES[m] for m in keep])
    fusion.load_state_dict({name: x[keep] for name, x in network.fusion.state_dict().items()})
    log_scales = [getattr(network, f"log_scale_{m}") for m in keep]
    parts = [[getattr(network, name)[m] for m in keep] for name in ("encoders", "decoders", "likelihoods")]
    smaller = Network(network.latent, fusion, *parts, log_scales).double()

    z, h = draws((S, B, Z), (S, M, B, H))
    sources = [0, *(1 + m for m in keep)]
    fix_noise(monkeypatch, z, h, z[sources], h[sources][:, keep])
    masked = replace(batch, present=torch.tensor([[m in views for m in range(M)]] * B))
    left = Batch(tuple(batch.x[m] for m in keep), (None,) * len(keep), None)
    found, expected = model.objective(network, masked, BETA), model.objective(smaller, left, BETA)
    torch.testing.assert_close(found.value, expected.value)
    torch.testing.assert_close(found.parts["log_lik"][keep], expected.parts["log_lik"])
    torch.testing.assert_close(found.parts["kl"], expected.parts["kl"])


# ---- against exact evidence -----------------------------------------------------------------------------------------


def linear_private_network(truth, model, encoders):
    """Decoders and noise of the truth, whose latents are z (2), h_0 (1), h_1 (1); encoders are (weight, bias)."""
    columns = [[0, 1, 2 + m] for m in range(len(encoders))]
    return Network(
        model.latent(),
        model.fusion(NAMES[: len(encoders)]),
        [linear(*encoder) for encoder in encoders],
        [linear(w[:, c], b) for w, b, c in zip(truth.loadings, truth.offsets, columns, strict=True)],
        [fixed_normal(sigma) for sigma in truth.noise],
        [torch.zeros(len(b), dtype=torch.float64) for b in truth.offsets],
    ).double()


@pytest.fixture(scope="module")
def truth():
    """Two views that share two factors and have one each to themselves."""
    truth = make_linear_gaussian((4, 3), 4, noise=0.6, random_state=3)
    for m, w in enumerate(truth.loadings):
        w[:, 3 - m] = 0.0
    return truth


@pytest.fixture(scope="module", params=["complete", "gaps"])
def views(request, truth):
    views, _ = truth.sample(5, random_state=4)
    return views if request.param == "complete" else with_gaps(views, GAPS)


@pytest.fixture(scope="module")
def encoders(truth):
    """Each view's own posterior of (z, h_m), its covariances left out, shifted and widened."""
    rng, out = np.random.RandomState(5), []
    for m, (w, b, sigma) in enumerate(zip(truth.loadings, truth.offsets, truth.noise, strict=True)):
        w = w[:, [0, 1, 2 + m]]
        precision = np.eye(3) + w.T / sigma**2 @ w
        gain = np.linalg.solve(precision, w.T / sigma**2) + 0.05 * rng.standard_normal((3, len(b)))
        log_variance = 0.2 + np.log(np.diag(np.linalg.inv(precision)))
        mean_z, mean_h = np.vsplit(np.column_stack([gain, 0.1 - gain @ b]), [2])
        zeros = np.zeros((3, len(b)))
        scale_z, scale_h = np.vsplit(np.column_stack([zeros, log_variance]), [2])
        rows = np.vstack([mean_z, scale_z, mean_h, scale_h])
        out.append((rows[:, :-1], rows[:, -1]))
    return out


@BOTH
def test_each_pair_is_an_elbo_of_its_view(truth, encoders, views, cls):
    """E = Σ_s Σ_m [log p(x_m) - KL(q_s(z) q(h_m | x_m) ‖ p(z, h_m | x_m))]: so the KL of z counts M times.

    That is below (M + 1) Σ_m log p(x_m), and below (M + 1) log p(X): a source's own bound is larger by its extra KLs.
    """
    model = cls(z_dim=2, h_dim=1)
    network, batch = linear_private_network(truth, model, encoders), as_batch(views)
    with torch.no_grad():
        if isinstance(model, WeightedDMVAE):
            network.fusion.logits.copy_(torch.tensor([[0.5, -0.3], [-0.2, 0.4]]))
        experts, q_h = (q.base_dist for q in network.encode(batch))
        joint = network.posterior(batch).base_dist
    present = views.present
    sources = [(joint, np.ones(len(views), bool)), *((Normal(experts.loc[n], experts.scale[n]), present[:, n])
                                                    for n in range(2))]  # fmt: skip
    expected, own = np.zeros(len(views)), np.zeros(len(views))
    for m, name in enumerate(views.names):
        alone = only(views, name)
        evidence, (means, covariances) = truth.log_evidence(alone), truth.posterior(alone)
        own += np.where(present[:, m], evidence, 0.0)
        block = [0, 1, 2 + m]
        for q, active in sources:
            for i in np.flatnonzero(active & present[:, m]):
                mean = torch.cat([q.loc[i], q_h.loc[m, i]]).numpy()
                scale = torch.cat([q.scale[i], q_h.scale[m, i]]).numpy()
                exact = means[i][block], covariances[i][np.ix_(block, block)]
                expected[i] += evidence[i] - gaussian_kl(mean, np.diag(scale**2), *exact)
    mean, error = bounds(model, network, views)
    assert (np.abs(mean - expected) < 4 * error).all()
    n_sources = 1 + present.sum(1)
    assert (mean < n_sources * own).all()
    assert (mean < n_sources * truth.log_evidence(views)).all()


@BOTH
def test_bounds_of_one_view_are_tight_for_the_exact_encoder(cls):
    """The view's own source reaches log p(x); so does a joint that is the same, but for the prior as an expert."""
    basis = np.linalg.qr(np.random.RandomState(0).standard_normal((4, 3)))[0]
    w, sigma = basis * [2.0, 1.5, 1.0], np.full(4, 0.7)  # orthogonal columns: the posterior has no correlations
    truth = LinearGaussian((w,), (np.zeros(4),), (sigma,))
    variance = 1 / (1 + (w**2).sum(0) / 0.7**2)
    gain, zeros = variance[:, None] * w.T / 0.7**2, np.zeros((3, 4))
    weight = np.vstack([gain[:2], zeros[:2], gain[2:], zeros[2:]])
    bias = np.concatenate([[0, 0], np.log(variance[:2]), [0], np.log(variance[2:])])

    model = cls(z_dim=2, h_dim=1)
    network = linear_private_network(truth, model, [(weight, bias)])
    views, _ = truth.sample(4, random_state=1)
    mean, error = bounds(model, network, views)
    evidence, (exact, _) = truth.log_evidence(views), truth.posterior(views)
    gap = np.zeros(4)
    if cls is DMVAE:
        shrunk = 1 / (1 + 1 / variance[:2])
        for i, centre in enumerate(exact[:, :2]):
            q = shrunk / variance[:2] * centre, np.diag(shrunk)
            gap[i] = gaussian_kl(*q, centre, np.diag(variance[:2]))
        assert (gap > 0.05).all()
    assert (np.abs(mean - (2 * evidence - gap)) < 4 * error).all()


def test_importance_weights_include_the_private_latents(truth, encoders, views):
    """E[p(X, z, h) / q(z, h | X)] = p(X): private latents are integrated out along with z, of absent views too."""
    # Posteriors as wide as the prior keep the variance of the weights finite.
    wide = [(weight, bias * [1, 1, 0, 0, 1, 0]) for weight, bias in encoders]
    network = linear_private_network(truth, WeightedDMVAE(z_dim=2, h_dim=1), wide)
    torch.manual_seed(0)
    n = 40_000
    with torch.no_grad():
        log_w = log_evidence(network, as_batch(repeat(views, n)), 1).numpy()
    mean, error = replicates(np.exp(log_w - np.repeat(truth.log_evidence(views), n)), n)
    assert (error < 0.05).all()
    assert (np.abs(mean - 1) < 4 * error).all()


# ---- what it is for -------------------------------------------------------------------------------------------------


def r2(x, y):
    """How much of y a linear regression on x explains, fitted to one half of the samples and tried on the other."""
    half = len(x) // 2
    return LinearRegression().fit(x[:half], y[:half]).score(x[half:], y[half:])


LINEAR = {"encoder": {"hidden": ()}, "decoder": {"hidden": ()}, "learning_rate": 2e-2}


@BOTH
def test_shared_factors_are_told_from_private_ones(cls):
    """z, from all views or one, holds the shared factors and no private one; h_m holds view m's, and no shared one."""
    views, factors = make_multiview(2000, (20, 20), n_shared=2, n_private=2, return_factors=True, random_state=0)
    model = cls(z_dim=2, h_dim=2, max_epochs=12, random_state=0, verbose=False, **LINEAR).fit(views)
    h = model.transform_private(views)
    for given in (None, ["view_0"], ["view_1"]):
        z = model.transform(views, given=given)
        assert r2(z, factors["shared"]) > 0.95
        assert max(r2(z, factors["private_0"]), r2(z, factors["private_1"])) < 0.05
    for m in range(2):
        assert r2(h[f"view_{m}"], factors[f"private_{m}"]) > 0.9
        assert r2(h[f"view_{m}"], factors["shared"]) < 0.2


@BOTH
def test_each_view_predicts_the_other_nearly_as_well_as_can_be(cls):
    """Cross reconstruction is trained: 95 % of what a linear regression of one view on the other explains."""
    views = make_multiview(2000, (20, 20), n_shared=2, n_private=1, noise=0.5, random_state=1)
    train, test = views[:1000], views[1000:]
    model = cls(z_dim=2, h_dim=1, max_epochs=30, random_state=0, verbose=False, **LINEAR).fit(train)
    for given, target in itertools.permutations(views.names):
        x = test.array(target)
        found = model.predict(test, given=[given], target=[target])[target]
        best = LinearRegression().fit(train.array(given), train.array(target)).predict(test.array(given))
        explained, possible = (1 - ((x - guess) ** 2).mean() / x.var(0).mean() for guess in (found, best))
        assert possible > 0.4
        assert explained > 0.95 * possible


# ---- the reconstruction matrix --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["complete", "features"])
def test_log_likelihoods_from_chosen_sources_are_those_of_the_whole_matrix(case):
    network, batch = make_network(DMVAE(z_dim=Z, h_dim=H)), make_data(case)
    z, h = draws((S, B, Z), (S, M, B, H))
    sources = [(0, 2), (1,), tuple(range(S))][:M]
    whole, some = network.log_lik(z, batch, h), network.log_lik(z, batch, h, sources)
    for m, chosen in enumerate(sources):
        others = [s for s in range(S) if s not in chosen]
        torch.testing.assert_close(some[list(chosen), m], whole[list(chosen), m])
        assert (some[others, m] == 0).all()
