"""How far samples deviate from a reference cohort: normative modelling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from manyview.estimator import Estimator, ViewNames
from manyview.messages import closest
from manyview.metrics.queries import codes, expected_views, having, names_of, read_samples

__all__ = ["FeatureDeviation", "LatentDeviation", "feature_deviation", "latent_deviation"]

Array = np.ndarray

Null = Literal["empirical", "normal"]

# Samples that are compared with all of a reference at once.
_ROWS = 1024


@dataclass(frozen=True)
class LatentDeviation:
    """How far samples lie from a reference cohort in the latent space.

    Parameters
    ----------
    distance : ndarray
        The Mahalanobis distance D of each sample, (n,), at least 0; NaN for samples that lack the given views.
    p_value : ndarray
        The probability of such a distance or a larger one for a new sample of the reference, (n,), in (0, 1].
    z_scores : ndarray
        The deviation of each dimension alone in standard deviations of the reference, (n, Z), signed; NaN where the
        reference does not vary.
    """

    distance: Float[Array, " n"]
    p_value: Float[Array, " n"]
    z_scores: Float[Array, "n Z"]


@dataclass(frozen=True)
class FeatureDeviation:
    r"""How unusual the reconstruction errors of samples are, feature by feature.

    Parameters
    ----------
    z_scores : dict of ndarray
        By view, (n, \*shape): positive where the error is larger than in the reference; NaN where the entry is missing,
        or the error of the reference does not vary.
    p_value : dict of ndarray
        By view, the probability of such an error or a larger one in the reference, in (0, 1]; NaN where missing.
    """

    z_scores: dict[str, Float[Array, "n ..."]]
    p_value: dict[str, Float[Array, "n ..."]]


def latent_deviation(
    model: Estimator,
    views: Any,
    reference: Any,
    *,
    given: ViewNames = None,
    covariates: Any = None,
    reference_covariates: Any = None,
    null: Null = "empirical",
) -> LatentDeviation:
    r"""The Mahalanobis distance of samples from a reference cohort in the joint latent space, with p-values.

    .. math:: D_i = \sqrt{(z_i - \mu)^\top \Sigma^{-1} (z_i - \mu)}

    with :math:`z_i` posterior means, and :math:`\mu, \Sigma` the mean and the unbiased covariance of those of the R
    samples of the reference: at least 0, without units. Directions in which the reference does not vary are left out.
    The p-value, with "empirical", is

    .. math:: p_i = \frac{1 + \#\{r : D_r^{(i)} \ge D_i^{(i)}\}}{R + 1}

    with the distances :math:`D^{(i)}` taken within the R + 1 samples that are the reference and sample i: it is uniform
    for new samples of the reference, whatever their distribution (a conformal p-value). With "normal", it is that of a
    new normal sample by Hotelling's :math:`T^2`, :math:`D^2 \frac{R (R - Z)}{(R + 1)(R - 1) Z} \sim F_{Z, R - Z}`,
    which for large R is the :math:`\chi^2_Z` of the paper.

    Take a reference that the model was not trained on: latents of training samples vary less than those of new ones.

    Parameters
    ----------
    model : Estimator
        A fitted model, as a rule fitted to samples like the reference.
    views : views
        The n samples to judge, in any form that the model takes as one argument.
    reference : views
        The cohort to compare them with.
    given : str, int or sequence of these, optional
        The views to infer z from, of samples that have all of them; by default what a sample has.
    covariates, reference_covariates : DataFrame, dict or array, optional
        The covariates of both, if the model was fitted with such.
    null : {"empirical", "normal"}, default "empirical"
        Where p-values come from. Empirical ones are at least 1 / (R + 1), and assume nothing of the distribution.

    Returns
    -------
    LatentDeviation

    Raises
    ------
    ValueError
        If the reference has too few samples for its number of latent dimensions.

    References
    ----------
    A. Lawry Aguila, J. Chapman, A. Altmann, "Multi-modal variational autoencoders for normative modelling across
    multiple imaging modalities", MICCAI 2023. https://arxiv.org/abs/2303.12706

    V. Vovk, A. Gammerman, G. Shafer, "Algorithmic learning in a random world", Springer, 2005 (conformal p-values).
    https://doi.org/10.1007/b106715

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(200, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=5, random_state=0, verbose=False).fit(views[:100])
    >>> found = latent_deviation(model, views[150:], views[100:150])
    >>> found.distance.shape, found.z_scores.shape
    ((50,), (50, 2))
    """
    if null not in get_args(Null):
        raise ValueError(f"null={null!r} is unknown{closest(null, get_args(Null))}")
    known = None if given is None else names_of(model, given, "given")
    z, _ = _codes(model, views, known, covariates, "covariates")
    z_r, here = _codes(model, reference, known, reference_covariates, "reference_covariates")
    z_r = z_r[here]
    n = len(z_r)
    if n < 3:
        raise ValueError(f"the reference has {n} samples with the given views; a covariance needs more")
    mean, covariance = z_r.mean(axis=0), np.atleast_2d(np.cov(z_r, rowvar=False))
    values, vectors = np.linalg.eigh(covariance)
    varies = values > values[-1] * len(values) * np.finfo(np.float32).eps  # the precision of codes
    rank = int(varies.sum())
    if n <= rank + 1:
        raise ValueError(
            f"the reference has {n} samples with the given views, too few for the covariance of {rank} latent "
            "dimensions; give more, at best several times as many"
        )
    if not rank:
        raise ValueError("the latents of the reference do not vary: the model has learned nothing of these views")
    whiten = vectors[:, varies] / np.sqrt(values[varies])
    u = (z - mean) @ whiten
    squared = np.square(u).sum(axis=1)
    if null == "empirical":
        p_value = _conformal(u, (z_r - mean) @ whiten)
    else:
        from scipy.stats import f

        p_value = f.sf(squared * n * (n - rank) / ((n + 1) * (n - 1) * rank), rank, n - rank)
    spread = np.sqrt(np.diag(covariance))
    with np.errstate(divide="ignore", invalid="ignore"):
        z_scores = np.where(spread > 0, (z - mean) / spread, np.nan)
    return LatentDeviation(np.sqrt(squared), p_value, z_scores)


def feature_deviation(
    model: Estimator,
    views: Any,
    reference: Any,
    *,
    given: ViewNames = None,
    target: ViewNames = None,
    covariates: Any = None,
    reference_covariates: Any = None,
) -> FeatureDeviation:
    r"""Z-scores of each feature's reconstruction error against a reference cohort, with p-values.

    .. math:: Z_{ij} = \frac{d_{ij} - \mu(d_j)}{\sigma(d_j)}, \qquad d_{ij} = (x_{ij} - \hat x_{ij})^2, \qquad
        p_{ij} = \frac{1 + \#\{r : d_{rj} \ge d_{ij}\}}{R_j + 1}

    with the mean, the unbiased standard deviation and the number :math:`R_j` of the errors of feature j over the
    observed entries of the reference. Any real number, without units; squared errors are skewed, so that normal
    thresholds do not hold of Z, and p-values count.

    Take a reference that the model was not trained on: training samples are reconstructed better than new ones.

    Parameters
    ----------
    model : Estimator
        A fitted model, as a rule fitted to samples like the reference.
    views : views
        The n samples to judge, in any form that the model takes as one argument.
    reference : views
        The cohort to compare them with.
    given : str, int or sequence of these, optional
        The views to predict from, of samples that have all of them; by default what a sample has.
    target : str, int or sequence of these, optional
        The views whose features are judged; by default all that both have.
    covariates, reference_covariates : DataFrame, dict or array, optional
        The covariates of both, if the model was fitted with such.

    Returns
    -------
    FeatureDeviation

    Raises
    ------
    ValueError
        If there is no target view that both have, or the reference lacks the given views.

    References
    ----------
    A. Lawry Aguila, J. Chapman, A. Altmann, "Multi-modal variational autoencoders for normative modelling across
    multiple imaging modalities", MICCAI 2023. https://arxiv.org/abs/2303.12706

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(200, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=5, random_state=0, verbose=False).fit(views[:100])
    >>> found = feature_deviation(model, views[150:], views[100:150])
    >>> {name: x.shape for name, x in found.z_scores.items()}
    {'view_0': (50, 6), 'view_1': (50, 4)}
    """
    known = None if given is None else names_of(model, given, "given")
    names = names_of(model, target, "target")
    errors = _squared_errors(model, views, known, names, covariates, "covariates")
    of_reference = _squared_errors(model, reference, known, names, reference_covariates, "reference_covariates")
    if target is None:
        names = tuple(name for name in names if name in errors and name in of_reference)
    if not names:
        raise ValueError("the samples and the reference have no view in common")
    z_scores, p_values = {}, {}
    for name in names:
        if name not in errors or name not in of_reference:
            raise ValueError(f"target={target!r}: view {name!r} is not in both the samples and the reference")
        d, d_r = errors[name], of_reference[name]
        n = (~np.isnan(d_r)).sum(axis=0)
        if not n.any():
            raise ValueError(f"the reference has no entry of view {name!r} beside the given views")
        mean = np.nansum(d_r, axis=0) / np.maximum(n, 1)
        spread = np.sqrt(np.nansum((d_r - mean) ** 2, axis=0) / np.maximum(n - 1, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            z_scores[name] = np.where(spread > 0, (d - mean) / spread, np.nan)
        flat, flat_r = d.reshape(len(d), -1), d_r.reshape(len(d_r), -1)
        columns = [_upper_tail(column, column_r) for column, column_r in zip(flat.T, flat_r.T, strict=True)]
        p_values[name] = np.stack(columns, axis=1).reshape(d.shape)
    return FeatureDeviation(z_scores, p_values)


def _codes(
    model: Estimator, views: Any, known: tuple[str, ...] | None, covariates: Any, argument: str
) -> tuple[Float[Array, "n Z"], Array]:
    """Posterior means, NaN for samples that lack the given views, and which do not."""
    samples = read_samples(model, views, covariates, argument)
    here = having(samples, known)
    z = np.full((len(samples), model.z_dim), np.nan)
    if here.any():
        z[here] = codes(model, samples[np.flatnonzero(here)], known)[0]
    return z, here


def _squared_errors(
    model: Estimator,
    views: Any,
    known: tuple[str, ...] | None,
    targets: tuple[str, ...],
    covariates: Any,
    argument: str,
) -> dict[str, Float[Array, "n ..."]]:
    """Of each target view in the data; NaN where entries are missing, or the sample lacks the given views."""
    samples = read_samples(model, views, covariates, argument)
    data, here = samples.in_memory, having(samples, known)
    targets = tuple(name for name in targets if name in data)
    out = {name: np.full(data.array(name).shape, np.nan) for name in targets}
    if here.any() and targets:
        for name, expected in expected_views(model, samples[np.flatnonzero(here)], known, targets).items():
            out[name][here] = np.square(data.array(name)[here].astype(np.float64) - expected)
    return out


def _conformal(u: Float[Array, "n K"], reference: Float[Array, "R K"]) -> Float[Array, " n"]:
    r"""The p-value of each sample among it and the reference, whose mean is 0 and covariance I.

    With the sample, the mean is u / (R + 1) and the scatter :math:`(R - 1) I + \frac{R}{R + 1} u u^\top`, whose inverse
    Sherman and Morrison's formula gives.
    """
    n = len(reference)
    length = np.square(reference).sum(axis=1)
    p = np.full(len(u), np.nan)
    for i in range(0, len(u), _ROWS):
        part = u[i : i + _ROWS]
        of_u = np.square(part).sum(axis=1, keepdims=True)
        inner = np.hstack([part @ reference.T, of_u])  # with each of the reference, and with itself
        lengths = np.hstack([np.broadcast_to(length, (len(part), n)), of_u])
        from_mean = lengths - 2 * inner / (n + 1) + of_u / (n + 1) ** 2
        along_u = inner - of_u / (n + 1)
        distance = from_mean - along_u**2 * n / ((n + 1) * (n - 1) + n * of_u)
        larger = (distance[:, :-1] >= distance[:, -1:]).sum(axis=1)
        p[i : i + _ROWS] = np.where(np.isnan(of_u[:, 0]), np.nan, (1 + larger) / (n + 1))
    return p


def _upper_tail(x: Float[Array, " n"], reference: Float[Array, " R"]) -> Float[Array, " n"]:
    """(1 + the number of reference values that are as large) / (R + 1); NaN for NaN."""
    ordered = np.sort(reference[~np.isnan(reference)])
    larger = len(ordered) - np.searchsorted(ordered, x, side="left")
    return np.where(np.isnan(x), np.nan, (1 + larger) / (len(ordered) + 1))
