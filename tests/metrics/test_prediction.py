"""cross_prediction against the conditional distributions of a linear-Gaussian model, and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score

import manyview as mv
from manyview.metrics import cross_prediction

from .helpers import exact_model, one_dimension, without


def pair(table, given, target):
    """The row of a pair."""
    (row,) = (row for _, row in table.iterrows() if (row["given"], row["target"]) == (given, target))
    return row


def test_the_share_explained_is_that_of_the_exact_posterior():
    truth = one_dimension()
    model = exact_model(truth)
    views, _ = truth.sample(20_000, random_state=1)
    table = cross_prediction(model, views)
    names = list(views.names)
    precisions = [(w[:, 0] ** 2 / s**2).sum() for w, s in zip(truth.loadings, truth.noise, strict=True)]
    assert len(table) == 12
    for row in table.itertuples():
        m = names.index(row.target)
        w, sigma, offset = truth.loadings[m][:, 0], truth.noise[m], truth.offsets[m]
        precision = 1 + sum(precisions[names.index(name)] for name in row.given)
        if row.target in row.given:
            # E (x - w E[z|x])^2 of the target itself: its noise has been fitted, too.
            sums = views.array(row.target) - offset
            expected = np.square(sums - (sums @ (w / sigma**2) / precision)[:, None] * w).mean(0).sum()
        else:
            expected = (w**2 / precision + sigma**2).sum()
        mean = model.views_[m].loc + model.views_[m].fill * model.views_[m].scale
        total = (w**2 + sigma**2 + (offset - mean) ** 2).sum()
        assert row.r2 == pytest.approx(1 - expected / total, abs=0.02)
        assert row.n == 20_000
    assert table["accuracy"].isna().all()


def test_missing_entries_units_and_all_the_others():
    views = mv.datasets.make_multiview(80, (5, 3, 2), random_state=0)
    data = {name: (10.0**m) * views[name] for m, name in enumerate(views.names)}
    data["view_0"][::7, 2] = np.nan
    data = without(mv.Views(data), {"view_0": [1, 2], "view_1": [2, 3, 4], "view_2": range(5, 40)})
    model = mv.MVAE(z_dim=2, max_epochs=10, random_state=0, verbose=False, validation_fraction=0).fit(data)
    given = ("view_1", "view_2")
    rows = data.present[:, 0] & (data.present[:, 1] | data.present[:, 2])
    found = pair(cross_prediction(model, data), given, "view_0")
    assert found["n"] == rows.sum() == 78
    x = data.array("view_0")
    predicted = model.predict(data.select(list(given)), target="view_0")["view_0"]
    mean, scale = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    errors = [np.nansum(np.square((x - other) / scale)[rows]) for other in (predicted, mean)]
    assert found["r2"] == pytest.approx(1 - errors[0] / errors[1], rel=1e-4)


def test_answers_are_right_or_wrong():
    rng = np.random.default_rng(0)
    kind = rng.choice(3, size=120, p=[0.5, 0.3, 0.2])
    data = {"yes": (kind[:, None] == [0, 1]).astype(float), "kind": np.eye(3)[kind]}
    model = mv.MEMVAE(
        z_dim=2, beta=0.1, max_epochs=150, learning_rate=0.02, random_state=0, verbose=False, validation_fraction=0
    )
    model.fit(data)
    table = cross_prediction(model, data)
    found, predicted = pair(table, ("yes",), "kind"), model.predict(data, given="yes")["kind"]
    assert found["accuracy"] == accuracy_score(kind, predicted.argmax(1)) > 0.9
    assert found["baseline"] == (kind == np.bincount(kind).argmax()).mean()
    skill = r2_score(data["kind"].ravel(), predicted.ravel())
    of_frequencies = r2_score(data["kind"].ravel(), np.tile(data["kind"].mean(0), (120, 1)).ravel())
    assert found["r2"] == pytest.approx(1 - (1 - skill) / (1 - of_frequencies), abs=1e-5)
    yes = pair(table, ("kind",), "yes")
    assert yes["accuracy"] == ((model.predict(data, given="kind")["yes"] >= 0.5) == data["yes"]).mean()
    assert yes["baseline"] == ((data["yes"].mean(0) >= 0.5) == data["yes"]).mean()


def test_pairs_that_no_sample_has():
    views = mv.datasets.make_multiview(40, (5, 3), random_state=0)
    model = mv.AE(z_dim=2, max_epochs=2, random_state=0, verbose=False).fit(views)
    table = cross_prediction(model, views.select("view_0"))
    assert table["n"].tolist() == [40, 0, 0, 0]
    assert table["r2"].isna().tolist() == [False, True, True, True]
