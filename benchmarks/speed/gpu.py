"""How fast manyview trains on a GPU, beside a bare PyTorch loop; and how long PolyMNIST takes in full.

python -m benchmarks.speed.gpu [--quick] [--peers] [--minutes 5] [--out build/speed/gpu.json]
python -m benchmarks.speed.gpu --device cpu --quick      whether it runs, where there is none

The data lie on the device. W1 to W3 are trained in float32, tf32, bfloat16 (Lightning's bf16-mixed), with images
channels-last, and compiled, as far as the library can. Times are wall times, taken when the device has done its work.
PolyMNIST (60,000 samples of five images, 300 epochs) is estimated from the fastest of these first, then measured for an
epoch, or for some minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.layout import as_text
from benchmarks.speed.contestants import contestants, race
from benchmarks.speed.context import Context
from benchmarks.speed.goals import other_table, training_table
from benchmarks.speed.many import many
from benchmarks.speed.rows import machine, per_sample, row, settled
from benchmarks.speed.run import present
from benchmarks.speed.training import training
from benchmarks.speed.workloads import TRAINING, task_of, write_data

OUT = Path(__file__).resolve().parents[2] / "build" / "speed" / "gpu.json"

CUDA = {"device": "cuda"}
COMPILED = {"compile": "reduce-overhead"}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "cuda": {
        "float32": CUDA,
        "tf32": {**CUDA, "tf32": True},
        "bf16": {**CUDA, "tf32": True, "precision": "bf16-mixed"},
        "bf16, channels last": {**CUDA, "tf32": True, "precision": "bf16-mixed", "channels_last": True},
        "tf32, compiled": {**CUDA, "tf32": True, **COMPILED},
    },
    "cpu": {"float32": {}, "channels last": {"channels_last": True}},
}

WORKLOADS: dict[str, Callable[[Context], Iterator[dict[str, Any]]]] = {
    **{name: partial(training, name) for name in ("W1", "W2", "W3")},
    "W7": many,
}

N_POLYMNIST, EPOCHS, BATCH = 60_000, 300, 256
GOAL = 10.0  # minutes


def estimate(rows: Sequence[dict[str, Any]], model: str) -> tuple[str, float] | None:
    """The fastest way to train a model on W2, and the seconds that a sample takes in it."""
    of = [r for r in rows if (r["workload"], r.get("model"), r["contestant"]) == ("W2", model, "manyview")]
    times = {(r["variant"], r["batch_size"]): statistics.median(per_sample(r, CLOCK)) for r in of if not r["error"]}
    largest = max((size for _, size in times), default=0)
    found = {variant: t / 1e6 for (variant, size), t in times.items() if size == largest}
    return min(found.items(), key=lambda item: item[1]) if found else None


CLOCK = "wall_seconds"


def polymnist(
    context: Context, rows: Sequence[dict[str, Any]], n_samples: int, minutes: float
) -> Iterator[dict[str, Any]]:
    """All its epochs in minutes, estimated and measured, a row a model."""
    workload = TRAINING["W2"]
    data = None
    for model in dict.fromkeys(r["model"] for r in rows if r["workload"] == "W2"):
        fastest = estimate(rows, model)
        if fastest is None:
            continue
        variant, seconds = fastest
        estimated = seconds * N_POLYMNIST * EPOCHS / 60
        print(f"PolyMNIST, {model}, {variant}: {estimated:.1f} minutes are estimated (goal: {GOAL:g})", flush=True)
        data = data or write_data(workload, n_samples, context.folder / "data")
        epochs = 1 + max(1, int(60 * minutes / (seconds * n_samples)))
        task = task_of(workload, model, BATCH, data, epochs=epochs, **context.variants[variant])
        answer = race(context.runners, {"manyview": task})["manyview"]
        found = row("PolyMNIST", f"{model}, batch {BATCH}, {variant}", "manyview", n_samples, **settled(answer))
        measured = None
        if not answer["error"]:
            measured = statistics.median(per_sample(found, CLOCK)) / 1e6 * N_POLYMNIST * EPOCHS / 60
            print(
                f"PolyMNIST, {model}, {variant}: {measured:.1f} minutes are measured (epochs: {epochs - 1})", flush=True
            )
        result = {"estimated_minutes": estimated, "measured_minutes": measured, "goal_minutes": GOAL}
        yield {**found, "model": model, "variant": variant, "error": answer["error"], **result}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=list(VARIANTS), default="cuda")
    parser.add_argument("--quick", action="store_true", help="fewer models and batch sizes")
    parser.add_argument("--peers", action="store_true", help="the peers too, where their environments are there")
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--minutes", type=float, default=0, help="of measuring each PolyMNIST model; default: an epoch")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here that torch can use; --device cpu --quick shows whether this runs")
    scale = "gpu-quick" if args.quick else "gpu"
    n_polymnist = N_POLYMNIST
    if args.device == "cpu":
        scale, n_polymnist = ("smoke", 64) if args.quick else ("quick", 320)
    names = present() if args.peers else ["manyview", "bare"]
    folder, rows = args.out.parent, []
    with contestants([name for name in names if name != "floor"], folder / "contestants") as runners:
        context = Context(scale, (torch.get_num_threads(),), runners, folder, variants=VARIANTS[args.device])
        for name in args.only:
            rows += list(WORKLOADS[name](context))
        head, lines = training_table(rows, CLOCK)
        print(f"How many times as fast, in wall time\n\n{as_text(head, lines)}\n")
        print(f"Many models as one, in CPU time\n\n{as_text(*other_table(rows))}\n")
        rows += list(polymnist(context, rows, n_polymnist, args.minutes))
    options = {"device": args.device, "scale": scale, "minutes": args.minutes}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"options": options, "machine": machine(), "rows": rows}, indent=1) + "\n")
    for found in rows:
        if found["error"]:
            print(f"{found['workload']}, {found['case']}, {found['contestant']}: {found['error']}")
    print(f"results: {args.out}")


if __name__ == "__main__":
    main()
