"""Bounds of the evidence where it is exact: each objective, and the importance-weighted log-likelihood."""

import numpy as np
import pytest
import torch
from scipy.stats import laplace as laplace_law
from scipy.stats import norm

import manyview as mv
from manyview.data import Views
from manyview.data.preprocessing import FittedView
from manyview.datasets import make_linear_gaussian, make_multiview
from manyview.fusion import GeneralisedPoE, MoE, PoE
from manyview.inference import log_evidence
from manyview.latent import Gaussian, Laplacian
from manyview.likelihoods import Normal

from .helpers import as_batch, gaussian_kl, linear_network, repeat, replicates, with_gaps

R = 4000  # replicates of each sample
GAPS = [(0, "view_0", None), (1, "view_1", [1, 2]), (2, "view_0", [2]), (2, "view_1", [0]), (3, "view_1", None)]


@pytest.fixture(scope="module")
def truth():
    return make_linear_gaussian((4, 3), 2, noise=0.6, random_state=3)


@pytest.fixture(scope="module", params=["complete", "gaps"])
def views(request, truth):
    views, _ = truth.sample(5, random_state=4)
    return views if request.param == "complete" else with_gaps(views, GAPS)


@pytest.fixture(scope="module")
def encoders(truth):
    """Linear encoders that are right in kind and wrong in detail: each view's own likelihood of z, shifted, widened."""
    rng = np.random.RandomState(5)
    out = []
    for w, b, sigma in zip(truth.loadings, truth.offsets, truth.noise, strict=True):
        precision = w.T / sigma**2 @ w
        gain = np.linalg.solve(precision, w.T / sigma**2) + 0.05 * rng.standard_normal((2, len(b)))
        weight = np.vstack([gain, 0.02 * rng.standard_normal(gain.shape)])
        bias = np.concatenate([0.1 - gain @ b, 0.7 - np.log(np.diag(precision))])
        out.append((weight, bias))
    return out


def network(truth, encoders, fusion, latent=None):
    return linear_network(truth, latent or Gaussian(2), fusion, encoders)


def gap_to_posterior(truth, views, q, rows):
    """KL(q ‖ p(z | X)) of each row, for normal q (its mean and standard deviation, (B, Z))."""
    means, covariances = truth.posterior(views)
    mean, scale = q.mean.detach().numpy(), q.stddev.detach().numpy()
    return np.array([gaussian_kl(mean[i], np.diag(scale[i] ** 2), means[i], covariances[i]) for i in rows])


def bounds(model, net, views):
    """The mean of a model's objective over draws, its standard error, and the means of its parts."""
    torch.manual_seed(0)
    with torch.no_grad():
        terms = model.objective(net, as_batch(repeat(views, R)), 1.0)
    return replicates(terms.value, R)


def only(views, name):
    """The views with all but one missing."""
    return Views({m: views.array(m) if m == name else np.full_like(views.array(m), np.nan) for m in views.names})


@pytest.mark.parametrize(
    ("model", "make_fusion"),
    [(mv.MVAE(z_dim=2), lambda: PoE()), (mv.WeightedMVAE(z_dim=2), lambda: GeneralisedPoE(2, 2))],
    ids=["MVAE", "WeightedMVAE"],
)
def test_elbo_of_a_joint_posterior(truth, encoders, views, model, make_fusion):
    """E_q[log p(X | z)] - KL(q ‖ p) = log p(X) - KL(q ‖ p(z | X)): exactly so far below the evidence."""
    fusion = make_fusion()
    if isinstance(fusion, GeneralisedPoE):
        with torch.no_grad():
            fusion.logits.copy_(torch.tensor([[0.5, -0.3], [-0.2, 0.4]]))
    net = network(truth, encoders, fusion)
    batch = as_batch(views)
    gap = gap_to_posterior(truth, views, net.posterior(batch), range(len(views)))
    mean, error = bounds(model, net, views)
    evidence = truth.log_evidence(views)
    assert (gap > 0.01).all()  # the encoders are wrong enough for the bound to be a strict one
    assert (mean <= evidence + 4 * error).all()
    assert (np.abs(mean - (evidence - gap)) < 4 * error).all()


def test_elbos_of_memvae(truth, encoders, views):
    """ELBO(X) + Σ ELBO(x_m), each its evidence minus KL(q ‖ p(z | ·)); absent views contribute nothing."""
    net = network(truth, encoders, PoE())
    expected = truth.log_evidence(views) - gap_to_posterior(truth, views, net.posterior(as_batch(views)), range(5))
    ceiling = truth.log_evidence(views)
    for name in views.names:
        single = only(views, name)
        here = single.present.any(1)
        q = net.posterior(as_batch(single))
        evidence = np.where(here, truth.log_evidence(single), 0.0)
        ceiling = ceiling + evidence
        expected += np.where(here, evidence - gap_to_posterior(truth, single, q, range(5)), 0.0)
    mean, error = bounds(mv.MEMVAE(z_dim=2), net, views)
    assert (mean <= ceiling + 4 * error).all()
    assert (np.abs(mean - expected) < 4 * error).all()


