"""From the data that a model is fitted to, to what is trained on: likelihoods chosen, views learned about, a split."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np

from manyview.data.batch import TrainingData
from manyview.data.covariates import FittedCovariates
from manyview.data.preprocessing import FittedView
from manyview.data.samples import drop_target, encode_covariates, read_for, take_samples
from manyview.data.stored import Dataset
from manyview.data.streaming import LoadedBatch, StoredBatch, Survey
from manyview.data.views import Views, as_views
from manyview.likelihoods import Likelihood, as_likelihood, detect_likelihood
from manyview.messages import warn
from manyview.nn import per_view

__all__ = ["Preparation", "Prepared", "find_data"]

logger = logging.getLogger("manyview")

Array = np.ndarray
Source = Views | Dataset | Iterable[Any]


class Given(NamedTuple):
    """What a model is to be fitted to, before anything is learned about it."""

    source: Source
    split: tuple[Array, Array] | None = None  # rows of a data set to train on, and to hold out
    batch_size: int | None = None
    covariates: Any = None
    validation: Any = None


class Prepared(NamedTuple):
    """Data to train on, and what was learned about them."""

    views: tuple[FittedView, ...]
    covariates: FittedCovariates | None
    training: TrainingData
    validation: TrainingData | None
    held_out: Array  # the samples that were taken from those given


def find_data(X: Any, views: tuple[Any, ...], datamodule: Any, dataloader: Any) -> Given:
    """What is trained on, from the arguments of ``fit``."""
    if (X is not None) + (datamodule is not None) + (dataloader is not None) > 1:
        raise TypeError("give the training data once: as views, as datamodule=, or as dataloader=")
    if dataloader is not None:
        return Given(dataloader)
    if datamodule is not None:
        return _from_module(datamodule)
    arguments = drop_target(X, views)
    if isinstance(X, Dataset):
        if any(view is not None for view in views):
            raise TypeError("a data set holds all the views: give it alone")
        return Given(X)
    _refuse_absent(arguments[0] if len(arguments) == 1 else arguments)
    return Given(as_views(*arguments))


def _from_module(datamodule: Any) -> Given:
    """What a data module of ours says, or the dataloaders of another."""
    datamodule.prepare_data()
    datamodule.setup("fit")
    dataset = getattr(datamodule, "dataset", None)
    if isinstance(dataset, Dataset):
        split = (datamodule.trained, datamodule.held_out)
        return Given(dataset, split, datamodule.batch_size, datamodule.covariates)
    loaders = datamodule.val_dataloader()
    loaders = loaders if isinstance(loaders, list | tuple) else [loaders]
    if len(loaders) > 1:
        raise ValueError(f"datamodule: its val_dataloader gives {len(loaders)} dataloaders; give one")
    return Given(datamodule.train_dataloader(), validation=loaders[0] if loaders else None)


def _refuse_absent(data: Any) -> None:
    """Refuse training data in which a view is None: nothing could be learned about it."""
    views: Mapping[Any, Any] = {}
    if isinstance(data, list | tuple):
        views = dict(enumerate(data))
    elif isinstance(data, Mapping):
        views = data
    absent = [name for name, view in views.items() if view is None]
    if absent:
        raise ValueError(
            f"view {absent[0]!r} is None, missing for every training sample; leave it out, or give it values"
        )


def _rows_with_views(data: Views | Survey) -> Array:
    """The rows that have any view at all."""
    some = data.present.any(axis=1)
    if not some.any():
        raise ValueError("every sample lacks every view: there is nothing to learn from")
    if not some.all():
        warn(f"{(~some).sum()} of {len(data)} samples have no view at all; they are left out")
    return np.flatnonzero(some)


@final
@dataclass(frozen=True)
class Preparation:
    """How a model takes data to be fitted to; the fields mean what its hyperparameters of the same names mean.

    Parameters
    ----------
    likelihood, scale, input_dim, validation_fraction
        Hyperparameters.
    fewest_samples : int
        Samples that are held out at least, if any are.
    seed : int
        Of the choice of those.
    """

    likelihood: Any
    scale: Any
    input_dim: Sequence[int | Sequence[int]] | None
    validation_fraction: float
    fewest_samples: int
    seed: int

    def __call__(
        self, source: Source, covariates: Any, others: tuple[Any, Any], split: tuple[Array, Array] | None
    ) -> Prepared:
        """Prepare a source of data.

        Parameters
        ----------
        source : Views, Dataset, or iterable of batches of views
            What is trained on.
        covariates : DataFrame, dict or array, optional
            Its covariates.
        others : tuple
            Samples to watch the objective on, and their covariates; None where there are none.
        split : tuple of ndarray, optional
            The rows of a data set that are trained on, and those held out.
        """
        if isinstance(source, Views):
            return self._prepare(source, covariates, others)
        if isinstance(source, Dataset):
            return self._prepare_stored(source, covariates, others, split)
        return self._prepare_loaded(source, covariates, others)

    def _prepare(self, data: Views, covariates: Any, others: tuple[Any, Any]) -> Prepared:
        """Views in memory, ready to train on; others are samples to watch the objective on, and their covariates."""
        rows = _rows_with_views(data)
        known = None
        if covariates is not None:
            known = FittedCovariates.fit(covariates, len(data), data.index, rows)
        samples = take_samples(data, covariates, known, rows=rows)
        likelihoods = self._choose_likelihoods(samples.in_memory)
        trained, held_out = self._split(len(samples), others[0])
        watched = samples[held_out] if len(held_out) else None
        samples = samples if watched is None else samples[trained]
        fitted = self._fit_views(samples.in_memory, likelihoods)
        validation = _watched(fitted, known, others) if watched is None else watched.batch(fitted)
        return Prepared(fitted, known, samples.batch(fitted), validation, rows[held_out])

    def _prepare_stored(
        self,
        data: Dataset,
        covariates: Any,
        others: tuple[Any, Any],
        split: tuple[Array, Array] | None,
    ) -> Prepared:
        """A data set, ready to train on, after one pass over it."""
        n = len(data)
        trained, held_out = self._split(n, others[0]) if split is None else split
        training = np.zeros(n, dtype=bool)
        training[trained] = True
        survey = Survey(data, training, self._given_likelihoods(data.names))
        rows = _rows_with_views(survey)
        trained, held_out = np.intersect1d(trained, rows), np.intersect1d(held_out, rows)
        known = None if covariates is None else FittedCovariates.fit(covariates, n, data.index, rows)
        c = encode_covariates(covariates, known, "covariates", data)
        fitted = self._fit_views(survey, self._choose_likelihoods(survey))

        def part(rows: Array) -> StoredBatch:
            return StoredBatch(data.take(rows), fitted, survey.present[rows], None if c is None else c[rows])

        watched = part(held_out) if len(held_out) else _watched(fitted, known, others)
        return Prepared(fitted, known, part(trained), watched, held_out)

    def _prepare_loaded(self, loader: Iterable[Any], covariates: Any, others: tuple[Any, Any]) -> Prepared:
        """What a DataLoader gives, ready to train on, after one pass over it."""
        if covariates is not None or others[1] is not None:
            raise ValueError("covariates are given, but dataloaders have none; use fit(MVDataset(...), covariates=...)")
        survey = Survey.of_loader(loader, lambda views: self._given_likelihoods(views.names))
        fitted = self._fit_views(survey, self._choose_likelihoods(survey))
        none = np.zeros(0, dtype=int)
        return Prepared(fitted, None, LoadedBatch(loader, fitted, survey), _watched(fitted, None, others), none)

    def _split(self, n_samples: int, validation: Any) -> tuple[Array, Array]:
        """The rows to train on, and those held out: none if others are given, or if there would be too few."""
        n_held_out = round(self.validation_fraction * n_samples)
        if validation is not None or n_held_out < self.fewest_samples:
            n_held_out = 0
        order = np.random.RandomState(self.seed).permutation(n_samples)
        return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])

    def _given_likelihoods(self, names: Sequence[str]) -> dict[str, Likelihood | None]:
        """The likelihood of each view; None where the data are to choose."""
        specs = per_view(self.likelihood, names, "likelihood")
        return {name: None if spec == "auto" else as_likelihood(spec) for name, spec in specs.items()}

    def _choose_likelihoods(self, data: Views | Survey) -> dict[str, Likelihood]:
        """The likelihood of each view, which its data fit."""
        likelihoods = {}
        for name, likelihood in self._given_likelihoods(data.names).items():
            if likelihood is None:
                chosen = data.detect(name) if isinstance(data, Survey) else detect_likelihood(data.array(name))
                logger.info("view %r: likelihood %r, chosen from the data", name, chosen)
                likelihood = as_likelihood(chosen)
            if isinstance(data, Views):
                likelihood.check(data.array(name), name)
            likelihoods[name] = likelihood
        return likelihoods

    def _fit_views(self, data: Views | Survey, likelihoods: Mapping[str, Likelihood]) -> tuple[FittedView, ...]:
        names = data.names
        shapes = [data.shapes[name] for name in names]
        if self.input_dim is not None:
            found = [math.prod(shape) for shape in shapes]
            given = [math.prod(size) if isinstance(size, Sequence) else size for size in self.input_dim]
            shaped = zip(self.input_dim, shapes, strict=False)
            if given != found or any(isinstance(size, Sequence) and tuple(size) != shape for size, shape in shaped):
                raise ValueError(
                    f"input_dim={list(self.input_dim)}, but the views have {found} features, of shapes {shapes}; "
                    "leave input_dim out, or give the views in its order"
                )
        scales = per_view(self.scale, names, "scale", default="standard", plain=True)
        fitted = []
        for m, name in enumerate(names):
            if not (data.has_training(name) if isinstance(data, Survey) else data.present[:, m].any()):
                raise ValueError(f"view {name!r} is missing for every training sample; leave it out, or give it values")
            likelihood = likelihoods[name]
            standardise = scales[name] == "standard" and likelihood.continuous
            if isinstance(data, Survey):
                fitted.append(data.fit_view(name, likelihood, standardise))
            else:
                fitted.append(FittedView.fit(data, name, likelihood, standardise))
        return tuple(fitted)


def _watched(
    fitted: tuple[FittedView, ...], known: FittedCovariates | None, others: tuple[Any, Any]
) -> TrainingData | None:
    """Samples that were given to watch the objective on, and their covariates, in any form."""
    given, covariates = others
    if given is None:
        return None
    likelihoods: dict[str, Likelihood | None] = {view.name: view.likelihood for view in fitted}
    if hasattr(given, "batch_sampler"):  # a DataLoader
        return LoadedBatch(given, fitted, Survey.of_loader(given, lambda _: likelihoods))
    data = read_for(fitted, given, ())
    if isinstance(data, Views):
        rows = _rows_with_views(data)
        return take_samples(data, covariates, known, "validation_covariates", rows).batch(fitted)
    survey = Survey(data, np.zeros(len(data), dtype=bool), dict.fromkeys(data.names))
    rows = _rows_with_views(survey)
    c = encode_covariates(covariates, known, "validation_covariates", data, rows)
    return StoredBatch(data.take(rows), fitted, survey.present[rows], c)
