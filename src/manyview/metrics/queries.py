"""What metrics ask of models: samples that have the views in question, subsets of views, codes and draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped

from manyview.data.samples import Samples, read_for, take_samples
from manyview.estimator import Estimator, ViewNames
from manyview.fusion import all_subsets
from manyview.inference import draw
from manyview.messages import closest
from manyview.seeding import as_seed

__all__ = [
    "Estimate",
    "check_labels",
    "check_names",
    "codes",
    "expected_views",
    "find_subsets",
    "generate",
    "having",
    "mean_estimate",
    "names_of",
    "read_samples",
    "seeds",
]

Array = np.ndarray

# Rows that go through the networks at once, and numbers that the draws of a view are.
_ROWS = 1024
_NUMBERS = 2**24


class Estimate(NamedTuple):
    """A mean over samples.

    Parameters
    ----------
    value : float
        The mean.
    standard_error : float
        Its standard error over the samples; NaN for a single one.
    n : int
        Number of samples.
    """

    value: float
    standard_error: float
    n: int


def mean_estimate(values: Float[Array, " n"]) -> Estimate:
    """The mean of one value a sample; NaN of none.

    Examples
    --------
    >>> import numpy as np
    >>> mean_estimate(np.array([0.0, 2.0]))
    Estimate(value=1.0, standard_error=1.0, n=2)
    """
    n = len(values)
    error = float(values.std(ddof=1)) / n**0.5 if n > 1 else np.nan
    return Estimate(float(values.mean()) if n else np.nan, error, n)


def read_samples(model: Estimator, views: Any, covariates: Any = None, argument: str = "covariates") -> Samples:
    """Samples in memory, in any form that the model takes as one argument, with their encoded covariates."""
    model.fitted_network()
    samples = take_samples(read_for(model.views_, views, ()), covariates, model.covariates_, argument)
    return Samples(samples.in_memory, samples.covariates)


def names_of(model: Estimator, names: ViewNames, argument: str) -> tuple[str, ...]:
    """Views by name, in the order of the model; all of them for None."""
    known = model.view_names_
    return tuple(known[m] for m in sorted(model._view_indices(names, argument)))


def having(samples: Samples, names: Sequence[str] | None, present: str = "all") -> Bool[Array, " n"]:
    """Which samples have all of these views, or any of them; for None, which have a view at all."""
    data = samples.in_memory
    if names is None:
        return np.asarray(data.present.any(axis=1))
    columns = [data.present[:, data.names.index(n)] if n in data else np.zeros(len(data), bool) for n in names]
    mask = np.stack(columns, axis=1)
    return np.asarray(mask.all(axis=1) if present == "all" else mask.any(axis=1))


def find_subsets(model: Estimator, subsets: Sequence[ViewNames] | None, *, proper: bool) -> list[tuple[str, ...]]:
    """Subsets of the views as they were named; by default all but the empty one, and the full one if ``proper``."""
    names = model.view_names_
    if subsets is None:
        members = [tuple(n for n, member in zip(names, row, strict=True) if member) for row in all_subsets(len(names))]
        return members[:-1] if proper else members
    if isinstance(subsets, str):
        raise TypeError(f"subsets={subsets!r}: give a list of subsets, such as [{subsets!r}, ({subsets!r}, ...)]")
    found = list(dict.fromkeys(names_of(model, subset, "subsets") for subset in subsets))
    if not found:
        raise ValueError("subsets=[]: give at least one subset of the views, or leave it out for all")
    return found


def check_names(given: Mapping[str, Any], allowed: Sequence[str], argument: str, fewest: int = 1) -> None:
    """Refuse a mapping by view that names others, or too few."""
    for name in given:
        if name not in allowed:
            raise ValueError(f"{argument}: the model has no view {name!r}{closest(name, allowed)}")
    if len(given) < fewest:
        raise ValueError(
            f"{argument} has {len(given)} of the views, and {fewest} at least are needed{closest('', allowed)}"
        )


def check_labels(labels: Any, n: int, argument: str) -> Shaped[Array, " n"]:
    """One label a sample."""
    array = np.asarray(labels)
    if array.shape != (n,):
        raise ValueError(f"{argument} has shape {array.shape}, but there are {n} samples; give one label for each")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{argument} has NaN; leave the samples out whose label is not known")
    return array


def seeds(model: Estimator, random_state: Any, n: int) -> list[int]:
    """Seeds of n series of draws; by default from the model's own."""
    seed = as_seed(model.random_state if random_state is None else random_state)
    drawn: list[int] = np.random.RandomState(seed).randint(2**31 - 1, size=n).tolist()
    return drawn


def codes(model: Estimator, samples: Samples, given: ViewNames = None) -> tuple[Array, Array | None]:
    """The posterior means: of z, (n, Z), and of the private latents, (M, n, H), or None."""
    with torch.no_grad():
        found = list(model._infer(samples, given))
    z = np.concatenate([part.q.mean.numpy() for part in found])
    h = [part.q_h.mean.numpy() for part in found if part.q_h is not None]
    return z, np.concatenate(h, axis=1) if h else None


def expected_views(
    model: Estimator, samples: Samples, given: ViewNames, targets: Sequence[str]
) -> dict[str, Float[Array, "n ..."]]:
    """What ``predict`` answers."""
    with torch.no_grad():
        return model._expected(samples, given, model._view_indices(targets, "target"), samples.covariates)


def generate(
    model: Estimator,
    samples: Samples,
    given: ViewNames,
    targets: Sequence[str],
    n_samples: int,
    seed: int,
    *,
    expected: bool,
) -> Iterator[tuple[slice, dict[str, Float[Array, "K n ..."]]]]:
    """For some rows at a time, the views at draws of z and h: expected values, or draws from p(x | z, h).

    The seed holds for each stretch of rows, so that none of it depends on what is done in between.
    """
    indices = model._view_indices(targets, "target")
    widest = max(math.prod(model.views_[m].shape) for m in indices)
    n_rows = max(1, min(_ROWS, _NUMBERS // (n_samples * widest)))
    stretches = model._infer(samples, given, n_rows)
    for part in seeds(model, seed, -(-len(samples) // n_rows)):
        with torch.no_grad(), model._seeded(part):
            found = next(stretches)
            z = draw(found.q, n_samples)
            h = None if found.q_h is None else found.q_h.sample(torch.Size((n_samples,)))
            c = None if samples.covariates is None else samples.covariates[found.rows]
            decode = model._expected_view if expected else model._sample_view
            views = {model.views_[m].name: decode(m, z, h, c) for m in indices}
        yield found.rows, views