def test_elbos_of_mcvae(truth, encoders, views):
    """Σ_s [log p(X) - KL(q_s ‖ p(z | X))]: every source's term is a bound for all the views that are present."""
    net = network(truth, encoders, MoE())
    experts = net.experts(as_batch(views)).base_dist
    expected, ceiling = np.zeros(5), np.zeros(5)
    for s in range(2):
        here = views.present[:, s]
        q = torch.distributions.Normal(experts.loc[s], experts.scale[s])
        gap = gap_to_posterior(truth, views, q, range(5))
        expected += here * (truth.log_evidence(views) - gap)
        ceiling += here * truth.log_evidence(views)
    mean, error = bounds(mv.MCVAE(z_dim=2), net, views)
    assert (mean <= ceiling + 4 * error).all()
    assert (np.abs(mean - expected) < 4 * error).all()


def integrated_evidence(truth, views, log_prior):
    """log ∫ p(z) p(X | z) dz by Gauss-Legendre in each quadrant, for a prior with a kink at 0."""
    nodes, weights = np.polynomial.legendre.leggauss(160)
    axis = np.concatenate([4 * nodes - 4, 4 * nodes + 4])
    w1 = np.tile(4 * weights, 2)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    log_weight = np.log(np.outer(w1, w1).ravel())
    log_p = log_prior(z).sum(1) + log_weight
    for name, w, b, sigma in zip(views.names, truth.loadings, truth.offsets, truth.noise, strict=True):
        log_lik = norm.logpdf(views.array(name)[:, None], z @ w.T + b, sigma)
        log_p = log_p + np.nansum(log_lik, -1)
    return np.logaddexp.reduce(log_p, axis=1)


@pytest.mark.parametrize("gradient", ["iwae", "dreg"])
@pytest.mark.parametrize("posterior", ["normal", "laplace"])
def test_mmvae_is_a_bound_for_every_k(truth, encoders, views, posterior, gradient):
    """1/M Σ_m E[log 1/K Σ_k p(X, z) / q(z | X)] <= log p(X), rising with K; with a Laplace prior by integration."""
    prior = {"normal": norm.logpdf, "laplace": laplace_law.logpdf}[posterior]
    evidence = integrated_evidence(truth, views, prior)
    if posterior == "normal":
        np.testing.assert_allclose(evidence, truth.log_evidence(views), atol=1e-6)
    net = network(truth, encoders, MoE(), {"normal": Gaussian, "laplace": Laplacian}[posterior](2))
    means = []
    for k in (1, 10):
        model = mv.MMVAE(z_dim=2, n_importance_samples=k, posterior=posterior, gradient=gradient)
        mean, error = bounds(model, net, views)
        assert (mean <= evidence + 4 * error).all()
        means.append(mean)
    assert (means[1] > means[0]).all()
    assert (evidence - means[1] < 0.7 * (evidence - means[0])).all()


@pytest.mark.parametrize("fusion", [PoE(), PoE(prior_expert=False), MoE()], ids=["PoE", "PoE, no prior", "MoE"])
def test_importance_weighted_bound_rises_to_the_evidence(truth, encoders, views, fusion):
    """E[log 1/K Σ_k w_k] rises with K; at K = 5,000 every sample is within 0.05 nat of the exact evidence."""
    net = network(truth, encoders, fusion)
    evidence = truth.log_evidence(views)
    torch.manual_seed(0)
    gaps = []
    with torch.no_grad():
        for k in (1, 5, 25):
            mean, error = replicates(log_evidence(net, as_batch(repeat(views, 2000)), k), 2000)
            assert (mean <= evidence + 4 * error).all()
            gaps.append((evidence - mean).mean())
        assert gaps[0] > gaps[1] > gaps[2] > 0
        estimate = log_evidence(net, as_batch(views), 5000).numpy()
    np.testing.assert_allclose(estimate, evidence, atol=0.05)


@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("fusion", [PoE(), MoE()], ids=["PoE", "MoE"])
def test_importance_weights_are_unbiased(truth, encoders, views, fusion, k):
    """E[1/K Σ_k p(X, z_k) / q(z_k | X)] = p(X), for K = 1 and for stratified draws."""
    # Posteriors wider than the exact one keep the variance of the weights finite.
    wide = [(np.vstack([w[:2], 0 * w[2:]]), np.concatenate([b[:2], [0.0, 0.0]])) for w, b in encoders]
    net = network(truth, wide, fusion)
    torch.manual_seed(0)
    n = 20_000
    with torch.no_grad():
        log_w = log_evidence(net, as_batch(repeat(views, n)), k).numpy()
    mean, error = replicates(np.exp(log_w - np.repeat(truth.log_evidence(views), n)), n)
    assert (error < 0.03).all()
    assert (np.abs(mean - 1) < 4 * error).all()


# ---- through the face: densities are those of the data as given ------------------------------------------------------


