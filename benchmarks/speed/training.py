"""W1 to W3: epochs of training, of all contestants in turn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from benchmarks.speed.contestants import race
from benchmarks.speed.context import Context
from benchmarks.speed.rows import row, settled
from benchmarks.speed.workloads import TRAINING, task_of, write_data

__all__ = ["training"]


def training(name: str, context: Context) -> Iterator[dict[str, Any]]:
    """A row for each contestant, model, batch size, number of threads and variant."""
    workload = TRAINING[name]
    sizes = workload.scales[context.scale]
    data = write_data(workload, sizes.n_samples, context.folder / "data")
    cases = product(context.threads, sizes.cells, context.variants.items())
    for threads, cell, (variant, settings) in cases:
        if settings.get("channels_last") and "channels" not in workload.networks:
            continue  # tables have no channels
        for batch_size, model in product(cell.batch_sizes, cell.models):
            if context.batch_sizes and batch_size not in context.batch_sizes:
                continue
            others = {"threads": threads, "epochs": 1 + sizes.rounds, **settings}
            task = task_of(workload, model, batch_size, data, **others)
            answers = race(context.runners, dict.fromkeys(context.runners, task))
            for library, answer in answers.items():
                yield row(
                    name,
                    ", ".join([model, f"batch {batch_size}", *([variant] if variant else [])]),
                    library,
                    sizes.n_samples,
                    **settled(answer),
                    model=model,
                    batch_size=batch_size,
                    variant=variant,
                    threads=threads,
                    error=answer["error"],
                    version=answer.get("version"),
                    n_parameters=answer.get("n_parameters"),
                    notes=answer.get("shims", []),
                )
