"""How much of a log-likelihood is the estimator's: finished runs, measured with ever more draws.

The importance-weighted estimate is too low on average, the less so the more draws K are taken, and the closer the
posterior is to the true one.

    python -m benchmarks.table2.draws [row ...] [--seed 0] [--precision bf16-mixed]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import manyview as mv
from benchmarks.layout import Rows, as_text, read_lines
from benchmarks.table2.rows import HERE, load_row
from benchmarks.table2.run import OUT, runs, trained
from benchmarks.table2.tasks import load

DRAWS = (10, 100, 1000, 10_000)
N_IMAGES = 500  # of the test images, the first


def measure(row: str, seed: int, precision: str, out: Path) -> dict[str, Any]:
    """The log-likelihood of the same images with each number of draws."""
    asked = {"rows": [row], "quick": False, "seeds": [seed], "minutes": None, "device": "cpu"}
    (run,) = runs(argparse.Namespace(**asked, precision=precision, out=out))
    task = load(out / "classifiers", **run.data)
    model = trained(run, task, run.evaluate_at[-1])
    found = {}
    for n_draws in DRAWS:
        answer = mv.metrics.log_likelihood(model, task.test[:N_IMAGES], n_samples=n_draws, random_state=0)
        found[n_draws] = {"value": answer.value, "effective_samples": answer.effective_samples}
        print(f"{row}, K = {n_draws}: {answer}", flush=True)
    return {"row": row, "run": run.name, "seed": seed, "n_images": N_IMAGES, "draws": found}


def table(lines: Iterable[Mapping[str, Any]]) -> tuple[list[str], Rows]:
    """A column a number of draws."""
    rows = []
    for line in lines:
        found = [line["draws"][str(n)] for n in DRAWS]
        cells = [f"{each['value']:.2f} ({each['effective_samples']:.0f})" for each in found]
        rows.append([load_row(HERE / f"{line['row']}.yaml").row, *cells])
    return ["model", *(f"K = {n:,}" for n in DRAWS)], rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=["binary_mnist/jmvae", "binary_mnist/me_mvae"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="32-true", help="that of the runs")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the runs")
    args = parser.parse_args(arguments)
    results = args.out / "draws.jsonl"
    for row in args.rows:
        line = measure(row, args.seed, args.precision, args.out)
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
    head, rows = table(read_lines([results]))
    print(as_text(head, rows))


if __name__ == "__main__":
    main()