def stated_model(truth, encoders, views, standardise):
    """An MVAE that was not trained but told: the true decoders, in the units that FittedView makes of the data."""
    fitted = tuple(FittedView.fit(views, name, Normal(), standardise) for name in views.names)
    model = mv.MVAE(z_dim=2, verbose=False, random_state=0)
    units = type(truth)(
        tuple(w / v.scale[:, None] for w, v in zip(truth.loadings, fitted, strict=True)),
        tuple((b - v.loc) / v.scale for b, v in zip(truth.offsets, fitted, strict=True)),
        tuple(s / v.scale for s, v in zip(truth.noise, fitted, strict=True)),
    )
    inner = [(w * v.scale, b + w @ v.loc) for (w, b), v in zip(encoders, fitted, strict=True)]
    net = linear_network(units, Gaussian(2), PoE(), inner)
    for m, view in enumerate(fitted):
        getattr(net, f"log_scale_{m}").copy_(view.log_scale)
    model.views_, model.network_ = fitted, net.float().eval()
    return model


@pytest.mark.parametrize("standardise", [True, False])
def test_score_samples_is_the_evidence_of_the_data_as_given(truth, encoders, views, standardise):
    """score_samples reaches log p(X) of what was observed, in the data's units, standardised or not."""
    scaled = type(truth)(
        tuple(w * 30 for w in truth.loadings),
        tuple(b * 30 + 100 for b in truth.offsets),
        tuple(s * 30 for s in truth.noise),
    )
    training, _ = scaled.sample(300, random_state=6)
    rows = Views({name: views.array(name) * 30 + 100 for name in views.names})
    wide = [(w / 30, b - w @ np.full(w.shape[1], 100 / 30)) for w, b in encoders]
    model = stated_model(scaled, wide, training, standardise)
    np.testing.assert_allclose(model.score_samples(rows, n_samples=5000), scaled.log_evidence(rows), atol=0.05)


TINY = {"encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}, "max_epochs": 5, "random_state": 0, "verbose": False}


@pytest.mark.parametrize("likelihood", ["normal", "laplace", "multivariate_normal"])
@pytest.mark.parametrize("cls", [mv.MVAE, mv.MMVAE], ids=lambda cls: cls.__name__)
def test_log_density_shifts_by_the_jacobian(cls, likelihood):
    """log p(a x + b) = log p(x) - Σ log a, with missing entries over the observed ones."""
    views = make_multiview(200, (3, 2), random_state=0)
    views = with_gaps(views, [(0, "view_0", None), (1, "view_1", [1]), (2, "view_0", [0, 2])])
    a = {"view_0": np.array([8.0, 0.25, 2.0]), "view_1": np.array([1024.0, 0.5])}
    b = {"view_0": np.array([1.0, -2.0, 0.5]), "view_1": np.array([4.0, 0.0])}
    moved = Views({name: views.array(name).astype(float) * a[name] + b[name] for name in views.names})
    model = cls(z_dim=1, likelihood=likelihood, **TINY)
    one, other = (model.fit(data).score_samples(data) for data in (views, moved))
    shift = sum((~np.isnan(views.array(name)) * np.log(a[name])).sum(1) for name in views.names)
    np.testing.assert_allclose(other, one - shift, atol=2e-3)


@pytest.fixture(scope="module")
def skewed():
    """Two views of one feature each, in units of their own, one of them missing now and then."""
    rng = np.random.RandomState(0)
    z = rng.standard_normal(400)
    a = 500 + 40 * (np.exp(0.5 * z) + 0.3 * rng.standard_normal(400))
    b = 0.01 * (z + 0.4 * rng.standard_normal(400))
    b[:50] = np.nan
    return Views(a=a[:, None], b=b[:, None])


@pytest.mark.parametrize("cls", [mv.MVAE, mv.MMVAE, mv.MCVAE, mv.WeightedMVAE, mv.MEMVAE], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("likelihood", ["normal", "laplace"])
def test_scores_are_densities_of_the_data(skewed, cls, likelihood):
    """∫ exp(score(x)) dx = 1, over one view when the other is missing: exp(score) has expectation p(x)."""
    model = cls(z_dim=1, likelihood=likelihood, **TINY).fit(skewed)
    for name, low, high in (("a", 100.0, 1200.0), ("b", -0.12, 0.12)):
        grid = np.linspace(low, high, 800)
        score = model.score_samples({name: grid[:, None]}, n_samples=200)
        assert np.exp(score).sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=0.02)


def test_joint_scores_are_densities_of_the_data(skewed):
    """∫∫ exp(score(a, b)) da db = 1."""
    model = mv.MVAE(z_dim=1, **TINY).fit(skewed)
    a, b = np.linspace(250, 850, 75), np.linspace(-0.06, 0.06, 60)
    cell = (a[1] - a[0]) * (b[1] - b[0])
    grid = np.stack(np.meshgrid(a, b, indexing="ij"), -1).reshape(-1, 2)
    score = model.score_samples({"a": grid[:, :1], "b": grid[:, 1:]}, n_samples=1000)
    assert np.exp(score).sum() * cell == pytest.approx(1, abs=0.02)
