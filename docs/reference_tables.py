"""What the reference lists, made of the code: settings, commands, and a table of names before each list of entries.

As an extension of Sphinx it writes the tables to ``_generated`` before the pages are read, and has the directive
``.. names:: MODULE OR CLASS``, which lists what a module offers, or what a class can do, each with its summary.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import annotated_types
import pytorch_lightning as pl
import torch

import manyview as mv
from manyview.cli.program import COMMANDS, main
from manyview.cli.settings import DATA, FIT
from manyview.config import model_names
from manyview.data.modules import DataModule, IndexDataModule, MultiviewDataModule
from manyview.data.stored import IndexMVDataset
from manyview.estimator import LikelihoodSpec
from manyview.likelihoods import LIKELIHOODS
from manyview.models import MODELS
from manyview.nn import MLP, CNNDecoder, CNNEncoder, NetworkSpec
from manyview.validation import TRAINER

# Sections of `manyview fit` that its help leaves to the page on configuration.
SECTIONS = {
    "optimizer": "`optimizer._target_` and its arguments, in place of `model.optimizer`",
    "scheduler": "`scheduler._target_` and its arguments, in place of `model.scheduler`",
    "callbacks": "callbacks of Lightning or your own, by `_target_`",
    "logger": "loggers of Lightning or your own, by `_target_`",
    "objective": "what a sweep makes small, or large with `hydra.sweeper.direction=maximize`: `val_loss` or `score`",
}
BOUNDS = {
    annotated_types.Gt: (">", "gt"),
    annotated_types.Ge: ("≥", "ge"),
    annotated_types.Lt: ("<", "lt"),
    annotated_types.Le: ("≤", "le"),
}
SIMPLE = {type(None): "`null`", str: "text", int: "integer", float: "number", bool: "`true` or `false`"}


# ---- docstrings -----------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """A parameter, as a docstring in numpy's style explains it."""

    kind: str
    text: str


def explained(*documented: Any) -> dict[str, Entry]:
    """The parameters that docstrings of objects and of their bases explain, the closest first."""
    found: dict[str, Entry] = {}
    for thing in documented:
        for base in reversed(thing.__mro__ if inspect.isclass(thing) else [thing]):
            found |= dict(entries(inspect.cleandoc(vars(base).get("__doc__") or ""), "Parameters"))
    return found


def entries(docstring: str, title: str) -> Iterator[tuple[str, Entry]]:
    """The names in a section of a docstring, with what is said of each."""
    _, found, section = f"\n{docstring}\n".partition(f"\n{title}\n{'-' * len(title)}\n")
    section = re.split(r"\n\n(?=\S[^\n]*\n---)", section)[0] if found else ""
    for entry in re.split(r"\n(?=\S)", section.strip("\n")):
        head, _, body = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        kind = re.sub(r",? (default .*|optional)$", "", re.sub(r", optional, default .*", "", kind))
        for name in names.split(", "):
            yield name, Entry(kind, as_markdown(body))


