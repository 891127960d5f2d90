"""How well each view is predicted from each other, by one measure for numbers, yes/no values and classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from manyview.data.samples import Samples
from manyview.estimator import Estimator
from manyview.likelihoods import Bernoulli, Categorical
from manyview.metrics.queries import expected_views, having, read_samples

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Quality", "cross_prediction", "cross_qualities", "quality"]

Array = np.ndarray


@final
@dataclass(frozen=True)
class Quality:
    """How well a view is predicted.

    Parameters
    ----------
    n : int
        Number of samples.
    r2 : float
        Share of the variance explained; NaN without samples, or if they do not vary.
    by_feature : array of shape (D,)
        The same of each feature.
    accuracy, baseline : float
        Of yes/no values and classes: the share of right answers, and that of the answer most frequent in training.
        NaN of numbers.
    """

    n: int
    r2: float
    by_feature: Array
    accuracy: float = math.nan
    baseline: float = math.nan


def cross_prediction(model: Estimator, views: Any, *, covariates: Any = None) -> pd.DataFrame:
    r"""How well each view is predicted from each, and from all the others.

    .. math:: R^2 = 1 - \frac{\sum_i \sum_d (x_{id} - \hat x_{id})^2 / s_d^2}{\sum_i \sum_d (x_{id} - \mu_d)^2 / s_d^2}

    with :math:`\hat x` what ``predict`` expects of the target view, :math:`\mu` the mean of the training data, and
    :math:`s_d` the model's ``scale`` of feature d, so that units do not matter. The sums run over the observed entries
    of samples that have the target and some given view. 1 is perfect, 0 as good as the training mean, and below 0
    worse. Of yes/no values and of classes, predicted by probabilities, it is the Brier skill score: the same formula,
    against the frequencies in the training data.

    Parameters
    ----------
    model : Estimator
        A fitted model.
    views : views
        The samples, in any form that the model takes as one argument; better none that it was trained on.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.

    Returns
    -------
    DataFrame
        One row a pair: ``given`` (tuple of names), ``target``, ``r2``, ``accuracy``, ``baseline`` and ``n``. Pairs are
        each view given, the target itself among them, which is reconstruction, and easier; and with more than two
        views, all the others given. ``accuracy`` is the share of right answers where the most probable one is given,
        ``baseline`` that of always giving the most frequent one of training; NaN of numbers. ``n`` is the number of
        samples; without any, and for ``r2`` of targets that do not vary, the rest is NaN.

    See Also
    --------
    reconstruction_error : errors in the units of the data, by feature, for one choice of given views.

    References
    ----------
    T. Gneiting, A. E. Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 102(477), 2007 (of
    skill scores). https://doi.org/10.1198/016214506000001437

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(200, (6, 4, 3), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=5, random_state=0, verbose=False).fit(views)
    >>> cross_prediction(model, views)[["given", "target", "n"]].tail(2)
                     given  target    n
    10  (view_0, view_2)  view_1  200
    11  (view_0, view_1)  view_2  200
    """
    import pandas as pd

    names = model.view_names_
    rows = cross_qualities(model, read_samples(model, views, covariates))
    return pd.DataFrame(
        {"given": given, "target": target, "r2": q.r2, "accuracy": q.accuracy, "baseline": q.baseline, "n": q.n}
        for row, sources in zip(rows, _sources(names), strict=True)
        for q, target, given in zip(row, names, sources, strict=True)
    )


def cross_qualities(model: Estimator, samples: Samples) -> list[list[Quality]]:
    """A row for each given view, and with more than two views one for all the others; a column for each target."""
    names = model.view_names_
    return [
        [quality(model, samples, target, given) for target, given in zip(names, sources, strict=True)]
        for sources in _sources(names)
    ]


def _sources(names: Sequence[str]) -> list[list[tuple[str, ...]]]:
    """What each target is predicted from, in each row."""
    rows: list[list[tuple[str, ...]]] = [[(given,)] * len(names) for given in names]
    if len(names) > 2:
        rows.append([tuple(other for other in names if other != target) for target in names])
    return rows


def quality(model: Estimator, samples: Samples, target: str, given: Sequence[str]) -> Quality:
    """How well a view is predicted, in the samples that have it and any of the given ones."""
    view = model.views_[model.view_names_.index(target)]
    rows = np.flatnonzero(having(samples, [target]) & having(samples, given, "any"))
    if not len(rows):
        return Quality(0, math.nan, np.full(math.prod(view.shape), math.nan))
    x = samples.in_memory.array(target)[rows].reshape(len(rows), -1)
    expected = expected_views(model, samples[rows], given, [target])[target].reshape(len(rows), -1)
    mean = (view.loc + view.fill * view.scale).reshape(-1)  # of the observed training entries
    errors, reference = _squared_errors(x, expected), _squared_errors(x, mean)
    scaled = [float((sums / np.square(view.scale.reshape(-1))).sum()) for sums in (errors, reference)]
    r2 = 1 - scaled[0] / scaled[1] if scaled[1] > 0 else math.nan
    varies = reference > 0
    by_feature = np.where(varies, 1 - errors / np.where(varies, reference, 1.0), np.nan)
    if not isinstance(view.likelihood, Bernoulli | Categorical):
        return Quality(len(rows), r2, by_feature)
    one_of_several = isinstance(view.likelihood, Categorical)
    right = (_accuracy(x, answer, one_of_several) for answer in (expected, mean))
    return Quality(len(rows), r2, by_feature, *right)


def _squared_errors(x: Array, expected: Array) -> Array:
    """Of each feature, summed over its observed entries."""
    sums: Array = np.nansum(np.square(x.astype(np.float64) - expected), axis=0)
    return sums


def _accuracy(x: Array, probabilities: Array, one_of_several: bool) -> float:
    """The share of right answers, where the most probable one is given: for a row, or for each of its entries."""
    known = ~np.isnan(x)
    probabilities = np.broadcast_to(probabilities, x.shape)
    if one_of_several:
        rows = known.all(axis=1)
        right = x[rows].argmax(axis=1) == probabilities[rows].argmax(axis=1)
    else:
        right = (probabilities >= 0.5)[known] == (x[known] == 1)
    return float(right.mean()) if right.size else math.nan
