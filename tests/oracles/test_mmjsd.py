"""MMJSD: E_{q(z | X)}[Σ log p(x_m | z)] - β (Σ π_m KL(q_m ‖ p_f) + π_{M+1} KL(p ‖ p_f)), q(z | X) ∝ Σ π_m q_m.

The divergence of Sutter et al. (2020) with both dynamic priors, by integration; the objective in loops; of which
evidence it is a bound, and of which it is not; its weights; what it learns.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from torch.distributions import Categorical, Normal, kl_divergence

from manyview.data.preprocessing import FittedView
from manyview.datasets import make_linear_gaussian, make_multiview
from manyview.fusion import subset_products
from manyview.latent import Gaussian
from manyview.likelihoods import Normal as NormalLikelihood
from manyview.models.mmjsd import MMJSD
from manyview.objectives import jensen_shannon

from .helpers import as_batch, double, linear_network, normal_experts, with_gaps
from .test_bounds import bounds
from .test_dmvae import draws, fix_noise, normal, r2, standard_kl
from .test_dvcca import LINEAR, NAMES, make_network
from .test_models import BETA, B, M, Reference, Z, gradients, make_data

PRIOR = Gaussian(1).double().prior


# ---- the divergence, by integration ---------------------------------------------------------------------------------

AXIS = np.linspace(-30, 30, 60_001)


def one_dimensional(n_rows, seed=0):
    """Two posteriors of each row, weights of them and the prior, the last row's without the second posterior."""
    rng = np.random.RandomState(seed)
    loc, scale = rng.normal(0, 1.5, (2, n_rows)), rng.uniform(0.3, 1.5, (2, n_rows))
    pi = rng.dirichlet([1, 1, 1], n_rows).T
    pi[:, -1] = [0.6, 0, 0.4]
    return loc, scale, pi


def log_densities(loc, scale):
    """Logarithms of q_1, q_2 and p on the axis."""
    return np.stack(
        [*(norm.logpdf(AXIS, *parameters) for parameters in zip(loc, scale, strict=True)), norm.logpdf(AXIS)]
    )


def integral(f):
    return f.sum() * (AXIS[1] - AXIS[0])


def log_mean(log_q, pi, kind):
    """The weighted geometric mean, normalised, or the arithmetic one."""
    if kind == "poe":
        log_f = pi @ log_q
        return log_f - np.log(integral(np.exp(log_f)))
    return logsumexp(log_q, axis=0, b=pi[:, None])


def integrated(loc, scale, pi, kind):
    log_q = log_densities(loc, scale)
    log_f = log_mean(log_q, pi, kind)
    return sum(weight * integral(np.exp(q) * (q - log_f)) for weight, q in zip(pi, log_q, strict=True) if weight)


def test_geometric_divergence_is_that_of_the_integrals():
    """Σ π_m ∫ q_m log (q_m / f) + π_3 ∫ p log (p / f), with f ∝ p^π_3 Π q_m^π_m normalised on the axis."""
    loc, scale, pi = one_dimensional(8)
    q = normal_experts(loc[..., None], scale[..., None])
    expected = [integrated(loc[:, b], scale[:, b], pi[:, b], "poe") for b in range(8)]
    np.testing.assert_allclose(jensen_shannon(q, PRIOR, double(pi)), expected, rtol=1e-6)


def test_geometric_dynamic_prior_is_the_normalised_product():
    """p_f: precision π_3 + Σ π_m / σ_m², which is an average: no sharper than the sharpest of its parts."""
    loc, scale, pi = one_dimensional(8)
    everything = normal_experts(np.vstack([loc, np.zeros(8)])[..., None], np.vstack([scale, np.ones(8)])[..., None])
    members = torch.ones(1, 3, dtype=torch.bool)
    f = subset_products(everything, members, exponents=double(pi)[..., None])
    for b in range(8):
        found = f.log_prob(double(AXIS)[:, None, None, None].expand(-1, 1, 8, 1))[:, 0, b]
        np.testing.assert_allclose(found, log_mean(log_densities(loc[:, b], scale[:, b]), pi[:, b], "poe"), atol=1e-8)
    assert (f.stddev[0, :, 0].numpy() >= np.minimum(scale.min(0), 1)).all()


