"""DVCCA: E_{q(z | x_r) Π q(h_m | x_m)}[Σ log p(x_m | z, h_m)] - β KL(q(z | x_r) ‖ p) - β Σ KL(q(h_m | x_m) ‖ p).

The objectives of Wang et al. (2016), VCCA and VCCA-private, in loops; how far they are from the exact evidence; what
the encoders of other views learn beside them; what is told from what.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.linear_model import LinearRegression
from torch import nn
from torch.distributions import Normal, kl_divergence

from manyview.data.preprocessing import FittedView, make_batch
from manyview.datasets import LinearGaussian, make_linear_gaussian, make_multiview
from manyview.fusion import Reference
from manyview.likelihoods import Normal as NormalLikelihood
from manyview.likelihoods import as_likelihood
from manyview.models.dvcca import DVCCA
from manyview.network import Network

from .helpers import as_batch, double, fixed_normal, gaussian_kl, linear, normal_experts, with_gaps
from .test_bounds import bounds
from .test_dmvae import draws, fix_noise, log_uniform_kl, normal, r2, standard_kl
from .test_models import BETA, KINDS, SHAPES, B, M, Z, gradients, make_data
from .test_models import Reference as Row

H = 3
NAMES = [f"view_{m}" for m in range(M)]


# ---- the objective in loops -----------------------------------------------------------------------------------------


def make_network(model, weights=None):
    """Nonlinear encoders and decoders with random weights, for z and any h_m together."""
    torch.manual_seed(0)
    latent = model.latent()
    width, z_dim = latent.width, latent.z_dim
    if latent.private is not None:
        width, z_dim = width + latent.private.width, z_dim + latent.private.z_dim
    sizes = [int(np.prod(shape)) for shape in SHAPES]
    network = Network(
        latent,
        model.fusion(NAMES),
        [nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.Tanh(), nn.Linear(8, width)) for size in sizes],
        [
            nn.Sequential(nn.Linear(z_dim, 8), nn.Tanh(), nn.Linear(8, size), nn.Unflatten(1, shape))
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


def posteriors(model, network, batch, b):
    """A row, and its q(z | x_m) and q(h_m | x_m) of each view that it has."""
    row, q, q_h = Row(network, batch, b), {}, {}
    for m in row.views:
        numbers = row.h(m)
        if model.sparse:
            mean, alpha = numbers[:Z], network.latent.log_alpha.exp()
            q[m] = Normal(mean, alpha.sqrt() * (mean.abs() + 1e-6))
        else:
            q[m] = normal(numbers[: 2 * Z])
        if model.private:
            q_h[m] = normal(numbers[network.latent.width :])
    return row, q, q_h


def equation(model, network, batch, b, source, noise_z, noise_h, weights):
    """The objective of one row, as it is printed above, with z from one view."""
    row, q, q_h = posteriors(model, network, batch, b)
    z = q[source].loc + q[source].scale * noise_z[0, b]
    total = -BETA * (log_uniform_kl if model.sparse else standard_kl)(q[source])
    for m in row.views:
        code = z
        if model.private:
            code = torch.cat([z, q_h[m].loc + q_h[m].scale * noise_h[0, m, b]])
            total = total - BETA * standard_kl(q_h[m])
        total = total + weights[m] * row.log_lik(code, m)
    return total


def beside(model, network, batch, b, r):
    """What the other views' encoders maximise: - Σ_m KL(q(z | x_r) ‖ q(z | x_m)), the reference's part held fixed."""
    _, q, _ = posteriors(model, network, batch, b)
    total = torch.zeros((), dtype=torch.float64, requires_grad=True)
    for m in q:
        if r in q and m != r:
            fixed = Normal(q[r].loc.detach(), q[r].scale.detach())
            if model.sparse:
                total = total - 0.5 * (fixed.loc - q[m].loc).square().sum()
            else:
                total = total - kl_divergence(fixed, q[m]).sum()
    return total


def sources(network, batch, seed):
    """The view that z is drawn from, in each row, with this seed."""
    torch.manual_seed(seed)
    present = torch.ones(B, M, dtype=torch.bool) if batch.present is None else batch.present
    chosen = network.fusion.draw(present).tolist()
    for b, m in enumerate(chosen):
        r = network.fusion.reference
        assert m == r if present[b, r] else present[b, m]
    return chosen


@pytest.mark.parametrize("case", ["complete", "views", "features"])
@pytest.mark.parametrize("private", [False, True], ids=["VCCA", "VCCA-private"])
@pytest.mark.parametrize(
    ("options", "weights"),
    [({}, [1.0] * M), ({"reference": "view_2"}, [50.0, 1.0, 0.5]), ({"sparse": True, "reference": 1}, [1.0] * M)],
    ids=["first", "last, weights", "sparse"],
)
def test_objective_equals_its_equation(monkeypatch, options, weights, private, case):
    """The value of eqs. 9 and 10, each KL once; its gradient, and that of what is trained beside it."""
    model = DVCCA(z_dim=Z, private=private, h_dim=H if private else None, **options)
    network, batch = make_network(model, weights), make_data(case)
    noise = draws((1, B, Z), (1, M, B, H))
    fix_noise(monkeypatch, *noise)
    chosen = sources(network, batch, seed=2)
    torch.manual_seed(2)
    terms = model.objective(network, batch, BETA)
    rows = [equation(model, network, batch, b, chosen[b], *noise, weights) for b in range(B)]
    others = [beside(model, network, batch, b, network.fusion.reference) for b in range(B)]
    torch.testing.assert_close(terms.value, torch.stack(rows), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(terms.parts["log_lik"].sum(0) - BETA * terms.parts["kl"], terms.value)
    expected = gradients(network, torch.stack(rows) + torch.stack(others))
    for ours, theirs in zip(gradients(network, terms.value), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("sparse", [False, True], ids=["normal", "sparse"])
def test_other_encoders_are_trained_beside_the_objective_alone(monkeypatch, sparse):
    """Every network but the others' encoders has the gradient of eq. 9; on complete data, eq. 9 gives these none."""
    model, r = DVCCA(z_dim=Z, reference=1, sparse=sparse), 1
    network, batch = make_network(model), make_data("complete")
    noise = draws((1, B, Z))
    fix_noise(monkeypatch, *noise)
    value = model.objective(network, batch, BETA).value
    plain = torch.stack([equation(model, network, batch, b, r, noise[0], None, [1.0] * M) for b in range(B)])
    names = [name for name, _ in network.named_parameters()]
    for name, ours, theirs in zip(names, gradients(network, value), gradients(network, plain), strict=True):
        if name.startswith(("encoders.0", "encoders.2")):
            assert ours.any()
            assert not theirs.any()
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sparse", [False, True], ids=["normal", "sparse"])
def test_samples_without_any_view_say_nothing(sparse):
    """Their objective is 0, and has no gradient."""
    model = DVCCA(z_dim=Z, private=True, sparse=sparse)
    network = make_network(model)
    batch = replace(make_data("complete"), present=torch.arange(B)[:, None].expand(-1, M) != 1)
    value = model.objective(network, batch, BETA).value[1]
    assert value.item() == 0
    assert not any(gradient.any() for gradient in gradients(network, value))


