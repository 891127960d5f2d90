"""Grids of images."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from manyview.plotting.style import bare, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["image_grid", "plot_images"]


def plot_images(
    images: Any,
    *,
    shape: Sequence[int] | None = None,
    row_labels: Sequence[object] | None = None,
    column_labels: Sequence[object] | None = None,
    limits: tuple[float, float] | None = None,
    cmap: str = "gray_r",
    ax: Axes | None = None,
) -> Axes:
    r"""Draw a grid of images.

    Parameters
    ----------
    images : array of shape (rows, columns, \*image), or a sequence of rows of shape (columns, \*image)
        An image is (height, width), (1, height, width) or, in colour, (3, height, width); or flat, (D,). Where it is
        NaN, it is left blank.
    shape : sequence of int, optional
        The shape of an image, for flat ones; a square when not given.
    row_labels, column_labels : sequence, optional
        What to write beside the rows and above the columns.
    limits : tuple of float, optional
        The values at the two ends of the grey scale; the smallest and the largest of the images when not given.
    cmap : str, default "gray_r"
        Colour map of images without colours.
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
        If these are no images, or the labels are not as many as rows or columns.

    Examples
    --------
    >>> from manyview.datasets import load_digits
    >>> digits = load_digits().array("image")
    >>> ax = plot_images([digits[:5], 1 - digits[:5]], row_labels=["image", "negative"])
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['image', 'negative']
    """
    grid = image_grid(images, shape)
    n_rows, n_columns, height, width, channels = grid.shape
    for name, labels, count in [("row_labels", row_labels, n_rows), ("column_labels", column_labels, n_columns)]:
        if labels is not None and len(labels) != count:
            raise ValueError(f"{name} has {len(labels)} entries, but the grid has {count}; give one for each")
    low, high = limits or (float(np.nanmin(grid)), float(np.nanmax(grid)))
    grid = np.clip((grid - low) / ((high - low) or 1.0), 0, 1)

    # One picture of all images, with gaps that nothing is drawn in.
    gap = 1 + max(height, width) // 16
    cells = np.pad(grid, [(0, 0), (0, 0), (0, gap), (0, gap), (0, 0)], constant_values=np.nan)
    mosaic = cells.transpose(0, 2, 1, 3, 4).reshape(n_rows * (height + gap), n_columns * (width + gap), channels)
    mosaic = mosaic[:-gap, :-gap]
    ax = new_axes(ax, n_columns * 0.6, n_rows * 0.6 * height / width)
    if channels == 1:
        ax.imshow(mosaic[..., 0], cmap=cmap, vmin=0, vmax=1, interpolation="none")
    else:
        opaque = ~np.isnan(mosaic).any(-1, keepdims=True)
        ax.imshow(np.concatenate([np.nan_to_num(mosaic), opaque], axis=-1), interpolation="none")
    bare(ax)
    ax.xaxis.tick_top()
    for axis, labels, count, size in [
        (ax.xaxis, column_labels, n_columns, width),
        (ax.yaxis, row_labels, n_rows, height),
    ]:
        axis.set_ticks(
            np.arange(count) * (size + gap) + (size - 1) / 2,
            [""] * count if labels is None else [str(label) for label in labels],
        )
    return ax


def image_grid(images: Any, shape: Sequence[int] | None) -> np.ndarray:
    """The images as (rows, columns, height, width, channels)."""
    try:
        grid = np.stack([np.asarray(row, dtype=np.float64) for row in images])
    except ValueError as error:
        raise ValueError(f"images: every row needs as many images as the others, all of one shape ({error})") from error
    if grid.size == 0 or grid.ndim < 3:
        raise ValueError(f"images has shape {grid.shape}, which should be (rows, columns, *shape of an image)")
    flat = grid.ndim == 3
    if shape is not None:
        shape = tuple(shape)
        if np.prod(shape) != np.prod(grid.shape[2:]):
            raise ValueError(f"shape={shape}, but an image has shape {grid.shape[2:]}")
    elif flat and isqrt(grid.shape[2]) ** 2 == grid.shape[2]:
        shape = (isqrt(grid.shape[2]),) * 2
    elif flat:
        raise ValueError(f"images with {grid.shape[2]} features are not square; name their shape=(height, width)")
    else:
        shape = grid.shape[2:]
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"an image of shape {shape} is neither (height, width) nor (1 or 3, height, width)")
    return np.moveaxis(grid.reshape(*grid.shape[:2], *shape), 2, -1)
