"""The figures of a report, each as the address of an SVG picture that a page holds in itself."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from manyview.plotting.images import plot_images
from manyview.plotting.style import PALETTE, bare, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_images", "draw_missing", "draw_pixels", "draw_scatter", "is_drawable", "to_address"]

Array = np.ndarray

# Dots that are drawn as shapes; more are drawn as one picture, which is smaller.
_DOTS = 2000

# Categories that colours are told apart for.
_CATEGORIES = 20


def to_address(figure: Figure) -> str:
    """A ``data:`` address of the figure as SVG, with its text as text."""
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "manyview"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, dpi=150)
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def is_drawable(column: pd.Series[Any]) -> bool:
    """Whether samples can be coloured by a column: by numbers that vary, or by a few categories."""
    known = column.dropna()
    return known.nunique() > 1 if _is_number(column) else 1 < known.nunique() <= _CATEGORIES


def draw_scatter(xy: Array, column: pd.Series[Any] | None, labels: tuple[str, str]) -> Figure:
    """Samples in a plane, coloured by a column; grey where it is unknown."""
    figure = new_figure(5, 3.6)
    ax = figure.subplots()
    dots: dict[str, Any] = {
        "s": min(30.0, 12000 / (len(xy) + 100)),
        "linewidths": 0,
        "alpha": 0.85,
        "rasterized": len(xy) > _DOTS,
    }
    if column is None:
        ax.scatter(*xy.T, color=PALETTE[0], **dots)
    else:
        unknown = column.isna().to_numpy()
        if unknown.any():
            ax.scatter(*xy[unknown].T, color="0.8", label="unknown", **dots)
        if _is_number(column):
            values = column.to_numpy(dtype=float, na_value=np.nan)[~unknown]
            x, y = xy[~unknown].T
            figure.colorbar(ax.scatter(x, y, c=values, cmap="viridis", **dots), ax=ax, label=str(column.name))
        else:
            _draw_categories(ax, xy, column, dots)
    bare(ax)
    ax.set(xticks=[], yticks=[], xlabel=labels[0], ylabel=labels[1])
    return figure


def _draw_categories(ax: Axes, xy: Array, column: pd.Series[Any], dots: dict[str, Any]) -> None:
    from matplotlib import colormaps

    names = sorted(column.dropna().unique().tolist(), key=lambda value: (isinstance(value, str), value))
    colours: Any = PALETTE
    if len(names) > len(PALETTE):
        colours = colormaps["turbo"](np.linspace(0, 1, len(names)))
    for name, colour in zip(names, colours, strict=False):
        chosen = (column == name).to_numpy(dtype=bool, na_value=False)
        ax.scatter(*xy[chosen].T, color=colour, label=str(name), **dots)
    ax.figure.legend(
        loc="outside right upper", frameon=False, title=str(column.name), alignment="left", markerscale=1.2, fontsize=9
    )


def draw_missing(shares: dict[str, Array]) -> Figure:
    """What is observed: a row a view, a column a sample, those that lack the same side by side."""
    from matplotlib.colors import LinearSegmentedColormap

    matrix = np.stack(list(shares.values()))
    matrix = matrix[:, np.lexsort(matrix[::-1])[::-1]]
    figure = new_figure(5, 0.9 + 0.3 * len(matrix))
    ax = figure.subplots()
    shades = LinearSegmentedColormap.from_list("observed", ["#eeeeee", PALETTE[5]])
    # As one picture of at most so many columns, however many samples there are.
    width = min(matrix.shape[1], 1000)
    columns = np.linspace(0, matrix.shape[1] - 1, width).round().astype(int)
    ax.imshow(
        matrix[:, columns], aspect="auto", cmap=shades, vmin=0, vmax=1, interpolation="none",
        extent=(0, matrix.shape[1], len(matrix) - 0.5, -0.5),
    )  # fmt: skip
    ax.hlines(np.arange(1, len(matrix)) - 0.5, 0, matrix.shape[1], color="white", linewidth=2)
    bare(ax)
    ax.set_yticks(range(len(matrix)), [_shortened(name) for name in shares])
    ax.set(xlabel=f"{matrix.shape[1]} samples")
    return figure


def draw_pixels(values: Array) -> Figure:
    """R² of each pixel; white where a pixel does not vary."""
    figure = new_figure(3.4, 3)
    ax = figure.subplots()
    picture = ax.imshow(values, cmap="viridis", vmin=0, vmax=1, interpolation="none")
    figure.colorbar(picture, ax=ax, label="R²")
    bare(ax)
    ax.set(xticks=[], yticks=[])
    return figure


def draw_images(given: Array, predicted: Array) -> Figure:
    """Images above what the model makes of them."""
    figure = new_figure(0.62 * len(given) + 1, 1.4)
    plot_images([given, predicted], row_labels=["data", "model"], ax=figure.subplots())
    return figure


def _is_number(column: pd.Series[Any]) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    few = column.nunique() <= 8 and bool((column.dropna() % 1 == 0).all()) if is_numeric_dtype(column) else True
    return is_numeric_dtype(column) and not is_bool_dtype(column) and not few


def _shortened(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"
