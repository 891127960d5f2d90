"""The latent space in two dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from manyview.plotting.images import image_grid
from manyview.plotting.style import PALETTE, bare, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from manyview.estimator import Estimator, ViewNames

__all__ = ["plot_latents", "principal_components"]


def plot_latents(
    model: Estimator,
    views: Any,
    *,
    given: ViewNames = None,
    color: Any = None,
    images: Any = None,
    ax: Axes | None = None,
) -> Axes:
    r"""Draw the latent representation of samples in two dimensions: their first two principal components.

    Two latent dimensions are drawn as they are.

    Parameters
    ----------
    model : Estimator
        A fitted model with at least two latent dimensions.
    views : views
        The n samples, in any form that the model takes as one argument.
    given : str, int or sequence of these, optional
        The views to infer the latents from; all by default.
    color : array-like of shape (n,), optional
        What colours the samples: floating-point numbers get a colour bar, anything else is a category, whose name is
        written at its middle, unless there are images.
    images : array-like of shape (n, \*image), optional
        Grey images to draw in place of dots, each (height, width), (1, height, width), or flat and square.
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
        If the model has one latent dimension, or color or images not one entry a sample.

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
    values = np.zeros(len(z), dtype=int) if color is None else np.asarray(color)
    if values.shape != (len(z),):
        raise ValueError(f"color has shape {values.shape}, but there are {len(z)} samples; give one value for each")
    pictures = None if images is None else image_grid([images], None)[0]
    if pictures is not None and (len(pictures), pictures.shape[-1]) != (len(z), 1):
        raise ValueError(
            f"images has shape {np.shape(images)}, but there are {len(z)} samples; give a grey image for each"
        )
    ax = new_axes(ax, 5, 5)
    xy = z if z.shape[1] == 2 else principal_components(z)[0]
    if values.dtype.kind == "f":
        rgba = _numbers(ax, values)
    else:
        rgba = _categories(ax, xy, values, named=color is not None and pictures is None)
    if pictures is None:
        ax.scatter(xy[:, 0], xy[:, 1], s=3000 / (len(z) + 100), c=rgba, linewidths=0, alpha=0.85)
    else:
        _draw_images(ax, xy, pictures, rgba)
    names = ["z0", "z1"] if z.shape[1] == 2 else [f"{nth} principal component of z" for nth in ("first", "second")]
    bare(ax)
    ax.set(xticks=[], yticks=[], xlabel=names[0], ylabel=names[1], aspect="equal")
    return ax


def principal_components(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The coordinates of samples along their first two principal components, and the components' shares of variance.

    Parameters
    ----------
    z : array of shape (n, Z)
        One row a sample.

    Returns
    -------
    coordinates : array of shape (n, 2)
        The second are zeros if Z = 1. Each component points where its largest entry is positive.
    shares : array of shape (2,)
        NaN if the samples are all the same.

    Examples
    --------
    >>> import numpy as np
    >>> coordinates, shares = principal_components(np.array([[0.0, 1.0], [0.0, -1.0], [3.0, 0.0], [-3.0, 0.0]]))
    >>> coordinates[2:, 0], shares
    (array([ 3., -3.]), array([0.9, 0.1]))
    """
    centred = np.asarray(z, dtype=np.float64) - np.mean(z, axis=0)
    eigenvalues, axes = np.linalg.eigh(centred.T @ centred)
    order = [-1, -2][: len(axes)]
    axes = axes[:, order]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(order))])
    coordinates, shares = np.zeros((len(z), 2)), np.zeros(2)
    coordinates[:, : len(order)] = centred @ axes
    total = eigenvalues.sum()
    shares[: len(order)] = eigenvalues[order] / total if total > 0 else np.nan
    return coordinates, shares


def _numbers(ax: Axes, values: np.ndarray) -> np.ndarray:
    """Colours (n, 4) of numbers, with a bar that says what they mean; grey for NaN."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    cmap = colormaps["viridis"].with_extremes(bad="0.8")
    scale = ScalarMappable(Normalize(np.nanmin(values), np.nanmax(values)), cmap)
    ax.figure.colorbar(scale, ax=ax, shrink=0.6)
    return np.asarray(scale.to_rgba(np.ma.masked_invalid(values)))


def _categories(ax: Axes, xy: np.ndarray, values: np.ndarray, named: bool) -> np.ndarray:
    """Colours (n, 4) of categories, whose names are written at their medians."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba_array
    from matplotlib.patheffects import withStroke

    names, index = np.unique(values, return_inverse=True)
    palette = to_rgba_array(PALETTE)
    if len(names) > len(PALETTE):
        palette = colormaps["turbo"](np.linspace(0, 1, len(names)))
    for i, name in enumerate(names if named else []):
        x, y = np.median(xy[index == i], axis=0)
        halo = [withStroke(linewidth=4, foreground="white")]
        text: dict[str, Any] = {"weight": "bold", "size": 15, "ha": "center", "va": "center", "zorder": 3}
        ax.text(x, y, str(name), color=palette[i], path_effects=halo, **text)
    rgba: np.ndarray = palette[index]
    return rgba


def _draw_images(ax: Axes, xy: np.ndarray, images: np.ndarray, rgba: np.ndarray) -> None:
    """Draw each image in its colour at its place, from light (transparent) to dark; blank where it is NaN."""
    ink = np.nan_to_num((images - np.nanmin(images)) / ((np.nanmax(images) - np.nanmin(images)) or 1.0))
    half = (np.ptp(xy, axis=0).max() or 1.0) / 56
    for (x, y), alpha, colour in zip(xy, ink, rgba, strict=True):
        tinted = np.concatenate([np.broadcast_to(colour[:3], (*alpha.shape[:2], 3)), alpha], axis=-1)
        ax.imshow(tinted, extent=(x - half, x + half, y - half, y + half), interpolation="none")
    low, high = xy.min(axis=0) - 2 * half, xy.max(axis=0) + 2 * half
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
