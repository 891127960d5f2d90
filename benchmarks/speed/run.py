"""How fast manyview trains and infers: beside its peers, a bare PyTorch loop, and what the machine allows.

python -m benchmarks.speed.run [--quick] [--only W1 W3 ...] [--threads 1 2] [--batch-sizes 512]
python -m benchmarks.speed.run --table build/speed/results.jsonl      prints the tables of results that are there

The contestants take turns, an epoch each, on the same tensors with the same networks, in processes of their own; the
first epoch does not count. Ratios are of the CPU time of a sample, in each round; tables show their median, least and
greatest. Each line of the results is one contestant in one case, with the machine that it ran on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.layout import as_text, read_lines
from benchmarks.peers.environments import PEERS, ROOT
from benchmarks.speed.contestants import LIBRARIES, contestants
from benchmarks.speed.context import Context
from benchmarks.speed.goals import growth_table, other_table, training_table
from benchmarks.speed.growth import growth, growth_figure
from benchmarks.speed.inference import inference, likelihood
from benchmarks.speed.many import many
from benchmarks.speed.starting import starting
from benchmarks.speed.training import training
from benchmarks.speed.workloads import TRAINING

OUT = Path(__file__).resolve().parents[2] / "build" / "speed" / "results.jsonl"

# A workload is a function of the run that yields rows of results (rows.py); goals.py makes tables of them.
WORKLOADS: dict[str, Callable[[Context], Iterator[dict[str, Any]]]] = {
    "start": starting,
    "W1": partial(training, "W1"),
    "W2": partial(training, "W2"),
    "W3": partial(training, "W3"),
    "W4": likelihood,
    "W5": inference,
    "W6": growth,
    "W7": many,
}

BATCH_SIZES = sorted(
    {size for shape in TRAINING.values() for cell in shape.scales["full"].cells for size in cell.batch_sizes}
)

CUT = {
    "quick": "Quick: one thread. W1 has 6,000 rows, two models and batches of 128 and 512; W2 320 rows, batches of 64 "
    "and one round; W4 200 rows; W5 100,000 rows; W6 fewer points, and rows to 10^5; W7 fewer epochs.",
    "smoke": "Smoke: everything once, as small as it goes. The times mean nothing.",
}


def run(context: Context, names: Sequence[str], out: Path) -> list[dict[str, Any]]:
    """The rows of these workloads, each of which is written as it comes."""
    rows = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        for name in names:
            start = time.perf_counter()
            for row in WORKLOADS[name](context):
                rows.append({"scale": context.scale, **row})
                file.write(json.dumps(rows[-1]) + "\n")
                file.flush()
                if row["error"]:
                    print(f"  {name}, {row['case']}, {row['contestant']}: {row['error']}", flush=True)
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return rows


def print_tables(rows: Sequence[dict[str, Any]], figure: Path) -> None:
    """All of them, as far as there are rows; the picture of W6 goes to a file."""
    for title, table in (
        ("Training: how many times as fast, in CPU time (✓ or ✗, and the goal)", training_table),
        ("The rest", other_table),
        ("W6: growth", growth_table),
    ):
        head, lines = table(rows)
        if lines:
            print(f"\n{title}\n\n{as_text(head, lines)}")
    if any(row["workload"] == "W6" for row in rows):
        growth_figure(rows).savefig(figure)
        print(f"\n{figure}")


def present() -> list[str]:
    """The contestants that can run here; says what is missing, and what was shimmed of the peers."""
    found = []
    for name in LIBRARIES:
        if name in PEERS and not (ROOT / name / "complete").exists():
            print(f"{name} is left out: python -m benchmarks.peers.environments makes its environment")
            continue
        found.append(name)
        if name in PEERS:
            print(PEERS[name].requirement, *(f"  - {shim}" for shim in PEERS[name].shims), sep="\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--quick", action="store_true", help="some minutes")
    scale.add_argument("--smoke", action="store_true", help="as small as it goes, to see whether everything runs")
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1 and 2, and 1 if quick")
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", choices=BATCH_SIZES, help="of W1 to W3, only these; default: all"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", type=Path, nargs="+", help="print the tables of these files, and run nothing")
    args = parser.parse_args()
    if args.table:
        print_tables(read_lines(args.table), args.table[0].with_suffix(".png"))
        return
    name = "quick" if args.quick else "smoke" if args.smoke else "full"
    if name in CUT:
        print(CUT[name])
    threads = tuple(args.threads or ((1, 2) if name == "full" else (1,)))
    with contestants(present(), args.out.parent / "contestants") as runners:
        rows = run(Context(name, threads, runners, args.out.parent, args.batch_sizes), args.only, args.out)
    print_tables(rows, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
