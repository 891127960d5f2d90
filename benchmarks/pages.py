"""The tables of the documentation, from the results that are kept with the code."""

from __future__ import annotations

from pathlib import Path

from benchmarks import normative
from benchmarks.layout import as_markdown, read_lines
from benchmarks.peers import compare
from benchmarks.table2 import table

HERE = Path(__file__).parent


def write_pages(folder: Path) -> None:
    """Write each table to a Markdown file of its name."""
    folder.mkdir(exist_ok=True)
    found = table.tables(read_lines((HERE / "table2" / "results").glob("*.jsonl")))
    lines = read_lines([HERE / "peers" / "results.jsonl"])
    for name in compare.DATA:
        found[f"peers-{name}"] = ("", *compare.table(lines, name))
    found["normative"] = ("", *normative.table(read_lines([HERE / "normative.jsonl"])))
    for name, (_, head, rows) in found.items():
        page = as_markdown(head, rows) if rows else "*Not run yet.*"
        (folder / f"{name}.md").write_text(page + "\n", encoding="utf-8")
