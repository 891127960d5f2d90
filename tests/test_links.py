"""Links on the pages lead somewhere: files, pictures, headings, labels. Of others' sites, the addresses are checked."""

import inspect
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from docs import reference_tables
from manyview.models import MODELS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = {DOCS / "models" / f"{model.__name__}.md" for model in MODELS}  # when the pages are built
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted(path for path in DOCS.rglob("*.md") if not path.relative_to(DOCS).parts[0].startswith("_"))
PAGES = [page for page in PAGES if page not in MADE]

REGISTRIES = ("pypi.org", "pythonhosted.org", "anaconda.org", "anaconda.com", "conda.io", "npmjs.com", "npmjs.org")
DEPTH = 3  # of headings that have anchors: myst_heading_anchors in docs/conf.py
PROSE = ("note", "tip", "warning", "important", "admonition", "figure", "glossary")  # directives that hold Markdown


def by_name(page):
    return page.relative_to(ROOT).as_posix()


def outside_code(text):
    """The lines of a page that are no code: with the heads of directives, without what these hold but Markdown."""
    fence, prose = "", []
    for line in text.split("\n"):
        mark = re.match(r" *(`{3,}|~{3,})(?:\{([\w-]+)\})?", line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif not mark:
            yield line
        elif mark[2] in PROSE:
            prose.append(mark[1])
            yield line
        elif prose and line.strip() == prose[-1]:
            prose.pop()
        else:
            fence = mark[1]
            yield line if mark[2] else ""


def with_tables(path):
    """A page with the tables that are made of the code; those of the benchmarks have neither links nor headings."""

    def insert(found):
        name = Path(found[1]).stem
        return reference_tables.PAGES[name]() if name in reference_tables.PAGES else ""

    text = path.read_text(encoding="utf-8")
    return re.sub(r"^:{3}\{include\} \S*(_generated/\S+)\n:{3}$", insert, text, flags=re.MULTILINE)


@cache
def included(path):
    """A page with all that it includes."""

    def insert(found):
        file = (path.parent / found[1]).resolve()
        return included(file) if file.is_file() else ""

    return re.sub(r"^`{3}\{include\} (\S+)\n`{3}$", insert, with_tables(path), flags=re.MULTILINE)


def slug(heading):
    """The anchor that MyST makes of a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    plain = re.sub(r"\{\w+\}`~?([^`]*)`", r"\1", plain).replace("`", "").replace("$", "").replace("*", "")
    return re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")


@cache
def anchors(path):
    """The anchors of a page: labels, and headings; the second of two that are alike ends in -1."""
    found = set()
    for line in outside_code(included(path)):
        if label := re.fullmatch(r"\(([^)]+)\)=", line):
            found.add(label[1])
        elif (heading := re.fullmatch(r"(#+) +(.+?) *#*", line)) and len(heading[1]) <= DEPTH:
            name = slug(heading[2])
            others = (f"{name}-{n}" for n in range(1, 1000))
            found.add(name if name not in found else next(other for other in others if other not in found))
    return frozenset(found)


def targets(text):
    """Where the links and pictures of a page lead."""
    for line in outside_code(text):
        if directive := re.match(r"[`:]{3,}\{(?:image|figure|include)\} +(\S+)", line):
            yield directive[1]
        plain = re.sub(r"(?<![`}])(`+)(?!`).*?(?<!`)\1(?!`)", "code", line)  # code in a line may look like a link
        yield from re.findall(r"\]\(<?([^)\s>]+)>?(?: +\"[^\"]*\")?\)", plain)
        yield from re.findall(r"^\[[^\]]+\]: +<?(\S+?)>?$", plain)
        yield from re.findall(r"<(https?:[^>\s]+)>", plain)
        yield from re.findall(r"(?:src|href)=\"([^\"]+)\"", plain)


def is_external(target):
    return bool(urlsplit(target).scheme)


def problem(page, target):
    """What is wrong with an internal link; an empty text if nothing is."""
    name, _, anchor = target.partition("#")
    folder = DOCS if name.startswith("/") else page.parent
    file = (folder / name.lstrip("/")).resolve() if name else page
    if file in MADE:
        return "" if not anchor or anchor == slug(file.stem) else f"{target}: no such heading"
    if file.is_relative_to(DOCS / "_generated"):
        return ""
    if not file.exists():
        return f"{target}: no such file"
    known = file.suffix != ".md" or not anchor or anchor in anchors(file)
    return "" if known else f"{target}: no such heading"


def check(problems):
    found = [what for what in problems if what]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_internal_links_lead_somewhere(page):
    check(problem(page, target) for target in targets(with_tables(page)) if not is_external(target))


def all_pages():
    return [*PAGES, *MADE]


def fits(page, other, pattern):
    """Whether a page is among those that a table of contents with stars names."""
    return fnmatch(other.as_posix(), (page.parent / f"{pattern}.md").as_posix())


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_tables_of_contents_name_pages(page):
    blocks = re.findall(r"^`{3}\{toctree\}\n(.*?)^`{3}", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.split("\n") if line.strip() and line[0] != ":"]
    entries = [re.sub(".*<(.*)>", r"\1", line).removesuffix(".md") for line in lines]
    several = {entry for entry in entries if "*" in entry}
    check(problem(page, f"{entry}.md") for entry in entries if entry not in several)
    check(f"{entry}: no such pages" for entry in several if not any(fits(page, other, entry) for other in all_pages()))


def test_labels_that_pages_refer_to_are_there():
    known = {label for page in PAGES for label in re.findall(r"^\(([^)\n]+)\)=$", page.read_text(), re.MULTILINE)}
    for page in PAGES:
        text = "\n".join(outside_code(page.read_text(encoding="utf-8")))
        used = re.findall(r"\{ref\}`(?:[^`<]*<)?([^`>]+)>?`", text)
        check(f"{by_name(page)}: no label ({label})=" for label in used if label not in known)


def test_links_to_other_sites_are_secure_and_lead_to_no_registry():
    texts = {by_name(page): page.read_text(encoding="utf-8") for page in PAGES}
    texts |= {model.__name__: inspect.getdoc(model) for model in MODELS}
    for name, text in texts.items():
        addresses = set(re.findall(r"\b(?:https?|ftp)://[^\s)>\"`']+", "\n".join(outside_code(text))))
        addresses |= {target for target in targets(text) if is_external(target) and not target.startswith("mailto:")}
        for address in addresses:
            site = urlsplit(address)
            assert site.scheme == "https", f"{name}: {address} is no https address"
            assert not f".{site.hostname}".endswith(tuple(f".{host}" for host in REGISTRIES)), f"{name}: {address}"


def test_what_is_broken_is_found(tmp_path):
    (tmp_path / "there.md").write_text(
        "# A heading, with `code`\n\n(label)=\n\n## Twice\n\n## Twice\n\n```\n# no\n```\n"
    )
    page = tmp_path / "page.md"
    good = ["there.md", "there.md#a-heading-with-code", "there.md#twice-1", "there.md#label"]
    bad = ["their.md", "there.md#twice-2", "there.md#no", "images/none.png"]
    page.write_text("\n".join(f"[text]({target})" for target in good + bad) + "\n`[text](code.md)`\n")
    found = list(targets(page.read_text()))
    assert found == good + bad
    assert [bool(problem(page, target)) for target in found] == [False] * 4 + [True] * 4
