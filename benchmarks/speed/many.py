"""W7: eight models trained as one computation, to one alone; and how far each is from the model trained alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

import manyview as mv
from benchmarks.speed.context import Context
from benchmarks.speed.rows import row
from manyview.seeding import as_seeds
from manyview.training.loop import train
from manyview.training.many import train_all

__all__ = ["N_MODELS", "many"]

N_MODELS = 8

# Rows, features of each view, and settings.
SHAPES: dict[str, tuple[int, tuple[int, ...], dict[str, Any]]] = {
    "clinical": (300, (50,) * 4, {"z_dim": 10, "encoder": {"hidden": [64]}, "decoder": {"hidden": [64]}}),
    "W3": (2000, (500, 2000, 300, 50), {"z_dim": 16, "encoder": {"hidden": [256]}, "decoder": {"hidden": [256]}}),
}
BATCH = {"clinical": 128, "W3": 64}
EPOCHS = {
    "full": {"clinical": 200, "W3": 10},
    "quick": {"clinical": 60, "W3": 3},
    "smoke": {"clinical": 3, "W3": 1},
}
ROUNDS = {"full": 5, "quick": 3, "smoke": 1}

# Eight settings of what may differ.
GRID = {"learning_rate": [5e-4, 1e-3], "beta": [0.5, 1.0], "encoder__dropout": [0.1, 0.3]}


def many(context: Context) -> Iterator[dict[str, Any]]:
    """A row for one model and for eight, in turn; those of eight seeds say how far models trained alone are."""
    for threads in context.threads:
        for shape in SHAPES:
            yield from timed(context, shape, threads)


def timed(context: Context, shape: str, threads: int) -> Iterator[dict[str, Any]]:
    n_samples, widths, settings = SHAPES[shape]
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n_samples, 5))
    tables = [z @ rng.standard_normal((5, d)) + rng.standard_normal((n_samples, d)) for d in widths]
    views = mv.Views({f"view_{m}": x.astype(np.float32) for m, x in enumerate(tables)})
    scale = "quick" if context.scale.endswith("quick") else context.scale
    common = {"max_epochs": EPOCHS.get(scale, EPOCHS["full"])[shape], "batch_size": BATCH[shape], "patience": None}
    device = "cuda" if any(v.get("device") == "cuda" for v in context.variants.values()) else "cpu"
    model = mv.MVAE(**settings, **common, device=device, random_state=0, verbose=False)
    with_dropout = clone(model).set_params(encoder=settings["encoder"] | {"dropout": 0.1})
    everything = [(np.arange(n_samples), np.arange(n_samples))]

    def fit(n: int) -> None:
        model.set_params(n_init=n).fit(views)

    def choose(n: int) -> None:
        grid = GRID if n > 1 else {name: values[:1] for name, values in GRID.items()}
        mv.tune(with_dropout, views, grid, everything, scoring=no_score, refit=False)

    previous = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for what, work in (("seeds", fit), ("settings", choose)):
            times = race(work, ROUNDS.get(scale, 3))
            far = differences(model, views) if what == "seeds" else {}
            for n, (cpu, wall) in times.items():
                case = f"{N_MODELS} {what}, {shape}"
                name = "one model" if n == 1 else f"{n} as one"
                others = far if n > 1 else {}
                yield row("W7", case, name, 1, cpu, wall, threads=threads, epochs=common["max_epochs"], **others)
    finally:
        torch.set_num_threads(previous)


def no_score(model: mv.Estimator, views: mv.Views) -> float:
    """What is timed is training."""
    return 0.0


def race(work: Callable[[int], None], rounds: int) -> dict[int, tuple[list[float], list[float]]]:
    """CPU and wall times for one model and for eight, which take turns, after a turn that does not count."""
    times: dict[int, tuple[list[float], list[float]]] = {1: ([], []), N_MODELS: ([], [])}
    for turn in range(rounds + 1):
        for n, (cpu, wall) in times.items():
            start = time.process_time(), time.perf_counter()
            work(n)
            if turn:
                cpu.append(time.process_time() - start[0])
                wall.append(time.perf_counter() - start[1])
    return times


def differences(model: mv.Estimator, views: mv.Views) -> dict[str, float]:
    """Between models trained as one and the same models trained alone: relative, of the objective; of the latents."""
    seeds = as_seeds(0, N_MODELS)
    data = model.preparation(seeds[0])(views, None, (None, None), None)
    losses, latents = [], []
    for way in (train_all, lambda runs: [train(run) for run in runs]):
        runs = [model.run(data, seed) for seed in seeds]
        outcomes = way(runs)
        losses.append(np.array([outcome.reached.loss for outcome in outcomes]))
        found = []
        for run, outcome in zip(runs, outcomes, strict=True):
            model.adopt(data, [run], [outcome])
            found.append(model.transform(views))
        latents.append(np.stack(found))
    return {
        "difference": float(np.abs(losses[0] / losses[1] - 1).max()),
        "difference_of_latents": float(np.abs(latents[0] - latents[1]).max()),
    }
