"""The code on the pages of the documentation runs as printed, each page from top to bottom, and draws its pictures."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import manyview as mv

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
PAGES += sorted((DOCS / "learn").glob("*.md")) + sorted((DOCS / "do").glob("*.md"))

# What pages need that has to be downloaded once, and is not where there is no network.
FETCHED = {
    "do/any_to_any.md": lambda: mv.datasets.fetch_mnist(download_if_missing=False),
    "do/interpret.md": lambda: mv.datasets.load_nutrimouse(download_if_missing=False),
    "do/missing_views.md": lambda: [
        mv.datasets.load_nutrimouse(download_if_missing=False), mv.datasets.fetch_mfeat(download_if_missing=False)
    ],
}  # fmt: skip


def _name(page):
    return page.name if page.parent == ROOT else page.relative_to(DOCS).as_posix()


def blocks(page, language="python"):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=_name)
def test_code_on_pages_runs(page, tmp_path):
    if _name(page) in FETCHED:
        try:
            FETCHED[_name(page)]()
        except FileNotFoundError as error:
            pytest.skip(str(error))
    tables = mv.datasets.make_multiview(100, (6, 4), random_state=0)
    for name, (_, view) in zip(["genes", "lipids"], tables.items(), strict=True):
        pd.DataFrame(view).add_prefix(f"{name}_").rename_axis("id").to_csv(tmp_path / f"{name}.csv")
    code = "\n".join(blocks(page))
    (tmp_path / "page.py").write_text(code, encoding="utf-8")
    # As a reader runs it, in a process of its own: without shape checks and counted lines it takes half as long.
    run([sys.executable, "page.py"], tmp_path)
    # A picture on a page is what its code draws, unless another script of the documentation made it.
    for name in re.findall(r"savefig\(\"(.*?)\"", code):
        assert (tmp_path / name).stat().st_size, f"{page.name} draws no {name}"
        assert (page.parent / "images" / name).exists(), f"images/{name} is not kept with {page.name}"
    if page.parent.name == "do":
        for block in blocks(page, "bash"):
            if re.search(r"^manyview ", block, flags=re.MULTILINE) and "#!" not in block:
                run(["bash", "-euc", block], tmp_path)


def run(command, folder):
    """What a reader types, in the folder where the page's code has run."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run(command, cwd=folder, env=os.environ | {"PATH": places}, capture_output=True, text=True)
    assert result.returncode == 0, f"{command[-1]}\n{result.stdout}\n{result.stderr}"
