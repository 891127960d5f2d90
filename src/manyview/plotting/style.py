"""What the pictures have in common: where they are drawn, and in which colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PALETTE", "bare", "new_axes", "new_figure"]

PALETTE: tuple[str, ...] = (
    "#332288", "#88ccee", "#117733", "#ddcc77", "#cc6677", "#44aa99", "#882255", "#999933", "#aa4499", "#555555",
)  # fmt: skip
"""Ten colours that stay apart for colour-blind readers: the "muted" scheme of P. Tol, "Colour schemes", SRON technical
note 09-002, 2021 (https://sronpersonalpages.nl/~pault/), and a dark grey."""


def new_figure(width: float, height: float) -> Figure:
    """A figure of a size in inches that belongs to no window and to no global list.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('manyview.plotting needs matplotlib: pip install "manyview[plot]"') from error
    return Figure(figsize=(width, height), layout="constrained")


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes that were given, or those of a new figure."""
    return new_figure(width, height).subplots() if ax is None else ax


def bare(ax: Axes) -> None:
    """Axes without frame and ticks."""
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
