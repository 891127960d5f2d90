"""How well views are reconstructed, or predicted from others, in the units of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from manyview.estimator import Estimator, ViewNames
from manyview.metrics.queries import expected_views, having, names_of, read_samples

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ReconstructionError", "reconstruction_error"]

Array = np.ndarray


@dataclass(frozen=True)
class ReconstructionError:
    """Errors of prediction over the observed entries of the target views.

    Parameters
    ----------
    by_view : DataFrame
        One row a view: ``mse``, ``mae``, ``r2``, and the number of entries ``n``.
    by_feature : DataFrame
        The same for each feature, with index (view, feature); ``n`` is the number of samples.
    """

    by_view: pd.DataFrame
    by_feature: pd.DataFrame


def reconstruction_error(
    model: Estimator,
    views: Any,
    *,
    given: ViewNames = None,
    target: ViewNames = None,
    covariates: Any = None,
) -> ReconstructionError:
    r"""Squared and absolute errors of what the model expects of views, in the units of the data, and R².

    .. math:: \text{MSE} = \frac1n \sum_i (x_i - \hat x_i)^2, \qquad
        \text{MAE} = \frac1n \sum_i |x_i - \hat x_i|, \qquad
        R^2 = 1 - \frac{\sum_i (x_i - \hat x_i)^2}{\sum_i (x_i - \bar x)^2}

    for each feature, over the observed entries of samples that have all the given views (all that have any, if none
    are named). A view's MSE and MAE are means over its entries, and its :math:`R^2` has sums over its features above
    and below. MSE and MAE are at least 0. :math:`R^2` is at most 1; at 0 and below, predicting the mean of these
    samples does as well. It is NaN for features that do not vary. What is expected of binary and categorical views are
    probabilities.

    Parameters
    ----------
    model : Estimator
        A fitted model.
    views : views
        The samples, in any form that the model takes as one argument.
    given : str, int or sequence of these, optional
        The views to predict from; by default all that a sample has, the target among them.
    target : str, int or sequence of these, optional
        The views to predict; all by default.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.

    Returns
    -------
    ReconstructionError

    Raises
    ------
    ValueError
        If no sample has the given views, or a target view is not in the data.

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(200, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=5, random_state=0, verbose=False).fit(views)
    >>> found = reconstruction_error(model, views, given="view_0", target="view_1")
    >>> found.by_feature.loc["view_1"].shape
    (4, 4)
    """
    import pandas as pd

    samples = read_samples(model, views, covariates)
    known = None if given is None else names_of(model, given, "given")
    targets = names_of(model, target, "target")
    here = np.flatnonzero(having(samples, known))
    if not len(here):
        raise ValueError(f"given={given!r}: no sample has these views")
    data = samples.in_memory[here]
    if target is None:
        targets = tuple(name for name in targets if name in data)
    expected = expected_views(model, samples[here], known, targets)
    names = {view.name: view.feature_names for view in model.views_}
    whole, single = {}, {}
    for name in targets:
        if name not in data:
            raise ValueError(f"target={target!r}: view {name!r} is not in these data, so there is nothing to compare")
        sums = _sums(data.array(name), expected[name])
        whole[name] = _errors(*(part.sum(keepdims=True) for part in sums))
        single[name] = _errors(*sums).set_index(pd.Index(names[name], name="feature"))
    by_view = pd.concat(whole, names=["view"]).droplevel(1)
    return ReconstructionError(by_view, pd.concat(single, names=["view"]))


def _sums(x: Array, expected: Array) -> tuple[Array, Array, Array, Array]:
    """Of each feature: squared errors, absolute errors, squared deviations from the mean, and entries."""
    x = x.reshape(len(x), -1).astype(np.float64)
    error = x - expected.reshape(len(x), -1)
    n = (~np.isnan(x)).sum(axis=0)
    mean = np.nansum(x, axis=0) / np.maximum(n, 1)
    return np.nansum(error**2, axis=0), np.nansum(np.abs(error), axis=0), np.nansum((x - mean) ** 2, axis=0), n


def _errors(squared: Array, absolute: Array, total: Array, n: Array) -> pd.DataFrame:
    import pandas as pd

    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(total > 0, 1 - squared / total, np.nan)
        return pd.DataFrame({"mse": squared / n, "mae": absolute / n, "r2": r2, "n": n})
