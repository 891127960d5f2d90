"""From JSON lines to tables, as text or Markdown.

python benchmarks/table2/table.py [results.jsonl ...] [--markdown]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.layout import Rows, as_markdown, as_text, mean_sd, read_lines
from benchmarks.table2.rows import HERE, load_row

TITLES = {
    "binary_mnist": "BinaryMNIST: images in black and white, and labels",
    "polymnist": "PolyMNIST: five images of one digit",
    "mfeat": "Multiple Features: six tables of the same 2,000 numerals",
}

PCA = "knn_accuracy of PCA"

Line = Mapping[str, Any]


def latest(lines: Iterable[Line]) -> dict[tuple[str, str], list[Line]]:
    """By row and protocol, the last line of each seed."""
    by_run: dict[tuple[str, str, int], Line] = {}
    for line in lines:
        key = (line["row"], line["protocol"], line["seed"])
        if key not in by_run or line["epochs"] >= by_run[key]["epochs"]:
            by_run[key] = line
    groups: dict[tuple[str, str], list[Line]] = {}
    for (row, protocol, _), line in by_run.items():
        groups.setdefault((row, protocol), []).append(line)
    return groups


def _of(lines: Sequence[Line], name: str, digits: int = 2, factor: float = 1) -> str:
    return mean_sd([factor * line["measures"][name] for line in lines if name in line["measures"]], digits)


def _coherence(lines: Sequence[Line]) -> str:
    """In percent, for each number of given views."""
    found = [line["measures"]["coherence"] for line in lines]
    return "/".join(f"{100 * statistics.fmean(seed[size] for seed in found):.0f}" for size in found[0])


def _work(lines: Sequence[Line]) -> list[str]:
    """Seeds, epochs, time and machine."""
    epochs = sorted({(line["trained_epochs"], line["of_epochs"]) for line in lines})
    of = "" if all(line["epochs"] == line["of_epochs"] for line in lines) else f" of {epochs[-1][1]}"
    fewest, most = epochs[0][0], epochs[-1][0]
    told = f"{most}" if fewest == most else f"{fewest}–{most}"
    wall, cpu = (statistics.fmean(line[key] for line in lines) / 60 for key in ("seconds", "cpu_seconds"))
    machine = lines[-1]["machine"]["device"]
    precision = "" if lines[-1]["precision"] == "32-true" else f", {lines[-1]['precision']}"
    return [f"{len(lines)}", told + of, f"{wall:.1f} min ({cpu:.1f})", machine + precision]


def published_table(lines: Iterable[Line], protocol: str) -> tuple[list[str], Rows]:
    """Beside each published figure, ours."""
    head = ["model", "measure", "paper", "multi-view-AE", "manyview", "seeds", "epochs", "time (CPU)", "machine"]
    groups, rows = latest(lines), []
    for path in sorted(HERE.glob("*/*.yaml")):
        spec = load_row(path)
        name = str(path.relative_to(HERE).with_suffix(""))
        if "published" not in spec or (name, protocol) not in groups:
            continue
        seeds = groups[name, protocol]
        first = [spec.row, "", spec.published.paper or "–", spec.published.multi_view_ae or "–"]
        for title, show in MEASURES[spec.measure].items():
            first[1] = title
            rows.append([*first, show(seeds), *_work(seeds)])
            first = ["", "", "", ""]
    return head, rows


def comparison_table(lines: Iterable[Line], data: str, protocol: str) -> tuple[list[str], Rows]:
    """All models on one data set, the better classified the further up."""
    head = ["model", "log-likelihood", "coherence", "k-NN accuracy", "CPU seconds", "epochs", "seeds"]
    groups = {row: seeds for (row, kind), seeds in latest(lines).items() if kind == protocol and ":" in row}
    rows = []
    for row, seeds in groups.items():
        if row.split(":")[0] != f"all/{data}":
            continue
        epochs = [line["trained_epochs"] for line in seeds]
        cells = [_of(seeds, "log_likelihood", 1), _of(seeds, "coherence_mean", 3), _of(seeds, "knn_accuracy", 3)]
        seconds = mean_sd([line["cpu_seconds"] for line in seeds], 0)
        rows.append([seeds[0]["model"], *cells, seconds, mean_sd(epochs, 0), str(len(seeds))])
    # The same for every model of as many dimensions as MVAE has.
    pca = [_of(seeds[:1], PCA, 3) for row, seeds in groups.items() if row == f"all/{data}:MVAE"]
    rows += [["PCA", "–", "–", accuracy, "–", "–", "–"] for accuracy in pca if accuracy != "–"]
    return head, sorted(rows, key=lambda row: row[3], reverse=True)


Show = Callable[[Sequence[Line]], str]
MEASURES: dict[str, dict[str, Show]] = {
    "log_likelihood": {
        "log p(X), nats, test images drawn in black and white": lambda lines: _of(lines, "log_likelihood"),
        "the same of grey values": lambda lines: _of(lines, "log_likelihood of grey values"),
    },
    "coherence": {"coherence given 1/2/3/4 views, %": _coherence},
    "coherence_mean": {
        "mean coherence, %": lambda lines: _of(lines, "coherence_mean", 1, 100),
        "coherence given 1/2/3/4 views, %": _coherence,
    },
}


def tables(lines: Sequence[Line]) -> dict[str, tuple[str, list[str], Rows]]:
    """By name, the title, head and rows of every table."""
    found = {}
    for protocol in ("full", "quick"):
        found[f"table2-{protocol}"] = (f"Table 2, {protocol} protocol", *published_table(lines, protocol))
        for data, title in TITLES.items():
            found[f"{data}-{protocol}"] = (title, *comparison_table(lines, data, protocol))
    return found


def print_tables(lines: Sequence[Line], show: Callable[[Sequence[str], Rows], str] = as_text) -> None:
    """Print those that the lines have something for."""
    for title, head, rows in tables(lines).values():
        if rows:
            print(f"\n{title}\n\n{show(head, rows)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(HERE.glob("results/*.jsonl")))
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    print_tables(read_lines(args.files), as_markdown if args.markdown else as_text)


if __name__ == "__main__":
    main()
