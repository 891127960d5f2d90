"""latent_classification against classifiers fitted by hand to what transform returns."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

import manyview as mv
from manyview.metrics import latent_classification

from .helpers import exact_model, one_dimension, without


@pytest.fixture(scope="module")
def data():
    truth = one_dimension()
    views, z = truth.sample(90, random_state=1)
    views = without(views, {"view_0": [0, 1, 70], "view_1": [1, 2, 71, 72]})
    y = np.digitize(z[:, 0], [-0.5, 1.0])
    return exact_model(truth), views[:60], y[:60], views[60:], y[60:]


def probe(kind):
    return {"knn": KNeighborsClassifier(5), "logistic": LogisticRegression(max_iter=1000)}.get(kind, GaussianNB())


@pytest.mark.parametrize("kind", ["knn", "logistic", GaussianNB()], ids=str)
def test_accuracy_of_each_subset_is_what_the_classifier_reaches(data, kind):
    model, train, y, test, truth = data
    table = latent_classification(model, train, y, test, truth, classifier=kind)
    subsets = [s for k in (1, 2, 3) for s in itertools.combinations(train.names, k)]
    assert table["given"].tolist() == subsets
    for row, subset in zip(table.itertuples(), subsets, strict=True):
        columns = [train.names.index(name) for name in subset]
        here, there = (views.present[:, columns].all(axis=1) for views in (train, test))
        z, z_test = (model.transform(v[r], given=list(subset)) for v, r in ((train, here), (test, there)))
        scaler = StandardScaler().fit(z)
        z, z_test = (scaler.transform(z), scaler.transform(z_test)) if kind == "logistic" else (z, z_test)
        hits = probe(kind).fit(z, y[here]).predict(z_test) == truth[there]
        assert (row.n_train, row.n, row.n_given) == (here.sum(), there.sum(), len(subset))
        assert row.accuracy == pytest.approx(hits.mean())
        assert row.standard_error == pytest.approx(hits.std(ddof=1) / np.sqrt(len(hits)))
        assert row.baseline == pytest.approx((truth[there] == np.bincount(y[here]).argmax()).mean())
    assert table["accuracy"].iloc[-1] > table["baseline"].iloc[-1]


def test_chosen_subsets_alone(data):
    table = latent_classification(*data, subsets=["view_1", ["view_2", "view_0"]])
    assert table["given"].tolist() == [("view_1",), ("view_0", "view_2")]


def test_bad_arguments_are_explained(data):
    model, train, y, test, truth = data
    with pytest.raises(ValueError, match="did you mean 'logistic'"):
        latent_classification(*data, classifier="logistics")
    with pytest.raises(ValueError, match="test_labels has shape"):
        latent_classification(model, train, y, test, truth[:-1])
    with pytest.raises(ValueError, match="train_labels has NaN"):
        latent_classification(model, train, np.where(y == 1, np.nan, y), test, truth)
    with pytest.raises(ValueError, match=r"no training sample has all of \('view_1',\)"):
        latent_classification(model, train.select(["view_0"]), y, test, truth, subsets=["view_1"])
    with pytest.raises(mv.estimator.NotFittedError):
        latent_classification(mv.MVAE(), train, y, test, truth)
