"""A fitted model as a page that anybody can open and read."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from manyview.atomic import write_atomically
from manyview.metrics.prediction import Quality
from manyview.report.figures import (
    draw_images,
    draw_missing,
    draw_pixels,
    draw_scatter,
    is_drawable,
    to_address,
)
from manyview.report.findings import Findings, kind_of, take_findings
from manyview.report.measures import missing_patterns, observed_shares
from manyview.versions import versions

if TYPE_CHECKING:
    import pandas as pd

    from manyview.estimator import Estimator

__all__ = ["write_report"]

logger = logging.getLogger("manyview")

Array = np.ndarray

# The longest lists and tables, beyond which a page is no longer read.
_COLUMNS = 24
_FEATURES = 20
_DIMENSIONS = 64
_PATTERNS = 20
_IMAGES = 6

# Held-out samples below which their numbers are called rough.
_FEW = 30


# What the terms of objectives mean, whichever model they are of.
_TERMS = {
    "loss": "What training lowers: all the terms together.",
    "log_lik": "How well the data are explained: higher is better.",
    "kl": "How much the latents hold of each sample: what explaining the data costs.",
    "kl_private": "How much the private latents hold of each sample.",
    "kl_unimodal": "How far what one view says is from what all of them say.",
    "correlation": "How much the views' latents agree: higher is better.",
    "beta": "The weight of the divergences.",
}


def write_report(
    model: Estimator,
    views: Any,
    path: str | PathLike[str],
    *,
    covariates: Any = None,
    held_out: Array | None = None,
    colour: Any = None,
    title: str | None = None,
) -> Path:
    """Write a page about a fitted model: one HTML file that needs no network, to open in any browser.

    It shows the learning curves, the latent space, how much of each view each latent dimension explains, how well each
    view is reconstructed and predicted from the others, what is missing, and the configuration; and it says how to
    read each of them. Of very many samples it looks at some thousands, chosen at random.

    Parameters
    ----------
    model : Estimator
        A fitted model.
    views : views or Dataset
        All the data, those that were trained on and others, in any form that the model takes as one argument.
    path : path
        Where to write. A file that is there is replaced.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such; the latent space is coloured by them too.
    held_out : array of int, optional
        The positions of the samples that were not trained on, on which predictions are judged, such as
        ``model.held_out_`` where the views are the training data. Without any, all samples are, and the page says so.
    colour : DataFrame, dict or array, optional
        What is known about the samples, a column for each thing to colour the latent space by. A DataFrame with ids
        for index is matched to the ids of the views, all else by position.
    title : str, optional
        The heading; by default it names the model and the views.

    Returns
    -------
    Path
        Where the page is.

    Raises
    ------
    ImportError
        Without matplotlib and jinja2: ``pip install "manyview[report]"``.
    ValueError
        If held_out are no positions of samples, or colour has no rows for them.

    Examples
    --------
    >>> import tempfile
    >>> import manyview as mv
    >>> from manyview.report import write_report
    >>> views = mv.datasets.make_multiview(100, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=3, random_state=0, verbose=False).fit(views)
    >>> path = write_report(model, views, f"{tempfile.mkdtemp()}/report.html", held_out=model.held_out_)
    >>> "<h1>MVAE of view_0 and view_1</h1>" in path.read_text(encoding="utf-8")
    True
    """
    for package in ("matplotlib", "jinja2"):
        if find_spec(package) is None:
            raise ImportError(f'a report needs {package}: pip install "manyview[report]"')
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = take_findings(model, views, covariates, held_out)
    about = _about_samples(found, covariates, colour)
    environment = Environment(
        loader=PackageLoader("manyview", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "shade": _shade, "joined": _joined}
    page = environment.get_template("template.html").render(
        title=title or f"{type(model).__name__} of {_joined(found.names)}",
        model=type(model).__name__,
        summary=_summary(found),
        curves=_curves(model),
        maps=list(_maps(found, about)),
        not_drawn=[str(name) for name in about if not is_drawable(about[name])],
        explained=_explained(found),
        views=[_view(found, m) for m in range(len(found.names))],
        crossing=_crossing(found),
        missing=_missing(found),
        configuration=_configuration(model),
        versions=versions(),
    )
    path = Path(path)
    write_atomically(path, page.encode("utf-8"))
    logger.info("wrote %s", path)
    return path


# ---- sections -------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Picture:
    """A figure, what it is for those who do not see it, and what it is called among others."""

    address: str
    alt: str
    name: str = ""
    note: str = ""


def _summary(found: Findings) -> dict[str, Any]:
    model = found.model
    return {
        "n": found.n_samples,
        "n_shown": len(found.samples),
        "n_held_out": int(found.held_out.sum()),
        "n_judged": int(found.judged.sum()),
        "few": int(found.judged.sum()) < _FEW,
        "names": found.names,
        "z_dim": model.z_dim,
        "h_dim": None if model.network_.latent.private is None else model.network_.latent.private.z_dim,
        "covariates": [] if model.covariates_ is None else list(model.covariates_.names),
        "epochs": len(model.history_),
        "best_epoch": model.best_epoch_,
        "interrupted": model.interrupted_,
    }


def _curves(model: Estimator) -> list[Picture]:
    """The learning curves, a picture a term."""
    from manyview.plotting import plot_history

    history = model.history_
    if history.empty:
        return []
    terms = [str(name) for name in history.columns if not str(name).startswith("val_")]
    # The weight of the divergences is worth a picture only if it changes.
    terms = [term for term in terms if term != "beta" or history["beta"].nunique() > 1]
    pictures = []
    for term in terms:
        values = history[term]
        alt = f"Curve of {term} over {len(values)} epochs: from {_number(values.iloc[0])} to {_number(values.iloc[-1])}"
        note = _TERMS.get(term.partition("[")[0], "")
        pictures.append(Picture(to_address(plot_history(model, [term])), alt, term, note))
    return pictures


def _maps(found: Findings, about: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The latent space in two dimensions, in each way that there is, coloured by each column."""
    from manyview.plotting.latents import principal_components

    columns = [name for name in about if is_drawable(about[name])]
    xy, shares = principal_components(found.z)
    labels = tuple(
        f"{nth} principal component ({share:.0%} of variance)" if found.z.shape[1] > 1 and not math.isnan(share) else ""
        for nth, share in zip(("first", "second"), shares, strict=True)
    )
    if found.z.shape[1] == 1:
        # One dimension is drawn as a band, whose height keeps the dots apart.
        xy[:, 1], labels = np.random.default_rng(0).random(len(xy)), ("z0", "")
    ways = [("pca", "Principal components", xy, labels)]
    if found.z.shape[1] > 2 and len(xy) > 15 and find_spec("umap") is not None:
        ways.append(("umap", "UMAP", _umap(found.z), ("first UMAP dimension", "second UMAP dimension")))
    for key, name, coordinates, axes in ways:
        chosen: list[Any] = [*columns[:_COLUMNS]] or [None]
        pictures = []
        for column in chosen:
            values = None if column is None else about[column]
            alt = f"{len(coordinates)} samples in the latent space, {name}" + (
                "" if column is None else f", coloured by {column}"
            )
            drawn = draw_scatter(coordinates, values, (axes[0], axes[1]))
            pictures.append(Picture(to_address(drawn), alt, "" if column is None else str(column)))
        yield {"key": key, "name": name, "pictures": pictures, "n_left_out": max(0, len(columns) - _COLUMNS)}


