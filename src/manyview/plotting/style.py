"""What the pictures have in common: where they are drawn, and in which colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PALETTE", "bare", "new_axes", "new_figure"]

PALETTE: tuple[str, ...] = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
"""Ten colours that stay apart for colour-blind readers (M. A. Petroff, "Accessible color sequences for data
visualization", 2021, https://arxiv.org/abs/2107.02270)."""


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
