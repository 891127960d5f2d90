"""Weights of the views in the objective, and conditional log-likelihoods, against loops and closed forms.

With λ the weights and L the reconstruction matrix, objectives are A + Σ_m λ_m B_m, or have Σ_m λ_m log p(x_m | z)
inside their importance weights. Fitted linear models are normal distributions: their conditional densities are known.
"""

import copy
import math
import re

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from torch import nn
from torch.distributions import kl_divergence

import manyview as mv
from manyview.data import Views
from manyview.data.preprocessing import make_batch
from manyview.datasets import make_multiview
from manyview.models import MODELS
from manyview.seeding import seeded

NAMES, WIDTHS = ("view_0", "view_1", "view_2"), (6, 3, 4)
TINY = {
    "z_dim": 2,
    "encoder": {"hidden": [8]},
    "decoder": {"hidden": [8]},
    "max_epochs": 2,
    "batch_size": 32,
    "random_state": 0,
    "verbose": False,
}
LINEAR = {
    **TINY,
    "encoder": {"hidden": []},
    "decoder": {"hidden": []},
    "max_epochs": 20,
    "batch_size": 25,
    "learning_rate": 0.03,
}
LIKELIHOOD_MODELS = [Model for Model in MODELS if Model.has_likelihood]


def case(Model):
    """A model and its parameters, with one importance sample, so that the objective has no logarithm of a mean."""
    return Model, {**TINY, **({"n_importance_samples": 1} if "n_importance_samples" in Model().get_params() else {})}


def reweighted(model, weight):
    """The same model and network, as if it had been built with these weights."""
    other = copy.copy(model)
    other.likelihood_weight = weight
    other.network_ = other.build(model.views_)
    other.network_.load_state_dict(model.network_.state_dict())
    return other


def objective(model, weight, batch):
    """The objective of each sample, and the gradient of its sum, as arrays."""
    other = reweighted(model, weight)
    other.network_.train().requires_grad_()
    with seeded(0):
        value = other.objective(other.network_, batch, other.beta_at(math.inf)).value
    value.sum().backward()
    gradient = [torch.zeros_like(p) if p.grad is None else p.grad for p in other.network_.parameters()]
    return value.detach().numpy(), torch.cat([part.flatten() for part in gradient]).numpy()


LOG_VARIANCES = [2, 3, 5]  # among an encoder's outputs: of two dimensions of z, and one of h, after their means


def last_layers(modules):
    return [[layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1] for module in modules]


def log_density(model, m, views, eta):
    """log p(x_m | z) in the units of the data, of normal views, by scipy."""
    view, sigma = model.views_[m], model.network_.likelihood(m).sigma.detach().numpy()
    mean = view.loc + view.scale * eta.detach().numpy()
    return norm.logpdf(views.array(view.name), mean, view.scale * sigma).sum(-1)


@pytest.fixture(scope="module")
def views():
    return make_multiview(60, WIDTHS, random_state=0)


@pytest.fixture(scope="module", params=MODELS, ids=lambda Model: Model.__name__)
def any_model(request, views):
    Model, parameters = case(request.param)
    return Model(**parameters).fit(views)


@pytest.fixture(scope="module")
def model(views):
    return mv.MVAE(**TINY).fit(views)


@pytest.fixture(scope="module")
def batch(views, model):
    return make_batch(views, model.views_)


# ---- in the objective -----------------------------------------------------------------------------------------------


def test_objective_and_gradient_are_linear_in_the_weights(any_model, views):
    """value(λ) = value(0) + Σ_m λ_m (value(e_m) - value(0)), sample by sample, with gaps; the gradient alike."""
    present = np.random.RandomState(0).uniform(size=(len(views), 3)) < 0.8
    present[:, 1] |= ~present.any(1)
    batch = make_batch(Views({name: views.array(name) for name in NAMES}, present=present), any_model.views_)
    weights = (2.0, 0.5, 7.0)
    expected = [x.astype(float) for x in objective(any_model, 0.0, batch)]
    start = copy.deepcopy(expected)
    for name, weight in zip(NAMES, weights, strict=True):  # one view at a time
        alone = objective(any_model, {name: 1.0, "default": 0.0}, batch)
        slopes = [weight * (x - x0) for x, x0 in zip(alone, start, strict=True)]
        assert np.abs(slopes[1]).max() > 1e-5, f"the gradient knows nothing of the weight of {name}"
        expected = [total + slope for total, slope in zip(expected, slopes, strict=True)]
    found = objective(any_model, dict(zip(NAMES, weights, strict=True)), batch)
    for x, target in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, target, rtol=1e-4, atol=1e-4 * np.abs(target).max())


