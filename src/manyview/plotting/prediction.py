"""How well each view is predicted from each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from manyview.metrics.prediction import cross_prediction
from manyview.plotting.style import bare, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from manyview.estimator import Estimator

__all__ = ["plot_cross_prediction"]


def plot_cross_prediction(model: Estimator, views: Any, *, covariates: Any = None, ax: Axes | None = None) -> Axes:
    """Draw how well each view is predicted from each other, and from all the others, as a heat map.

    Rows are what is given, columns what is predicted. The number is R², the share of the view's variance around the
    mean of the training data that is explained, features counting in units of their standard deviation: 1 is perfect,
    0 is as good as that mean, and below 0 is worse. Of binary and one-hot views, marked by an asterisk, it is the share
    of right answers. On the diagonal a view is reconstructed from itself, which is easier. The numbers are those of
    :func:`manyview.metrics.cross_prediction`.

    Parameters
    ----------
    model : Estimator
        A fitted model.
    views : views
        The samples, in any form that the model takes as one argument; better none that it was trained on.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.
    ax : Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    Axes
        A cell is blank, with a dash, where no sample has both views, or what is predicted does not vary.

    Raises
    ------
    ImportError
        Without matplotlib.

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(100, (6, 4, 3), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=2, random_state=0, verbose=False).fit(views)
    >>> [label.get_text() for label in plot_cross_prediction(model, views).get_yticklabels()]
    ['view_0', 'view_1', 'view_2', 'all others']
    """
    table = cross_prediction(model, views, covariates=covariates)
    names = model.view_names_
    values = table["accuracy"].fillna(table["r2"]).to_numpy().reshape(-1, len(names))
    # A view whose answers are right or wrong has an accuracy wherever it was predicted at all.
    counted = [bool(table.loc[table["target"] == name, "accuracy"].notna().any()) for name in names]
    ax = new_axes(ax, 1.0 * len(names) + 2.2, 0.62 * len(values) + 1.3)
    picture = ax.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        text = "–" if math.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
        dark = not math.isnan(value) and value < 0.55
        ax.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    label = "accuracy" if all(counted) else "R²" + (", or accuracy (*)" if any(counted) else "")
    ax.figure.colorbar(picture, ax=ax, label=label, extend="min" if (values < 0).any() else "neither")
    marked = [name + " *" * (one and not all(counted)) for name, one in zip(names, counted, strict=True)]
    ax.set_xticks(range(len(marked)), marked, rotation=30 if max(map(len, marked)) > 7 else 0)
    if max(map(len, marked)) > 7:
        for tick in ax.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(values)), [*names, "all others"][: len(values)])
    bare(ax)
    ax.set(xlabel="predicted", ylabel="given")
    return ax
