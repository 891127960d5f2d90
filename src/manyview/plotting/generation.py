"""Images that a model generates: reconstructions, traversals of the latents, any view from any other."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from manyview.data.samples import encode_covariates
from manyview.metrics.queries import codes, expected_views, generate, having, names_of, read_samples, seeds
from manyview.plotting.images import plot_images
from manyview.plotting.style import new_axes
from manyview.validation import check_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from manyview.data.preprocessing import FittedView
    from manyview.data.samples import Samples
    from manyview.estimator import Estimator, ViewNames

__all__ = ["plot_any_to_any", "plot_reconstructions", "plot_traversals"]

Array = np.ndarray


def plot_traversals(
    model: Estimator,
    view: str | int,
    views: Any = None,
    *,
    dimensions: Sequence[int] | None = None,
    n_steps: int = 9,
    span: float = 3.0,
    shape: Sequence[int] | None = None,
    covariates: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what becomes of a view as one latent dimension moves and the others stay: a row for each dimension.

    What is drawn is the expected view, as :meth:`~manyview.Estimator.decode` returns it; private latents are at the
    prior's mean.

    Parameters
    ----------
    model : Estimator
        A fitted model.
    view : str or int
        The view to draw, which holds images.
    views : views, optional
        Samples, in any form that the model takes as one argument: the latents start from the mean of their posterior
        means, steps are in the standard deviations of these, and the scale of grey, or of colour, goes from the least
        to the largest value of their images. By default the first two are the prior's, the last that of what is drawn.
    dimensions : sequence of int, optional
        The latent dimensions to move; all by default.
    n_steps : int, default 9
        How many images a row has, at least 2; with an odd number the middle one is where nothing has moved.
    span : float, default 3.0
        How far a dimension moves, in standard deviations, to each side.
    shape : sequence of int, optional
        The shape of an image, for flat ones; a square when not given.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such, or of one or more samples where ``views`` are
        left out. The view is decoded for their mean.
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
        If there is no such view or dimension, the view holds no images, or the model has no prior to start from.

    Examples
    --------
    >>> import manyview as mv
    >>> digits = mv.datasets.load_digits()
    >>> model = mv.MVAE(z_dim=2, max_epochs=1, random_state=0, verbose=False).fit(digits)
    >>> ax = plot_traversals(model, "image", digits, n_steps=3)
    >>> [label.get_text() for label in ax.get_yticklabels()], [label.get_text() for label in ax.get_xticklabels()]
    (['z0', 'z1'], ['−3', '0', '+3'])
    """
    m, image_shape = _image_view(model, view, shape)
    z_dim = model.network_.latent.z_dim
    chosen = list(range(z_dim)) if dimensions is None else list(dimensions)
    for d in chosen:
        check_dimension("dimensions", d, z_dim)
    if not chosen:
        raise ValueError("dimensions=[]: name at least one latent dimension, or leave it out for all")
    if check_count("n_steps", n_steps) < 2:
        raise ValueError(f"n_steps={n_steps}: give at least 2")
    if not (isinstance(span, float | int | np.number) and 0 < span < np.inf):
        raise ValueError(f"span={span!r}: give a number of standard deviations above 0")
    centre, deviation, c, limits = _starting_point(model, model.view_names_[m], views, covariates)
    steps = np.linspace(-span, span, n_steps)
    z = np.tile(centre, (len(chosen), n_steps, 1))
    for row, d in enumerate(chosen):
        z[row, :, d] += steps * deviation[d]
    codes = torch.from_numpy(z.reshape(-1, z_dim)).float()
    c = None if c is None else c.expand(len(codes), -1)
    with torch.no_grad():
        [images] = model._expected_at(codes, [m], covariates=c).values()
    rows, columns = [f"z{d}" for d in chosen], [_signed(step) for step in steps]
    grid = images.reshape(len(chosen), n_steps, *image_shape)
    ax = _axes(ax, rows, columns, image_shape, 0.3)
    plot_images(grid, row_labels=rows, column_labels=columns, limits=limits, ax=ax)
    ax.xaxis.set_label_position("top")
    ax.set_xlabel("standard deviations")
    return ax


