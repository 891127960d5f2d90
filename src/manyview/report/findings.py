"""What a report says of a fitted model: the model is asked, and its answers are measured."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from manyview.data.samples import Samples, read_for, take_samples
from manyview.data.views import Views
from manyview.likelihoods import Bernoulli, Categorical
from manyview.metrics.prediction import Quality, cross_qualities, quality
from manyview.metrics.variance import explained
from manyview.report.measures import choose_rows

if TYPE_CHECKING:
    from manyview.data.preprocessing import FittedView
    from manyview.estimator import Estimator

__all__ = ["Findings", "kind_of", "take_findings"]

Array = np.ndarray

# Samples that a report looks at.
_MOST = 5000


@final
@dataclass(frozen=True)
class Findings:
    """A fitted model, and the samples that it is asked about.

    Parameters
    ----------
    model : Estimator
        The model.
    samples : Samples
        The data, in memory.
    rows : array of int
        The positions of the samples among all that were given.
    n_samples : int
        How many were given.
    held_out : array of bool, (n,)
        Which of the samples were not trained on.
    """

    model: Estimator
    samples: Samples
    rows: Array
    n_samples: int
    held_out: Array

    @property
    def views(self) -> Views:
        """The data of all the samples."""
        return self.samples.in_memory

    @property
    def names(self) -> list[str]:
        """The model's views."""
        return self.model.view_names_

    @cached_property
    def observed(self) -> dict[str, Array]:
        r"""Each of the model's views, (n, \*shape); all NaN for one that the data lack."""
        n = len(self.samples)
        return {
            view.name: self.views.array(view.name) if view.name in self.views else np.full((n, *view.shape), np.nan)
            for view in self.model.views_
        }

    @cached_property
    def present(self) -> Array:
        """Whether a sample has a view, (n, M)."""
        seen = [~np.isnan(x).reshape(len(x), -1).all(axis=1) for x in self.observed.values()]
        return np.stack(seen, axis=1)

    @cached_property
    def judged(self) -> Array:
        """The samples that predictions are judged on, as a mask: those held out, or all if none were."""
        return self.held_out if self.held_out.any() else np.ones(len(self.samples), dtype=bool)

    @cached_property
    def z(self) -> Array:
        """The latents of all the samples, (n, Z)."""
        with _asking():
            return np.concatenate([found.q.mean.numpy() for found in self.model._infer(self.samples)])

    def predict(self, target: int, given: list[int], rows: Array) -> Array:
        """What is expected of a view of these samples, from the given views."""
        samples, view = self.samples[rows], self.model.views_[target]
        with _asking():
            return self.model._expected(samples, given, [target], samples.covariates)[view.name]

    @cached_property
    def reconstruction(self) -> list[Quality]:
        """How well each view is reconstructed from all the views of a sample, its own included."""
        with _asking():
            return [quality(self.model, self._judged_samples, name, self.names) for name in self.names]

    def cross_prediction(self) -> list[list[Quality]]:
        """How well each view, a column, is predicted from each and, if there are more than two, from all the others."""
        with _asking():
            return cross_qualities(self.model, self._judged_samples)

    @property
    def _judged_samples(self) -> Samples:
        return self.samples[np.flatnonzero(self.judged)]

    def variance_explained(self) -> tuple[Array, Array, Array | None]:
        """How much of each view each latent dimension explains on its own, while all the others stay at their average.

        It is the rise in R² over a prediction from the average of all of them, in all samples that have the view.

        Returns
        -------
        alone : array of shape (M, Z)
            Of each dimension of z.
        together : array of shape (M,)
            Of all latents together.
        private : array of shape (M,), or None
            Of a view's private latents, in models that have such.
        """
        with _asking():
            table = explained(self.model, self.samples)
        alone = table[[f"z{i}" for i in range(self.model.z_dim)]].to_numpy()
        private = table["private"].to_numpy() if "private" in table else None
        return alone, table["all"].to_numpy(), private


def take_findings(model: Estimator, views: Any, covariates: Any, held_out: Array | None) -> Findings:
    """The model, and the samples that the report looks at: at most some thousands, chosen at random."""
    model.fitted_network()
    held_out = np.zeros(0, dtype=int) if held_out is None else np.unique(np.asarray(held_out))
    data = read_for(model.views_, views, ())
    if held_out.dtype.kind not in "iu" or held_out.ndim != 1 or (held_out < 0).any() or (held_out >= len(data)).any():
        raise ValueError(f"held_out must be positions of samples, from 0 to {len(data) - 1}, but is {held_out!r}")
    rows = choose_rows(len(data), held_out, _MOST)
    every = len(rows) == len(data)
    samples = take_samples(data, covariates, model.covariates_, rows=None if every else rows)
    samples = Samples(samples.in_memory, samples.covariates)
    return Findings(model, samples, rows, len(data), np.isin(rows, held_out))


def kind_of(view: FittedView) -> str:
    """What sort of values a view has, in plain words."""
    if isinstance(view.likelihood, Categorical):
        return "one of several categories"
    return "yes/no values" if isinstance(view.likelihood, Bernoulli) else "numbers"


@contextmanager
def _asking() -> Iterator[None]:
    """Without gradients, and without the warning that samples have none of the given views: the page says who has."""
    with warnings.catch_warnings(action="ignore", category=UserWarning), torch.no_grad():
        yield
