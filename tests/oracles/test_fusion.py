"""Products, mixtures and means of experts, against loops, grids and draws."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import laplace, norm
from torch.distributions import Independent

from manyview.datasets import LinearGaussian
from manyview.fusion import GeneralisedPoE, Mean, MoE, MoPoE, PoE, all_subsets, subset_products
from manyview.inference import log_evidence
from manyview.latent import Delta, Gaussian
from manyview.models import MVAE

from .helpers import as_batch, double, laplace_experts, linear_network, normal_experts, with_gaps

M, B, Z = 3, 5, 2
PRESENT = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 1, 1], [0, 0, 0]], dtype=bool)
MASKS = pytest.mark.parametrize("present", [None, PRESENT], ids=["complete", "missing"])


def as_mask(present):
    return None if present is None else torch.from_numpy(present)


def here(present, b, m):
    return present is None or present[b, m]


@pytest.fixture(scope="module")
def loc():
    return np.random.RandomState(0).normal(size=(M, B, Z))


@pytest.fixture(scope="module")
def scale():
    return np.random.RandomState(1).uniform(0.3, 1.5, size=(M, B, Z))


@pytest.fixture
def experts(loc, scale):
    return normal_experts(loc, scale)


@pytest.mark.parametrize("n_views", [1, 2, 3, 4])
def test_all_subsets_is_the_power_set(n_views):
    """P(X) without the empty set, each once, smaller ones first."""
    rows = [tuple(np.flatnonzero(row)) for row in all_subsets(n_views).numpy()]
    expected = [s for size in range(1, n_views + 1) for s in itertools.combinations(range(n_views), size)]
    assert sorted(rows) == sorted(expected)
    assert [len(s) for s in rows] == sorted(len(s) for s in expected)


@MASKS
@pytest.mark.parametrize("prior_expert", [False, True])
@pytest.mark.parametrize("powers", [None, "M 1", "M Z", "M B Z"])
def test_subset_products_equal_a_loop(experts, loc, scale, present, prior_expert, powers):
    """T_s = [prior] + Σ_{m in s} α_m / σ_m², μ_s = Σ_{m in s} α_m μ_m / σ_m² / T_s, one subset and row at a time."""
    rng = np.random.RandomState(2)
    shapes = {None: None, "M 1": (M, 1), "M Z": (M, Z), "M B Z": (M, B, Z)}
    alpha = None if powers is None else rng.uniform(0.2, 2, size=shapes[powers])
    whole = np.ones((M, B, Z))
    if alpha is not None:
        whole = whole * (alpha if alpha.ndim == 3 else alpha[:, None])
    members = all_subsets(M)
    q = subset_products(
        experts,
        members,
        as_mask(present),
        prior_expert=prior_expert,
        exponents=None if alpha is None else double(alpha),
    )
    assert q.batch_shape == (7, B)
    for s, b, i in itertools.product(range(7), range(B), range(Z)):
        precision, weighted = float(prior_expert), 0.0
        for m in range(M):
            if members[s, m] and here(present, b, m):
                precision += whole[m, b, i] / scale[m, b, i] ** 2
                weighted += whole[m, b, i] * loc[m, b, i] / scale[m, b, i] ** 2
        mean, sd = (weighted / precision, precision**-0.5) if precision > 0 else (0.0, 1.0)
        assert q.mean[s, b, i].item() == pytest.approx(mean, abs=1e-12)
        assert q.stddev[s, b, i].item() == pytest.approx(sd, abs=1e-12)


GRID = np.linspace(-12, 12, 4801)


def normalised(log_density):
    """A density on the grid from its logarithm up to a constant."""
    density = np.exp(log_density - log_density.max())
    return density / (density.sum() * (GRID[1] - GRID[0]))


@MASKS
@pytest.mark.parametrize("prior_expert", [False, True])
def test_poe_is_proportional_to_the_product(loc, scale, present, prior_expert):
    """q(z | X) ∝ p(z)^[prior] Π q(z | x_m), normalised on a grid."""
    q = PoE(prior_expert)(normal_experts(loc[..., :1], scale[..., :1]), as_mask(present))
    density = q.log_prob(double(GRID).view(-1, 1, 1)).exp().numpy()
    for b in range(B):
        views = [m for m in range(M) if here(present, b, m)]
        log_product = sum((norm.logpdf(GRID, loc[m, b, 0], scale[m, b, 0]) for m in views), np.zeros_like(GRID))
        if prior_expert or not views:
            log_product = log_product + norm.logpdf(GRID)
        np.testing.assert_allclose(density[:, b], normalised(log_product), atol=1e-9)


@MASKS
def test_generalised_poe_is_proportional_to_the_weighted_product(loc, scale, present):
    """q(z | X) ∝ Π q(z | x_m)^α_m, Σ_m α_m = 1 over the views that are present; no view: the standard normal."""
    fusion = GeneralisedPoE(M, 1).double()
    with torch.no_grad():
        fusion.logits.copy_(double([[0.7], [-0.4], [1.1]]))
    weights = fusion.weights.detach().numpy()
    exponentials = np.exp([0.7, -0.4, 1.1])
    np.testing.assert_allclose(weights[:, 0], exponentials / exponentials.sum(), rtol=1e-12)
    q = fusion(normal_experts(loc[..., :1], scale[..., :1]), as_mask(present))
    density = q.log_prob(double(GRID).view(-1, 1, 1)).exp().detach().numpy()
    for b in range(B):
        views = [m for m in range(M) if here(present, b, m)]
        alpha = exponentials[views] / exponentials[views].sum()
        log_product = norm.logpdf(GRID)
        if views:
            log_product = sum(
                a * norm.logpdf(GRID, loc[m, b, 0], scale[m, b, 0]) for a, m in zip(alpha, views, strict=True)
            )
        np.testing.assert_allclose(density[:, b], normalised(log_product), atol=1e-9)


def test_weights_of_generalised_poe_sum_to_one():
    """Σ_m α_m = 1 in each latent dimension, for any logits."""
    fusion = GeneralisedPoE(4, 3).double()
    np.testing.assert_allclose(fusion.weights.detach().numpy(), 0.25)
    with torch.no_grad():
        fusion.logits.normal_(std=5)
    assert (fusion.weights > 0).all()
    np.testing.assert_allclose(fusion.weights.sum(0).detach().numpy(), 1, rtol=1e-12)


@MASKS
@pytest.mark.parametrize(
    ("make", "law"), [(normal_experts, norm), (laplace_experts, laplace)], ids=["normal", "laplace"]
)
def test_moe_density_is_a_hand_made_mixture(loc, scale, present, make, law):
    """log 1/M Σ_m q_m(z) over the views that are present; the standard law of the family without any."""
    z = np.random.RandomState(3).normal(size=(4, B, Z))
    log_q = MoE()(make(loc, scale), as_mask(present)).log_prob(double(z)).numpy()
    for k, b in itertools.product(range(4), range(B)):
        parts = [law.logpdf(z[k, b], loc[m, b], scale[m, b]).sum() for m in range(M) if here(present, b, m)]
        expected = logsumexp(parts) - np.log(len(parts)) if parts else law.logpdf(z[k, b]).sum()
        assert log_q[k, b] == pytest.approx(expected, abs=1e-10)


@MASKS
@pytest.mark.parametrize("prior_expert", [False, True])
def test_mopoe_density_is_a_hand_made_mixture(experts, loc, scale, present, prior_expert):
    """log 1/N Σ_s q_s(z) over the subsets of the views that are present, each a product by hand."""
    z = np.random.RandomState(3).normal(size=(4, B, Z))
    log_q = MoPoE(M, prior_expert)(experts, as_mask(present)).log_prob(double(z)).numpy()
    for k, b in itertools.product(range(4), range(B)):
        views = [m for m in range(M) if here(present, b, m)]
        parts = []
        for size in range(1, len(views) + 1):
            for s in itertools.combinations(views, size):
                precision = prior_expert + sum(scale[m, b] ** -2 for m in s)
                mean = sum(loc[m, b] * scale[m, b] ** -2 for m in s) / precision
                parts.append(norm.logpdf(z[k, b], mean, precision**-0.5).sum())
        expected = logsumexp(parts) - np.log(len(parts)) if parts else norm.logpdf(z[k, b]).sum()
        assert log_q[k, b] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("fusion", [MoE(), MoPoE(M)], ids=["MoE", "MoPoE"])
def test_gradients_of_mixtures_do_not_meet_absent_views(loc, scale, fusion):
    """Absent experts, however wild, change neither the density nor its gradient."""
    z = double(np.zeros((B, Z)))
    for filler in (0.0, 1e30):
        wild = np.where(PRESENT.T[..., None], loc, filler)
        leaf = double(wild).requires_grad_()
        experts = Independent(torch.distributions.Normal(leaf, double(scale), validate_args=False), 1)
        q = fusion(experts, torch.from_numpy(PRESENT))
        (gradient,) = torch.autograd.grad(q.log_prob(z).sum(), leaf)
        assert (gradient[~PRESENT.T] == 0).all()
        assert torch.isfinite(gradient).all()


@MASKS
def test_mean_is_the_law_of_the_average_of_draws(experts, present):
    """1/M Σ z_m with independent z_m ~ q_m: moments by Monte Carlo; no view: the standard normal."""
    n = 100_000
    torch.manual_seed(0)
    z = experts.sample((n,)).numpy()
    q = Mean()(experts, as_mask(present))
    for b in range(B):
        views = [m for m in range(M) if here(present, b, m)]
        if not views:
            assert (q.mean[b] == 0).all()
            assert (q.stddev[b] == 1).all()
            continue
        average = z[:, views, b].mean(1)
        sd = average.std(0)
        assert (np.abs(q.mean[b].numpy() - average.mean(0)) < 4.5 * sd / np.sqrt(n)).all()
        assert (np.abs(q.stddev[b].numpy() / sd - 1) < 4.5 / np.sqrt(2 * n)).all()


@MASKS
def test_mean_of_points_is_their_average(loc, present):
    """Codes without noise: 1/M Σ z_m, exactly; zero without any view."""
    q = Mean()(Independent(Delta(double(loc)), 1), as_mask(present))
    for b in range(B):
        codes = [loc[m, b] for m in range(M) if here(present, b, m)] or [np.zeros(Z)]
        np.testing.assert_allclose(q.mean[b].numpy(), np.mean(codes, axis=0), atol=1e-12)
    assert (q.variance == 0).all()


@pytest.mark.parametrize(
    "fusion",
    [PoE(), PoE(False), GeneralisedPoE(M, Z).double(), MoE(), MoPoE(M), MoPoE(M, True), Mean()],
    ids=lambda fusion: type(fusion).__name__,
)
def test_no_view_gives_the_standard_distribution(experts, fusion):
    """q(z | nothing) = N(0, I) for every fusion."""
    q = fusion(experts, torch.zeros(B, M, dtype=torch.bool))
    z = np.random.RandomState(4).normal(size=(6, B, Z))
    np.testing.assert_allclose(q.log_prob(double(z)).detach().numpy(), norm.logpdf(z).sum(-1), atol=1e-12)
    np.testing.assert_allclose(q.mean.detach().numpy(), 0, atol=1e-12)


def test_no_view_gives_the_standard_laplace(loc, scale):
    """A mixture of Laplace experts without any view is the standard Laplace distribution."""
    q = MoE()(laplace_experts(loc, scale), torch.zeros(B, M, dtype=torch.bool))
    z = np.random.RandomState(4).normal(size=(6, B, Z))
    np.testing.assert_allclose(q.log_prob(double(z)).numpy(), laplace.logpdf(z).sum(-1), atol=1e-12)


# ---- MVAE's posterior is the exact one when its experts are ----------------------------------------------------------


@pytest.fixture(scope="module")
def orthogonal():
    """A linear-Gaussian model whose posteriors are diagonal: W' Ψ^-1 W = diag(c²) in each view."""
    rng = np.random.RandomState(0)
    loadings, offsets, noise, precisions = [], [], [], []
    for width in (5, 4, 3):
        sigma, c = rng.uniform(0.4, 1.2, width), rng.uniform(0.5, 2.0, 2)
        directions, _ = np.linalg.qr(rng.standard_normal((width, 2)))
        loadings.append(sigma[:, None] * directions * c)
        offsets.append(rng.standard_normal(width))
        noise.append(sigma)
        precisions.append(c**2)
    return LinearGaussian(tuple(loadings), tuple(offsets), tuple(noise)), precisions