# ---- the reference --------------------------------------------------------------------------------------------------

TINY = {"encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}, "max_epochs": 2, "random_state": 0, "verbose": False}


def test_the_reference_has_a_name_and_a_position():
    """By name, by position and from the end it is the same model; another view as the reference is another model."""
    views = make_multiview(60, (5, 3, 4), random_state=0)
    same = [DVCCA(z_dim=2, reference=r, **TINY).fit(views).transform(views) for r in ("view_1", 1, -2)]
    other = DVCCA(z_dim=2, reference="view_2", **TINY).fit(views).transform(views)
    assert np.array_equal(same[0], same[1])
    assert np.array_equal(same[0], same[2])
    assert not np.allclose(same[0], other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": "view_l"}, "reference='view_l': there is no such view; did you mean 'view_1'"),
        ({"reference": 2}, "reference=2: there is no such view. Allowed: 'view_0', 'view_1'"),
        ({"reference": -3}, "reference=-3"),
        ({"reference": True}, "reference=True"),
        ({"h_dim": 3}, "h_dim=3, but there are no private latents; set private=True"),
    ],
)
def test_what_is_not_there_is_refused(options, message):
    """Unknown views, and private dimensions without private latents."""
    with pytest.raises(ValueError, match=message):
        DVCCA(z_dim=2, **options, **TINY).fit(make_multiview(20, (3, 2), random_state=0))


