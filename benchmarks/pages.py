"""The tables of the documentation, from the results that are kept with the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks import normative
from benchmarks.layout import as_markdown, read_lines
from benchmarks.peers import compare
from benchmarks.speed import goals
from benchmarks.speed.growth import growth_figure
from benchmarks.table2 import draws, table

HERE = Path(__file__).parent


def write_pages(folder: Path) -> None:
    """Write each table to a Markdown file of its name."""
    folder.mkdir(exist_ok=True)
    found = table.tables(read_lines((HERE / "table2" / "results").glob("*.jsonl")))
    found["table2-draws"] = ("", *draws.table(read_lines([HERE / "table2" / "draws.jsonl"])))
    lines = read_lines([HERE / "peers" / "results.jsonl"])
    for name in compare.DATA:
        found[f"peers-{name}"] = ("", *compare.table(lines, name))
    found["normative"] = ("", *normative.table(read_lines([HERE / "normative.jsonl"])))
    speed = read_lines((HERE / "speed" / "results").glob("*.jsonl"))
    found["speed-training"] = ("", *goals.training_table(speed))
    found["speed-other"] = ("", *goals.other_table(speed))
    found["speed-growth"] = ("", *goals.growth_table(speed))
    if any(row["workload"] == "W6" for row in speed):
        growth_figure(speed).savefig(folder / "growth.svg")
    machines = {json.dumps(row["machine"] | {"load": None}): row["machine"] for row in speed}.values()
    told = [
        f"{m['cpu']}, {m['cores']} cores, {m['system']}, Python {m['python']}, torch {m['torch']}" for m in machines
    ]
    (folder / "speed-machine.md").write_text("; ".join(told) + "\n", encoding="utf-8")
    for name, (_, head, rows) in found.items():
        if name.startswith("speed-"):  # the spread is in the results; a page has room for the median
            rows = [[re.sub(r" \[.*?\]", "", cell) for cell in row] for row in rows]
        page = as_markdown(head, rows) if rows else "*Not run yet.*"
        (folder / f"{name}.md").write_text(page + "\n", encoding="utf-8")