def test_arithmetic_divergence_is_that_of_the_integrals_on_average():
    """Each draw's value is at most the entropy of π; their mean is JS, between 0 and that."""
    loc, scale, pi = one_dimensional(6)
    n = 20_000
    q = normal_experts(np.repeat(loc, n, 1)[..., None], np.repeat(scale, n, 1)[..., None])
    torch.manual_seed(0)
    values = jensen_shannon(q, PRIOR, double(np.repeat(pi, n, 1)), q.sample()).view(6, n)
    entropy = Categorical(double(pi).T).entropy()
    expected = double([integrated(loc[:, b], scale[:, b], pi[:, b], "moe") for b in range(6)])
    assert ((values.mean(1) - expected).abs() < 4 * values.std(1) / n**0.5).all()
    assert (values <= entropy[:, None] + 1e-9).all()
    assert (expected > 0).all()
    assert (expected < entropy).all()


def test_gradient_of_the_estimate_is_that_of_the_integral():
    """The arithmetic divergence and its derivatives by means and scales, on average over the draws."""
    loc, scale, pi = (x[:, 0] for x in one_dimensional(2, seed=1))
    axis, step = double(AXIS[::20]), 20 * (AXIS[1] - AXIS[0])
    parameters = double([loc, scale]).requires_grad_()
    log_q = torch.stack([*(Normal(*parameters[:, m]).log_prob(axis) for m in range(2)), Normal(0, 1).log_prob(axis)])
    log_f = (log_q + double(pi).log()[:, None]).logsumexp(0)
    value = (double(pi) * (log_q.exp() * (log_q - log_f)).sum(1) * step).sum()
    (expected,) = torch.autograd.grad(value, parameters)

    n = 40_000
    many = double([loc, scale])[:, :, None].repeat(1, 1, n).requires_grad_()
    q = normal_experts(np.zeros((2, n, 1)), np.ones((2, n, 1))).expand((2, n))
    q.base_dist.loc, q.base_dist.scale = many[0, ..., None], many[1, ..., None]
    torch.manual_seed(0)
    estimate = jensen_shannon(q, PRIOR, double(pi)[:, None].expand(-1, n), q.rsample())
    (found,) = torch.autograd.grad(estimate.sum(), many)
    assert ((found.mean(-1) - expected).abs() < 4 * found.std(-1) / n**0.5).all()


@pytest.mark.parametrize("kind", ["poe", "moe"])
def test_divergence_is_zero_only_where_all_agree(kind):
    """0 if every posterior is the prior, whatever the weights; above 0 elsewhere; the entropy of π far apart."""
    rng = np.random.RandomState(0)
    n = 200
    pi = double(rng.dirichlet([1, 1, 1, 1], n).T)
    prior = Gaussian(2).double().prior

    def divergence(loc, scale):
        q = normal_experts(loc, scale)
        z = q.sample((500,)) if kind == "moe" else [None]
        return sum(jensen_shannon(q, prior, pi, part) for part in z) / len(z)

    torch.manual_seed(0)
    same = divergence(np.zeros((3, n, 2)), np.ones((3, n, 2)))
    torch.testing.assert_close(same, torch.zeros_like(same), rtol=0, atol=1e-12)
    assert (divergence(rng.normal(0, 2, (3, n, 2)), rng.uniform(0.3, 2, (3, n, 2))) > 0).all()
    if kind == "moe":
        apart = np.array([-60.0, 60.0, 120.0])[:, None, None] * np.ones((3, n, 2))
        torch.testing.assert_close(divergence(apart, np.ones((3, n, 2))), Categorical(pi.T).entropy())


@pytest.mark.parametrize("kind", ["poe", "moe"])
def test_divergence_does_not_fix_the_scale_of_z(kind):
    """For posteriors that are the prior on average, JS does not rise on average if all are stretched; KL does."""
    n, scale = 20_000, 0.2
    pi = torch.full((3, n), 1 / 3, dtype=torch.float64)
    mean = np.sqrt(1 - scale**2) * np.random.RandomState(0).standard_normal((1, n, 1)).repeat(2, 0)
    found, plain = [], []
    for stretch in (1.0, 2.0):
        q = normal_experts(stretch * mean, np.full((2, n, 1), stretch * scale))
        torch.manual_seed(0)
        found.append(jensen_shannon(q, PRIOR, pi, q.sample() if kind == "moe" else None).mean())
        plain.append(kl_divergence(q, PRIOR.expand(q.batch_shape)).mean())
    assert found[1] < found[0] - (1 if kind == "poe" else 0)
    assert plain[1] > plain[0] + 0.5


