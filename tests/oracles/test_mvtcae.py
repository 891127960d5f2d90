"""MVTCAE: (M - α)/M E_q[log p(X | z)] - β [(1 - α) KL(q ‖ p) + α/M Σ_m KL(q ‖ q_m)], with q ∝ Π_m q_m (eq. 20).

The objective in loops, its divergences by integration, the evidence that it bounds, its limits, and what α does.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.linear_model import LinearRegression
from torch.distributions import Normal, kl_divergence

import manyview as mv
from manyview.data.batch import Batch
from manyview.datasets import make_linear_gaussian, make_multiview
from manyview.fusion import PoE
from manyview.latent import Gaussian
from manyview.models.mvtcae import MVTCAE
from manyview.network import Network

from .helpers import as_batch, linear_network, with_gaps
from .test_bounds import bounds, gap_to_posterior, only
from .test_models import BETA, B, M, Reference, Z, gradients, make_data, make_network

CASES = pytest.mark.parametrize("case", ["complete", "views", "features"])
ALPHAS = pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])


def objective(model, network, batch, beta=BETA):
    torch.manual_seed(2)
    return model.objective(network, batch, beta).value


# ---- the equation ---------------------------------------------------------------------------------------------------


def sparse_normal(ref, m):
    """N(μ, α (|μ| + ε)²), with a dropout α of each dimension."""
    mean = ref.h(m)
    return Normal(mean, ref.network.latent.log_alpha.exp().sqrt() * (mean.abs() + 1e-6))


def sparse_divergence(q):
    """Molchanov et al., eq. 14, negated, shifted to 0 for σ²/μ² → ∞; their k₁, k₂, k₃."""
    log_alpha = torch.log(q.scale**2 / (q.loc.abs() + 1e-6) ** 2)
    gate = 1 / (1 + torch.exp(-(1.87320 + 1.48695 * log_alpha)))
    return (0.5 * torch.log(1 + torch.exp(-log_alpha)) + 0.63576 * (1 - gate)).sum()


def divergence_from_prior(q, sparse):
    if sparse:
        return sparse_divergence(q)
    return kl_divergence(q, Normal(torch.zeros_like(q.loc), torch.ones_like(q.loc))).sum()


def product(experts):
    """Π_m q_m, without the prior."""
    precision = sum(q.scale**-2 for q in experts)
    return Normal(sum(q.scale**-2 * q.loc for q in experts) / precision, precision**-0.5)


def equation(ref, noise, alpha, sparse):
    """One row's objective, its views one after the other."""
    experts = [sparse_normal(ref, m) if sparse else ref.normal(m) for m in ref.views]
    q, n = product(experts), len(experts)
    z = q.loc + q.scale * noise
    value = -BETA * (1 - alpha) * divergence_from_prior(q, sparse)
    for m, expert in zip(ref.views, experts, strict=True):
        value = value + (n - alpha) / n * ref.log_lik(z, m) - BETA * alpha / n * kl_divergence(q, expert).sum()
    return value