def test_weighted_bound_is_the_sum_over_views(model, views, batch):
    """MVAE: Σ_m λ_m log p(x_m | z) - β KL(q(z | X) ‖ p(z))."""
    weights = (2.0, 0.0, 0.3)
    network = model.network_
    with torch.no_grad(), seeded(0):
        q = network.posterior(batch)
        z = q.rsample((1,))
        expected = -kl_divergence(q, network.latent.prior).numpy()
        for m, weight in enumerate(weights):
            expected += weight * log_density(model, m, views, network.decoders[m](z[0]))
    value, _ = objective(model, dict(enumerate(weights)), batch)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


def test_in_a_mixture_the_weights_are_inside_the_importance_weights(views, batch):
    """MMVAE: 1/M Σ_m log 1/K Σ_k p(z^k) Π_n p(x_n | z^k)^λ_n / q(z^k | X), with z^k ~ q(z | x_m)."""
    K, weights = 4, (0.02, 0.05, 0.01)
    model = mv.MMVAE(**TINY, n_importance_samples=K).fit(views)
    network = model.network_
    with torch.no_grad(), seeded(0):
        q = network.experts(batch)
        z = q.rsample((K,))
        expected = np.zeros(len(views))
        for m in range(3):
            log_q = torch.stack([q.log_prob(z[k, m]) for k in range(K)]).logsumexp(1) - math.log(3)
            log_w = (network.latent.prior.log_prob(z[:, m]) - log_q).numpy()
            for n, weight in enumerate(weights):
                eta = torch.stack([network.decoders[n](z[k, m]) for k in range(K)])
                log_w = log_w + weight * log_density(model, n, views, eta)
            expected += np.log(np.exp(log_w).mean(0)) / 3
            assert np.ptp(log_w, 0).mean() > 0.1, "all draws weigh the same: inside or outside would make no difference"
    value, _ = objective(model, dict(enumerate(weights)), batch)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("Model", [mv.DMVAE, mv.WeightedDMVAE])
@pytest.mark.parametrize("m", range(3))
def test_lambda_goes_with_the_view_that_is_decoded(Model, m, views, batch):
    """DMVAE: λ_m multiplies Σ_s log p(x_m | z_s, h_m) over all sources s; posteriors here are all but points."""
    model = Model(**TINY).fit(views)
    network = model.network_
    with torch.no_grad():
        for layer in last_layers(network.encoders):
            layer.weight[LOG_VARIANCES] = 0.0
            layer.bias[LOG_VARIANCES] = -18.0
        experts, q_h = network.encode(batch)
        sources = [network.posterior(batch).mean, *experts.mean]
        codes = [torch.cat([z, q_h.mean[m]], dim=-1) for z in sources]
        expected = sum(log_density(model, m, views, network.decoders[m](code)) for code in codes)
    (one, _), (none, _) = (objective(model, {m: weight, "default": 0.0}, batch) for weight in (3.0, 0.0))
    # The divergences of such narrow posteriors are large, and rounded to float32.
    np.testing.assert_allclose((one - none) / 3, expected, rtol=5e-3, atol=5e-3)


def test_the_view_that_weighs_more_is_the_one_that_is_encoded():
    """Two views without a factor in common, and one dimension for both."""
    rng = np.random.RandomState(0)
    factors, loadings = rng.standard_normal((2, 150, 1)), rng.standard_normal((2, 1, 4))
    data = [x + 0.1 * rng.standard_normal(x.shape) for x in factors * loadings]
    for heavy in range(2):
        weight = {heavy: 10.0, 1 - heavy: 0.1}
        out = mv.MVAE(**{**LINEAR, "z_dim": 1, "batch_size": 50}, likelihood_weight=weight).fit(data).predict(data)
        r2 = [1 - ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum() for x, y in zip(data, out, strict=True)]
        assert r2[heavy] > 0.9
        assert abs(r2[1 - heavy]) < 0.2