def _umap(z: Array) -> Array:
    import warnings

    from umap import UMAP  # type: ignore[import-not-found]

    with warnings.catch_warnings(action="ignore"):  # that a seed means one thread
        return np.asarray(UMAP(random_state=0).fit_transform(z))


def _explained(found: Findings) -> dict[str, Any]:
    """Variance explained, a row a dimension, the most important first."""
    alone, together, private = found.variance_explained()
    order = np.argsort(-np.nan_to_num(alone).sum(axis=0), kind="stable")
    names = found.model.get_feature_names_out()
    unused = [str(names[k]) for k in range(len(names)) if np.nan_to_num(alone[:, k]).max() < 0.01]
    return {
        "rows": [(names[k], alone[:, k]) for k in order[:_DIMENSIONS]],
        "n_left_out": max(0, len(order) - _DIMENSIONS),
        "together": together,
        "private": private,
        "unused": unused,
    }


def _view(found: Findings, m: int) -> dict[str, Any]:
    """How well a view is reconstructed, and its features."""
    view, quality = found.model.views_[m], found.reconstruction[m]
    worst = np.argsort(quality.by_feature, kind="stable")  # NaN last
    known = worst[: int((~np.isnan(quality.by_feature)).sum())]
    examples, pixels = _images(found, m, quality)
    return {
        "name": view.name,
        "shape": view.shape,
        "n_features": len(worst),
        "kind": kind_of(view),
        "n": int(found.present[:, m].sum()),
        "quality": quality,
        "has_answers": not math.isnan(quality.accuracy),
        "constant": len(worst) - len(known),
        "median": float(np.median(quality.by_feature[known])) if len(known) else math.nan,
        "worst": [(view.feature_names[d], quality.by_feature[d]) for d in known[:_FEATURES]],
        "best": [(view.feature_names[d], quality.by_feature[d]) for d in known[_FEATURES:][::-1][:_FEATURES]],
        "examples": examples,
        "pixels": pixels,
    }


