"""Every model, with missing views and covariates: each metric has a finite answer in its range, or says why not."""

import numpy as np
import pytest

import manyview as mv
from manyview import metrics
from manyview.models import MODELS

N = 40


@pytest.fixture(scope="module")
def data():
    views = mv.datasets.make_multiview(2 * N, (4, 3, 3), n_shared=2, random_state=0)
    present = np.ones((2 * N, 3), bool)
    present[[1, 2, 45], [0, 1, 2]] = False
    covariates = {"age": np.linspace(20, 80, 2 * N), "site": np.arange(2 * N) % 2}
    return mv.Views(views, present=present), covariates, (views["view_0"][:, 0] > 0).astype(int)


@pytest.fixture(scope="module", params=MODELS, ids=lambda Model: Model.__name__)
def model(request, data):
    views, covariates, _ = data
    parameters = {"z_dim": 2, "encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}, "max_epochs": 2}
    return request.param(**parameters, random_state=0, verbose=False).fit(views, covariates=covariates)


@pytest.fixture(scope="module")
def new(data):
    views, covariates, y = data
    return views[N:], {name: values[N:] for name, values in covariates.items()}, y[N:]


def classifiers(views):
    return {name: lambda x: (x[:, 0] > 0).astype(int) for name in views.names}


def test_predictions(model, new):
    """Errors, deviations, shares of variance: finite but for what is missing."""
    views, c, _ = new
    errors = metrics.reconstruction_error(model, views, given="view_0", covariates=c)
    assert (errors.by_feature[["mse", "mae"]] > 0).all(axis=None)
    assert (errors.by_feature["r2"] <= 1).all()
    pairs = metrics.cross_prediction(model, views, covariates=c)
    assert (len(pairs), pairs["n"].min()) == (12, N - 1)
    assert (np.isfinite(pairs["r2"]) & (pairs["r2"] <= 1)).all()
    shares = metrics.variance_explained(model, views, covariates=c)
    assert np.isfinite(shares).all(axis=None)
    assert (shares["all"] <= 1).all()
    found = metrics.feature_deviation(model, views, views, covariates=c, reference_covariates=c)
    for name in views.names:
        missing = np.isnan(views.array(name))
        assert (np.isnan(found.z_scores[name]) == missing).all()
        assert ((found.p_value[name] > 0) & (found.p_value[name] <= 1) | missing).all()


def test_latents(model, new, data):
    views, c, y = new
    found = metrics.latent_deviation(model, views, views, covariates=c, reference_covariates=c)
    assert (found.distance >= 0).all()
    assert ((found.p_value > 0) & (found.p_value <= 1)).all()
    groups = metrics.clustering(model, views, y, covariates=c)
    assert -1 <= groups.ari <= 1
    assert 0 <= groups.nmi <= 1
    assert -1 <= groups.silhouette <= 1
    table = metrics.separation(model, views, {"y": y}, covariates=c)
    assert (table <= 1).all(axis=None)
    assert len(table.columns) == (1 if model.network_.latent.private is None else 4)
    train, train_c, train_y = data
    table = metrics.latent_classification(
        model, train, train_y, views, y, train_covariates=train_c, test_covariates=c, classifier="logistic"
    )
    assert table["accuracy"].between(0, 1).all()
    assert len(table) == 7


def test_generation(model, new):
    views, c, y = new
    for n_samples in (1, None):
        found = metrics.conditional_coherence(model, views, y, classifiers(views), covariates=c, n_samples=n_samples)
        assert found.table["coherence"].between(0, 1).all()
        assert len(found.table) == 9
    try:
        model.sample(covariates=c)
    except ValueError:  # no prior to draw from: the metric passes on why
        with pytest.raises(ValueError, match="prior"):
            metrics.joint_coherence(model, classifiers(views), covariates=c)
    else:
        joint = metrics.joint_coherence(model, classifiers(views), covariates=c)
        assert 0 <= joint.value <= 1
        assert joint.n == N


def test_likelihood_and_intervals(model, new):
    """Of models that state a density; the others say that they do not."""
    views, c, _ = new
    if model.has_likelihood:
        for given in (None, "view_0"):
            found = metrics.log_likelihood(model, views, given=given, covariates=c, n_samples=20)
            expected = model.score_samples(views, given=given, covariates=c, n_samples=20)
            known = ~np.isnan(found.samples)
            assert found.n == known.sum() >= N - 1
            assert np.abs(found.samples - expected)[known].mean() < 2
            assert 1 <= found.effective_samples <= 20
        table = metrics.calibration(model, views, given="view_0", covariates=c, n_samples=20)
        assert table["coverage"].between(0, 1).all()
        assert len(table) == 8
    else:
        with pytest.raises(ValueError, match="no log-likelihood"):
            metrics.log_likelihood(model, views, covariates=c)
        with pytest.raises(ValueError, match="predictive intervals"):
            metrics.calibration(model, views, covariates=c)


def test_covariates_are_asked_for(model, new):
    views, _, y = new
    for ask in (
        lambda: metrics.reconstruction_error(model, views),
        lambda: metrics.clustering(model, views, y),
        lambda: metrics.latent_deviation(model, views, views),
    ):
        with pytest.raises(ValueError, match="fitted with covariates"):
            ask()
