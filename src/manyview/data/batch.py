"""Tensors of the views as the networks see them."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["Batch", "BatchLoader", "Loader", "TrainingData", "mini_batches"]


class Loader(ABC):
    """The mini-batches of an epoch, some at a time; iterable anew for each epoch.

    Parameters
    ----------
    n_batches : int
        Number of mini-batches in an epoch.
    steps : int
        Mini-batches in an item.
    """

    def __init__(self, n_batches: int, steps: int) -> None:
        self.n_batches, self.steps = n_batches, steps

    @final
    def __len__(self) -> int:
        return -(-self.n_batches // self.steps)

    @abstractmethod
    def __iter__(self) -> Iterator[list[Batch]]: ...


@runtime_checkable
class TrainingData(Protocol):
    """Samples to train on, in memory or not."""

    def __len__(self) -> int: ...

    @property
    def mask(self) -> Bool[Tensor, "B M"]:
        """Which sample has which view."""

    def tensors(self) -> dict[str, Tensor]:
        """What tells these samples from others."""

    def loader(
        self, batch_size: int, steps: int, shuffle: bool, device: torch.device | str = "cpu", fewest: int = 2
    ) -> Loader:
        """Mini-batches of them."""


@dataclass(frozen=True)
class Batch:
    r"""Rows of all the views: preprocessed, every entry finite, with masks that say what was observed.

    Parameters
    ----------
    x : tuple of Tensor
        One a view, (B, \*shape_m); unobserved entries hold a filler.
    observed : tuple of (Tensor or None)
        Masks of single features, (B, \*shape_m); None for a view without missing features.
    present : Tensor, optional
        Which sample has which view, (B, M); None when nothing is missing, so that complete data pay for no mask.
    covariates : Tensor, optional
        What conditional models are told about each sample, (B, C).
    """

    x: tuple[Float[Tensor, "B ..."], ...]
    observed: tuple[Bool[Tensor, "B ..."] | None, ...]
    present: Bool[Tensor, "B M"] | None = None
    covariates: Float[Tensor, "B C"] | None = None

    def __len__(self) -> int:
        return len(self.x[0])

    @property
    def mask(self) -> Bool[Tensor, "B M"]:
        """Which sample has which view, also where nothing is missing."""
        if self.present is not None:
            return self.present
        return torch.ones(len(self), len(self.x), dtype=torch.bool, device=self.x[0].device)

    def __getitem__(self, rows: Tensor | slice) -> Batch:
        return self._map(lambda x: x[rows])

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device."""
        return self._map(lambda x: x.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the batch by name."""
        named: dict[str, Tensor | None] = {"present": self.present, "covariates": self.covariates}
        for m, (x, observed) in enumerate(zip(self.x, self.observed, strict=True)):
            named |= {f"x.{m}": x, f"observed.{m}": observed}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def loader(
        self, batch_size: int, steps: int, shuffle: bool, device: torch.device | str = "cpu", fewest: int = 2
    ) -> BatchLoader:
        """Mini-batches of these rows."""
        return BatchLoader(self.to(device), batch_size, steps, shuffle, fewest)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            tuple(map(function, self.x)),
            tuple(None if mask is None else function(mask) for mask in self.observed),
            None if self.present is None else function(self.present),
            None if self.covariates is None else function(self.covariates),
        )

    def given(self, views: Bool[Tensor, " M"]) -> Batch:
        """The batch with only some of its views present."""
        if bool(views.all()):
            return self
        present = views.to(self.x[0].device).expand(len(self), -1)
        return replace(self, present=present if self.present is None else self.present & present)


def mini_batches(n: int, batch_size: int, fewest: int) -> list[int]:
    """Where mini-batches of n rows begin and end; a last one of too few rows joins the one before."""
    starts = list(range(0, n, batch_size))
    if len(starts) > 1 and n - starts[-1] < fewest:
        del starts[-1]
    return [*starts, n]


@final
class BatchLoader(Loader):
    """Shuffled mini-batches of tensors in memory, several at a time.

    One selection of rows serves ``steps`` mini-batches, which are slices of it: rows are never collated one by one.
    A last mini-batch of too few rows joins the one before.

    Parameters
    ----------
    data : Batch
        All rows.
    batch_size : int
        Rows in a mini-batch.
    steps : int
        Mini-batches in an item.
    shuffle : bool
        Whether the order is drawn anew in each epoch, from torch's random numbers.
    fewest : int, default 2
        Rows that a mini-batch needs: batch normalisation two, and some objectives more.
    """

    def __init__(self, data: Batch, batch_size: int, steps: int, shuffle: bool, fewest: int = 2) -> None:
        self.data, self.batch_size, self.shuffle = data, batch_size, shuffle
        self.bounds = mini_batches(len(data), batch_size, fewest)
        super().__init__(len(self.bounds) - 1, steps)

    def __iter__(self) -> Iterator[list[Batch]]:
        device = self.data.x[0].device
        order = torch.randperm(len(self.data)).to(device) if self.shuffle else None
        for first in range(0, self.n_batches, self.steps):
            bounds = self.bounds[first : first + self.steps + 1]
            chunk = slice(bounds[0], bounds[-1])
            rows = self.data[chunk if order is None else order[chunk]]
            yield [rows[start - bounds[0] : stop - bounds[0]] for start, stop in itertools.pairwise(bounds)]
