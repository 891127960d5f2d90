"""Rows of results: one for each contestant in each case, as a line of JSON."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["machine", "per_sample", "row", "settled", "spread"]


def machine() -> dict[str, Any]:
    """What the times depend on."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    found = {
        "cpu": cpu[0].partition(":")[2].strip() if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    return found | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def row(
    workload: str,
    case: str,
    contestant: str,
    n_samples: int,
    cpu_seconds: Sequence[float],
    wall_seconds: Sequence[float],
    **others: Any,
) -> dict[str, Any]:
    """A contestant in a case: the times of each round, for so many samples."""
    times = {"cpu_seconds": list(cpu_seconds), "wall_seconds": list(wall_seconds)}
    return {
        "workload": workload,
        "case": case,
        "contestant": contestant,
        "n_samples": n_samples,
        **times,
        "error": None,
        **others,
        "machine": machine(),
    }


def settled(answer: Mapping[str, Any]) -> dict[str, list[float]]:
    """The times of the epochs of an adapter's answer that count: the first one warms up."""
    return {
        "cpu_seconds": answer.get("epoch_cpu_seconds", [])[1:],
        "wall_seconds": answer.get("epoch_seconds", [])[1:],
    }


def per_sample(row: Mapping[str, Any], clock: str = "cpu_seconds") -> list[float]:
    """Microseconds a sample, in each round."""
    return [1e6 * seconds / row["n_samples"] for seconds in row[clock]]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median, and the least and the greatest where there are several."""
    if not values:
        return "–"
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} [{min(values):.{digits}f}, {max(values):.{digits}f}]"