# ---- how weights are given ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1.0, (1, 1, 1)),
        (3, (3, 3, 3)),
        (np.float32(0.5), (0.5, 0.5, 0.5)),
        ("dimension", (1, 2, 1.5)),
        ({"view_1": 2.0}, (1, 2, 1)),
        ({1: 2.0}, (1, 2, 1)),
        ({2: 0, "view_0": 4}, (4, 1, 0)),
        ({"default": 2.0}, (2, 2, 2)),
        ({"default": 2.0, "view_2": 5.0}, (2, 2, 5)),
        ({"view_1": "dimension"}, (1, 2, 1)),
        ({"default": "dimension", "view_1": 0.1}, (1, 0.1, 1.5)),
        ({}, (1, 1, 1)),
    ],
    ids=str,
)
def test_forms_of_weights(given, expected, model, views, batch):
    value, gradient = objective(model, given, batch)
    target_value, target_gradient = objective(model, dict(enumerate(map(float, expected))), batch)
    np.testing.assert_array_equal(value, target_value)
    np.testing.assert_array_equal(gradient, target_gradient)
    fitted = mv.MVAE(**TINY, likelihood_weight=given).fit(views).network_.weights
    np.testing.assert_allclose(np.ones(3) if fitted is None else fitted.squeeze(1), expected, rtol=1e-6)


def test_dimension_counts_the_numbers_of_an_image():
    rng = np.random.RandomState(0)
    data = {"image": rng.uniform(size=(20, 2, 3, 5)), "age": rng.standard_normal((20, 1))}
    model = mv.MVAE(**{**TINY, "encoder": "mlp", "decoder": "mlp"}, likelihood_weight="dimension").fit(data)
    assert model.network_.weights.squeeze(1).tolist() == [1.0, 30.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (-1.0, "likelihood_weight"),
        ({"view_0": -0.1}, "likelihood_weight"),
        (float("nan"), "likelihood_weight"),
        (None, "likelihood_weight"),
        ("dimensions", "likelihood_weight"),
        ({"view_0": "width"}, "likelihood_weight"),
        ([1.0, 2.0, 3.0], "likelihood_weight"),
        ({"veiw_0": 2.0}, "likelihood_weight.*'veiw_0'.*did you mean 'view_0'"),
        ({"image": 2.0}, "likelihood_weight.*'image'.*view_0"),
        ({3: 2.0}, "likelihood_weight.*3"),
        ({0: 2.0, "view_0": 1.0}, "likelihood_weight.*view_0"),
    ],
    ids=str,
)
def test_weights_that_mean_nothing_are_refused(given, message, views):
    with pytest.raises((ValueError, TypeError), match=f"(?s){message}"):
        mv.MVAE(**TINY, likelihood_weight=given).fit(views)


# ---- weights of zero ------------------------------------------------------------------------------------------------


def test_a_view_of_weight_zero_informs_but_is_not_learned(views, batch):
    """Its decoder gets gradients of exactly zero, and stays as it was drawn; its encoder is trained for the others."""
    model = mv.MVAE(**TINY, validation_fraction=0, likelihood_weight={"view_1": 0.0})
    fitted = copy.deepcopy(model).fit(views)
    network = fitted.network_.train().requires_grad_()
    with seeded(0):
        fitted.objective(network, batch, 1.0).value.sum().backward()
    for m in range(3):
        gradients = [p.grad for part in (network.decoders[m], network.likelihoods[m]) for p in part.parameters()]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert any(gradient.any() for gradient in gradients) == (m != 1)
        assert any(p.grad.any() for p in network.encoders[m].parameters())
    longer = copy.deepcopy(model).fit(views, max_epochs=4).network_
    for m in range(3):
        pairs = zip(network.decoders[m].parameters(), longer.decoders[m].parameters(), strict=True)
        same = [torch.equal(p, q) for p, q in pairs]
        assert all(same) if m == 1 else not any(same)
    assert all(np.isfinite(x).all() for x in fitted.predict(views).values())