def _images(found: Findings, m: int, quality: Quality) -> tuple[Picture | None, Picture | None]:
    """Some images beside what the model makes of them, and how well each pixel is reconstructed."""
    view = found.model.views_[m]
    rows = np.flatnonzero(found.judged & found.present[:, m])[:_IMAGES]
    if len(view.shape) != 3 or view.shape[0] not in (1, 3) or not len(rows):
        return None, None
    x = found.observed[view.name][rows]
    predicted = found.predict(m, list(range(len(found.names))), rows)
    alt = f"{len(rows)} images of {view.name}, and below them their reconstructions"
    by_pixel = quality.by_feature.reshape(view.shape)
    known = ~np.isnan(by_pixel)
    mean = np.where(known.any(0), np.where(known, by_pixel, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
    pixels = Picture(to_address(draw_pixels(mean)), f"Map of how well each pixel of {view.name} is reconstructed")
    return Picture(to_address(draw_images(x, predicted)), alt), pixels


def _crossing(found: Findings) -> list[dict[str, Any]]:
    """How well each view is predicted from each, a row for what is given."""
    if len(found.names) == 1:
        return []
    sources = [*found.names, "all the others"]
    return [{"name": name, "qualities": row} for name, row in zip(sources, found.cross_prediction(), strict=False)]


def _missing(found: Findings) -> dict[str, Any]:
    shares = {name: observed_shares(x) for name, x in found.observed.items()}
    patterns = missing_patterns(found.present)
    alt = "Map of what is observed: " + ", ".join(f"{name} {x.mean():.0%}" for name, x in shares.items())
    return {
        "picture": Picture(to_address(draw_missing(shares)), alt),
        "patterns": patterns[:_PATTERNS],
        "n_left_out": max(0, len(patterns) - _PATTERNS),
        "entries": {name: 1 - x.mean() for name, x in shares.items()},
        "any": any(x.min() < 1 for x in shares.values()),
    }


def _configuration(model: Estimator) -> str:
    import yaml  # type: ignore[import-untyped]

    from manyview.config import to_config

    try:
        return str(yaml.safe_dump(to_config(model), sort_keys=False, allow_unicode=True))
    except ValueError:  # an object that a configuration cannot name is shown as Python does
        return "\n".join(f"{name}: {value!r}" for name, value in model.get_params(deep=False).items())


# ---- what is known about the samples --------------------------------------------------------------------------------


def _about_samples(found: Findings, covariates: Any, colour: Any) -> pd.DataFrame:
    """All columns that samples can be coloured by, a row for each sample of the report."""
    import pandas as pd

    tables = []
    if colour is not None:
        tables.append(_matched(colour, found, "colour"))
    if covariates is not None and found.model.covariates_ is not None:
        table = _matched(covariates, found, "covariates")
        names = found.model.covariates_.names
        if table.shape[1] == len(names) and not set(table.columns) <= set(names):
            table.columns = pd.Index(names)
        tables.append(table)
    own: dict[str, Any] = {}
    if 0 < found.held_out.sum() < len(found.held_out):
        own["set"] = np.where(found.held_out, "held out", "training")
    for name, present in zip(found.names, found.present.T, strict=True):
        if not present.all():
            own[f"{name} measured"] = np.where(present, "yes", "no")
    table = pd.concat([*tables, pd.DataFrame(own, index=range(len(found.rows)))], axis=1)
    return table.loc[:, ~table.columns.duplicated()]


def _matched(table: Any, found: Findings, argument: str) -> pd.DataFrame:
    """A table's rows for the samples, by their ids where it has such, else by position."""
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        if isinstance(table, pd.Series):
            table = table.to_frame(argument if table.name is None else table.name)
        elif isinstance(table, Mapping):
            table = pd.DataFrame(dict(table))
        else:
            values = np.asarray(table)
            values = values[:, None] if values.ndim == 1 else values
            names = [argument] if values.shape[1] == 1 else [f"{argument}_{i}" for i in range(values.shape[1])]
            table = pd.DataFrame(values, columns=names)
    if isinstance(table.index, pd.RangeIndex):
        if len(table) != found.n_samples:
            raise ValueError(
                f"{argument} has {len(table)} rows, but there are {found.n_samples} samples; give one for each, or a "
                "DataFrame with their ids as its index"
            )
        matched: pd.DataFrame = table.iloc[found.rows].reset_index(drop=True)
        return matched
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise ValueError(f"{argument}: {twice!r} has several rows; give one for each sample")
    ids = found.views.ids
    if not table.index.isin(ids).any():
        raise ValueError(
            f"{argument}: none of its rows is of a sample: its index has {table.index[0]!r}, where the views have "
            f"{ids.tolist()[0]!r}; give it the samples' ids for index"
        )
    matched = table.reindex(pd.Index(ids)).reset_index(drop=True)
    return matched


# ---- numbers as text ------------------------------------------------------------------------------------------------


def _number(value: float | None, digits: int = 2) -> str:
    """A number as one reads it; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if abs(value) >= 10**4:
        return f"{value:.3g}"
    text = f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.0f}"
    return text.replace("-0.00", "0.00").replace("-", "−")


def _shade(value: float) -> str:
    """How strongly a cell is coloured: not at all at 0 and below, most at 1."""
    return f"{0.65 * min(max(value, 0.0), 1.0):.2f}" if not math.isnan(value) else "0"


def _joined(names: list[str]) -> str:
    """Names as a sentence lists them; of many, how many there are."""
    if len(names) > 6:
        return f"{len(names)} views"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
