"""Coherence against closed forms of a model with one latent dimension, and against predictions that are counted."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm

import manyview as mv
from manyview.metrics import conditional_coherence, joint_coherence

from .helpers import exact_model, one_dimension, set_linear, without


def above(truth, m, threshold):
    """A classifier of view m: whether the z that its expected value shows is above a threshold."""
    w, b = truth.loadings[m][:, 0], truth.offsets[m]
    return lambda x: (x - b) @ w / (w @ w) > threshold


@pytest.fixture(scope="module")
def truth():
    return one_dimension()


@pytest.fixture(scope="module")
def model(truth):
    return exact_model(truth)


@pytest.fixture(scope="module")
def drawn(truth):
    views, z = truth.sample(40, random_state=1)
    return without(views, {"view_0": [0, 1, 2], "view_1": [2, 3]}), z[:, 0] > 0.2


@pytest.fixture
def classifiers(truth):
    return {f"view_{m}": above(truth, m, 0.2) for m in range(3)}


def test_predictions_are_counted(model, drawn, classifiers):
    """With n_samples=None: what predict answers, for every proper subset and every view outside it."""
    views, y = drawn
    found = conditional_coherence(model, views, y, classifiers, n_samples=None)
    subsets = [s for k in (1, 2) for s in itertools.combinations(views.names, k)]
    expected = []
    for subset in subsets:
        rows = views.present[:, [views.names.index(name) for name in subset]].all(axis=1)
        for target in [name for name in views.names if name not in subset]:
            predicted = model.predict(views[rows], given=list(subset), target=target)[target]
            hits = classifiers[target](predicted) == y[rows]
            error = np.std(hits, ddof=1) / np.sqrt(len(hits))
            expected.append((subset, len(subset), target, hits.mean(), error, len(hits)))
    table = found.table
    assert table[["given", "n_given", "target", "n"]].values.tolist() == [[*row[:3], row[5]] for row in expected]
    np.testing.assert_allclose(table[["coherence", "standard_error"]], [row[3:5] for row in expected])
    assert sorted(set(table["n"])) == [36, 37, 38, 40]
    for size in (1, 2):
        assert found.by_size[size] == pytest.approx(np.mean([row[3] for row in expected if row[1] == size]))


def test_draws_are_from_the_posterior(truth, model, drawn, classifiers):
    """P(z > t | x_S) = Φ((μ - t) / σ) for each sample."""
    views, y = drawn
    views, y = views[10:16], y[10:16]
    found = conditional_coherence(model, views, y, classifiers, n_samples=20_000, subsets=[("view_0", "view_2")])
    known = mv.Views(views, present={"view_1": np.zeros(6, bool)})
    mean, covariance = truth.posterior(known)
    share = norm.cdf((mean[:, 0] - 0.2) / np.sqrt(covariance[:, 0, 0]))
    expected = np.where(y, share, 1 - share).mean()
    assert found.table["target"].tolist() == ["view_1"]
    assert found.table["coherence"][0] == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(6 * 20_000))


def test_a_mixture_is_drawn_from_and_not_averaged():
    """Two experts without noise: one of two draws follows the one, one the other; the expected value lies between."""
    views = mv.datasets.make_multiview(60, (3, 2, 2), random_state=0)
    model = mv.MMVAE(z_dim=2, encoder={"hidden": []}, max_epochs=5, random_state=0, verbose=False).fit(views)
    rng = np.random.RandomState(0)
    for encoder, n in zip(model.network_.encoders, (3, 2, 2), strict=True):
        weight = np.vstack([rng.standard_normal((2, n)), np.zeros((2, n))])
        set_linear(encoder, weight, [0, 0, -50, -50])  # locations, and logarithms of scales
    seen = []

    def classifier(x):
        seen.append(x)
        return np.zeros(len(x))

    for n_samples in (2, None):
        conditional_coherence(model, views, np.zeros(60), {"view_2": classifier}, subsets=[(0, 1)], n_samples=n_samples)
    draws, expected = seen[0].reshape(2, 60, 2), seen[1]
    one, other = (model.predict(views, given=m, target=2)["view_2"] for m in (0, 1))
    np.testing.assert_allclose(expected, (one + other) / 2, atol=1e-5)
    np.testing.assert_allclose(np.minimum(draws[0], draws[1]), np.minimum(one, other), atol=0.02)
    np.testing.assert_allclose(np.maximum(draws[0], draws[1]), np.maximum(one, other), atol=0.02)
    assert np.abs(one - other).mean() > 0.1


def test_joint_coherence_is_a_probability_under_the_prior(truth, model):
    """Thresholds at 0 and 1 disagree where 0 < z < 1."""
    classifiers = {"view_0": above(truth, 0, 0.0), "view_2": above(truth, 2, 1.0)}
    found = joint_coherence(model, classifiers, n_samples=20_000, random_state=0)
    expected = 1 - (norm.cdf(1) - norm.cdf(0))
    assert found.n == 20_000
    assert found.standard_error == pytest.approx(np.sqrt(expected * (1 - expected) / 20_000), rel=0.05)
    assert abs(found.value - expected) < 4 * found.standard_error
    assert joint_coherence(model, {m: above(truth, int(m[-1]), 0.5) for m in classifiers}).value == 1


def test_classifiers_may_be_objects_with_predict(truth, model, drawn, classifiers):
    class Classifier:
        predict = staticmethod(classifiers["view_1"])

    views, y = drawn
    one, other = (
        conditional_coherence(model, views, y, {"view_1": c}, random_state=5).table
        for c in (Classifier(), classifiers["view_1"])
    )
    assert one.equals(other)
    assert one["target"].unique().tolist() == ["view_1"]


def test_a_subset_that_no_sample_has_counts_nothing(truth, model, classifiers):
    views = truth.sample(3, random_state=0)[0].select(["view_0", "view_1"])
    table = conditional_coherence(model, views, np.ones(3, bool), classifiers, subsets=["view_2", "view_0"]).table
    assert table["n"].tolist() == [0, 0, 3, 3]
    assert table["coherence"].isna().tolist() == [True, True, False, False]


def test_bad_arguments_are_explained(model, drawn, classifiers):
    views, y = drawn
    with pytest.raises(ValueError, match="labels has shape"):
        conditional_coherence(model, views, y[:5], classifiers)
    with pytest.raises(ValueError, match="did you mean 'view_0'"):
        conditional_coherence(model, views, y, {"view0": classifiers["view_0"]})
    with pytest.raises(ValueError, match="one label for each, such as scores"):
        conditional_coherence(model, views, y, {"view_0": lambda x: x})
    with pytest.raises(ValueError, match="leaves no view"):
        conditional_coherence(model, views, y, {"view_0": classifiers["view_0"]}, subsets=["view_0"])
    with pytest.raises(TypeError, match="list of subsets"):
        conditional_coherence(model, views, y, classifiers, subsets="view_0")
    with pytest.raises(ValueError, match="2 at least"):
        joint_coherence(model, {"view_0": classifiers["view_0"]})
