"""Results in lines of JSON, and tables of them as text and as Markdown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Rows", "as_markdown", "as_text", "mean_sd", "read_lines"]

Rows = list[list[str]]


def read_lines(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """The lines of those files that are there, in the order of their names."""
    return [json.loads(line) for path in sorted(paths) if path.exists() for line in path.read_text().splitlines()]


def mean_sd(values: Sequence[float], digits: int) -> str:
    """The mean of the seeds and their standard deviation, if there are several."""
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def as_text(head: Sequence[str], rows: Rows) -> str:
    """Columns side by side."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("  ".join(f"{cell:{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def as_markdown(head: Sequence[str], rows: Rows) -> str:
    """A table for the documentation."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])
