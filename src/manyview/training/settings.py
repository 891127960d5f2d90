"""What a training run needs to know, and the error that stops it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["NonFiniteObjectiveError", "TrainingSettings"]


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
    trainer: Mapping[str, Any]
    verbose: bool
    checkpoint: Path | None = None
    resume: bool = False
    model: Mapping[str, Any] = field(default_factory=dict)
    """The model's class and hyperparameters, by which a checkpoint knows its run."""