# ---- the objective in loops -----------------------------------------------------------------------------------------


def equation(model, network, batch, b, noise_z, noise_h, draw, pi):
    """The objective of one row, as it is printed above."""
    row = Reference(network, batch, b)
    numbers = {m: row.h(m) for m in row.views}
    q = {m: normal(numbers[m][: 2 * Z]) for m in row.views}
    q["prior"] = Normal(torch.zeros(Z, dtype=torch.float64), torch.ones(Z, dtype=torch.float64))
    z = {m: q[m].loc + q[m].scale * noise_z[m, b] for m in row.views} | {"prior": draw[0, b]}
    total = sum(pi[m] for m in q)
    pi = {m: pi[m] / total for m in q}

    divergence = 0.0
    if model.dynamic_prior == "poe":
        precision = sum(pi[m] * q[m].scale ** -2 for m in q)
        f = Normal(sum(pi[m] * q[m].scale ** -2 * q[m].loc for m in q) / precision, precision**-0.5)
        divergence = sum(pi[m] * kl_divergence(q[m], f).sum() for m in q)
    else:
        for m in q:
            density = sum(pi[j] * q[j].log_prob(z[m]).sum().exp() for j in q)
            divergence = divergence + pi[m] * (q[m].log_prob(z[m]).sum() - density.log())
    value = 0.0
    for m in row.views:
        h = []
        if model.h_dim:
            q_h = normal(numbers[m][2 * Z :])
            divergence = divergence + standard_kl(q_h)
        for s in row.views:
            if model.h_dim:
                h = [q_h.loc + q_h.scale * noise_h[s, m, b]]
            value = value + pi[s] / (1 - pi["prior"]) * row.log_lik(torch.cat([z[s], *h]), m)
    return value - BETA * divergence