@CASES
@ALPHAS
@pytest.mark.parametrize("sparse", [False, True], ids=["normal", "sparse"])
def test_objective_equals_equation_20(alpha, sparse, case):
    """Value and gradient of eq. 20, row by row, where M is the number of views that the row has."""
    model, batch = MVTCAE(z_dim=Z, alpha=alpha, sparse=sparse), make_data(case)
    network = make_network(model)
    value = objective(model, network, batch)
    torch.manual_seed(2)
    noise = torch.randn(1, B, Z, dtype=torch.float64)[0]
    expected = torch.stack([equation(Reference(network, batch, b), noise[b], alpha, sparse) for b in range(B)])
    torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-9)
    for ours, theirs in zip(gradients(network, value), gradients(network, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)


@CASES
def test_without_alpha_it_is_the_beta_vae_of_a_product_of_experts(case):
    """α = 0: E_q[log p(X | z)] - β KL(q ‖ p), MVAE's bound, with a product that the prior is no expert of."""
    batch, model = make_data(case), MVTCAE(z_dim=Z, alpha=0.0)
    network = make_network(model)
    assert not network.fusion.prior_expert
    torch.testing.assert_close(objective(model, network, batch), objective(mv.MVAE(z_dim=Z), network, batch))


def test_with_one_view_it_is_a_share_of_the_plain_bound():
    """M = 1: q is q_1, so that L = (1 - α) [E log p(x | z) - β KL(q ‖ p)]."""
    whole, network = make_data("complete"), make_network(MVTCAE(z_dim=Z))
    batch = replace(whole, present=torch.eye(M, dtype=torch.bool)[:1].expand(B, -1))
    plain = objective(MVTCAE(z_dim=Z, alpha=0.0), network, batch)
    torch.testing.assert_close(objective(MVTCAE(z_dim=Z, alpha=0.3), network, batch), 0.7 * plain)


def test_missing_views_leave_the_objective_of_the_others():
    """Rows without view m have the objective of a network, and of data, that know nothing of view m."""
    model, batch = MVTCAE(z_dim=Z, alpha=0.4), make_data("complete")
    network = make_network(model)
    for m in range(M):
        kept = [n for n in range(M) if n != m]
        rest = Network(
            network.latent,
            network.fusion,
            [network.encoders[n] for n in kept],
            [network.decoders[n] for n in kept],
            [network.likelihoods[n] for n in kept],
            [getattr(network, f"log_scale_{n}") for n in kept],
        ).double()
        masked = replace(batch, present=(torch.arange(M) != m).expand(B, -1))
        fewer = Batch(tuple(batch.x[n] for n in kept), (None,) * len(kept))
        torch.testing.assert_close(objective(model, network, masked), objective(model, rest, fewer))


def test_rows_without_views_count_for_nothing():
    """A row with no view: value 0, and no gradient."""
    model, whole = MVTCAE(z_dim=Z), make_data("complete")
    network = make_network(model)
    value = objective(model, network, replace(whole, present=torch.zeros(B, M, dtype=torch.bool)))
    assert (value == 0).all()
    assert all((gradient == 0).all() for gradient in gradients(network, value))


# ---- the divergences ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def line():
    """One latent dimension, three views: a network, a batch with gaps, and the experts' means and scales, (M, B)."""
    model = MVTCAE(z_dim=1, alpha=1.0)
    truth = make_linear_gaussian((2, 3, 2), 1, noise=0.6, random_state=0)
    views, _ = truth.sample(4, random_state=1)
    rng = np.random.RandomState(2)
    encoders = [(0.5 * rng.standard_normal((2, w)), 0.5 * rng.standard_normal(2)) for w in (2, 3, 2)]
    network = linear_network(truth, Gaussian(1), model.fusion(views.names), encoders)
    views = with_gaps(views, [(0, "view_1", None), (1, "view_0", None), (1, "view_2", None)])
    experts = network.experts(as_batch(views)).base_dist
    return network, views, experts.loc.detach().numpy()[..., 0], experts.scale.detach().numpy()[..., 0]


def divergence(network, views, alpha, copies=1):
    """What β weighs: the difference between the objectives at β = 1 and β = 2."""
    batch = as_batch(views)[torch.arange(len(views)).repeat_interleave(copies)]
    values = [objective(MVTCAE(z_dim=1, alpha=alpha), network, batch, beta) for beta in (1.0, 2.0)]
    return (values[0] - values[1]).detach().numpy().reshape(len(views), copies)[:, 0]


def product_of_rows(views, loc, scale):
    weight = views.present.T / scale**2
    return (weight * loc).sum(0) / weight.sum(0), weight.sum(0) ** -0.5


def test_cvib_term_by_quadrature(line):
    """α = 1: 1/M Σ_m ∫ q(z) log q(z)/q_m(z) dz over the views present; at α = 0 the same with the prior."""
    network, views, loc, scale = line
    mean, sd = product_of_rows(views, loc, scale)

    def relative(i, other_loc, other_scale):
        def integrand(z):
            return norm.pdf(z, mean[i], sd[i]) * (
                norm.logpdf(z, mean[i], sd[i]) - norm.logpdf(z, other_loc, other_scale)
            )

        return quad(integrand, mean[i] - 12 * sd[i], mean[i] + 12 * sd[i])[0]

    rows = range(len(views))
    cvib = [np.mean([relative(i, loc[m, i], scale[m, i]) for m in np.flatnonzero(views.present[i])]) for i in rows]
    prior = [relative(i, 0.0, 1.0) for i in rows]
    assert min(cvib[0], cvib[2], cvib[3], *prior) > 0.02
    assert abs(cvib[1]) < 1e-9  # one view: q is its posterior
    np.testing.assert_allclose(divergence(network, views, 1.0), cvib, atol=1e-7)
    np.testing.assert_allclose(divergence(network, views, 0.0), prior, atol=1e-7)
    mixed = 0.3 * np.array(cvib) + 0.7 * np.array(prior)
    np.testing.assert_allclose(divergence(network, views, 0.3), mixed, atol=1e-7)


def test_cvib_term_by_monte_carlo(line):
    """α = 1: 1/M Σ_m E_q[log q(z) - log q_m(z)] over draws of z."""
    network, views, loc, scale = line
    mean, sd = product_of_rows(views, loc, scale)
    z = mean + sd * np.random.RandomState(0).standard_normal((200_000, len(views)))
    ratio = norm.logpdf(z, mean, sd) - norm.logpdf(z[:, None], loc, scale).swapaxes(0, 1)
    mean_ratio = (ratio * views.present.T[:, None]).sum(0) / views.present.sum(1)
    error = mean_ratio.std(0) / np.sqrt(len(z))
    assert (np.abs(mean_ratio.mean(0) - divergence(network, views, 1.0)) < 4 * error + 1e-12).all()


# ---- the bounds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 5 / 6, 1.0])
@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_it_bounds_the_evidence_of_all_views_and_of_the_others_given_each(alpha, gaps):
    """With q_m = p(z | x_m): L = (1-α) log p(X) + α/M Σ_m log p(x_n≠m | x_m) - KL(q ‖ p(z | X))."""
    truth = make_linear_gaussian((3, 2, 2), 1, noise=0.8, random_state=3)
    views, _ = truth.sample(4, random_state=4)
    if gaps:
        views = with_gaps(views, [(0, "view_1", None), (1, "view_0", None), (1, "view_2", None)])
    exact = []
    for w, b, sigma in zip(truth.loadings, truth.offsets, truth.noise, strict=True):
        precision = 1 + (w[:, 0] ** 2 / sigma**2).sum()
        gain = w.T / sigma**2 / precision
        exact.append((np.vstack([gain, 0 * gain]), np.concatenate([-gain @ b, [-np.log(precision)]])))
    network = linear_network(truth, Gaussian(1), PoE(prior_expert=False), exact)
    gap = gap_to_posterior(truth, views, network.posterior(as_batch(views)), range(4))

    joint, given_each = truth.log_evidence(views), np.zeros(4)
    for name in views.names:
        here = only(views, name).present.any(1)
        given_each[here] += (joint - truth.log_evidence(only(views, name)))[here]
    ceiling = (1 - alpha) * joint + alpha * given_each / views.present.sum(1)
    mean, error = bounds(MVTCAE(z_dim=1, alpha=alpha), network, views)
    several = views.present.sum(1) > 1
    assert (gap[several] > 0.001).all()  # the posteriors of all views count the prior too often
    assert (np.abs(mean - (ceiling - gap)) < 4 * error + 1e-9).all()


# ---- what it learns -------------------------------------------------------------------------------------------------


SETTINGS = {
    "z_dim": 2,
    "encoder": {"hidden": [16]},
    "decoder": {"hidden": [16]},
    "max_epochs": 12,
    "batch_size": 40,
    "learning_rate": 1e-2,
    "random_state": 0,
    "verbose": False,
}


def simulate(missing=0.0):
    """Three views of two shared factors, and the factors."""
    views, factors = make_multiview(
        400, (8, 6, 7), n_shared=2, noise=0.5, missing=missing, return_factors=True, random_state=1
    )
    return views, factors["shared"]


@pytest.fixture(scope="module")
def learned():
    """Models of three α, fitted to complete data."""
    return {alpha: MVTCAE(alpha=alpha, **SETTINGS).fit(simulate()[0]) for alpha in (0.0, MVTCAE.alpha, 1.0)}


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_it_recovers_the_shared_factors(learned, missing):
    """R² >= 0.9 of the factors, from the views that a sample has."""
    views, factors = simulate(missing)
    model = MVTCAE(**SETTINGS).fit(views) if missing else learned[MVTCAE.alpha]
    z = model.transform(views)
    assert LinearRegression().fit(z, factors).score(z, factors) > 0.9


def test_alpha_lets_each_view_stand_in_for_the_others(learned):
    """With α > 0 a view predicts the others better than without: CVIB calibrates its posterior to the joint one."""
    views, _ = simulate()

    def error(model):
        pairs = itertools.permutations(views.names, 2)
        return np.mean([((model.predict(views, given=[a], target=[b])[b] - views[b]) ** 2).mean() for a, b in pairs])

    assert error(learned[MVTCAE.alpha]) < 0.95 * error(learned[0.0])


@torch.no_grad()
def test_without_a_prior_the_posteriors_leave_it(learned):
    """α = 1 leaves the prior out: joint posteriors are further from it than with α = 0."""
    views, _ = simulate()
    batch = as_batch(views, torch.float32)

    def divergence(model):
        network = model.network_
        return network.latent.kl(network.posterior(batch)).mean().item()

    assert divergence(learned[1.0]) > divergence(learned[0.0]) + 0.5
