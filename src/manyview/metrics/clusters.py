"""Clusters of samples in the latent space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from manyview.estimator import Estimator, ViewNames
from manyview.metrics.queries import check_labels, codes, having, names_of, read_samples, seeds

__all__ = ["Clustering", "clustering"]

Array = np.ndarray


@dataclass(frozen=True)
class Clustering:
    """Clusters, and how good they are.

    Parameters
    ----------
    clusters : ndarray of int
        The cluster of each sample, (n,), from 0; -1 for samples that lack the given views.
    silhouette : float
        Mean silhouette width of the samples, from -1 to 1: how much nearer they lie to their own cluster than to the
        next. NaN with a single cluster, or one a sample.
    ari, nmi : float or None
        Adjusted Rand index and normalised mutual information of clusters and labels; None without labels.
    """

    clusters: Int[Array, " n"]
    silhouette: float
    ari: float | None
    nmi: float | None


def clustering(
    model: Estimator,
    views: Any,
    labels: Any = None,
    *,
    n_clusters: int | None = None,
    given: ViewNames = None,
    covariates: Any = None,
    random_state: Any = None,
) -> Clustering:
    r"""Cluster samples by k-means of their posterior means of z, and compare the clusters with labels.

    With :math:`n_{kc}` samples of class c in cluster k,

    .. math:: \text{ARI} = \frac{\sum_{kc} \binom{n_{kc}}2 - E}
        {\frac12 \big[ \sum_k \binom{n_k}2 + \sum_c \binom{n_c}2 \big] - E}, \quad
        E = \frac{\sum_k \binom{n_k}2 \sum_c \binom{n_c}2}{\binom n2}, \qquad
        \text{NMI} = \frac{2\, I(k; c)}{H(k) + H(c)}

    ARI is at most 1, and 0 on average for random clusters; NMI is from 0 to 1, and grows with the number of clusters
    by chance alone. The silhouette of sample i is :math:`(b_i - a_i) / \max(a_i, b_i)`, with :math:`a_i` its mean
    distance to the others of its cluster, and :math:`b_i` that to the nearest other cluster.

    Parameters
    ----------
    model : Estimator
        A fitted model.
    views : views
        The n samples, in any form that the model takes as one argument.
    labels : array-like of shape (n,), optional
        Their classes.
    n_clusters : int, optional
        Number of clusters; by default as many as there are classes.
    given : str, int or sequence of these, optional
        The views to infer z from, of samples that have all of them; by default what a sample has.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.
    random_state : int, RandomState or None
        Seeds k-means, which starts ten times; by default the model's own.

    Returns
    -------
    Clustering

    Raises
    ------
    ValueError
        If there are neither labels nor a number of clusters, or fewer samples than clusters.

    References
    ----------
    L. Hubert, P. Arabie, "Comparing partitions", Journal of Classification 2, 193-218, 1985.
    https://doi.org/10.1007/BF01908075

    P. J. Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis", Journal of
    Computational and Applied Mathematics 20, 53-65, 1987. https://doi.org/10.1016/0377-0427(87)90125-7

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(100, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=5, random_state=0, verbose=False).fit(views)
    >>> found = clustering(model, views, n_clusters=3)
    >>> sorted(set(found.clusters.tolist())), found.ari
    ([0, 1, 2], None)
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

    samples = read_samples(model, views, covariates)
    y = None if labels is None else check_labels(labels, len(samples), "labels")
    here = np.flatnonzero(having(samples, None if given is None else names_of(model, given, "given")))
    if n_clusters is None:
        if y is None:
            raise ValueError("n_clusters is not given, and there are no labels to take the number of classes from")
        n_clusters = len(np.unique(y[here]))
    if not 1 <= n_clusters <= len(here):
        raise ValueError(f"n_clusters={n_clusters}, but {len(here)} samples have the given views; take 1 to that many")
    z = codes(model, samples[here], given)[0]
    (seed,) = seeds(model, random_state, 1)
    found = KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(z)
    clusters = np.full(len(samples), -1)
    clusters[here] = found
    defined = 2 <= len(np.unique(found)) < len(found)
    silhouette = float(silhouette_score(z, found)) if defined else np.nan
    if y is None:
        return Clustering(clusters, silhouette, None, None)
    scores = (score(y[here], found) for score in (adjusted_rand_score, normalized_mutual_info_score))
    return Clustering(clusters, silhouette, *map(float, scores))
