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


@pytest.mark.filterwarnings("ignore:.*none of the given views")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=_name)
def test_code_on_pages_runs(page, tmp_path, monkeypatch):
    if _name(page) in FETCHED:
        try:
            FETCHED[_name(page)]()
        except FileNotFoundError as error:
            pytest.skip(str(error))
    monkeypatch.chdir(tmp_path)
    tables = mv.datasets.make_multiview(100, (6, 4), random_state=0)
    for name, (_, view) in zip(["genes", "lipids"], tables.items(), strict=True):
        pd.DataFrame(view).add_prefix(f"{name}_").rename_axis("id").to_csv(f"{name}.csv")
    namespace = {"__name__": page.stem}
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), namespace)
    # A picture on a page is what its code draws, unless another script of the documentation made it.
    code = "".join(blocks(page))
    for name in re.findall(r"savefig\(\"(.*?)\"", code):
        assert (tmp_path / name).stat().st_size, f"{page.name} draws no {name}"
        assert (page.parent / "images" / name).exists(), f"images/{name} is not kept with {page.name}"
    if page.parent.name == "do":
        run_commands(page, tmp_path)


def run_commands(page, folder):
    """Those of the page's shell blocks that call manyview, in the folder where its Python code has run."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for block in blocks(page, "bash"):
        if re.search(r"^manyview ", block, flags=re.MULTILINE) and "#!" not in block:
            result = subprocess.run(
                ["bash", "-euc", block], cwd=folder, env=os.environ | {"PATH": places}, capture_output=True, text=True
            )
            assert result.returncode == 0, f"{block}\n{result.stdout}\n{result.stderr}"
