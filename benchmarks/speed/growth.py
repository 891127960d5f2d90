"""W6: how the time of a sample grows with views, subsets, importance samples and rows."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.speed.contestants import race
from benchmarks.speed.context import Context
from benchmarks.speed.inference import files
from benchmarks.speed.rows import per_sample, row, settled
from benchmarks.speed.workloads import Workload, mlp, task_of, write_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CASES", "growth", "growth_figure"]

WIDTH, HIDDEN, Z, BATCH = 50, 64, 16, 128  # of each view, and of the networks
VIEWS = {"full": (2, 4, 8, 12, 16, 20), "quick": (2, 4, 10, 20), "smoke": (2, 4)}
SUBSETS = {"full": (2, 4, 6, 8, 10), "quick": (2, 6, 10), "smoke": (2, 4)}  # views; 2^M - 1 subsets
DRAWS = {"full": (1, 2, 4, 8, 16, 32, 64), "quick": (1, 8, 64), "smoke": (1, 4)}
ROWS = {"full": tuple(10**k for k in range(3, 8)), "quick": (10**3, 10**4, 10**5), "smoke": (10**3, 10**4)}
N_SAMPLES = {"full": 4096, "quick": 1024, "smoke": 256}
ROUNDS = {"full": 3, "quick": 2, "smoke": 1}

# What a case is called, what its x is, and the power of x with which the work in a sample grows.
CASES = {
    "views, MVAE": ("views M", 1),
    "views, MMVAE": ("views M (M² decodes)", 2),
    "subsets, MoPoE-VAE": ("subsets 2^M - 1", 1),
    "draws, MMVAE": ("importance samples K", 1),
    "rows in files, MVAE": ("rows", 0),
}


def tables(n_views: int, width: int = WIDTH) -> Workload:
    """So many views of the same width."""
    views = {f"view_{m}": ((width,), "normal") for m in range(n_views)}
    return Workload(name=f"W6-{n_views}x{width}", views=views, z_dim=Z, networks=mlp(HIDDEN))


def growth(context: Context) -> Iterator[dict[str, Any]]:
    """A row for each point."""
    scale = context.scale
    for n_views in VIEWS[scale]:
        yield point(context, "views, MVAE", n_views, "MVAE", n_views)
        yield point(context, "views, MMVAE", n_views, "MMVAE", n_views)
    for n_views in SUBSETS[scale]:
        yield point(context, "subsets, MoPoE-VAE", 2**n_views - 1, "MoPoEVAE", n_views)
    for k in DRAWS[scale]:
        yield point(context, "draws, MMVAE", k, "MMVAE", 2, options={"manyview": {"n_importance_samples": k}})
    for n_rows in ROWS[scale]:
        yield rows_in_files(context, n_rows)


def point(context: Context, case: str, x: int, model: str, n_views: int, **others: Any) -> dict[str, Any]:
    """The time of a sample at one value of x, on one thread."""
    workload, n = tables(n_views), N_SAMPLES[context.scale]
    data = write_data(workload, n, context.folder / "data")
    task = task_of(workload, model, BATCH, data, epochs=1 + ROUNDS[context.scale], **others)
    return timed(context, case, x, n, task)


def rows_in_files(context: Context, n_rows: int) -> dict[str, Any]:
    """The time of a sample that is read from a file while the model trains."""
    workload = tables(2)
    data = write_data(workload, 2, context.folder / "data")  # not used: the adapter reads the files
    stored = {"train": files(context.folder / "data", workload, n_rows)}
    few = n_rows >= 10**6  # rounds of so many rows are long enough
    task = task_of(workload, "MVAE", 1024, data, epochs=2 if few else 1 + ROUNDS[context.scale], stored=stored)
    return timed(context, "rows in files, MVAE", n_rows, n_rows, task)


def timed(context: Context, case: str, x: int, n_samples: int, task: Mapping[str, Any]) -> dict[str, Any]:
    answer = race(context.runners, {"manyview": task})["manyview"]
    return row("W6", case, "manyview", n_samples, **settled(answer), x=x, threads=1, error=answer["error"])


def growth_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The CPU time of a sample against what grows, on logarithmic axes, one panel a case."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(CASES), figsize=(3.2 * len(CASES), 3), layout="constrained")
    for axis, (case, (label, power)) in zip(axes, CASES.items(), strict=True):
        of = [r for r in rows if r["workload"] == "W6" and r["case"] == case and r["cpu_seconds"]]
        x, times = [r["x"] for r in of], [per_sample(r) for r in of]
        middle = [statistics.median(t) for t in times]
        axis.fill_between(x, [min(t) for t in times], [max(t) for t in times], alpha=0.2)
        axis.plot(x, middle, marker="o")
        if middle:
            axis.plot(x, [middle[-1] * (each / x[-1]) ** power for each in x], "k:", linewidth=1, label="the work")
            axis.legend(frameon=False)
        axis.set(title=case, xlabel=label, xscale="log", yscale="log")
        axis.set_xticks(x, [f"{each:,}" for each in x], rotation=30)
        axis.set_xticks([], minor=True)
    axes[0].set_ylabel("CPU time of a sample, µs")
    return figure
