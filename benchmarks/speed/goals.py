"""What the library is to reach, and what it reached, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.layout import Rows
from benchmarks.speed.growth import CASES
from benchmarks.speed.inference import IN_BATCHES
from benchmarks.speed.many import N_MODELS
from benchmarks.speed.rows import per_sample, spread

__all__ = ["goal", "growth_table", "other_table", "ratios", "training_table", "verdict"]

Row = Mapping[str, Any]

AGAINST = ("multiviewae", "multivae", "bare", "floor")
BARE = 1 / 1.1  # within 10 % of the bare loop

# By workload and batch size (None: any): how many times as fast as each, in CPU time.
GOALS: dict[tuple[str, int | None], dict[str, float]] = {
    ("W1", 128): {"multiviewae": 2.2, "multivae": 1.45, "floor": 0.85},
    ("W1", 512): {"multiviewae": 1.5, "multivae": 1.2, "floor": 0.88},
    ("W2", None): {"multiviewae": 1.25, "multivae": 1.15, "floor": 0.9},
    ("W3", None): {"multiviewae": 3.0, "multivae": 2.0, "floor": 0.55},
}
SUBSAMPLING = 2.5  # MEMVAE, to multivae's MVAE with sub-sampling
LIKELIHOOD, INFERENCE = 30.0, 20.0  # W4 to multivae, W5 to multiviewae
IMPORT = 1 / 1.15
START = 2.0  # seconds
GROWTH = 1.1  # what noise may add to "no more than the work"
MEMORY = 1.25  # and to "constant"
EIGHT, AS_ONE = 2.5, 1.6  # W7: eight models to one, and to eight one after another
SAME = 1e-4
LITTLE = 32.0  # megabytes: what is below may vary


def goal(workload: str, model: str, batch_size: int, against: str) -> float | None:
    """How many times as fast manyview is to be; None where nothing is said."""
    if against == "bare":
        return BARE
    if model == "MEMVAE" and against == "multivae":
        return SUBSAMPLING
    stated = GOALS.get((workload, batch_size)) or GOALS.get((workload, None), {})
    return stated.get(against)


def ratios(ours: Row, theirs: Row, clock: str = "cpu_seconds") -> list[float]:
    """How many times as fast we are, round by round."""
    pairs = zip(per_sample(theirs, clock), per_sample(ours, clock), strict=False)
    return [other / own for other, own in pairs]


def verdict(values: Sequence[float], aim: float | None, digits: int = 2) -> str:
    """The median ratio and its spread, and whether that is enough."""
    if not values or aim is None:
        return spread(values, digits)
    reached = "✓" if statistics.median(values) >= aim else "✗"
    return f"{spread(values, digits)} {reached} {aim:.{digits}f}"


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], dict[str, Row]]:
    """Contestants by case; of several rows of one, the last."""
    groups: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), {})[row["contestant"]] = row
    return groups


def training_table(rows: Sequence[Row], clock: str = "cpu_seconds") -> tuple[list[str], Rows]:
    """W1 to W3: times of a sample, and how many times as fast as each other contestant.

    In CPU time with ✓ or ✗ and the goal; in wall time, for which no goal is stated, without.
    """
    head = ["workload", "model, batch", "threads", "CPU µs a sample", "wall µs", *(f"× {name}" for name in AGAINST)]
    found = []
    of = [row for row in rows if row["workload"] in ("W1", "W2", "W3")]
    groups = grouped(of, "workload", "case", "threads", "model", "batch_size")
    for (workload, case, threads, model, batch_size), by_name in groups.items():
        ours = by_name.get("manyview")
        if ours is None:
            continue
        cells = [failed(ours)] * 2 if ours["error"] else [spread(per_sample(ours, c), 1) for c in CLOCKS]
        for name in AGAINST:
            theirs = by_name.get(name)
            if theirs is None or ours["error"] or theirs["error"]:
                cells.append("" if theirs is None else failed(theirs))
            else:
                aim = goal(workload, model, batch_size, name) if clock == "cpu_seconds" else None
                cells.append(verdict(ratios(ours, theirs, clock), aim))
        found.append([workload, case, str(threads), *cells])
    return head, found


CLOCKS = ("cpu_seconds", "wall_seconds")


def failed(row: Row) -> str:
    """What there is to say of a contestant that did not finish; the JSON has all of it."""
    return f"fails: {row['error'].splitlines()[0][:40]}" if row["error"] else ""


def other_table(rows: Sequence[Row]) -> tuple[list[str], Rows]:
    """W4, W5, W7, the import and the start, and what W6 comes down to: measured, and the goal."""
    head = ["workload", "case", "threads", "what", "measured", "goal", ""]
    found: Rows = []

    def add(row: Row, what: str, values: Sequence[float], aim: str, enough: Callable[[float], bool] | None) -> None:
        reached = "" if enough is None or not values else "✓" if enough(statistics.median(values)) else "✗"
        told = f"{values[0]:.1e}" if len(values) == 1 and values[0] < 0.01 else spread(values)
        found.append([row["workload"], row["case"], str(row["threads"]), what, told, aim, reached])

    groups = grouped([row for row in rows if row["workload"] in PAIRS], "workload", "case", "threads")
    for (workload, case, _), by_name in groups.items():
        ours = by_name.get("manyview")
        if ours is None:
            continue
        if ours["error"]:
            found.append([workload, case, str(ours["threads"]), "manyview", failed(ours), "", "✗"])
            continue
        if workload == "start":
            add(ours, "seconds to the first epoch", ours["wall_seconds"], f"≤ {START:g}", lambda x: x <= START)
            continue
        if workload in ("W4", "W5"):
            rates = [ours["n_samples"] / seconds for seconds in ours["wall_seconds"]]
            add(ours, "rows a second, wall time", rates, "", None)
        for name, aim in PAIRS[workload].items():
            theirs = by_name.get(name)
            if theirs is None:
                continue
            values, what = [] if theirs["error"] else ratios(ours, theirs), failed(theirs) or f"× {name}, CPU time"
            if aim is None:
                add(ours, what, values, "", None)
            else:
                add(ours, what, values, f"≥ {aim:.2g}", lambda x, aim=aim: x >= aim)
    together = grouped([row for row in rows if row["workload"] == "W7"], "case", "threads")
    for (case, _), by_name in together.items():
        one, eight = by_name["one model"], by_name[f"{N_MODELS} as one"]
        pairs = list(zip(eight["cpu_seconds"], one["cpu_seconds"], strict=True))
        if "clinical" in case:
            add(eight, "time, to that of one model", [x / y for x, y in pairs], f"≤ {EIGHT}", lambda x: x <= EIGHT)
        else:
            gain = [N_MODELS * y / x for x, y in pairs]
            add(eight, "× one after another", gain, f"≥ {AS_ONE}", lambda x: x >= AS_ONE)
        if "difference" in eight:
            add(
                eight, "objective, to models alone, relative", [eight["difference"]], f"≤ {SAME:g}", lambda x: x <= SAME
            )
            add(eight, "latents, to models alone", [eight["difference_of_latents"]], "", None)
    for ours, what, value, aim in [*memory(rows), *in_proportion(rows)]:
        add(ours, what, [value], f"≤ {aim:g}", lambda x, aim=aim: x <= aim)
    return head, found


# By workload, whom we are compared with, and the least ratio where one is stated.
PAIRS: dict[str, dict[str, float | None]] = {
    "W4": {"multivae": LIKELIHOOD, "bare": None, "floor": None},
    "W5": {"multiviewae": INFERENCE, IN_BATCHES: INFERENCE},
    "import": {"torch, sklearn.base": IMPORT},
    "start": {},
}


def memory(rows: Sequence[Row]) -> list[tuple[Row, str, float, float]]:
    """The memory beyond the output for all the rows in files, to that for a quarter of them."""
    of = [row for row in rows if row["workload"] == "W5" and "in files" in row["case"] and not row["error"]]
    found = []
    for what, threads in dict.fromkeys((row["what"], row["threads"]) for row in of):
        few, *_, many = sorted(
            (row for row in of if (row["what"], row["threads"]) == (what, threads)), key=lambda row: row["n_samples"]
        )
        before, after = (max([*row["megabytes_beyond_output"], LITTLE]) for row in (few, many))
        found.append((many, f"memory, {after:.0f} MB, to that of a quarter", after / before, MEMORY))
    return found


def in_proportion(rows: Sequence[Row]) -> list[tuple[Row, str, float, float]]:
    """How much more than the work time grows, from the second point to the last: the first is mostly overhead."""
    found = []
    of = [row for row in rows if row["workload"] == "W6" and row["cpu_seconds"]]
    for case in dict.fromkeys(row["case"] for row in of):
        points = sorted((row for row in of if row["case"] == case), key=lambda row: row["x"])
        if len(points) < 2:
            continue
        first, last = points[min(1, len(points) - 2)], points[-1]
        times = [statistics.median(per_sample(row)) for row in (first, last)]
        work = (last["x"] / first["x"]) ** CASES[case][1]
        what = f"growth from {first['x']:,} to {last['x']:,}, to that of the work"
        found.append((last, what, times[1] / times[0] / work, GROWTH))
    return found


def growth_table(rows: Sequence[Row]) -> tuple[list[str], Rows]:
    """W6: the time of a sample at each point."""
    head = ["case", "x", "CPU µs a sample", "to that of the first"]
    found, first = [], {}
    for row in rows:
        if row["workload"] != "W6":
            continue
        times = per_sample(row)
        base = first.setdefault(row["case"], statistics.median(times) if times else float("nan"))
        told = failed(row) or spread(times, 1)
        found.append([row["case"], f"{row['x']:,}", told, f"{statistics.median(times) / base:.2f}" if times else ""])
    return head, found