@pytest.mark.parametrize("Model", LIKELIHOOD_MODELS, ids=lambda Model: Model.__name__)
def test_models_train_when_all_weights_are_zero(Model, views):
    model = Model(**TINY, likelihood_weight=0.0).fit(views)
    assert np.isfinite(model.history_["loss"]).all()
    assert np.isfinite(model.transform(views)).all()


# ---- not in what methods return -------------------------------------------------------------------------------------


@pytest.mark.parametrize("any_model", LIKELIHOOD_MODELS, ids=lambda Model: Model.__name__, indirect=True)
def test_log_likelihoods_are_not_weighted(any_model, views):
    heavy = reweighted(any_model, {"view_0": 9.0, "view_2": 0.0})
    for given in (None, "view_1"):
        scores = any_model.score_samples(views, given=given, n_samples=5, random_state=0)
        np.testing.assert_array_equal(heavy.score_samples(views, given=given, n_samples=5, random_state=0), scores)


def test_weights_survive_files(tmp_path, views, batch):
    model = mv.MVAE(**TINY, likelihood_weight={"view_1": "dimension", 0: 0.25}).fit(views)
    model.save(tmp_path / "model.safetensors")
    loaded = mv.load(tmp_path / "model.safetensors")
    assert torch.equal(loaded.network_.weights, model.network_.weights)
    with seeded(0):
        expected = model.objective(model.network_, batch, 1.0).value
    with seeded(0):
        assert torch.equal(loaded.objective(loaded.network_, batch, 1.0).value, expected)


# ---- conditional log-likelihoods ------------------------------------------------------------------------------------


def joint_normal(model):
    """Means and covariance of all the features that a linear model states, private latents included."""
    network, n_views = model.network_, len(model.views_)
    private = network.latent.private
    h_dim = 0 if private is None else private.z_dim
    loadings, means, noises = [], [], []
    for m, view in enumerate(model.views_):
        (layer,) = last_layers([network.decoders[m]])
        w = view.scale[:, None] * layer.weight.detach().numpy().astype(float)
        full = np.zeros((len(w), model.z_dim + n_views * h_dim))
        full[:, : model.z_dim] = w[:, : model.z_dim]
        start = model.z_dim + m * h_dim
        full[:, start : start + h_dim] = w[:, model.z_dim :]
        loadings.append(full)
        means.append(view.loc + view.scale * layer.bias.detach().numpy())
        noises.append(view.scale * network.likelihood(m).sigma.detach().numpy())
    w = np.vstack(loadings)
    assert torch.equal(network.latent.prior.variance, torch.ones(model.z_dim))
    return np.hstack(means), w @ w.T + np.diag(np.hstack(noises) ** 2)


def conditional(model, views, given):
    """log p(x_rest | x_given) of each row, of what is observed, by conditioning a normal distribution."""
    mean, covariance = joint_normal(model)
    x = np.hstack([views.array(name) for name in views.names]).astype(float)
    known = np.repeat([name in given for name in views.names], [len(view.loc) for view in model.views_])
    out = np.zeros(len(x))
    for i, row in enumerate(x):
        g, r = known & ~np.isnan(row), ~known & ~np.isnan(row)
        if r.any():
            gain = covariance[np.ix_(r, g)] @ np.linalg.inv(covariance[np.ix_(g, g)])
            rest = covariance[np.ix_(r, r)] - gain @ covariance[np.ix_(g, r)]
            out[i] = multivariate_normal(mean[r] + gain @ (row[g] - mean[g]), rest).logpdf(row[r])
    return out


LINEAR_MODELS = {
    "MVAE": (mv.MVAE, {}),
    "JMVAE": (mv.JMVAE, {"joint_encoder": {"hidden": []}}),
    "MMVAE": (mv.MMVAE, {"posterior": "normal", "n_importance_samples": 2}),
    "DMVAE": (mv.DMVAE, {}),
}


