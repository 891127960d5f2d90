"""MoPoEVAE: 1/N Σ_s (E_{q_s}[log p(X | z)] - β KL(q_s ‖ p)), with q_s ∝ Π_{m ∈ s} q_m over all subsets s of the views.

The objective in loops, over all subsets and with one drawn for each row; how they are drawn; what is bounded; limits.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, multivariate_normal
from sklearn.linear_model import LinearRegression
from torch.distributions import Categorical

import manyview as mv
from manyview.data.batch import Batch
from manyview.datasets import make_linear_gaussian, make_multiview
from manyview.fusion import all_subsets
from manyview.latent import Gaussian
from manyview.models.mopoe_vae import MoPoEVAE
from manyview.models.mvtcae import MVTCAE
from manyview.network import Network

from .helpers import as_batch, fixed_normal, gaussian_kl, linear, linear_network, with_gaps
from .test_bounds import bounds
from .test_models import BETA, PRESENT, B, M, Reference, Z, gradients, make_data, make_network
from .test_mvtcae import divergence_from_prior, product, sparse_normal

CASES = pytest.mark.parametrize("case", ["complete", "views", "features"])
SUBSETS = pytest.mark.parametrize("subsets", ["all", "drawn"])
NAMES = ("a", "b", "c")
MEMBERS = [[m for m in range(M) if row[m]] for row in all_subsets(M)]  # the order of the draws


def network_of(model):
    """The network of test_models, with this model's fusion."""
    network = make_network(MVTCAE(z_dim=Z, sparse=model.sparse))
    network.fusion = model.fusion(NAMES)
    return network


def objective(model, network, batch, beta=BETA, seed=2):
    torch.manual_seed(seed)
    return model.objective(network, batch, beta).value


# ---- the equation ---------------------------------------------------------------------------------------------------


def equation(ref, noise, drawn, sparse):
    """One row's objective, subset by subset; with a subset drawn, the reconstruction from that one alone."""
    whole = [s for s, members in enumerate(MEMBERS) if set(members) <= set(ref.views)]
    value = 0.0
    for s in whole:
        q = product([sparse_normal(ref, m) if sparse else ref.normal(m) for m in MEMBERS[s]])
        log_lik = sum(ref.log_lik(q.loc + q.scale * noise[s], m) for m in ref.views)
        if drawn is None:
            value = value + log_lik / len(whole)
        elif drawn == s:
            value = value + log_lik
        value = value - BETA * divergence_from_prior(q, sparse) / len(whole)
    return value


