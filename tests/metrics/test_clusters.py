"""clustering against k-means of what transform returns, and against counts of pairs."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import entropy

from manyview.metrics import clustering

from .helpers import exact_model, one_dimension, without


@pytest.fixture(scope="module")
def data():
    """Samples in three groups along the latent dimension."""
    truth = one_dimension((4, 3), noise=0.3)
    rng = np.random.RandomState(0)
    y = np.arange(30) % 3
    z = 3.0 * (y[:, None] - 1) + 0.2 * rng.standard_normal((30, 1))
    x = {f"view_{m}": z @ w.T + b for m, (w, b) in enumerate(zip(truth.loadings, truth.offsets, strict=True))}
    return exact_model(truth), without(x, {"view_0": [0, 1], "view_1": [1, 2]}), y


def test_groups_are_found(data):
    model, views, y = data
    found = clustering(model, views, y)
    assert (found.clusters == -1).tolist() == [i == 1 for i in range(30)]
    assert found.ari == found.nmi == 1
    table = {(k, c) for k, c in zip(found.clusters[found.clusters >= 0], np.delete(y, 1), strict=True)}
    assert len(table) == 3


def test_scores_are_those_of_pairs_and_distances(data):
    """ARI by counting pairs, NMI by entropies, the silhouette by loops; with labels that clusters do not follow."""
    model, views, y = data
    y = np.where(np.arange(30) % 4 == 0, 1, y)
    found = clustering(model, views, y, n_clusters=4, given=["view_0", "view_1"], random_state=1)
    here = found.clusters >= 0
    assert np.flatnonzero(~here).tolist() == [0, 1, 2]
    k, y, z = found.clusters[here], y[here], model.transform(views[here])
    pairs = list(itertools.combinations(range(len(k)), 2))
    same_k, same_y = (np.array([v[i] == v[j] for i, j in pairs]) for v in (k, y))
    chance = same_k.sum() * same_y.sum() / len(pairs)
    expected = ((same_k & same_y).sum() - chance) / ((same_k.sum() + same_y.sum()) / 2 - chance)
    assert found.ari == pytest.approx(expected)
    joint = np.array([[(k == i) & (y == c) for c in range(3)] for i in range(4)]).mean(axis=2)
    h_k, h_y = entropy(joint.sum(1)), entropy(joint.sum(0))
    assert found.nmi == pytest.approx(2 * (h_k + h_y - entropy(joint.ravel())) / (h_k + h_y))
    distance, widths = cdist(z, z), []
    for i in range(len(k)):
        own = (k == k[i]) & (np.arange(len(k)) != i)
        a = distance[i, own].mean() if own.any() else 0.0
        b = min(distance[i, k == other].mean() for other in set(k) - {k[i]})
        widths.append((b - a) / max(a, b) if own.any() else 0.0)
    assert found.silhouette == pytest.approx(np.mean(widths), abs=1e-4)


def test_no_labels(data):
    model, views, _ = data
    found = clustering(model, views, n_clusters=1)
    assert np.isnan(found.silhouette)
    assert found.ari is None
    with pytest.raises(ValueError, match="n_clusters is not given"):
        clustering(model, views)
    with pytest.raises(ValueError, match="n_clusters=30, but 29 samples"):
        clustering(model, views, n_clusters=30)