@pytest.fixture(scope="module")
def simulated():
    """Data far from mean 0 and scale 1, so that the units matter; and the same with gaps."""
    views = make_multiview(75, (4, 3, 2), n_shared=2, noise=1.0, random_state=1)
    views = Views({name: 5 + 3 * views.array(name) for name in NAMES})
    gaps = {name: views.array(name).copy() for name in NAMES}
    gaps["view_0"][0] = gaps["view_1"][1] = gaps["view_2"][2] = np.nan  # a view that is given, or is not, is missing
    gaps["view_1"][3] = gaps["view_2"][3] = np.nan
    gaps["view_0"][4, 1] = gaps["view_1"][4, 0] = np.nan  # single features
    return views, Views(gaps)


def tolerance(model):
    """Nats, by the spread of such estimates; what one view says about the others is worth 4 to 15 nats here."""
    return 0.15 if model.network_.latent.private is None else 0.5


@pytest.fixture(scope="module", params=LINEAR_MODELS)
def linear(request, simulated):
    Model, parameters = LINEAR_MODELS[request.param]
    model = Model(**{**LINEAR, **parameters}).fit(simulated[0])
    if model.network_.latent.private is not None:
        # z and h depend on each other given x: wider posteriors make up for it, so that fewer draws do.
        for layer in last_layers(model.network_.encoders):
            layer.bias.data[LOG_VARIANCES] += 1.0
    return model


@pytest.mark.parametrize("given", [["view_0"], ["view_1", "view_2"], ["view_2"]], ids=str)
@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_conditional_log_likelihood_is_that_of_the_conditional_normal(linear, simulated, given, gaps):
    """log N(x_r; μ_r + Σ_rg Σ_gg⁻¹ (x_g - μ_g), Σ_rr - Σ_rg Σ_gg⁻¹ Σ_gr) of what is observed; 0 where nothing is."""
    views = simulated[gaps][:8]
    found = linear.score_samples(views, given=given, n_samples=10_000, random_state=0)
    np.testing.assert_allclose(found, conditional(linear, views, given), atol=tolerance(linear))


def test_conditional_is_the_difference_of_two_scores_in_expectation(linear, simulated):
    """log p(X) = log p(x_g) + log p(x_r | x_g)."""
    views = simulated[0][:8]
    options = {"n_samples": 10_000, "random_state": 0}
    total = linear.score_samples(views, **options)
    first = linear.score_samples(views.select(["view_1"]), **options)
    found = linear.score_samples(views, given="view_1", **options)
    np.testing.assert_allclose(found, total - first, atol=tolerance(linear))


def test_given_by_name_by_position_and_by_several(model, views):
    def score(given):
        return model.score_samples(views, given=given, n_samples=10, random_state=0)

    for forms in (["view_0", 0, -3, ["view_0"], (0,)], [["view_0", "view_2"], [0, 2], [2, 0], ["view_2", 0, -1]]):
        for form in forms[1:]:
            np.testing.assert_array_equal(score(form), score(forms[0]))
    assert not np.allclose(score("view_0"), score("view_1"))
    assert model.score(views, given=1, n_samples=10, random_state=0) == pytest.approx(score("view_1").mean())


@pytest.mark.parametrize("given", [["view_0", "view_1", "view_2"], [0, 1, 2]])
def test_nothing_left_to_be_explained_is_refused(model, views, given):
    with pytest.raises(ValueError, match=re.escape(f"given={given!r} names all the views")):
        model.score_samples(views, given=given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("veiw_0", "given='veiw_0'.*did you mean 'view_0'"),
        (3, "given=3: the model has no view 3"),
        ([], r"given=\[\]: name at least one view"),
    ],
)
def test_views_that_the_model_has_not_are_refused(model, views, given, message):
    with pytest.raises(ValueError, match=message):
        model.score_samples(views, given=given)


@pytest.mark.parametrize("any_model", [M for M in MODELS if not M.has_likelihood], indirect=True)
def test_models_without_a_likelihood_have_none_to_condition(any_model, views):
    with pytest.raises(ValueError, match=f"{type(any_model).__name__} states no log-likelihood to condition"):
        any_model.score_samples(views, given="view_0")


@pytest.mark.filterwarnings("ignore:no dimension has a dropout rate")
def test_sparse_models_have_no_conditional_log_likelihood(views):
    """Their prior is improper."""
    model = mv.MVAE(**TINY, sparse=True).fit(views)
    with pytest.raises(ValueError, match="prior"):
        model.score_samples(views, given="view_0")