@CASES
@SUBSETS
@pytest.mark.parametrize("sparse", [False, True], ids=["normal", "sparse"])
def test_objective_equals_its_equation(subsets, sparse, case):
    """Value and gradient, row by row: subsets whose views are all present, each with the weight 1/N of its row."""
    model, batch = MoPoEVAE(z_dim=Z, subsets=subsets, sparse=sparse), make_data(case)
    network = network_of(model)
    value = objective(model, network, batch)
    torch.manual_seed(2)
    noise = torch.randn(B, len(MEMBERS), Z, dtype=torch.float64)
    present = np.ones((B, M), bool) if case == "complete" else PRESENT
    whole = np.array([[row[members].all() for members in MEMBERS] for row in present])
    drawn = [None] * B if subsets == "all" else Categorical(probs=torch.from_numpy(whole).double()).sample().tolist()
    expected = torch.stack([equation(Reference(network, batch, b), noise[b], drawn[b], sparse) for b in range(B)])
    torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-9)
    for ours, theirs in zip(gradients(network, value), gradients(network, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)


@SUBSETS
def test_with_one_view_it_is_the_plain_vae(subsets):
    """M = 1: E_{q(z | x)}[log p(x | z)] - β KL(q(z | x) ‖ p)."""
    model, batch = MoPoEVAE(z_dim=Z, subsets=subsets), make_data("complete")
    network = network_of(model)
    alone = Network(
        network.latent,
        model.fusion(NAMES[:1]),
        [network.encoders[0]],
        [network.decoders[0]],
        [network.likelihoods[0]],
        [network.log_scale_0],
    ).double()
    value = objective(model, alone, Batch(batch.x[:1], (None,)))
    torch.manual_seed(2)
    noise = torch.randn(B, Z, dtype=torch.float64)
    references = [Reference(network, batch, b) for b in range(B)]
    expected = torch.stack([ref.elbo(ref.normal(0), noise[b], [0]) for b, ref in enumerate(references)])
    torch.testing.assert_close(value, expected)


@SUBSETS
def test_rows_without_views_count_for_nothing(subsets):
    """A row with no view: value 0, and no gradient."""
    model, whole = MoPoEVAE(z_dim=Z, subsets=subsets), make_data("complete")
    network = network_of(model)
    value = objective(model, network, replace(whole, present=torch.zeros(B, M, dtype=torch.bool)))
    assert (value == 0).all()
    assert all((gradient == 0).all() for gradient in gradients(network, value))


# ---- one subset drawn, or all ---------------------------------------------------------------------------------------


@CASES
def test_one_drawn_subset_is_all_of_them_in_expectation(case):
    """E over the draw of the value is the value over all subsets, with more noise; and so is the gradient's."""
    batch, times = make_data(case), 500
    batch = batch[torch.arange(B).repeat_interleave(times)]
    found = {}
    for subsets in ("all", "drawn"):
        model = MoPoEVAE(z_dim=Z, subsets=subsets)
        network = network_of(model)
        values, slopes = [], []
        for seed in range(8):
            value = objective(model, network, batch, seed=seed)
            values.append(value.detach().view(B, times))
            slopes.append(torch.cat([gradient.flatten() for gradient in gradients(network, value)]))
        found[subsets] = torch.cat(values, 1), torch.stack(slopes)
    (all_values, all_slopes), (drawn_values, drawn_slopes) = found["all"], found["drawn"]

    n = all_values.shape[1]
    error = ((all_values.var(1) + drawn_values.var(1)) / n).sqrt()
    assert ((all_values.mean(1) - drawn_values.mean(1)).abs() < 4 * error).all()
    several = torch.ones(B, dtype=torch.bool) if batch.present is None else torch.from_numpy(PRESENT).sum(1) > 1
    assert (all_values.var(1) < 0.7 * drawn_values.var(1))[several].all()
    difference = all_slopes.mean(0) - drawn_slopes.mean(0)
    error = ((all_slopes.var(0) + drawn_slopes.var(0)) / len(all_slopes)).sqrt()
    # The standard errors are of 8 seeds: t with some 14 degrees of freedom, in each of a hundred and more parameters.
    assert (difference.abs() <= 7 * error + 1e-12).all()
    assert (difference.square().sum() < 4 * error.square().sum() + 1e-12).all()


def draws(n_views, present, times):
    """Which subset each row's z came from, (times, rows): posteriors are points, and all products differ."""
    x = 10.0 ** np.arange(n_views)  # sums of distinct powers of ten, divided by how many they are, are distinct
    encoder = linear(np.array([[1.0], [0.0]]), np.array([0.0, -40.0]))
    decoder = linear(np.ones((1, 1)), np.zeros(1))
    model, names = MoPoEVAE(z_dim=1), [f"view_{m}" for m in range(n_views)]
    likelihoods = [fixed_normal(np.ones(1)) for _ in names]
    parts = [encoder] * n_views, [decoder] * n_views, likelihoods, [torch.zeros(1)] * n_views
    network = Network(Gaussian(1), model.fusion(names), *parts).double()
    data = tuple(torch.full((len(present), 1), value, dtype=torch.float64) for value in x)
    batch = Batch(data, (None,) * n_views, None if present.all() else torch.from_numpy(present))
    seen = []
    handle = decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten()))
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(times):
            model.objective(network, batch, 1.0)
    handle.remove()
    z = torch.stack(seen)[::n_views].numpy()  # every view's decoder saw the same
    members = all_subsets(n_views).numpy()
    centres = members @ x / members.sum(1)
    nearest = np.abs(z[..., None] - centres).argmin(-1)
    assert np.abs(z - centres[nearest]).max() < 0.02 < 0.1 * np.diff(np.sort(centres)).min()
    return nearest


@pytest.mark.parametrize(("n_views", "rows"), [(2, 2), (3, 1), (3, 5), (3, 20), (5, 3)])
def test_every_row_draws_every_subset_equally_often(n_views, rows):
    """Wherever a row stands, in batches smaller than there are subsets too; rows draw independently."""
    n_subsets = 2**n_views - 1
    times = 12 * n_subsets
    drawn = draws(n_views, np.ones((rows, n_views), bool), times)
    counts = np.stack([np.bincount(column, minlength=n_subsets) for column in drawn.T])
    assert chisquare(counts, axis=1).pvalue.min() > 1e-3 / rows
    for a, b in itertools.pairwise(range(min(rows, 5))):
        same, p = (drawn[:, a] == drawn[:, b]).mean(), 1 / n_subsets
        assert abs(same - p) < 4 * math.sqrt(p * (1 - p) / times)


def test_only_subsets_that_are_all_there_are_drawn():
    """A row draws equally often from the 2^n - 1 subsets of the n views that it has, and from no other."""
    drawn, members = draws(M, PRESENT, 200), all_subsets(M).numpy()
    for b, present in enumerate(PRESENT):
        whole = ~(members & ~present).any(1)
        counts = np.bincount(drawn[:, b], minlength=len(members))
        assert whole.sum() == 2 ** present.sum() - 1
        assert (counts[~whole] == 0).all()
        assert whole.sum() == 1 or chisquare(counts[whole]).pvalue > 1e-3


