"""From data as users have them to tensors as networks want them, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from manyview.data.batch import Batch
from manyview.data.views import Views
from manyview.likelihoods import Likelihood

__all__ = ["FittedView", "make_batch"]

_NUMBERS = 2**16  # half a megabyte in double precision


@dataclass(frozen=True)
class FittedView:
    """What training learned about the data of a view.

    Parameters
    ----------
    name : str
        The view.
    shape : tuple of int
        Its feature shape.
    feature_names : list of str
        A name for each of its features, flattened.
    named : bool
        Whether the data came with these names.
    likelihood : Likelihood
        What its decoder's output means.
    dtype : str
        The type of its numbers, and of what is predicted for it.
    loc, scale : ndarray
        What is subtracted from each feature, and what it is then divided by; 0 and 1 where it is not standardised.
    fill : ndarray
        What the encoder sees in place of a missing entry: the training mean, after standardising.
    """

    name: str
    shape: tuple[int, ...]
    feature_names: list[str]
    named: bool
    likelihood: Likelihood
    dtype: str
    loc: np.ndarray
    scale: np.ndarray
    fill: np.ndarray

    @classmethod
    def fit(cls, data: Views, name: str, likelihood: Likelihood, standardise: bool) -> FittedView:
        """Learn means and standard deviations from the observed entries of a view."""
        x, named = data.array(name), data.has_feature_names(name)
        names = data.feature_names[name].tolist()
        mask = ~np.isnan(x)
        count = np.maximum(mask.sum(0), 1)
        mean, variance = np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
        for rows in _stretches(x):
            mean += np.where(mask[rows], x[rows], 0.0).sum(0, dtype=np.float64) / count
        for rows in _stretches(x):
            deviation = np.where(mask[rows], x[rows] - mean, 0.0)
            variance += np.square(deviation, out=deviation).sum(0) / count
        return cls.from_moments(name, names, named, likelihood, x.dtype.name, mean, variance, standardise)

    @classmethod
    def from_moments(
        cls,
        name: str,
        feature_names: list[str],
        named: bool,
        likelihood: Likelihood,
        dtype: str,
        mean: np.ndarray,
        variance: np.ndarray,
        standardise: bool,
    ) -> FittedView:
        """Learn from the mean and variance of the observed entries."""
        zero = np.zeros(mean.shape)
        if not standardise:
            return cls(name, mean.shape, feature_names, named, likelihood, dtype, zero, zero + 1.0, mean)
        scale = np.sqrt(variance)
        # A constant feature has rounding noise for a scale; dividing by it would make the noise a signal.
        constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        scale = np.where(constant, 1.0, scale)
        return cls(name, mean.shape, feature_names, named, likelihood, dtype, mean, scale, zero)

    @property
    def log_scale(self) -> Tensor:
        """The log of dx/dx' for each feature: what standardising adds to a log-density, with a minus sign."""
        return torch.from_numpy(np.log(self.scale)).float()

    def encode(self, x: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Standardised, filled values of x, and the mask of its observed entries, None if all are."""
        mask = ~np.isnan(x)
        complete, values = mask.all(), np.empty(x.shape, dtype=np.float32)
        for rows in _stretches(x):
            scaled = (x[rows] - self.loc) / self.scale
            values[rows] = scaled if complete else np.where(mask[rows], scaled, self.fill)
        return torch.from_numpy(values), None if complete else torch.from_numpy(mask)

    def decode(self, values: Tensor) -> np.ndarray:
        """Values of the model in the units of the data."""
        units: np.ndarray = values.cpu().numpy() * self.scale + self.loc
        return units.astype(self.dtype)


def _stretches(x: np.ndarray) -> Iterator[slice]:
    """Slices of rows that are small enough for what is computed of them, in double precision, to stay in the caches."""
    n_rows = max(1, _NUMBERS // max(1, math.prod(x.shape[1:])))
    return (slice(start, start + n_rows) for start in range(0, len(x), n_rows))


def make_batch(views: Views, fitted: tuple[FittedView, ...]) -> Batch:
    """All rows of the views as tensors; a view that ``views`` lacks is missing for every sample."""
    n = len(views)
    x: list[Tensor] = []
    observed: list[Tensor | None] = []
    present = np.zeros((n, len(fitted)), dtype=bool)
    for m, view in enumerate(fitted):
        if view.name not in views:
            filler = torch.from_numpy(view.fill.astype(np.float32))
            x.append(filler.expand(n, *view.shape))
            observed.append(None)
            continue
        values, mask = view.encode(views.array(view.name))
        x.append(values)
        if mask is None:
            present[:, m] = True
            observed.append(None)
            continue
        flat = mask.flatten(1)
        some, every = flat.any(1), flat.all(1)
        present[:, m] = some.numpy()
        observed.append(None if torch.equal(some, every) else mask)
    return Batch(tuple(x), tuple(observed), None if present.all() else torch.from_numpy(present))