def plot_reconstructions(
    model: Estimator,
    views: Any,
    view: str | int,
    *,
    given: ViewNames = None,
    n: int = 8,
    shape: Sequence[int] | None = None,
    covariates: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw images of samples above what the model expects of them.

    Both rows have the same scale of grey, or of colour, from the least to the largest value of the data that are drawn.

    Parameters
    ----------
    model : Estimator
        A fitted model.
    views : views
        The samples, in any form that the model takes as one argument.
    view : str or int
        The view to draw, which holds images.
    given : str, int or sequence of these, optional
        The views to predict it from; all by default, itself included.
    n : int, default 8
        How many samples: the first of those that have the view, and some of the given ones.
    shape : sequence of int, optional
        The shape of an image, for flat ones; a square when not given.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.
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
        If there is no such view, it holds no images, or no sample has what is to be drawn.

    Examples
    --------
    >>> import manyview as mv
    >>> digits = mv.datasets.load_digits()
    >>> model = mv.MVAE(z_dim=2, max_epochs=1, random_state=0, verbose=False).fit(digits)
    >>> ax = plot_reconstructions(model, digits, "image", n=3)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['data', 'model']
    """
    m, image_shape = _image_view(model, view, shape)
    name, sources = model.view_names_[m], names_of(model, given, "given")
    samples = read_samples(model, views, covariates)
    rows = np.flatnonzero(having(samples, [name]) & having(samples, sources, "any"))[: check_count("n", n)]
    if not len(rows):
        raise ValueError(f"no sample has the view {name!r} and any of those given, {list(sources)}")
    some = samples[rows]
    data = some.in_memory.array(name)
    expected = expected_views(model, some, sources, [name])[name]
    grid, labels = [x.reshape(-1, *image_shape) for x in (data, expected)], ["data", "model"]
    ax = _axes(ax, labels, [""] * len(rows), image_shape)
    return plot_images(grid, row_labels=labels, limits=_range(data), ax=ax)


def plot_any_to_any(
    model: Estimator,
    views: Any,
    *,
    sample: int = 0,
    n_samples: int | None = None,
    shape: Sequence[int] | None = None,
    covariates: Any = None,
    random_state: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw every view of a sample, generated from each of its views alone: a row for what is given, a column a view.

    The first row is the sample itself. Each view has its own scale of grey, or of colour, from its least to its largest
    value in all the samples. Small images are enlarged
    a whole number of times, and stand in the middle of cells of the largest.

    Parameters
    ----------
    model : Estimator
        A fitted model, whose views all hold images.
    views : views
        Samples, in any form that the model takes as one argument.
    sample : int, default 0
        The position of the one to draw. Views that it lacks are blank, and have no row.
    n_samples : int, optional
        Take so many draws of the latents from q(z | given), and from the prior or posterior of private ones, and draw
        the view expected at each, a row a draw: no noise of single pixels, as draws from p(x | given) have it. By
        default one row, the expected view that ``predict`` answers.
    shape : sequence of int, optional
        The shape of an image, for flat ones; a square when not given.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.
    random_state : int, RandomState or None
        Seeds the draws; by default the model's own.
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
        If a view holds no images, or there is no such sample.

    Examples
    --------
    >>> import manyview as mv
    >>> image = mv.datasets.load_digits()["image"]
    >>> images = {"digit": image, "negative": 1 - image}
    >>> model = mv.MVAE(z_dim=2, max_epochs=1, random_state=0, verbose=False).fit(images)
    >>> ax = plot_any_to_any(model, images, sample=3)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['sample', 'from digit', 'from negative']
    """
    names = model.view_names_
    shapes = [_image_view(model, name, shape)[1] for name in names]
    samples = read_samples(model, views, covariates)
    one = samples[np.array([check_sample(sample, len(samples))])]
    known = [
        name in one.in_memory and bool(one.in_memory.present[0, one.in_memory.names.index(name)]) for name in names
    ]
    labels, rows = ["sample"], [[_row(one, name)[0] for name in names]]
    for name in (name for name, here in zip(names, known, strict=True) if here):
        if n_samples is None:
            found = expected_views(model, one, name, names)
            drawn = [found[target] for target in names]
        else:
            [seed] = seeds(model, random_state, 1)
            k = check_count("n_samples", n_samples)
            [(_, draws)] = generate(model, one, name, names, k, seed, expected=True)
            drawn = [draws[target][:, 0] for target in names]
        rows += [list(row) for row in zip(*drawn, strict=True)]
        labels += [f"from {name}", *[""] * (len(drawn[0]) - 1)]
    grid = _cells(rows, shapes, samples, names)
    ax = _axes(ax, labels, names, grid.shape[2:])
    return plot_images(grid, row_labels=labels, column_labels=names, limits=(0, 1), ax=ax)


# ---- what these have in common --------------------------------------------------------------------------------------


def check_dimension(argument: str, dimension: Any, z_dim: int) -> int:
    """The position of a latent dimension.

    Raises
    ------
    ValueError
        Naming the argument.
    """
    if isinstance(dimension, int | np.integer) and not isinstance(dimension, bool) and 0 <= dimension < z_dim:
        return int(dimension)
    raise ValueError(f"{argument}: {dimension!r} is no latent dimension of the model; they are 0 to {z_dim - 1}")


def check_sample(sample: Any, n: int) -> int:
    """The position of a sample, which may be counted from the end.

    Raises
    ------
    ValueError
        Naming the argument.
    """
    if isinstance(sample, int | np.integer) and not isinstance(sample, bool) and -n <= sample < n:
        return int(sample) % n
    raise ValueError(f"sample={sample!r}: give the position of one of the {n} samples, 0 to {n - 1}")


def _image_view(model: Estimator, view: Any, shape: Sequence[int] | None) -> tuple[int, tuple[int, ...]]:
    """The position of a view, and the shape of its images, (1 or 3, height, width)."""
    model.fitted_network()
    if not isinstance(view, str | int):
        raise ValueError(f"view={view!r}: name one view")
    [m] = model._view_indices(view, "view")
    return m, _image_shape(model.views_[m], shape)


def _image_shape(view: FittedView, shape: Sequence[int] | None) -> tuple[int, ...]:
    found = view.shape
    if len(found) == 1:
        side = isqrt(found[0])
        if shape is None and side**2 != found[0]:
            raise ValueError(
                f"view {view.name!r} has {found[0]} features, which make no square image; name the shape=(height, "
                "width) if they are an image, or draw another view"
            )
        found = (side, side) if shape is None else tuple(shape)
        if prod(found) != view.shape[0]:
            raise ValueError(f"shape={tuple(found)}, but view {view.name!r} has {view.shape[0]} features")
    if len(found) == 2:
        found = (1, *found)
    if len(found) != 3 or found[0] not in (1, 3):
        raise ValueError(
            f"view {view.name!r} holds no images: its shape is {view.shape}, which is neither (height, width) nor "
            "(1 or 3, height, width)"
        )
    return found


def _starting_point(
    model: Estimator, view: str, views: Any, covariates: Any
) -> tuple[Array, Array, torch.Tensor | None, tuple[float, float] | None]:
    """Where a traversal starts, how long its steps are, the covariates, (C,), if any, and the range of the data."""
    if views is not None:
        samples = read_samples(model, views, covariates)
        z, _ = codes(model, samples)
        c = samples.covariates
        return z.mean(axis=0), z.std(axis=0), None if c is None else c.mean(0), _range(_row(samples, view))
    c = encode_covariates(covariates, model.covariates_)
    try:
        prior = model.network_.latent.prior
    except ValueError as error:
        reason = f"{type(model).__name__} has no prior here to start from; give views=, samples to start from"
        raise ValueError(reason) from error
    return prior.mean.detach().numpy(), prior.stddev.detach().numpy(), None if c is None else c.mean(0), None


def _axes(
    ax: Axes | None, rows: Sequence[str], columns: Sequence[str], shape: Sequence[int], above: float = 0.0
) -> Axes:
    """The axes that were given, or new ones with room for images of a shape, labels, and so many inches above."""
    letter = 0.095
    width = max(0.6, letter * max(map(len, columns)) + 0.1)
    height = width * shape[-2] / shape[-1]
    named = 0.3 if any(columns) else 0.0
    return new_axes(ax, width * len(columns) + letter * max(map(len, rows)) + 0.15, height * len(rows) + named + above)


def _signed(step: float) -> str:
    """A number of standard deviations, as it is written above a column."""
    return f"{round(step, 2):+g}".replace("-", "−") if round(step, 2) else "0"


def _range(images: Array) -> tuple[float, float] | None:
    """The least and the largest value; None where all are missing."""
    known = images[~np.isnan(images)]
    return (float(known.min()), float(known.max())) if known.size else None


def _row(samples: Samples, name: str) -> Array:
    """A view of samples; NaN where the data lack it."""
    data = samples.in_memory
    return data.array(name) if name in data else np.full((len(samples), 1), np.nan)


def _cells(
    rows: Sequence[Sequence[Array]], shapes: Sequence[tuple[int, ...]], samples: Samples, names: Sequence[str]
) -> Array:
    """Images, a column a view, as one array with values from 0 to 1: in one size, and all in colour if any is."""
    channels, height, width = (max(shape[axis] for shape in shapes) for axis in range(3))
    cells = np.full((len(rows), len(names), channels, height, width), np.nan)
    for column, (name, (own, h, w)) in enumerate(zip(names, shapes, strict=True)):
        images = np.stack([np.broadcast_to(row[column].reshape(-1), own * h * w) for row in rows])
        low, high = _range(_row(samples, name)) or _range(images) or (0.0, 1.0)
        images = np.clip((images - low) / ((high - low) or 1.0), 0, 1).reshape(-1, own, h, w)
        times = min(height // h, width // w)  # enlarged as far as whole pixels can be
        images, h, w = images.repeat(times, axis=2).repeat(times, axis=3), h * times, w * times
        if own < channels:
            images = 1 - images  # dark on white, as grey images are drawn elsewhere
        top, left = (height - h) // 2, (width - w) // 2
        cells[:, column, :, top : top + h, left : left + w] = images
    return cells