# ---- the bounds -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["complete", "gaps"])
def world(request):
    """A linear model of three views, data, and linear encoders that are right in kind and wrong in detail."""
    truth = make_linear_gaussian((4, 3, 2), 2, noise=0.6, random_state=3)
    views, _ = truth.sample(4, random_state=4)
    if request.param == "gaps":
        gaps = [(0, "view_0", None), (1, "view_0", None), (1, "view_2", None), (2, "view_1", [0, 2])]
        views = with_gaps(views, gaps)
    rng = np.random.RandomState(5)
    encoders = []
    for w, b, sigma in zip(truth.loadings, truth.offsets, truth.noise, strict=True):
        precision = np.eye(2) + w.T / sigma**2 @ w
        gain = np.linalg.solve(precision, w.T / sigma**2) + 0.05 * rng.standard_normal((2, len(b)))
        weight = np.vstack([gain, 0.02 * rng.standard_normal(gain.shape)])
        encoders.append((weight, np.concatenate([0.1 - gain @ b, 0.5 - np.log(np.diag(precision))])))
    network = linear_network(truth, Gaussian(2), MoPoEVAE(z_dim=2).fusion(views.names), encoders)
    return truth, views, network


def exact_objective(truth, views, network):
    """1/N Σ_s (log p(X) - KL(q_s ‖ p(z | X))) of each row, by the algebra of normal distributions."""
    means, covariances = truth.posterior(views)
    experts = network.experts(as_batch(views)).base_dist
    loc, precision = experts.loc.detach().numpy(), experts.scale.detach().numpy() ** -2.0
    gaps = []
    for i, present in enumerate(views.present):
        here = np.flatnonzero(present)
        subsets = [list(s) for n in range(1, len(here) + 1) for s in itertools.combinations(here, n)]
        of_row = []
        for s in subsets:
            total = precision[s, i].sum(0)
            mean = (precision[s, i] * loc[s, i]).sum(0) / total
            of_row.append(gaussian_kl(mean, np.diag(1 / total), means[i], covariances[i]))
        gaps.append(np.mean(of_row))
    return truth.log_evidence(views) - np.array(gaps)


@SUBSETS
def test_it_is_the_mean_of_a_bound_for_each_subset(world, subsets):
    """L = 1/N Σ_s (log p(X) - KL(q_s ‖ p(z | X))) at β = 1, however the subsets are taken."""
    truth, views, network = world
    mean, error = bounds(MoPoEVAE(z_dim=2, subsets=subsets), network, views)
    assert (np.abs(mean - exact_objective(truth, views, network)) < 4 * error).all()


@torch.no_grad()
def test_it_lies_below_the_bound_of_the_mixture_below_the_evidence(world):
    """L <= log p(X) - KL(q(z | X) ‖ p(z | X)), for convexity, with a gap of at most log N; the KL by quadrature."""
    truth, views, network = world
    axis = torch.arange(-7, 7, 0.04, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis).unsqueeze(1)
    log_q = network.posterior(as_batch(views)).log_prob(z).numpy()  # (points, rows)
    log_p = np.stack(
        [multivariate_normal(*moments).logpdf(z[:, 0]) for moments in zip(*truth.posterior(views), strict=True)], 1
    )
    q = np.exp(log_q) * 0.04**2
    np.testing.assert_allclose(q.sum(0), 1, atol=1e-6)
    evidence, ours = truth.log_evidence(views), exact_objective(truth, views, network)
    mixture = evidence - (q * (log_q - log_p)).sum(0)
    several = views.present.sum(1) > 1
    assert (mixture < evidence - 0.01).all()
    assert (ours < mixture - 0.01)[several].all()
    np.testing.assert_allclose(ours[~several], mixture[~several], atol=1e-6)
    assert (mixture - ours < np.log(2 ** views.present.sum(1) - 1) + 1e-6).all()


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
        400, (8, 6, 7), n_shared=2, noise=0.4, missing=missing, return_factors=True, random_state=1
    )
    return views, factors["shared"]


@pytest.fixture(scope="module")
def learned():
    """Models fitted to complete data, by ``subsets``."""
    return {subsets: MoPoEVAE(subsets=subsets, **SETTINGS).fit(simulate()[0]) for subsets in ("all", "drawn")}


@SUBSETS
def test_it_learns_a_posterior_for_every_subset(learned, subsets):
    """R² >= 0.9 of the shared factors from all views; by the same regression, nearly as much from any two of three."""
    views, factors = simulate()
    regression = LinearRegression().fit(learned[subsets].transform(views), factors)
    assert regression.score(learned[subsets].transform(views), factors) > 0.9
    for given in itertools.combinations(views.names, 2):
        assert regression.score(learned[subsets].transform(views, given=list(given)), factors) > 0.85


def test_it_learns_from_incomplete_views():
    """R² >= 0.9 of the shared factors from the views that a sample has, with 30 % of them missing in training."""
    views, factors = simulate(missing=0.3)
    z = MoPoEVAE(**SETTINGS).fit(views).transform(views)
    assert LinearRegression().fit(z, factors).score(z, factors) > 0.9


def test_views_predict_one_another_better_than_with_a_product_of_all_only(learned):
    """Every subset is trained to explain all the views, where MVAE trains the product of all of them alone."""
    views, _ = simulate()

    def error(model):
        pairs = itertools.permutations(views.names, 2)
        return np.mean([((model.predict(views, given=[a], target=[b])[b] - views[b]) ** 2).mean() for a, b in pairs])

    assert error(learned["drawn"]) < 0.95 * error(mv.MVAE(**SETTINGS).fit(views))
