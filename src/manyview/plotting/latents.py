"""The latent space in two dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from manyview.plotting.style import PALETTE, bare, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from manyview.estimator import Estimator, ViewNames

__all__ = ["plot_latents"]


def plot_latents(
    model: Estimator, views: Any, *, given: ViewNames = None, color: Any = None, ax: Axes | None = None
) -> Axes:
    """Draw the latent representation of samples in two dimensions: their first two principal components.

    Two latent dimensions are drawn as they are.

    Parameters
    ----------
    model : Estimator
        A fitted model with at least two latent dimensions.
    views : views
        The samples, in any form that the model takes as one argument.
    given : str, int or sequence of these, optional
        The views to infer the latents from; all by default.
    color : array-like of shape (n,), optional
        What colours the samples: numbers with a fraction get a colour bar, anything else is a category, whose name is
        written at its middle.
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
        If the model has one latent dimension, or color not one entry a sample.

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(100, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=3, max_epochs=2, random_state=0, verbose=False).fit(views)
    >>> ax = plot_latents(model, views, color=views.array("view_0")[:, 0])
    >>> ax.get_xlabel()
    'first principal component of z'
    """
    z = np.asarray(model.transform(views, given=given))
    if z.shape[1] < 2:
        raise ValueError("the model has z_dim=1: there are no two dimensions to draw")
    colors = None if color is None else np.asarray(color)
    if colors is not None and colors.shape != (len(z),):
        raise ValueError(f"color has shape {colors.shape}, but there are {len(z)} samples; give one value for each")
    x, y, *_ = _two_dimensions(z).T
    ax = new_axes(ax, 5, 5)
    style: dict[str, Any] = {"s": 3000 / (len(z) + 100), "linewidths": 0}
    if colors is None:
        ax.scatter(x, y, color=PALETTE[0], alpha=0.7, **style)
    elif colors.dtype.kind == "f":
        points = ax.scatter(x, y, c=colors, **style)
        ax.figure.colorbar(points, ax=ax, shrink=0.6)
    else:
        _scatter_categories(ax, x, y, colors, style)
    names = ["z0", "z1"] if z.shape[1] == 2 else [f"{nth} principal component of z" for nth in ("first", "second")]
    bare(ax)
    ax.set(xticks=[], yticks=[], xlabel=names[0], ylabel=names[1], aspect="equal")
    return ax


def _two_dimensions(z: np.ndarray) -> np.ndarray:
    """The coordinates of the samples, (n, 2)."""
    if z.shape[1] == 2:
        return z
    centred = z - z.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    # An axis may point either way: take the one along which its largest entry is positive.
    axes = axes[:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    coordinates: np.ndarray = centred @ axes.T
    return coordinates


def _scatter_categories(ax: Axes, x: np.ndarray, y: np.ndarray, category: np.ndarray, style: dict[str, Any]) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex
    from matplotlib.patheffects import withStroke

    names, index = np.unique(category, return_inverse=True)
    palette = PALETTE
    if len(names) > len(PALETTE):
        palette = tuple(to_hex(colour) for colour in colormaps["turbo"](np.linspace(0, 1, len(names))))
    # In the order of the samples, so that no category covers the others.
    ax.scatter(x, y, c=[palette[i] for i in index], alpha=0.85, **style)
    for i, name in enumerate(names):
        middle = np.median(x[index == i]), np.median(y[index == i])
        halo = withStroke(linewidth=3, foreground="white")
        ax.text(
            *middle, str(name), color=palette[i], weight="bold", size=14, ha="center", va="center", path_effects=[halo]
        )
