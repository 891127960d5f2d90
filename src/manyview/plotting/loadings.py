"""The features that move with a latent dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from manyview.plotting.style import PALETTE, new_axes
from manyview.validation import check_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from manyview.metrics import Loadings

__all__ = ["plot_loadings"]


def plot_loadings(
    loadings: Loadings, view: str, dimension: int = 0, *, n_features: int = 10, ax: Axes | None = None
) -> Axes:
    """Draw the features of a view that move most with a latent dimension, the farthest on top.

    A bar is the loading; a line is its interval, where there are such. Bars to the right are of features that rise with
    the dimension, bars to the left of those that fall. The direction of a dimension itself has no meaning.

    Parameters
    ----------
    loadings : Loadings
        What :func:`manyview.metrics.loadings` returned.
    view : str
        The view.
    dimension : int, default 0
        Which dimension of z.
    n_features : int, default 10
        How many features at most.
    ax : Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        If there is no such view or dimension.

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(100, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=2, random_state=0, verbose=False).fit(views)
    >>> ax = plot_loadings(mv.metrics.loadings(model, views), "view_1", n_features=3)
    >>> len(ax.get_yticklabels())
    3
    """
    table = loadings.top(view, dimension, check_count("n_features", n_features))[::-1]
    ax = new_axes(ax, 5, 0.28 * max(len(table), 2) + 0.9)
    at = np.arange(len(table))
    ax.barh(at, table["mean"], height=0.7, color=PALETTE[1])
    if "low" in table:
        ax.hlines(at, table["low"], table["high"], color=PALETTE[0], linewidth=2)
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.set_yticks(at, [str(name) for name in table.index])
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set(title=view, xlabel=f"standard deviations, per standard deviation of z{dimension}")
    return ax
