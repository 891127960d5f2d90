"""Training on a data set that is not in memory: one pass to learn about it, then batches read ahead."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyview.data.batch import Batch, Loader, mini_batches
from manyview.data.preprocessing import FittedView, make_batch
from manyview.data.stored import Dataset, Selected
from manyview.data.views import Views, as_views
from manyview.likelihoods import Likelihood, detect_likelihood
from manyview.messages import closest

__all__ = ["BatchStream", "LoadedBatch", "LoaderStream", "StoredBatch", "Survey"]

# Bytes of float32 in one read, and in the stretch of rows that batches are drawn from.
_READ = 2**22
_BUFFER = 2**26

Task = TypeVar("Task")
Result = TypeVar("Result")


# ---- what is learned in one pass ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moments:
    r"""Number, mean, and sum of squared deviations from it, of the observed entries of each feature; in float64.

    Those of two sets of samples add up to those of both (Chan, Golub and LeVeque, "Algorithms for computing the sample
    variance", The American Statistician 37, 1983): with :math:`\delta = \bar x_b - \bar x_a`,
    :math:`\bar x = \bar x_a + \delta n_b / n` and :math:`S = S_a + S_b + \delta^2 n_a n_b / n`.
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Moments:
        r"""The moments of data (n, \*shape) that are in memory; NaN is missing."""
        mask = ~np.isnan(x)
        count = mask.sum(0)
        mean = np.where(mask, x, 0.0).sum(0, dtype=np.float64) / np.maximum(count, 1)
        deviation = np.where(mask, x - mean, 0.0)
        return cls(count, mean, np.square(deviation, out=deviation).sum(0))

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        delta = other.mean - self.mean
        squares = self.squares + other.squares + delta**2 * self.count * share
        return Moments(count, self.mean + delta * share, squares)


@dataclass(frozen=True)
class Sight:
    """What some samples of a view say about all of them."""

    moments: Moments  # of those to train on
    witnesses: np.ndarray  # a few rows from which the likelihood is chosen as it would be from all
    dtype: np.dtype[Any]

    def __add__(self, other: Sight) -> Sight:
        witnesses = _witnesses(np.concatenate([self.witnesses, other.witnesses]))
        return Sight(self.moments + other.moments, witnesses, np.result_type(self.dtype, other.dtype))


def _witnesses(x: np.ndarray) -> np.ndarray:
    """For each fact that :func:`~manyview.likelihoods.detect_likelihood` asks for, a row that shows it."""
    first = x[:1]
    if not ((first == 0) | (first == 1) | np.isnan(first)).all():
        return first  # which settles it
    rows = x.reshape(len(x), math.prod(x.shape[1:]))
    missing, zero, one = np.isnan(rows), rows == 0, rows == 1
    ones = one.sum(1)
    facts = [
        ~(zero | one | missing).all(1),
        zero.any(1),
        one.any(1),
        ~missing.any(1),
        (ones > 1) | (ones == 0) & ~missing.any(1),  # not one-hot
    ]
    return x[sorted({int(fact.argmax()) for fact in facts if fact.any()})]


@final
class Survey:
    """What one pass over samples finds out, in place of having them all in memory.

    Parameters
    ----------
    dataset : Dataset
        The samples.
    training : (n,) bool array
        Which of them are to be trained on: means and deviations are theirs, all else is found from all samples.
    likelihoods : dict of str to (Likelihood or None)
        The likelihood of each view that the data are to fit; None where it is to be chosen.

    Attributes
    ----------
    names, shapes, feature_names
        As those of the data set.
    present : (n, M) bool array
        Which sample has which view.
    n_samples, n_batches : int
        How many there were.

    Raises
    ------
    ValueError
        If data do not fit their likelihood.
    """

    def __init__(
        self, dataset: Dataset, training: Bool[np.ndarray, " n"], likelihoods: Mapping[str, Likelihood | None]
    ) -> None:
        self.names, self.shapes, self.feature_names = dataset.names, dict(dataset.shapes), dict(dataset.feature_names)

        def look(rows: np.ndarray) -> tuple[dict[str, Sight], np.ndarray]:
            return _look(dataset[rows], training[rows], likelihoods, int(rows[0]))

        tasks = _reads(dataset, np.arange(len(dataset)))
        self._collect(_ahead(look, tasks, dataset.workers, dataset.workers))

    @classmethod
    def of_loader(cls, loader: Iterable[Any], choose: Callable[[Views], Mapping[str, Likelihood | None]]) -> Survey:
        """The survey of what a DataLoader gives in an epoch, once the views of its first batch are known."""
        batches = map(_batch_views, loader)
        first = next(batches, None)
        if first is None:
            raise ValueError("the dataloader is empty: it gave no batch")
        likelihoods = choose(first)
        survey = cls.__new__(cls)
        survey.names, survey.shapes, survey.feature_names = first.names, first.shapes, {}
        start = itertools.accumulate(itertools.chain([0], itertools.repeat(len(first))))

        def look(views: Views) -> tuple[dict[str, Sight], np.ndarray]:
            if views.shapes != first.shapes:
                raise ValueError(
                    f"the dataloader's batches differ: the first has views {first.shapes}, another {views.shapes}"
                )
            return _look(views, np.ones(len(views), dtype=bool), likelihoods, next(start))

        survey._collect(map(look, itertools.chain([first], batches)))
        return survey

    def _collect(self, sights: Iterable[tuple[dict[str, Sight], np.ndarray]]) -> None:
        self._sights: dict[str, Sight] = {}
        present = []
        for sight, some in sights:
            self._sights = {name: self._sights[name] + new if self._sights else new for name, new in sight.items()}
            present.append(some)
        self.present = np.concatenate(present)
        self.n_samples, self.n_batches, self.last_batch = len(self.present), len(present), len(present[-1])

    def detect(self, name: str) -> str:
        """The likelihood that suits a view."""
        return detect_likelihood(self._sights[name].witnesses)

    def __len__(self) -> int:
        return self.n_samples

    def has_training(self, name: str) -> bool:
        """Whether any sample that is trained on has a view."""
        return bool(self._sights[name].moments.count.any())

    def fit_view(self, name: str, likelihood: Likelihood, standardise: bool) -> FittedView:
        """What :meth:`FittedView.fit` would learn from the training samples, were they in memory."""
        sight, named = self._sights[name], name in self.feature_names
        moments = sight.moments
        names = list(self.feature_names[name]) if named else [f"{name}_{i}" for i in range(moments.mean.size)]
        variance = moments.squares / np.maximum(moments.count, 1)
        return FittedView.from_moments(
            name, names, named, likelihood, sight.dtype.name, moments.mean, variance, standardise
        )


def _look(
    views: Views, training: np.ndarray, likelihoods: Mapping[str, Likelihood | None], start: int
) -> tuple[dict[str, Sight], np.ndarray]:
    """What each view of some samples shows, and which of them have it."""
    sights = {}
    for name in views.names:
        x, likelihood = views.array(name), likelihoods[name]
        if likelihood is not None:
            try:
                likelihood.check(x, name)
            except ValueError as error:
                raise ValueError(f"{error} (rows counted from number {start} of the data)") from error
        chosen = x if training.all() else x[training]
        sights[name] = Sight(Moments.of(chosen), _witnesses(x), x.dtype)
    return sights, views.present


# ---- reading ahead --------------------------------------------------------------------------------------------------


def _reads(dataset: Dataset, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Increasing rows in stretches that are read at once: cut between chunks, each of some megabytes."""
    if not len(rows):
        return
    step = max(1, _READ // _row_bytes(dataset))
    cuts = np.flatnonzero(np.diff(_chunks(dataset, rows))) + 1
    found = np.searchsorted(cuts, np.arange(step, len(rows), step))
    edges = [0, *np.unique(cuts[found[found < len(cuts)]]).tolist(), len(rows)]
    for start, stop in itertools.pairwise(edges):
        yield rows[start:stop]


def _row_bytes(dataset: Dataset) -> int:
    return 4 * sum(map(math.prod, dataset.shapes.values()))


def _chunks(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """The stored chunk of each row."""
    if isinstance(dataset, Selected):
        return np.asarray(dataset.rows[rows] // dataset.dataset.chunk)
    return rows // dataset.chunk


def _ahead(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int, ahead: int) -> Iterator[Result]:
    """The function's values in the order of the tasks, worked out by threads while the caller is busy.

    Threads suffice: reading and NumPy let others run, and nothing has to be copied between processes.
    """
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="manyview") as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                pending.append(pool.submit(function, task))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def concatenate(batches: Sequence[Batch]) -> Batch:
    """One batch of all their rows."""
    if len(batches) == 1:
        return batches[0]
    observed: list[Tensor | None] = []
    for m in range(len(batches[0].x)):
        masks = [batch.observed[m] for batch in batches]
        if all(mask is None for mask in masks):
            observed.append(None)
            continue
        # Without a mask of features, all those of a sample are observed, or none.
        filled = [
            batch.mask[:, m].view(-1, *[1] * (batch.x[m].ndim - 1)).expand(batch.x[m].shape) if mask is None else mask
            for batch, mask in zip(batches, masks, strict=True)
        ]
        observed.append(torch.cat(filled))
    complete = all(batch.present is None for batch in batches)
    covariates = [batch.covariates for batch in batches if batch.covariates is not None]
    return Batch(
        tuple(torch.cat(x) for x in zip(*(batch.x for batch in batches), strict=True)),
        tuple(observed),
        None if complete else torch.cat([batch.mask for batch in batches]),
        torch.cat(covariates) if covariates else None,
    )


def _statistics(fitted: tuple[FittedView, ...]) -> dict[str, Tensor]:
    parts = ("loc", "scale", "fill")
    return {f"{part} of {view.name}": torch.as_tensor(getattr(view, part)) for view in fitted for part in parts}


@final
class StoredBatch:
    """Rows of a data set as the networks see them: what a Batch is for data in memory.

    Parameters
    ----------
    dataset : Dataset
        The samples.
    fitted : tuple of FittedView
        How they are preprocessed.
    present : (n, M) bool array
        Which sample has which view.
    covariates : Tensor, optional
        Their covariates, (n, C).
    """

    def __init__(
        self,
        dataset: Dataset,
        fitted: tuple[FittedView, ...],
        present: Bool[np.ndarray, "n M"],
        covariates: Float[Tensor, "n C"] | None = None,
    ) -> None:
        self.dataset, self.fitted, self.covariates = dataset, fitted, covariates
        self.present = None if present.all() else torch.from_numpy(present)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, rows: slice | np.ndarray) -> Batch:
        batch = make_batch(self.dataset[rows], self.fitted)
        if self.covariates is None:
            return batch
        return Batch(batch.x, batch.observed, batch.present, self.covariates[rows])

    @property
    def mask(self) -> Bool[Tensor, "n M"]:
        """Which sample has which view, also where nothing is missing."""
        return torch.ones(len(self), len(self.fitted), dtype=torch.bool) if self.present is None else self.present

    def tensors(self) -> dict[str, Tensor]:
        """What tells these samples from others without reading them again: how they are distributed, and the first."""
        rows = {f"first of {view.name}": x for view, x in zip(self.fitted, self[:1].x, strict=True)}
        covariates = {} if self.covariates is None else {"covariates": self.covariates}
        return {**_statistics(self.fitted), **rows, **covariates, "present": self.mask}

    def loader(
        self, batch_size: int, steps: int, shuffle: bool, device: torch.device | str = "cpu", fewest: int = 2
    ) -> BatchStream:
        """Mini-batches of these rows."""
        return BatchStream(self, batch_size, steps, shuffle, device, fewest)


@final
class BatchStream(Loader):
    r"""Mini-batches of a data set, read ahead by threads: what a BatchLoader is for data in memory.

    To shuffle, the chunks in which the data lie are put in a new order, and batches are drawn at random from a stretch
    of many of them, the buffer. The order depends on torch's random numbers alone, not on how fast anything is read.

    Parameters
    ----------
    data : StoredBatch
        All rows.
    batch_size : int
        Rows in a mini-batch.
    steps : int
        Mini-batches in an item.
    shuffle : bool
        Whether the order is drawn anew in each epoch, from torch's random numbers.
    device : device, default "cpu"
        Where the mini-batches are to be.
    fewest : int, default 2
        A last mini-batch of fewer rows joins the one before.
    """

    def __init__(
        self,
        data: StoredBatch,
        batch_size: int,
        steps: int,
        shuffle: bool,
        device: torch.device | str = "cpu",
        fewest: int = 2,
    ) -> None:
        self.data, self.batch_size, self.shuffle, self.device = data, batch_size, shuffle, device
        self.bounds = mini_batches(len(data), batch_size, fewest)
        super().__init__(len(self.bounds) - 1, steps)

    def __iter__(self) -> Iterator[list[Batch]]:
        # One draw from the common random numbers: reading ahead cannot change what others draw.
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ()))) if self.shuffle else None
        order = np.arange(len(self.data)) if generator is None else self._shuffled_chunks(generator)
        dataset = self.data.dataset
        rows_held = max(1, _BUFFER // _row_bytes(dataset))
        held = max(1, rows_held // (self.batch_size * self.steps)) * self.steps
        windows = [self.bounds[first : first + held + 1] for first in range(0, self.n_batches, held)]
        # As much is read ahead as is held, so that the next rows are there when these have been used.
        parts = _ahead(self.data.__getitem__, self._reads(order, windows), dataset.workers, _BUFFER // _READ)
        for window in windows:
            n_rows = window[-1] - window[0]
            buffer = self._fill(parts, n_rows)
            inside = None if generator is None else torch.randperm(n_rows, generator=generator)
            for first in range(0, len(window) - 1, self.steps):
                bounds = [bound - window[0] for bound in window[first : first + self.steps + 1]]
                chunk = slice(bounds[0], bounds[-1])
                rows = buffer[chunk if inside is None else inside[chunk]].to(self.device)
                yield [rows[start - bounds[0] : stop - bounds[0]] for start, stop in itertools.pairwise(bounds)]

    def _reads(self, order: np.ndarray, windows: list[list[int]]) -> Iterator[np.ndarray]:
        for window in windows:
            yield from _reads(self.data.dataset, np.sort(order[window[0] : window[-1]]))

    @staticmethod
    def _fill(parts: Iterator[Batch], n_rows: int) -> Batch:
        """The next so many rows that were read."""
        found: list[Batch] = []
        while sum(map(len, found)) < n_rows:
            found.append(next(parts))
        return concatenate(found)

    def _shuffled_chunks(self, generator: torch.Generator) -> np.ndarray:
        """The rows, chunk after chunk, the chunks in random order."""
        chunks = _chunks(self.data.dataset, np.arange(len(self.data)))
        starts = np.concatenate([[0], np.flatnonzero(np.diff(chunks)) + 1])
        lengths = np.diff(starts, append=len(chunks))
        order = torch.randperm(len(starts), generator=generator).numpy()
        starts, lengths = starts[order], lengths[order]
        return np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(len(chunks))


# ---- what a DataLoader gives ----------------------------------------------------------------------------------------


def _batch_views(item: Any) -> Views:
    """A batch of a DataLoader, in any form that an estimator takes."""
    try:
        return as_views(item)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"a batch of the dataloader cannot be read: {error}. It is to be a dict from view name to tensor, a list "
            "of tensors, or Views; covariates go to fit with a data set: MVDataset, or fit(datamodule=...)"
        ) from error


@final
class LoadedBatch:
    """Samples that come from a DataLoader of the user's: its batches, in its order.

    Parameters
    ----------
    dataloader : iterable
        Gives views, batch by batch; it is iterated anew in each epoch.
    fitted : tuple of FittedView
        How they are preprocessed.
    survey : Survey
        What a pass over it has found.
    """

    def __init__(self, dataloader: Iterable[Any], fitted: tuple[FittedView, ...], survey: Survey) -> None:
        self.dataloader, self.fitted, self.survey = dataloader, fitted, survey

    def __len__(self) -> int:
        return self.survey.n_samples

    @property
    def present(self) -> Bool[Tensor, "n M"]:
        """Which sample had which view, in the order of the pass that was made over the DataLoader."""
        return torch.from_numpy(self.survey.present)

    mask = present

    def tensors(self) -> dict[str, Tensor]:
        """What tells these samples from others: how they are distributed."""
        return _statistics(self.fitted)

    @property
    def batch_size(self) -> int:
        """Samples in a batch, on average."""
        return -(-self.survey.n_samples // self.survey.n_batches)

    def loader(
        self, batch_size: int, steps: int, shuffle: bool, device: torch.device | str = "cpu", fewest: int = 2
    ) -> LoaderStream:
        """Mini-batches as they come: their size and order are the user's."""
        return LoaderStream(self, steps, device, fewest)


@final
class LoaderStream(Loader):
    """What a DataLoader gives, as mini-batches for the networks.

    Parameters
    ----------
    data : LoadedBatch
        The DataLoader.
    steps : int
        Mini-batches in an item.
    device : device, default "cpu"
        Where the mini-batches are to be.
    fewest : int, default 2
        A last mini-batch of fewer rows joins the one before.
    """

    def __init__(self, data: LoadedBatch, steps: int, device: torch.device | str = "cpu", fewest: int = 2) -> None:
        self.data, self.device, self.fewest = data, device, fewest
        survey = data.survey
        super().__init__(survey.n_batches - (survey.n_batches > 1 and survey.last_batch < fewest), steps)

    def __iter__(self) -> Iterator[list[Batch]]:
        batches = self._batches()
        while item := list(itertools.islice(batches, self.steps)):
            yield item

    def _batches(self) -> Iterator[Batch]:
        known = {view.name for view in self.data.fitted}
        waiting: Batch | None = None
        for views in map(_batch_views, self.data.dataloader):
            for name in views.names:
                if name not in known:
                    raise ValueError(f"the dataloader gave a view {name!r}{closest(name, known)}")
            batch = make_batch(views, self.data.fitted).to(self.device)
            if waiting is None:
                waiting = batch
            elif len(batch) < self.fewest:
                waiting = concatenate([waiting, batch])
            else:
                yield waiting
                waiting = batch
        if waiting is not None:
            yield waiting
