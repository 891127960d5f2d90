"""A page for each model, made of its docstring, its source, the notation page and the results of the benchmarks."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from drawing import THEMES, Svg, between
from reference_tables import write_if_new

import manyview as mv
from benchmarks.layout import as_markdown, read_lines
from benchmarks.table2.table import Line, comparison_table
from manyview.latent import MatchedPoint, Point
from manyview.models import MODELS
from manyview.network import Network

HERE = Path(__file__).parent
DATA = {"mfeat": "Multiple Features", "binary_mnist": "BinaryMNIST, small", "polymnist": "PolyMNIST, small"}

# What each fusion makes of the views' posteriors, in the two lines that fit into its box.
FUSIONS = {
    "MoE": ("mixture", ""),
    "AuxiliaryMoE": ("mixture", ""),
    "CanonicalCodes": ("canonical", "codes"),
    "PoE": ("product", ""),
    "GeneralisedPoE": ("weighted", "product"),
    "MoPoE": ("mixture of", "products"),
    "WeightedMoE": ("weighted", "mixture"),
    "Reference": ("that of the", "reference"),
    "Joint": ("joint", "encoder"),
}
SUBSCRIPTS = "₁₂₃"

# What a model is made of is on its page as source, and not again as an entry.
METHODS = ("latent", "fusion", "objective")
HIDDEN = ", ".join([*METHODS, "adversary", "evaluate"])


@dataclass(frozen=True)
class Structure:
    """What a fitted network is made of, as far as the picture shows it."""

    fusion: tuple[str, str]
    per_view: bool
    private: bool
    point: bool
    adversary: bool
    joint_encoder: bool
    canonical: bool

    @classmethod
    def of(cls, network: Network) -> Structure:
        name = type(network.fusion).__name__
        first, second = FUSIONS[name]
        if getattr(network.fusion, "prior_expert", False) and name == "PoE":
            second = "with p(z)"
        return cls(
            fusion=(first, second),
            per_view=network.fusion.per_view,
            private=network.latent.private is not None,
            point=isinstance(network.latent, Point | MatchedPoint),
            adversary=network.adversary is not None,
            joint_encoder=network.joint_encoder is not None,
            canonical=name == "CanonicalCodes",
        )

    def notes(self) -> list[tuple[str, str]]:
        """What is written below the picture, and in which colour."""
        notes = []
        if self.private:
            notes.append(("orange", "each h is private: inferred from its own view"))
        if self.adversary:
            notes.append(("red", "an adversary holds all codes together to p(z)"))
        if self.joint_encoder:
            notes.append(("blue", "each view's own posterior is held to that of all"))
        return notes

    def words(self) -> str:
        """The picture for those who do not see it."""
        expert = "a code" if self.point else "a posterior"
        told = f"Three views, each encoded to {expert}. "
        if self.per_view:
            targets = "its own view" if self.canonical else "all three views"
            told += f"Each has a z of its own, which is decoded to {targets}. "
        else:
            told += f"They become one by: {' '.join(self.fusion)}. Its z is decoded to all three views. "
        if self.private:
            told += "The decoder of each view also has a private latent h. "
        if self.adversary:
            told += "An adversary compares z with draws of the prior. "
        if self.canonical:
            told += "The codes are made to correlate. "
        return told.strip()


def draw(s: Svg, it: Structure) -> None:
    """From the views, left, by way of the latents to the views, right."""
    rows = [70, 140, 210]
    encoder = {"colour": "blue", "dash": "5 4", "head": True}
    heads = {34: "views", 126: "codes" if it.point else "posteriors", 394: "decoded"}
    if it.joint_encoder:
        heads[126] = ""
    for x, words in heads.items():
        s.text(x, 24, words, size=15, colour="soft")
    s.text(298, 24, "latents" if it.per_view else "latent", size=15, colour="soft")
    for y, mark in zip(rows, SUBSCRIPTS, strict=True):
        s.rect(14, y - 20, 40, 40, fill="fill")
        s.text(34, y + 6, f"x{mark}", italic=True, size=18)
        if it.joint_encoder:
            s.line(56, y, 170, 140 + 0.25 * (y - 140), **encoder)
            continue
        s.line(56, y, 101, y, **encoder)
        s.rect(104, y - 19, 46, 38, colour="blue", r=10)
        if it.point:
            s.dot(127, y, colour="blue", r=5)
        else:
            bell = [(110 + 34 * i / 20, y + 12 - 24 * 2.718 ** (-(((i - 10) / 4) ** 2))) for i in range(21)]
            s.curve([x for x, _ in bell], [h for _, h in bell], colour="blue", width=2.0)
    if it.per_view:
        for y in rows:
            s.line(153, y, 272, y, **encoder)
            for target in [y] if it.canonical else rows:
                s.line(*between((298, y), (400, target), 26), head=True)
        for y, mark in zip(rows, SUBSCRIPTS, strict=True):
            s.node(298, y, f"z{mark}", colour="blue", r=23)
        if it.canonical:
            for y in (105, 175):
                s.line(298, y - 10, 298, y + 10, colour="red", head=True, tail=True)
            s.text(288, 109, "alike", size=15, colour="red", anchor="end")
            s.text(288, 179, "alike", size=15, colour="red", anchor="end")
    else:
        for y in rows if not it.joint_encoder else []:
            s.line(152, y, 170, 140 + 0.25 * (y - 140), **encoder)
        first, second = it.fusion
        s.rect(172, 112, 86, 56, colour="blue", r=14, fill="paper")
        s.text(215, 136 if second else 145, first, size=15, colour="blue")
        s.text(215, 155, second, size=15, colour="blue")
        s.line(260, 140, 273, 140, **encoder)
        for y in rows:
            s.line(*between((298, 140), (400, y), 26), head=True)
        s.node(298, 140, "z", colour="blue", r=23)
    for y, mark in zip(rows, SUBSCRIPTS, strict=True):
        s.rect(374, y - 20, 40, 40, fill="paper")
        s.text(394, y + 6, f"x̂{mark}", italic=True, size=18)
        if it.private:
            s.line(431, y, 417, y, colour="orange", head=True)
            s.text(443, y + 6, f"h{mark}", size=18, italic=True, colour="orange")
    for i, (colour, words) in enumerate(it.notes()):
        s.text(14, 262 + 22 * i, words, anchor="start", size=15, colour=colour)


def symbols(formulas: str) -> list[str]:
    """Those rows of the notation page whose symbols stand in the formulas."""
    found = []
    for line in (HERE / "learn" / "notation.md").read_text(encoding="utf-8").splitlines():
        cells = line.replace(r"\|", "¦").strip("| ").split(" | ")
        if line.startswith("| ") and len(cells) == 4 and any(stands(symbol, formulas) for symbol in named(cells[0])):
            found.append(line)
    return found


def named(cell: str) -> list[str]:
    """The symbols of a row of the notation page."""
    return re.findall(r"\$(.*?)\$", cell) or re.findall(r"\b[A-Z]\b", cell)


def stands(symbol: str, formulas: str) -> bool:
    """Whether a symbol is in the formulas; of a likelihood with private latents, one without them as well."""
    pattern = r"\s*".join(map(re.escape, re.findall(r"\\?[A-Za-z]+|\S", symbol)))
    pattern = pattern.replace(r",\s*h\s*_\s*m", r"(,\s*h_m)?")
    return re.search(rf"(?<![A-Za-z\\]){pattern}(?![A-Za-z])", formulas) is not None


def formulas(docstring: str) -> str:
    """All that is set as mathematics in a docstring."""
    displayed = re.findall(r"\.\. math::(.*?)(?=\n\s*\n|\Z)", docstring, flags=re.DOTALL)
    return "\n".join(displayed + re.findall(r":math:`(.*?)`", docstring, flags=re.DOTALL))


def methods(model: type[mv.Estimator]) -> str:
    """The source of what makes the model: its latent, its fusion and its objective."""
    parts = []
    for name in METHODS:
        owner = next(c for c in model.__mro__ if name in vars(c))
        parts.append(dedent(inspect.getsource(vars(owner)[name])).rstrip())
    return "\n\n".join(parts)


def measured(model: str, lines: list[Line]) -> tuple[list[str], list[list[str]]]:
    """What the benchmarks say of the model: the head of a table, and a row for each data set."""
    found, head = [], []
    for data, title in DATA.items():
        (_, *head), rows = comparison_table(lines, data, "full")
        found += [[title, *row[1:]] for row in rows if row[0] == model]
    return ["data", *head], found


def page(model: type[mv.Estimator], structure: Structure, lines: list[Line]) -> str:
    """The Markdown of a model's page."""
    name, docstring = model.__name__, inspect.getdoc(model) or ""
    head, rows = measured(name, lines)
    pictures = "\n\n".join(
        f"```{{image}} images/{name}-{theme}.svg\n:alt: {structure.words()}\n:class: only-{theme}\n```"
        for theme in THEMES
    )
    table = "\n".join(["| symbol | meaning | shape, unit | in the code |", "| --- | --- | --- | --- |"])
    parts = [
        f"# {name}",
        pictures,
        f"```{{eval-rst}}\n.. autoclass:: manyview.{name}\n   :members:\n   :exclude-members: {HIDDEN}\n```",
        "## From the formulas to the code",
        "\n".join([table, *symbols(formulas(docstring))]),
        "All symbols are on the [notation](../learn/notation.md) page. This is the model, beside its parameters:",
        f"```python\n{methods(model)}\n```",
        "What these call is in [the reference](../reference.md); how a model is written, in "
        "[your own model](../do/own_model.md).",
    ]
    if rows:
        parts += [
            "## Measured",
            as_markdown(head, rows),
            "Means over seeds, with the standard deviation between them. All models, and how this was measured: "
            "[benchmarks](../benchmarks.md).",
        ]
    parts += ["The parameters that all models share are those of {class}`~manyview.Estimator`."]
    return "\n\n".join(parts) + "\n"


def write_model_pages(folder: Path) -> None:
    """Write a page, and a light and a dark picture, for each model."""
    lines = read_lines((HERE.parent / "benchmarks" / "table2" / "results").glob("*.jsonl"))
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    views = mv.datasets.make_multiview(40, (3, 3, 3), random_state=0)
    for model in MODELS:
        name = model.__name__
        fitted = model(z_dim=1, max_epochs=1, random_state=0, verbose=False).fit(views)
        structure = Structure.of(fitted.network_)
        write_if_new(folder / f"{name}.md", page(model, structure, lines))
        for theme in THEMES:
            svg = Svg(theme, name, name, structure.words(), 460, 246 + 22 * len(structure.notes()))
            draw(svg, structure)
            write_if_new(images / f"{name}-{theme}.svg", str(svg))
