"""separation against regressions by hand, and on a model whose latents are the factors."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import manyview as mv
from manyview.metrics import separation

from .helpers import exact_model, one_dimension, set_linear, without


@pytest.fixture(scope="module")
def data():
    """Views that are [s, p_m], and a model with private latents that reads z off the one and h_m off the other."""
    rng = np.random.RandomState(0)
    factors = {"shared": rng.standard_normal(80), "private_a": rng.standard_normal((80, 1))}
    factors["private_b"] = rng.standard_normal((80, 1))
    x = {v: np.column_stack([factors["shared"], factors[f"private_{v}"]]) for v in "ab"}
    model = mv.DMVAE(z_dim=1, h_dim=1, encoder={"hidden": []}, scale=None, max_epochs=1, random_state=0, verbose=False)
    model.fit(x)
    for encoder in model.network_.encoders:
        set_linear(encoder, [[1, 0], [0, 0], [0, 1], [0, 0]], np.zeros(4))  # mean and log-variance of z, then of h
    return model, x, factors


def test_latents_that_are_the_factors_are_told_apart(data):
    model, x, factors = data
    table = separation(model, x, factors)
    assert table.index.tolist() == list(factors)
    assert table.columns.tolist() == ["z", "h[a]", "h[b]"]
    np.testing.assert_allclose(table, np.eye(3), atol=0.15)
    assert np.diag(table).min() > 0.9999


def left_out(u, s):
    """R² of regressions that leave one sample out."""
    predicted = np.empty_like(s)
    design = np.column_stack([np.ones(len(s)), u])
    for i in range(len(s)):
        rest = np.arange(len(s)) != i
        predicted[i] = design[i] @ np.linalg.lstsq(design[rest], s[rest], rcond=None)[0]
    return 1 - ((s - predicted) ** 2).sum() / ((s - s.mean(axis=0)) ** 2).sum()


def test_samples_are_predicted_from_others(data):
    """As many folds as samples: leaving one out, by least squares, of a factor in two dimensions."""
    model, x, factors = data
    x = {name: view[:20] for name, view in x.items()}
    both = np.column_stack([factors["shared"], factors["private_a"][:, 0]])[:20]
    table = separation(model, x, {"both": both}, regressor=LinearRegression(), n_folds=20)
    assert table.loc["both", "z"] == pytest.approx(left_out(model.transform(x), both), abs=1e-4)
    for name, h in model.transform_private(x).items():
        assert table.loc["both", f"h[{name}]"] == pytest.approx(left_out(h, both), abs=1e-4)


def test_private_latents_of_absent_views_are_left_out(data):
    """The samples without view b do not spoil what h_b is worth, though they have the prior's h_b."""
    model, x, factors = data
    views = without(x, {"b": range(40)})
    table = separation(model, views, factors)
    assert table.loc["private_b", "h[b]"] > 0.9999
    assert table.loc["private_a", "h[a]"] > 0.9999


def test_models_without_private_latents_have_z_alone():
    truth = one_dimension()
    views, z = truth.sample(100, random_state=0)
    noise = np.random.RandomState(1).standard_normal(100)
    table = separation(exact_model(truth), views, {"z": z, "noise": noise})
    # The posterior mean explains 1 - Var(z | X) of z.
    expected = 1 - truth.posterior(views)[1][0, 0, 0]
    assert table.columns.tolist() == ["z"]
    assert table.loc["z", "z"] == pytest.approx(expected, abs=0.05)
    assert abs(table.loc["noise", "z"]) < 0.15


def test_bad_arguments_are_explained(data):
    model, x, factors = data
    with pytest.raises(ValueError, match=r"factors\['shared'\] has shape"):
        separation(model, x, {"shared": factors["shared"][:10]})
    with pytest.raises(ValueError, match="does not vary"):
        separation(model, x, {"one": np.ones(80)})
    with pytest.raises(ValueError, match="factors is empty"):
        separation(model, x, {})
    with pytest.raises(ValueError, match=r"n_folds=5, but 2 samples have what h\[a\]"):
        separation(model, without(x, {"a": range(78)}), factors)