def as_markdown(rst: str) -> str:
    """A docstring's prose as Markdown for one cell of a table; names in full become links."""
    text = " ".join(rst.split())
    text = re.sub(r":math:`([^`]*)`", r"$\1$", text)
    text = re.sub(r"``([^`]*)``", r"`\1`", text)
    text = re.sub(r":(\w+):`(~?manyview\.[^`]*)`", r"{\1}`\2`", text)
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text)
    return text.replace("|", r"\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# ---- types and values, as a file has them ---------------------------------------------------------------------------


def kind(hint: Any) -> str:
    """What a field takes, in the words of a configuration."""
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        limits = [f"{BOUNDS[type(note)][0]} {getattr(note, BOUNDS[type(note)][1])}" for note in notes]
        return " ".join([kind(hint), " and ".join(limits)])
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value(option)}`" for option in get_args(hint))
    parts = list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]
    names: list[str] = []
    for spec, name in ((NetworkSpec, "[network](#networks)"), (LikelihoodSpec, "[likelihood](#likelihoods)")):
        if set(get_args(spec)) <= set(parts):
            parts = [part for part in parts if part not in get_args(spec)]
            names.append(name)
    names += [_kind_of_part(part, parts) for part in parts]
    return " or ".join(dict.fromkeys(name for name in names if name))


def _kind_of_part(hint: Any, parts: Sequence[Any]) -> str:
    """One of the alternatives; objects, which a file cannot hold, have no name."""
    if hint in SIMPLE:
        return SIMPLE[hint]
    origin = get_origin(hint)
    if origin in (Annotated, Literal):
        return kind(hint)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        key, item = get_args(hint)
        alike = set(get_args(item) if get_origin(item) in (Union, types.UnionType) else [item]) <= set(parts)
        return "mapping" if key is str else "these by view" if alike else f"mapping from view to {kind(item)}"
    return "list" if inspect.isclass(origin) and issubclass(origin, Sequence) else ""


def in_words(python: str) -> str:
    """The type that a docstring states, in the same words."""
    options = re.fullmatch(r"\{(.*)\}", python)
    if options:
        return ", ".join(
            f"`{'null' if option == 'None' else option.strip(chr(34))}`" for option in options[1].split(", ")
        )
    words = {"int": "integer", "float": "number", "str": "text", "bool": SIMPLE[bool], "sequence": "list"}
    return re.sub(r"\b(int|float|str|bool|sequence)\b", lambda found: words[found[1]], as_markdown(python))


def value(x: Any) -> str:
    """A default, as YAML has it."""
    if x is None or isinstance(x, bool | int | float):
        return json.dumps(x)
    if isinstance(x, str):
        return x or '""'
    return json.dumps(list(x) if isinstance(x, tuple) else x)


# ---- the tables of settings -----------------------------------------------------------------------------------------


def _fields(cls: type[Any]) -> dict[str, Any]:
    return {field.name: field for field in fields(cls)}


def _hyperparameters(cls: type[mv.Estimator], names: Iterable[str]) -> str:
    hints, texts, own = get_type_hints(cls, include_extras=True), explained(cls), _fields(cls)
    rows = [[f"`{name}`", kind(hints[name]), f"`{value(own[name].default)}`", texts[name].text] for name in names]
    return table(["key", "type", "default", "meaning"], rows)


def shared() -> str:
    """The hyperparameters of all models, but for those that the section `trainer` has under other names."""
    theirs = {*TRAINER.values(), "trainer"}
    return _hyperparameters(mv.Estimator, [name for name in _fields(mv.Estimator) if name not in theirs])


def of_models() -> str:
    """For each model, the hyperparameters that not all have, or whose default is another."""
    usual, names = _fields(mv.Estimator), model_names()
    parts = []
    for cls in sorted(MODELS, key=lambda model: model.__name__.lower()):
        short = ", ".join(f"`model={name}`" for name, model in names.items() if model is cls)
        own = [n for n, field in _fields(cls).items() if n not in usual or field.default != usual[n].default]
        parts += [f"### {cls.__name__}", f"`_target_: manyview.{cls.__name__}`; on the command line {short}."]
        parts.append(_hyperparameters(cls, own) if own else "No others than those of all models.")
    return "\n\n".join(parts)


def trainer() -> str:
    """The arguments of Lightning's Trainer: ours, which are checked, and the rest."""
    hints, texts, own = (
        get_type_hints(mv.Estimator, include_extras=True),
        explained(mv.Estimator),
        _fields(mv.Estimator),
    )
    rows = [
        [f"`{theirs}`", kind(hints[ours]), f"`{value(own[ours].default)}`", texts[ours].text]
        for theirs, ours in TRAINER.items()
    ]
    others = [name for name in inspect.signature(pl.Trainer).parameters if name not in TRAINER]
    told = f"All others go to the Trainer as they are (Lightning {pl.__version__}): "
    head = table(["key", "type", "default", "meaning"], rows)
    return f"{head}\n\n{told}{', '.join(f'`{name}`' for name in others)}."


def _from_signature(function: Callable[..., Any], texts: Mapping[str, Entry], names: Iterable[str]) -> list[list[str]]:
    parameters = inspect.signature(function).parameters
    rows = []
    for name in names:
        default = parameters[name].default
        shown = "needed" if default is inspect.Parameter.empty else f"`{value(default)}`"
        rows.append([f"`{name}`", in_words(texts[name].kind), shown, texts[name].text])
    return rows


def networks() -> str:
    """The settings of encoders and decoders."""
    parts = []
    for title, cls in {"mlp": MLP, "cnn": CNNEncoder, "cnn, as a decoder": CNNDecoder}.items():
        texts = explained(MLP, cls)
        own = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY]
        parts += [f"`{title}`: {{class}}`manyview.nn.{cls.__name__}`"]
        parts.append(table(["key", "type", "default", "meaning"], _from_signature(cls, texts, own)))
    return "\n\n".join(parts)


def likelihoods() -> str:
    """The likelihoods by name, and the settings of each."""
    rows = []
    for name, cls in LIKELIHOODS.items():
        texts, own = explained(cls), inspect.signature(cls).parameters
        settings = _from_signature(cls, texts, own) or [["none", "", "", ""]]
        named = [f"`{name}`: {{class}}`~manyview.likelihoods.{cls.__name__}`", *[""] * (len(settings) - 1)]
        rows += [[which, *row] for which, row in zip(named, settings, strict=True)]
    return table(["name", "key", "type", "default", "meaning"], rows)


def optimizers() -> str:
    """PyTorch's optimisers and schedulers with their arguments."""
    parts = []
    for section, module, base in (
        ("optimizer", torch.optim, torch.optim.Optimizer),
        ("scheduler", torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler),
    ):
        found = {
            name: cls
            for name, cls in sorted(vars(module).items())
            if inspect.isclass(cls) and issubclass(cls, base) and cls is not base and not name.startswith("_")
        }
        rows = []
        for name, cls in found.items():
            own = [p for p in inspect.signature(cls).parameters.values() if p.name not in ("params", "lr", "optimizer")]
            shown = (f"{p.name}={value(p.default)}" if p.default is not p.empty else p.name for p in own)
            rows.append([f"`{name}`", ", ".join(f"`{argument}`" for argument in shown)])
        parts.append(table([section, f"its arguments (PyTorch {torch.__version__.partition('+')[0]})"], rows))
    return "\n\n".join(parts)


def data_modules() -> str:
    """The arguments of the library's data modules."""
    parts = []
    for cls, documented in {MultiviewDataModule: (DataModule,), IndexDataModule: (DataModule, IndexMVDataset)}.items():
        texts = explained(*documented, cls)
        own = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is not p.VAR_KEYWORD]
        shared = list(inspect.signature(DataModule).parameters)
        texts |= {name: explained(*documented)[name] for name in own if not texts.get(name, Entry("", "")).kind}
        rows = _from_signature(cls, texts, own) + _from_signature(DataModule, texts, shared)
        parts += [f"`datamodule._target_: manyview.{cls.__name__}`"]
        parts.append(table(["key", "type", "default", "meaning"], rows))
    return "\n\n".join(parts)


# ---- the command line -----------------------------------------------------------------------------------------------


def keys_of(command: str) -> dict[str, str]:
    """The settings that the help of a command explains: ``key=value``, and what it says."""
    found: dict[str, str] = {}
    last = ""
    for line in COMMANDS[command].help.split("\n"):
        if entry := re.fullmatch(r"  ((?:[\w./]+=\S+ ?)+?) {2,}(\S.*)", line):
            last = entry[1]
            found[last] = entry[2]
        elif entry := re.fullmatch(r"  ((?:[\w./]+=\S+ ?)+?) (\S.*)", line):  # too long for its column
            last = entry[1].strip() if "=" not in entry[2].split()[0] else ""
            if last:
                found[last] = entry[2].strip()
        elif last and re.match(r" {20,}\S", line):
            found[last] += f" {line.strip()}"
        else:
            last = ""
    return found


def fit_keys() -> str:
    """Every key of ``manyview fit``."""
    rows = []
    for key, meaning in keys_of("fit").items():
        name, _, example = key.partition("=")
        if name.startswith("hydra"):
            continue
        first, *rest = name.split(".")
        default = DATA.get(rest[0]) if first == "data" and rest else FIT[first]
        shown = "" if default == {} or (rest and first != "data") else f"`{value(default)}`"
        rows.append([f"`{name}`", f"`{example.strip()}`", shown, meaning.replace("|", r"\|")])
    for name, meaning in SECTIONS.items():
        rows.append([f"`{name}`", "", "" if FIT[name] == {} else f"`{value(FIT[name])}`", meaning])
    return table(["key", "as in", "default", "meaning"], rows)


def help_of(*words: str) -> str:
    """What a command prints when it is asked for help."""
    columns, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "120"
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            main([*words, "--help"])
    finally:
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return said.getvalue().rstrip()


def commands() -> str:
    """Every command, as its help explains it."""
    parts = [
        table(["command", "what it is for"], [[f"[`{n}`](#manyview-{n})", c.summary] for n, c in COMMANDS.items()])
    ]
    parts.append(f"```text\n{help_of()}\n```")
    for name in COMMANDS:
        parts += [f"### manyview {name}", f"```text\n{help_of(name)}\n```"]
    return "\n\n".join(parts)


# ---- where they go --------------------------------------------------------------------------------------------------

PAGES: dict[str, Callable[[], str]] = {
    "settings-shared": shared,
    "settings-models": of_models,
    "settings-trainer": trainer,
    "settings-optimizers": optimizers,
    "settings-networks": networks,
    "settings-likelihoods": likelihoods,
    "settings-fit": fit_keys,
    "settings-datamodules": data_modules,
    "commands": commands,
}


def write_tables(folder: Path) -> None:
    """Write each table to a Markdown file of its name."""
    folder.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        write_if_new(folder / f"{name}.md", make() + "\n")


def write_if_new(path: Path, text: str) -> None:
    """Leave a file that says this already as it is, so that nothing is built anew for it."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def offered(name: str) -> list[str]:
    """The full names of what a module offers, submodules left out; or of the methods and properties of a class."""
    try:
        module = import_module(name)
    except ModuleNotFoundError:
        path, _, last = name.rpartition(".")
        cls = getattr(import_module(path), last)
        own = [m for m, x in vars(cls).items() if not m.startswith("_") and inspect.getdoc(x)]
        return [f"{name}.{m}" for m in own if callable(getattr(cls, m)) or isinstance(vars(cls)[m], property)]
    return [f"{name}.{member}" for member in module.__all__ if not inspect.ismodule(getattr(module, member))]


# ---- the extension --------------------------------------------------------------------------------------------------


def skip_requests(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what scikit-learn adds to each class for the routing of metadata, such as `set_fit_request`."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def unlink_words(app: Any, doctree: Any) -> None:
    """Words in the type of a parameter, such as "shape", are no names, even where some class has such an attribute."""
    from sphinx.addnodes import pending_xref

    for node in list(doctree.findall(pending_xref)):
        if node.get("refdomain") == "py" and node.get("reftype") == "class" and node["reftarget"].islower():
            node.replace_self(node.children)


def find(path: str) -> Any:
    """The object of a dotted name; None if there is none."""
    parts = path.split(".")
    for i in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:i]))
        except ImportError:
            continue
        for part in parts[i:]:
            found = getattr(found, part, None)
        return found
    return None


def link_by_object(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Link a name to the entry of the same object under another: `manyview.models.MVAE` to `manyview.MVAE`."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or not target.startswith("manyview."):
        return None
    domain, wanted = env.get_domain("py"), find(target)
    if not (inspect.isclass(wanted) or inspect.isroutine(wanted)):
        return None
    last = target.rpartition(".")[2]
    for name in domain.objects:
        if name.rpartition(".")[2] == last and find(name) is wanted:
            return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], name, node, content)
    return None


def setup(app: Any) -> dict[str, bool]:
    """Make this an extension of Sphinx."""
    from docutils.statemachine import StringList
    from sphinx.ext.autosummary import Autosummary

    class Names(Autosummary):  # type: ignore[misc]
        """A table of names and summaries, which stays complete."""

        required_arguments = 1
        has_content = False
        option_spec = {"exclude": lambda text: text.replace(",", " ").split()}  # noqa: RUF012 (docutils has it so)

        def run(self) -> list[Any]:
            name = self.arguments[0]
            left_out = {f"{name}.{member}" for member in self.options.pop("exclude", [])}
            self.options["nosignatures"] = None
            self.content = StringList([f"~{found}" for found in offered(name) if found not in left_out], "names")
            current = self.env.ref_context.pop("py:module", None)  # the names are full ones
            try:
                return list(super().run())
            finally:
                if current is not None:
                    self.env.ref_context["py:module"] = current

    app.setup_extension("sphinx.ext.autosummary")
    app.add_directive("names", Names)
    app.connect("autodoc-skip-member", skip_requests)
    app.connect("doctree-read", unlink_words)
    app.connect("missing-reference", link_by_object)
    app.connect("builder-inited", lambda app: write_tables(Path(app.srcdir) / "_generated"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
