"""Table 2 of the multi-view-AE tutorial, and all models beside each other on the same data.

Each YAML file is a row, or with ``models`` one row a model. Each seed of a row is a run: it keeps checkpoints, goes on
where it was stopped, and writes one JSON line for each number of epochs in ``evaluate_at``. Runs that are in the
results are not done again.

    python -m benchmarks.table2.run [row ...] [--quick] [--seeds 0 1] [--jobs 2] [--device cuda] [--minutes 9]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.layout import read_lines
from benchmarks.table2.rows import HERE, read_rows

if TYPE_CHECKING:
    import manyview as mv
    from benchmarks.table2.tasks import Task

# The part of the time of a call that training may take; the rest is for the last epoch and for measuring.
SHARE = 0.8

OUT = HERE.parents[1] / "build" / "table2"


@dataclass(frozen=True)
class Run:
    """One seed of one row."""

    row: str
    data: dict[str, Any]
    model: str
    config: dict[str, Any]
    protocol: str
    seed: int
    evaluate_at: tuple[int, ...]
    n_draws: int
    device: str
    precision: str
    out: str
    until: float | None

    @property
    def name(self) -> str:
        """What its files are called: another configuration has another name."""
        told = json.dumps([self.data, self.config, self.precision], sort_keys=True)
        digest = hashlib.sha256(told.encode()).hexdigest()[:8]
        return f"{self.row.replace('/', '-').replace(':', '-')}-{self.protocol}-{self.seed}-{digest}"


def runs(args: argparse.Namespace) -> Iterator[Run]:
    """What is to be done, in order."""
    until = None if args.minutes is None else time.time() + 60 * args.minutes
    for name, spec in read_rows(args.rows, args.quick).items():
        for seed in spec["seeds"] if args.seeds is None else args.seeds:
            yield Run(
                row=name,
                data=spec["data"],
                model=spec["config"]["model"]["_target_"].split(".")[-1],
                config=spec["config"],
                protocol="quick" if args.quick else "full",
                seed=seed,
                evaluate_at=tuple(spec.get("evaluate_at", [spec["config"]["trainer"]["max_epochs"]])),
                n_draws=spec.get("n_draws", 1000),
                device=args.device,
                precision=args.precision,
                out=str(args.out),
                until=until,
            )


def prepare(todo: list[Run], out: Path) -> None:
    """Train the classifiers that runs share, before they want them at the same time."""
    import torch

    from benchmarks.table2.tasks import load

    torch.set_num_threads(os.cpu_count() or 1)
    for data in {json.dumps(run.data): run.data for run in todo}.values():
        print(f"Preparing {data['name']} ...", flush=True)
        load(out / "classifiers", **data)


def perform(run: Run, done: int) -> dict[str, Any] | None:
    """Train up to the first number of epochs above what is done, and measure; None if there is none."""
    import torch
    from pytorch_lightning.callbacks import Timer

    from benchmarks.table2.stopwatch import Stopwatch
    from benchmarks.table2.tasks import load

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1 if run.device == "cpu" else os.cpu_count() or 1)
    out = Path(run.out)
    epochs = next((n for n in run.evaluate_at if n > done), None)
    if epochs is None or (run.until is not None and time.time() > run.until):
        return None
    task = load(out / "classifiers", **run.data)
    stopwatch = Stopwatch(out / "times" / f"{run.name}.json")
    callbacks: list[Any] = [stopwatch]
    stop_at = None if run.until is None else time.time() + SHARE * (run.until - time.time())
    if stop_at is not None:
        callbacks.append(Timer(duration={"seconds": int(stop_at - time.time()) + 1}, interval="epoch"))
    model = trained(run, task, epochs, callbacks)
    seconds, cpu_seconds = stopwatch.read()
    if stop_at is not None and time.time() > stop_at and len(model.history_) < epochs:
        return None  # to be gone on with
    history = out / "histories" / f"{run.name}.csv"
    history.parent.mkdir(parents=True, exist_ok=True)
    model.history_.round(4).to_csv(history)
    last = epochs == run.evaluate_at[-1]
    measures = task.measure(model, n_draws=run.n_draws if last else min(run.n_draws, 100), quickly=not last)
    return {
        "run": run.name,
        **{key: value for key, value in asdict(run).items() if key not in ("out", "until", "config", "evaluate_at")},
        "epochs": epochs,
        "of_epochs": run.evaluate_at[-1],
        "trained_epochs": len(model.history_),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "n_parameters": sum(parameter.numel() for parameter in model.network_.parameters()),
        "n_draws": run.n_draws if last else min(run.n_draws, 100),
        "measures": measures,
        "machine": _machine(run.device),
    }


def trained(run: Run, task: Task, epochs: int, callbacks: Sequence[Any] = ()) -> mv.Estimator:
    """The model of a run after so many epochs, from its checkpoint as far as that goes."""
    import manyview as mv

    model: mv.Estimator = getattr(mv, run.model)(
        cfg=run.config,
        random_state=run.seed,
        device=run.device,
        verbose=False,
        trainer={"precision": run.precision, "callbacks": list(callbacks)},
    )
    return model.fit(task.train, checkpoint=Path(run.out) / "checkpoints" / run.name, resume=True, max_epochs=epochs)


def _machine(device: str) -> dict[str, Any]:
    import torch

    import manyview as mv

    name = platform.machine() if device == "cpu" else torch.cuda.get_device_name()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__, "manyview": mv.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="rows or folders, such as binary_mnist/jmvae or all/mfeat:MVAE")
    parser.add_argument("--quick", action="store_true", help="smaller data, fewer epochs: each file says which")
    parser.add_argument("--seeds", type=int, nargs="+", help="in place of those that the files name")
    parser.add_argument("--jobs", type=int, default=None, help="runs at a time; as many as cores, or one on a GPU")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or another of Lightning's accelerators")
    parser.add_argument("--precision", default="32-true", help="such as bf16-mixed: see Lightning")
    parser.add_argument("--minutes", type=float, help="stop after so many, to go on in another call")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of results, histories and checkpoints")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that do the work
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    todo = list(runs(args))
    jobs = args.jobs or ((os.cpu_count() or 1) if args.device == "cpu" else 1)
    results = args.out / "results.jsonl"
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        prepare(todo, args.out)
    except OSError as error:
        sys.exit(str(error))
    done = {line["run"]: line["epochs"] for line in read_lines([results])}
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending = {pool.submit(perform, run, done.get(run.name, 0)): run for run in todo}
        failed = False
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                run = pending.pop(future)
                try:
                    line = future.result()
                except Exception as error:  # the other runs are worth having
                    print(f"{run.row}, seed {run.seed}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                    failed = True
                    continue
                if line is not None:
                    with results.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                    print(f"{run.row}, seed {run.seed}, {line['epochs']} epochs: {line['seconds']:.0f} s", flush=True)
                    pending[pool.submit(perform, run, line["epochs"])] = run
    from benchmarks.table2.table import print_tables

    print_tables([line for line in read_lines([results]) if line["protocol"] == ("quick" if args.quick else "full")])
    sys.exit(failed)


if __name__ == "__main__":
    main()
