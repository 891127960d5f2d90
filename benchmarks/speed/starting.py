"""What is paid before the first epoch: the import, and the preparation of a fit."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.speed.contestants import environment, race
from benchmarks.speed.context import Context
from benchmarks.speed.rows import row
from benchmarks.speed.workloads import TRAINING, task_of, write_data

__all__ = ["starting"]

STATEMENTS = {"torch, sklearn.base": "import torch, sklearn.base", "manyview": "import manyview"}
ROUNDS = {"full": 7, "quick": 3, "smoke": 1}


def starting(context: Context) -> Iterator[dict[str, Any]]:
    """The CPU time of imports in a fresh Python, taking turns; then the time from `fit` to the first epoch on W3."""
    cpu: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    wall: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(ROUNDS[context.scale]):
        for name, statement in STATEMENTS.items():
            code, start = f"{statement}\nimport time; print(time.process_time())", time.perf_counter()
            found = subprocess.run(
                [sys.executable, "-c", code], env=environment("manyview"), capture_output=True, text=True, check=True
            )
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(float(found.stdout))
    for name in STATEMENTS:
        yield row("import", "import", name, 1, cpu[name], wall[name], threads=1)
    workload = TRAINING["W3"]
    n = workload.scales[context.scale].n_samples
    data = write_data(workload, n, context.folder / "data")
    for threads in context.threads:
        task = task_of(workload, "MVAE", 64, data, threads=threads, epochs=1)
        answers = [race(context.runners, {"manyview": task})["manyview"] for _ in range(ROUNDS[context.scale])]
        cpu_seconds, wall_seconds = (
            [answer[name] for answer in answers if answer["error"] is None]
            for name in ("start_cpu_seconds", "start_seconds")
        )
        case, error = "from fit to the first epoch of W3", answers[0]["error"]
        yield row("start", case, "manyview", 1, cpu_seconds, wall_seconds, threads=threads, error=error)
