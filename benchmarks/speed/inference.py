"""W4, the joint log-likelihood, and W5, the latents and predictions of many rows: what is done after training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.contestants import race
from benchmarks.speed.context import Context
from benchmarks.speed.rows import row
from benchmarks.speed.workloads import TRAINING, Workload, task_of, write_data

__all__ = ["IN_BATCHES", "files", "inference", "likelihood"]

MODEL = TRAINING["W1"]
N_TRAIN, BATCH = 256, 128  # weights do not matter, but all libraries train before they infer
K = {"full": 1000, "quick": 1000, "smoke": 100}
ROWS = {"full": 2000, "quick": 200, "smoke": 20}  # W4
PEER_ROWS = {"full": 50, "quick": 20, "smoke": 5}  # of multivae, which loops over rows
IN_BATCHES = f"multiviewae, batches of {BATCH}"
ROUNDS = {"full": 3, "quick": 1, "smoke": 1}
IN_MEMORY = {"full": 100_000, "quick": 100_000, "smoke": 2_000}  # W5, beside multiviewae
STORED = {"full": 1_000_000, "quick": 100_000, "smoke": 5_000}  # W5, in files


def trained(context: Context, n_test: int, **others: Any) -> dict[str, Any]:
    """The task of training the model of W1 for an epoch, and of measuring something else then."""
    data = write_data(MODEL, N_TRAIN, context.folder / "data", n_test=n_test)
    return task_of(MODEL, "MVAE", BATCH, data, epochs=1, **others)


def likelihood(context: Context) -> Iterator[dict[str, Any]]:
    """W4: of 2,000 rows, and of as many as it takes to know for multivae."""
    scale = context.scale
    libraries = [name for name in ("manyview", "multivae", "bare", "floor") if name in context.runners]
    for threads in context.threads:
        others = {"measure": "likelihood", "n_importance": K[scale], "threads": threads}
        n_rows = dict.fromkeys(libraries, ROWS[scale]) | {"multivae": PEER_ROWS[scale]}
        tasks = {x: trained(context, ROWS[scale], likelihood_rows=n_rows[x], **others) for x in libraries}
        rounds = [race(context.runners, tasks) for _ in range(ROUNDS[scale])]
        for library in libraries:
            answers = [answers[library] for answers in rounds]
            found = [answer["log_likelihood"] for answer in answers if answer["error"] is None]
            yield row(
                "W4",
                f"K = {K[scale]}",
                library,
                n_rows[library],
                [x["cpu_seconds"] for x in found],
                [x["seconds"] for x in found],
                threads=threads,
                error=answers[0]["error"],
            )


def inference(context: Context) -> Iterator[dict[str, Any]]:
    """W5: arrays in memory beside multiviewae, then rows in files, and the memory that they take."""
    libraries = [name for name in ("manyview", "multiviewae") if name in context.runners]
    n_rows = IN_MEMORY[context.scale]
    for threads in context.threads:
        task = trained(context, n_rows, measure="inference", threads=threads)
        rounds = [race(context.runners, dict.fromkeys(libraries, task)) for _ in range(ROUNDS[context.scale])]
        for library in libraries:
            answers = [answers[library] for answers in rounds]
            yield from inferred(answers, library, n_rows, f"{n_rows:,} rows in memory", threads)
        if "multiviewae" in libraries:
            # It takes all rows at once unless it is told otherwise.
            answer = race(context.runners, {"multiviewae": {**task, "inference_batch": BATCH}})["multiviewae"]
            yield from inferred([answer], IN_BATCHES, n_rows, f"{n_rows:,} rows in memory", threads)
        for n_stored in (STORED[context.scale] // 4, STORED[context.scale]):
            stored = {"test": files(context.folder / "data", MODEL, n_stored)}
            task = trained(context, 1, measure="inference", threads=threads, stored=stored)
            answer = race(context.runners, {"manyview": task})["manyview"]
            yield from inferred([answer], "manyview", n_stored, f"{n_stored:,} rows in files", threads)


def inferred(
    answers: list[Mapping[str, Any]], library: str, n_rows: int, rows: str, threads: int
) -> Iterator[dict[str, Any]]:
    """The rows of `transform` and of `predict`."""
    for what in ("transform", "predict"):
        found = [answer[what] for answer in answers if answer["error"] is None]
        yield row(
            "W5",
            f"{what}, {rows}",
            library,
            n_rows,
            [x["cpu_seconds"] for x in found],
            [x["seconds"] for x in found],
            what=what,
            threads=threads,
            megabytes_beyond_output=[round(x["bytes_beyond_output"] / 1e6, 1) for x in found],
            error=answers[0]["error"],
        )


def files(folder: Path, workload: Workload, n_rows: int) -> list[str]:
    """A .npy file a view, of zeros that take no space on the disk: reading them costs what reading others does.

    A class is not a row of zeros: it is always the first.
    """
    paths = [folder / f"{workload.name}-{name}-{n_rows}.npy" for name in workload.views]
    for path, (shape, kind) in zip(paths, workload.views.values(), strict=True):
        view = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, *shape))
        if kind == "categorical":
            view[:, 0] = 1
        view.flush()
    return [str(path.resolve()) for path in paths]