def test_z_comes_from_the_reference_or_from_the_others_alike():
    """q(z | X): the reference's posterior where it is there, the even mixture of the others, or the prior."""
    present = torch.tensor([[1, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)
    rng = np.random.RandomState(0)
    loc, scale = rng.standard_normal((3, 5, 2)), rng.uniform(0.5, 1.5, (3, 5, 2))
    z = double(rng.standard_normal((5, 2)))
    q = Reference(1)(normal_experts(loc, scale), present)
    active = [[1], [1], [0, 2], [0], []]
    for b, views in enumerate(active):
        parts = [Normal(double(loc[m, b]), double(scale[m, b])) for m in views] or [Normal(0 * z[b], 1 + 0 * z[b])]
        density = sum(part.log_prob(z[b]).sum().exp() for part in parts) / len(parts)
        torch.testing.assert_close(q.log_prob(z)[b].exp(), density)

    torch.manual_seed(0)
    drawn = torch.stack([Reference(1).draw(present) for _ in range(2000)])
    share = torch.stack([(drawn == m).double().mean(0) for m in range(3)])[:, :4]
    expected = double([[0, 0, 0.5, 1], [1, 1, 0, 0], [0, 0, 0.5, 0]])
    assert ((share - expected).abs() < 4 * 0.5 / 2000**0.5).all()
    assert torch.equal(share[expected == 0], expected[expected == 0])


# ---- against exact evidence -----------------------------------------------------------------------------------------


def linear_network(truth, model, encoders):
    """Decoders and noise of the truth, whose latents are z (2) and h_0, h_1 ... (1 each), if private."""
    n_views = len(encoders)
    columns = [[0, 1, 2 + m] if model.private else [0, 1] for m in range(n_views)]
    return Network(
        model.latent(),
        model.fusion([f"view_{m}" for m in range(n_views)]),
        [linear(*encoder) for encoder in encoders],
        [linear(w[:, c], b) for w, b, c in zip(truth.loadings, truth.offsets, columns, strict=True)],
        [fixed_normal(sigma) for sigma in truth.noise],
        [torch.zeros(len(b), dtype=torch.float64) for b in truth.offsets],
    ).double()


def make_truth(private):
    """Three views that share two factors, and have one each to themselves, if private."""
    truth = make_linear_gaussian((4, 3, 3), 5 if private else 2, noise=0.6, random_state=3)
    for m, w in enumerate(truth.loadings):
        w[:, [n for n in range(2, w.shape[1]) if n != 2 + m]] = 0.0
    return truth


def make_encoders(truth, private):
    """Each view's own posterior of (z, h_m), its covariances left out, shifted and widened."""
    rng, out = np.random.RandomState(5), []
    for m, (w, b, sigma) in enumerate(zip(truth.loadings, truth.offsets, truth.noise, strict=True)):
        w = w[:, [0, 1, 2 + m]] if private else w
        precision = np.eye(w.shape[1]) + w.T / sigma**2 @ w
        gain = np.linalg.solve(precision, w.T / sigma**2) + 0.05 * rng.standard_normal(w.T.shape)
        log_variance = 0.2 + np.log(np.diag(np.linalg.inv(precision)))
        means = np.vsplit(np.column_stack([gain, 0.1 - gain @ b]), [2])
        scales = np.vsplit(np.column_stack([0 * gain, log_variance]), [2])
        rows = np.vstack([means[0], scales[0], means[1], scales[1]])
        out.append((rows[:, :-1], rows[:, -1]))
    return out


GAPS = [(0, "view_0", None), (1, "view_2", [1, 2]), (2, "view_1", None), (2, "view_2", None), (3, "view_0", [0])]


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
@pytest.mark.parametrize("private", [False, True], ids=["VCCA", "VCCA-private"])
@pytest.mark.parametrize("reference", [0, 2])
def test_bound_is_as_far_below_the_evidence_as_its_posterior_is_off(private, gaps, reference):
    """E = log p(X) - KL(q(z | x_r) Π q(h_m | x_m) ‖ p(z, h | X)), X what was observed; the mean over r without one."""
    truth = make_truth(private)
    views, _ = truth.sample(5, random_state=4)
    views = with_gaps(views, GAPS) if gaps else views
    model = DVCCA(z_dim=2, reference=reference, private=private, h_dim=1 if private else None)
    network, batch = linear_network(truth, model, make_encoders(truth, private)), as_batch(views)
    with torch.no_grad():
        experts, q_h = network.encode(batch)
    evidence, (means, covariances) = truth.log_evidence(views), truth.posterior(views)
    gap = np.zeros(5)
    for b, here in enumerate(views.present):
        active = [reference] if here[reference] else np.flatnonzero(here)
        for m in active:
            loc, scale = experts.base_dist.loc[m, b], experts.base_dist.scale[m, b]
            if private:  # the private latent of an absent view has the prior, which is its posterior
                mask = torch.from_numpy(here)
                loc = torch.cat([loc, q_h.base_dist.loc[:, b, 0].where(mask, 0.0)])
                scale = torch.cat([scale, q_h.base_dist.scale[:, b, 0].where(mask, 1.0)])
            q = loc.numpy(), np.diag(scale.numpy() ** 2)
            gap[b] += gaussian_kl(*q, means[b], covariances[b]) / len(active)
    mean, error = bounds(model, network, views)
    assert (gap > 0.01).all()
    assert (mean < evidence + 4 * error).all()
    assert (np.abs(mean - (evidence - gap)) < 4 * error).all()


@pytest.mark.parametrize(("noise", "tight"), [(1e4, True), (0.5, False)], ids=["noise", "news"])
def test_bound_is_tight_if_the_other_views_tell_nothing_more(noise, tight):
    """q(z | x_r) = p(z | x_r) is p(z | X) where the other view is all noise; where it is not, it falls short of it."""
    basis = np.linalg.qr(np.random.RandomState(0).standard_normal((4, 2)))[0]
    w, sigma = basis * [2.0, 1.5], 0.7  # orthogonal columns: the posterior has no correlations
    other = np.random.RandomState(1).standard_normal((3, 2))
    truth = LinearGaussian((w, other), (np.zeros(4), np.zeros(3)), (np.full(4, sigma), np.full(3, noise)))
    variance = 1 / (1 + (w**2).sum(0) / sigma**2)
    exact = np.vstack([variance[:, None] * w.T / sigma**2, np.zeros((2, 4))]), np.r_[0, 0, np.log(variance)]
    model = DVCCA(z_dim=2)
    network = linear_network(truth, model, [exact, (np.zeros((4, 3)), np.zeros(4))])
    views, _ = truth.sample(5, random_state=1)
    mean, error = bounds(model, network, views)
    short = truth.log_evidence(views) - mean
    assert (np.abs(short) < 4 * error + 1e-6).all() if tight else (short > 0.1).all()


def test_score_samples_integrates_the_private_latents_out():
    """log N(X; b, W W' + V V' + Ψ) of what was observed: z and each h_m, also those of views that are absent."""
    truth = make_truth(private=True)
    views = with_gaps(truth.sample(5, random_state=4)[0], GAPS)
    model = DVCCA(z_dim=2, private=True, h_dim=1)
    fitted = tuple(FittedView.fit(views, name, NormalLikelihood(), False) for name in views.names)
    # Posteriors as wide as the prior keep the variance of the weights finite.
    wide = [(weight, bias * [1, 1, 0, 0, 1, 0]) for weight, bias in make_encoders(truth, private=True)]
    network = linear_network(truth, model, wide)
    model.views_, model.network_ = fitted, network.float().eval()
    x = np.concatenate([views.array(name) for name in views.names], axis=1)
    shared = np.concatenate([w[:, :2] for w in truth.loadings])
    covariance = shared @ shared.T + np.diag(np.concatenate(truth.noise) ** 2)
    start = 0
    for m, w in enumerate(truth.loadings):
        block = slice(start, start + len(w))
        covariance[block, block] += np.outer(w[:, 2 + m], w[:, 2 + m])
        start += len(w)
    offset = np.concatenate(truth.offsets)
    expected = []
    for row in x:
        seen = ~np.isnan(row)
        expected.append(multivariate_normal.logpdf(row[seen], offset[seen], covariance[np.ix_(seen, seen)]))
    np.testing.assert_allclose(model.score_samples(views, n_samples=200_000, random_state=0), expected, atol=0.05)


# ---- what it learns -------------------------------------------------------------------------------------------------

LINEAR = {"encoder": {"hidden": ()}, "decoder": {"hidden": ()}, "learning_rate": 2e-2, "random_state": 0}


@pytest.mark.parametrize(("reference", "missing"), [("view_0", 0.0), ("view_1", 0.3)])
def test_shared_factors_are_told_from_private_ones(reference, missing):
    """z, from either view, holds the shared factors and no private ones; h_m holds view m's own, and no shared ones."""
    size = {"n_shared": 2, "n_private": 2, "random_state": 0}
    views, factors = make_multiview(2000, (20, 20), **size, return_factors=True)
    holes = make_multiview(2000, (20, 20), **size, missing=missing)
    model = DVCCA(z_dim=2, private=True, reference=reference, max_epochs=15, verbose=False, **LINEAR).fit(holes)
    for given in (None, ["view_0"], ["view_1"]):
        z = model.transform(views, given=given)
        assert r2(z, factors["shared"]) > 0.95
        assert max(r2(z, factors[name]) for name in ("private_0", "private_1")) < 0.05
    h = model.transform_private(views)
    for m in range(2):
        assert r2(h[f"view_{m}"], factors[f"private_{m}"]) > 0.9
        assert r2(h[f"view_{m}"], factors["shared"]) < 0.1
        assert r2(h[f"view_{m}"], factors[f"private_{1 - m}"]) < 0.05


def test_other_views_predict_the_posterior_of_the_reference():
    """q(z | x_m) has the moments of the mean of q(z | x_r) over p(x_r | x_m): regression, and what that leaves over."""
    views = make_multiview(3000, (10, 10), n_shared=2, n_private=1, noise=0.7, random_state=0)
    train, test = views[:2000], views[2000:]
    model = DVCCA(z_dim=2, max_epochs=20, verbose=False, **LINEAR).fit(train)
    target = [model.transform(data, given=["view_0"]) for data in (train, test)]
    regression = LinearRegression().fit(train.array("view_1"), target[0])
    best, found = regression.predict(test.array("view_1")), model.transform(test, given=["view_1"])
    assert (target[1] - best).var() > 0.1 * target[1].var()  # the views differ
    assert ((found - best) ** 2).mean() < 0.02 * target[1].var()
    with torch.no_grad():
        own, other = model.network_.experts(make_batch(test, model.views_)).variance.mean(1).numpy()
    np.testing.assert_allclose(other, own + (target[1] - best).var(0), rtol=0.15)


def test_sparse_finds_how_many_dimensions_the_views_need():
    """Variational dropout leaves the two factors that there are; the other view's encoder finds them too."""
    views, factors = make_multiview(1000, (10, 10), n_shared=2, return_factors=True, random_state=0)
    model = DVCCA(z_dim=5, sparse=True, max_epochs=40, verbose=False, **LINEAR).fit(views)
    assert len(model.kept_dimensions_) == 2
    for given in (["view_0"], ["view_1"]):
        assert r2(model.transform(views, given=given), factors["shared"]) > 0.9
