"""reconstruction_error against scikit-learn's errors of what predict answers."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

import manyview as mv
from manyview.metrics import reconstruction_error

from .helpers import without


@pytest.fixture(scope="module")
def views():
    views = mv.datasets.make_multiview(60, (5, 3), random_state=0)
    data = {"a": 100 * views["view_0"], "b": views["view_1"].copy()}
    data["a"][::7, 2] = np.nan
    return without(mv.Views(data), {"a": [1, 2], "b": [2, 3, 4]})


@pytest.fixture(scope="module", params=["MVAE", "MMVAE", "DCCA"])
def model(request, views):
    return getattr(mv, request.param)(z_dim=2, max_epochs=10, random_state=0, verbose=False).fit(views[5:])


@pytest.mark.parametrize("given", [None, "a", ["a", "b"]])
def test_errors_are_those_of_predictions_in_units_of_the_data(model, views, given):
    names = views.names if given is None else np.atleast_1d(given)
    columns = [views.names.index(name) for name in names]
    seen = views.present[:, columns]
    rows = seen.any(axis=1) if given is None else seen.all(axis=1)
    found = reconstruction_error(model, views, given=given)
    predicted = model.predict(views[rows], given=given)
    for name in views.names:
        x, mask = views.array(name)[rows], ~np.isnan(views.array(name)[rows])
        total = residual = 0.0
        for d, label in enumerate(views.feature_names[name]):
            kept, expected = x[mask[:, d], d], predicted[name][mask[:, d], d]
            row = found.by_feature.loc[(name, label)]
            assert row["mse"] == pytest.approx(mean_squared_error(kept, expected), rel=1e-5)
            assert row["mae"] == pytest.approx(mean_absolute_error(kept, expected), rel=1e-5)
            assert row["r2"] == pytest.approx(r2_score(kept, expected), abs=1e-5)
            assert row["n"] == len(kept)
            residual += ((kept - expected) ** 2).sum(dtype=float)
            total += len(kept) * kept.var(dtype=float)
        row = found.by_view.loc[name]
        assert row["mse"] == pytest.approx(np.mean(np.square(x - predicted[name])[mask]), rel=1e-5)
        assert row["mae"] == pytest.approx(np.mean(np.abs(x - predicted[name])[mask]), rel=1e-5)
        assert row["r2"] == pytest.approx(1 - residual / total, abs=1e-5)
        assert row["n"] == mask.sum()


def test_images_constant_features_and_chosen_targets():
    rng = np.random.RandomState(0)
    image = rng.uniform(size=(30, 1, 3, 4))
    image[:, 0, 0, 0] = 0.5
    model = mv.MVAE(z_dim=2, max_epochs=2, encoder="mlp", random_state=0, verbose=False)
    model.set_params(decoder="mlp").fit({"image": image, "table": rng.standard_normal((30, 2))})
    data = {"image": image, "table": rng.standard_normal((30, 2))}
    found = reconstruction_error(model, data, target="image")
    assert found.by_view.index.tolist() == ["image"]
    assert found.by_feature.shape == (12, 4)
    assert found.by_feature["r2"].isna().tolist() == [True] + [False] * 11


def test_bad_arguments_are_explained(model, views):
    with pytest.raises(ValueError, match="view 'b' is not in these data"):
        reconstruction_error(model, views.select("a"), target="b")
    with pytest.raises(ValueError, match="no sample has these views"):
        reconstruction_error(model, views.select("a"), given="b")
    assert reconstruction_error(model, views.select("a")).by_view.index.tolist() == ["a"]
