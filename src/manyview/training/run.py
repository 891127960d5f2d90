"""A training run: what it needs, what it has reached, what comes of it, and the error that stops it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from manyview.data.batch import Batch, TrainingData
from manyview.messages import warn
from manyview.network import Network
from manyview.objectives import Scalar, Terms

__all__ = ["NonFiniteObjectiveError", "Outcome", "Progress", "Run", "TrainingSettings"]

ADVICE = "Lower learning_rate, set gradient_clip, or standardise the data (scale='standard')"

Objective = Callable[[Network, Batch, Scalar], Terms]


class NonFiniteObjectiveError(ArithmeticError):
    """The objective became NaN or infinite; the model keeps its last good weights."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained; the fields mean what the parameters of the same names of a model mean."""

    max_epochs: int
    batch_size: int
    fewest_samples: int
    learning_rate: float
    optimizer: str
    optimizer_args: Mapping[str, Any]
    scheduler: str | None
    scheduler_args: Mapping[str, Any]
    gradient_clip: float | None
    patience: int | None
    seed: int
    device: str
    compile: bool | str
    trainer: Mapping[str, Any]
    verbose: bool
    checkpoint: Path | None = None
    resume: bool = False
    model: Mapping[str, Any] = field(default_factory=dict)
    """The model's class and hyperparameters, by which a checkpoint knows its run."""


@dataclass(frozen=True)
class Run:
    """One network to be trained."""

    network: Network
    """Trained in place."""
    objective: Objective
    beta_at: Callable[[float], float]
    data: TrainingData
    validation: TrainingData | None
    view_names: tuple[str, ...]
    settings: TrainingSettings
    random_numbers: Tensor
    """The state of torch's generator as training starts."""
    kin: Mapping[str, Any] = field(default_factory=dict)
    """What runs that can be trained as one computation have in common, beside the shapes of their tensors."""


@dataclass
class Progress:
    """The history of a run, and which of its epochs was the best."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("inf")
    diverged: bool = False

    @property
    def loss(self) -> float:
        """That of the best epoch, of held-out samples where there are such; infinite before the first."""
        row = self.history[self.best_epoch - 1] if self.best_epoch else {}
        return row.get("val_loss", row.get("loss", float("inf")))

    def add(self, row: dict[str, float], beta: float) -> None:
        """Note an epoch, and warn of the first whose loss is out of all proportion to that of epoch 1."""
        self.history.append({"epoch": len(self.history) + 1, **row, "beta": beta})
        start = self.history[0]["loss"]
        if not self.diverged and row["loss"] > start + 100 * (1 + abs(start)):
            self.diverged = True
            now = f"{row['loss']:.4g} in epoch {len(self.history)}"
            warn(f"the loss grew from {start:.4g} in epoch 1 to {now}: training diverges. {ADVICE}")

    def improve(self, beta_at: Callable[[float], float], comparable: bool = True) -> bool:
        """Whether the last epoch is the best so far."""
        epoch = len(self.history)
        loss = self.history[-1].get("val_loss")
        # While beta grows, losses of different epochs cannot be compared.
        if loss is None or not comparable or beta_at(epoch) > beta_at(epoch - 1):
            self.best_epoch, self.best_loss = epoch, float("inf")
        elif loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch, loss
        return self.best_epoch == epoch

    def stalled(self, patience: int | None) -> bool:
        """Whether the best epoch lies that many epochs back."""
        return patience is not None and len(self.history) - self.best_epoch >= patience


class Outcome(NamedTuple):
    """What came of a training run, beside the network that it trained, which has the weights of the best epoch."""

    reached: Progress
    error: Exception | None = None
    """What stopped the run, if something did once there were weights worth keeping."""
    interrupted: bool = False
    """Whether Ctrl-C ended it."""


def by_view(row: Mapping[str, Any], view_names: Sequence[str]) -> dict[str, float]:
    """Numbers by name, those of views, in a list, under names such as ``log_lik[image]``."""
    numbers: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, list):
            numbers |= {f"{name}[{view}]": x for view, x in zip(view_names, value, strict=True)}
        else:
            numbers[name] = value
    return numbers


def finite(weights: Iterable[Tensor]) -> bool:
    """Whether all numbers are finite, which a sum tells in one pass; one that overflows is no proof."""
    return all(bool(torch.isfinite(x.sum()) or torch.isfinite(x).all()) for x in weights)


def non_finite(what: str, epoch: int, best_epoch: int, terms: str = "") -> NonFiniteObjectiveError:
    """The error of an objective, or of weights, that are not finite."""
    keeps = f"epoch {best_epoch}" if best_epoch else "the start"
    found = f"{what} became non-finite in epoch {epoch}{f': {terms}' if terms else ''}"
    return NonFiniteObjectiveError(f"{found}. The model keeps its weights of {keeps}. {ADVICE}")