@pytest.mark.parametrize("case", ["complete", "views", "features"])
@pytest.mark.parametrize("pi", [1.0, {"view_0": 3.0, "view_2": 0.5}], ids=["even", "uneven"])
@pytest.mark.parametrize("h_dim", [0, 3])
@pytest.mark.parametrize("kind", ["poe", "moe"])
def test_objective_equals_its_equation(monkeypatch, kind, h_dim, pi, case):
    """The value of each row and its gradient: eq. 29 with all M + 1 terms, over the views that the row has."""
    model = MMJSD(z_dim=Z, dynamic_prior=kind, h_dim=h_dim, pi=pi)
    network, batch = make_network(model), make_data(case)
    noise = draws((M, B, Z), (M, M, B, 3))
    fix_noise(monkeypatch, *noise)
    torch.manual_seed(2)
    terms = model.objective(network, batch, BETA)
    torch.manual_seed(2)
    draw = torch.normal(torch.zeros(1, B, Z, dtype=torch.float64), 1.0)
    weights = {0: 3.0, 1: 1.0, 2: 0.5, "prior": 1.0} if isinstance(pi, dict) else dict.fromkeys([0, 1, 2, "prior"], 1.0)
    expected = torch.stack([equation(model, network, batch, b, *noise, draw, weights) for b in range(B)])
    torch.testing.assert_close(terms.value, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(terms.parts["log_lik"].sum(0) - BETA * terms.parts["kl"], terms.value)
    for ours, theirs in zip(gradients(network, terms.value), gradients(network, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["poe", "moe"])
def test_samples_without_any_view_say_nothing(kind):
    """Their objective is 0, and has no gradient."""
    model = MMJSD(z_dim=Z, dynamic_prior=kind, h_dim=3)
    network = make_network(model)
    batch = replace(make_data("complete"), present=torch.arange(B)[:, None].expand(-1, M) != 1)
    value = model.objective(network, batch, BETA).value[1]
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert not any(gradient.any() for gradient in gradients(network, value))


# ---- the weights ----------------------------------------------------------------------------------------------------


def test_weights_are_shared_among_those_present():
    """π of the views that are there and of the prior sums to one; q(z | X) has the views' alone, scaled to do so."""
    fusion = MMJSD(pi={"view_0": 2.0, "view_1": 4.0}).fusion(NAMES)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)
    expected = torch.tensor([[2, 4, 1, 1], [2, 0, 1, 1], [0, 4, 0, 1], [0, 0, 0, 1.0]]).T
    torch.testing.assert_close(fusion.over_present(present), expected / expected.sum(0))
    rng = np.random.RandomState(0)
    loc, scale, z = rng.standard_normal((3, 4, 1)), rng.uniform(0.5, 1.5, (3, 4, 1)), rng.standard_normal((4, 1))
    density = fusion.double()(normal_experts(loc, scale), present).log_prob(double(z)).exp()
    for b, weights in enumerate(expected[:3].T.numpy()[:3]):
        parts = norm.pdf(z[b], loc[:, b, 0], scale[:, b, 0])
        assert density[b].item() == pytest.approx((weights * parts).sum() / weights.sum())
    assert density[3].item() == pytest.approx(norm.pdf(z[3, 0]))


def test_weights_are_those_of_views_by_name_position_or_all():
    """One number is for every view; a dict is by view, 1 where it says nothing; the prior's is 1."""
    same = [{"view_0": 2.0, "view_2": 2.0, "view_1": 2.0}, {"default": 2.0}, {0: 2.0, 1: 2.0, 2: 2.0}, 2.0]
    for pi in same:
        torch.testing.assert_close(MMJSD(pi=pi).fusion(NAMES).pi, torch.tensor([2, 2, 2, 1.0]) / 7)
    torch.testing.assert_close(MMJSD(pi={2: 5.0}).fusion(NAMES).pi, torch.tensor([1, 1, 5, 1.0]) / 8)
    torch.testing.assert_close(MMJSD().fusion(NAMES).pi, torch.full((4,), 0.25))


@pytest.mark.parametrize("pi", [0.0, -1.0, {"view_O": 2.0}, {"view_0": 0.0}, {5: 1.0}, [1.0, 1.0, 1.0]], ids=str)
def test_weights_that_are_none_are_refused(pi):
    """Weights are above 0, of views that there are."""
    with pytest.raises(ValueError, match="pi"):
        MMJSD(z_dim=1, pi=pi, max_epochs=1, verbose=False).fit(make_multiview(20, (3, 2), random_state=0))


# ---- bounds, where the evidence is known ----------------------------------------------------------------------------


def linear_case(noise=0.6):
    """Two views of one latent, each view's own posterior as its encoder, and those posteriors of some samples."""
    truth = make_linear_gaussian((4, 3), 1, noise=noise, random_state=3)
    views, _ = truth.sample(5, random_state=4)
    encoders = []
    for w, b, sigma in zip(truth.loadings, truth.offsets, truth.noise, strict=True):
        variance = 1 / (1 + (w[:, 0] ** 2 / sigma**2).sum())
        gain = variance * w[:, 0] / sigma**2
        encoders.append((np.stack([gain, 0 * gain]), np.array([-gain @ b, np.log(variance)])))
    return truth, views, encoders


@pytest.mark.parametrize("pi", [1.0, {"view_0": 4.0}], ids=["even", "uneven"])
@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
@pytest.mark.parametrize("kind", ["poe", "moe"])
def test_bound_of_the_evidence_with_the_dynamic_prior(kind, gaps, pi):
    """E ≤ log ∫ p_f(z | X) p(X | z) dz for β = 1 / (1 - π_{M+1}), by Jensen and the convexity of KL(· ‖ p_f)."""
    truth, views, encoders = linear_case()
    if gaps:
        views = with_gaps(views, [(0, "view_0", None), (2, "view_1", None)])
    model = MMJSD(z_dim=1, dynamic_prior=kind, pi=pi)
    network = linear_network(truth, model.latent(), model.fusion(views.names), encoders)
    batch = as_batch(views)
    present = torch.ones(5, 2, dtype=torch.bool) if batch.present is None else batch.present
    weights = network.fusion.over_present(present).numpy()
    q = network.experts(batch).base_dist
    loc = np.vstack([q.loc[..., 0].detach(), np.zeros(5)])
    scale = np.vstack([q.scale[..., 0].detach(), np.ones(5)])
    if kind == "poe":
        precision = (weights / scale**2).sum(0)
        loc, scale, parts = (
            (weights * loc / scale**2).sum(0)[None] / precision,
            precision[None] ** -0.5,
            np.ones((1, 5)),
        )
    else:
        parts = weights
    for b in range(5):
        seen = np.flatnonzero(present[b])
        x, w, offset, sigma = (
            np.concatenate([part[m] for m in seen])
            for part in ([views.array(n)[b] for n in views.names], truth.loadings, truth.offsets, truth.noise)
        )
        of_parts = [
            multivariate_normal.logpdf(x, offset + w[:, 0] * loc[j, b], w @ w.T * scale[j, b] ** 2 + np.diag(sigma**2))
            for j in range(len(parts))
        ]
        evidence = logsumexp(of_parts, b=parts[:, b])
        row = views[[b]]
        assert mean_objective(model, network, row, 1 / (1 - weights[-1, b])) < evidence


def mean_objective(model, network, views, beta):
    """The objective of one row, on average, less four standard errors."""
    torch.manual_seed(0)
    with torch.no_grad():
        values = model.objective(network, as_batch(views[np.zeros(4000, int)]), beta).value
    return (values.mean() - 4 * values.std() / 4000**0.5).item()


@pytest.mark.parametrize(("kind", "pi"), [("poe", 10.0), ("moe", 1.0)])
def test_objective_may_exceed_the_evidence(kind, pi):
    """E = log p(X) + KL(q ‖ p) - JS if q is the exact posterior, here of one view: no bound where KL(q ‖ p) > JS."""
    truth, views, encoders = linear_case(noise=1.5)
    views = with_gaps(views, [(b, "view_1", None) for b in range(5)])
    model = MMJSD(z_dim=1, dynamic_prior=kind, pi=pi)
    network = linear_network(truth, model.latent(), model.fusion(views.names), encoders)
    mean, error = bounds(model, network, views)
    assert (mean - 4 * error > truth.log_evidence(views)).any()


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_score_samples_is_the_evidence(gaps):
    """log p(X) by importance weights, with z from the mixture of the views' posteriors."""
    truth, views, encoders = linear_case()
    if gaps:
        views = with_gaps(views, [(0, "view_0", None), (2, "view_1", None)])
    model = MMJSD(z_dim=1)
    fitted = tuple(FittedView.fit(views, name, NormalLikelihood(), False) for name in views.names)
    network = linear_network(truth, model.latent(), model.fusion(views.names), encoders)
    model.views_, model.network_ = fitted, network.float().eval()
    found = model.score_samples(views, n_samples=20_000, random_state=0)
    np.testing.assert_allclose(found, truth.log_evidence(views), atol=0.03)


# ---- what it learns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "missing"), [("poe", 0.0), ("moe", 0.0), ("poe", 0.3)])
def test_shared_factors_are_told_from_private_ones(kind, missing):
    """z, from all views or one, holds the shared factors and no private ones; h_m holds view m's, and none shared."""
    size = {"n_shared": 2, "n_private": 2, "random_state": 0}
    views, factors = make_multiview(2000, (20, 20), **size, return_factors=True)
    holes = make_multiview(2000, (20, 20), **size, missing=missing)
    model = MMJSD(z_dim=2, h_dim=2, dynamic_prior=kind, max_epochs=15, verbose=False, **LINEAR).fit(holes)
    for given in (None, ["view_0"], ["view_1"]):
        z = model.transform(views, given=given)
        assert r2(z, factors["shared"]) > 0.95
        assert max(r2(z, factors[name]) for name in ("private_0", "private_1")) < 0.05
    h = model.transform_private(views)
    for m in range(2):
        assert r2(h[f"view_{m}"], factors[f"private_{m}"]) > 0.9
        assert r2(h[f"view_{m}"], factors["shared"]) < 0.1
