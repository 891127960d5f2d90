"""What all workloads are told: how much to do, with which threads, where to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed.contestants import Contestant

__all__ = ["Context"]


@dataclass(frozen=True)
class Context:
    """A run of the benchmark.

    Parameters
    ----------
    scale : str
        How much is done.
    threads : tuple of int
        Numbers of threads, one after the other.
    runners : dict
        The contestants that there are, by name.
    folder : Path
        Where data and tasks go.
    batch_sizes : sequence of int, optional
        Only these of the batch sizes that a workload has.
    variants : dict
        Ways to train, by name, and what each adds to a task; by default there is one, on the CPU in float32.
    """

    scale: str
    threads: tuple[int, ...]
    runners: dict[str, Contestant]
    folder: Path
    batch_sizes: Sequence[int] | None = None
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"": {}})