@pytest.fixture(scope="module", params=["complete", "missing"])
def observed(request, orthogonal):
    views, _ = orthogonal[0].sample(6, random_state=1)
    gaps = [(0, "view_0", None), (1, "view_1", None), (1, "view_2", None), (2, "view_2", None)]
    return views if request.param == "complete" else with_gaps(views, gaps)


@pytest.fixture(scope="module")
def exact(orthogonal):
    """The network whose expert m is p(z | x_m) / p(z) = N(z; C^-1 W' Ψ^-1 (x_m - b), C^-1), C = W' Ψ^-1 W."""
    truth, precisions = orthogonal
    encoders = []
    for w, b, sigma, c in zip(truth.loadings, truth.offsets, truth.noise, precisions, strict=True):
        gain = (w / sigma[:, None] ** 2).T / c[:, None]
        encoders.append((np.vstack([gain, 0 * gain]), np.concatenate([-gain @ b, -np.log(c)])))
    return linear_network(truth, Gaussian(2), PoE(), encoders)


def test_poe_posterior_is_exact_when_experts_are(orthogonal, exact, observed):
    """p(z) Π p(z | x_m) / p(z) ∝ p(z | X): the product of exact experts has the exact mean and covariance."""
    mean, covariance = orthogonal[0].posterior(observed)
    q = exact.posterior(as_batch(observed))
    np.testing.assert_allclose(q.mean.detach().numpy(), mean, atol=1e-10)
    np.testing.assert_allclose([np.diag(v) for v in q.variance.detach().numpy()], covariance, atol=1e-10)


def test_bounds_of_the_exact_posterior_are_tight(orthogonal, exact, observed):
    """log p(X, z) - log q(z | X) = log p(X) for every z when q is exact: one draw is enough, and the ELBO is tight."""
    evidence = orthogonal[0].log_evidence(observed)
    with torch.no_grad():
        np.testing.assert_allclose(log_evidence(exact, as_batch(observed), 1).numpy(), evidence, atol=1e-9)
        torch.manual_seed(0)
        n = 4000
        batch = as_batch(observed[np.repeat(np.arange(6), n)])
        draws = MVAE(z_dim=2).objective(exact, batch, 1.0).value.numpy().reshape(6, n)
    assert (np.abs(draws.mean(1) - evidence) < 4 * draws.std(1) / np.sqrt(n)).all()
