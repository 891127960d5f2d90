"""What a training run needs to know, and the error that stops it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["NonFiniteObjectiveError", "Outcome", "TrainingSettings"]


class NonFiniteObjectiveError(ArithmeticError):
    """The objective became NaN or infinite; the model keeps its last good weights."""


class Outcome(NamedTuple):
    """What came of a training run, beside the network that it trained."""

    history: list[dict[str, float]]
    """One row an epoch."""
    best_epoch: int
    """The epoch whose weights the network has now."""
    error: Exception | None = None
    """What stopped the run, if something did once there were weights worth keeping; the network then has them."""
    interrupted: bool = False
    """Whether Ctrl-C ended it."""


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
    trainer: Mapping[str, Any]
    verbose: bool
    checkpoint: Path | None = None
    resume: bool = False
    model: Mapping[str, Any] = field(default_factory=dict)
    """The model's class and hyperparameters, by which a checkpoint knows its run."""
