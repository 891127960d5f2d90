"""The reference is complete: every public name, every setting, every command and option is on a page."""

import ast
import inspect
import pkgutil
import re
import shlex
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import pytest

import manyview as mv
from docs import reference_tables
from manyview.cli import program, settings, using
from manyview.cli.console import EXIT_CODES
from manyview.config import to_config
from manyview.models import MODELS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = {f"models/{model.__name__}.md": model for model in MODELS}  # when the pages are built
ROLES = "class|func|meth|mod|attr|data|exc|obj"

# What scikit-learn adds to each class, for the routing of metadata.
NOT_OURS = re.compile(r"set_\w+_request")


def pages():
    """The Markdown of each page, those of models by what they document."""
    for path in sorted(DOCS.rglob("*.md")):
        name = path.relative_to(DOCS).as_posix()
        if not name.startswith("_") and name not in MADE:
            yield name, path.read_text(encoding="utf-8")
    for name, model in MADE.items():
        yield name, f"```{{eval-rst}}\n.. autoclass:: manyview.{model.__name__}\n   :members:\n```\n"


# ---- what autodoc makes of its directives ---------------------------------------------------------------------------


def directives(text):
    """Each directive of autodoc on a page: its kind, its object, and its options."""
    for block in re.findall(r"^```\{eval-rst\}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        module = ""
        for kind, name, lines in re.findall(r"^\.\. ([\w:]+):: +(\S+)\n((?:   .*\n)*)", block, flags=re.MULTILINE):
            if kind == "currentmodule":
                module = "" if name == "None" else f"{name}."
            elif kind.startswith(("auto", "py:")):
                options = re.findall(r"^   :([\w-]+):((?:.*\n)(?:    +.*\n)*)", lines, flags=re.MULTILINE)
                yield kind, module + name, {key: value.replace(",", " ").split() for key, value in options}


def is_entity(thing):
    return inspect.isclass(thing) or inspect.isroutine(thing)


@cache
def noted(module_or_class):
    """The variables of a module or the attributes of a class that have a string below them."""
    try:
        tree = ast.parse(dedent(inspect.getsource(module_or_class)))
    except (OSError, TypeError, SyntaxError):
        return frozenset()
    body = tree.body[0].body if inspect.isclass(module_or_class) else tree.body
    names = set()
    for line, below in pairwise(body):
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(names)


def own_members(cls):
    """The public members that a class itself has."""
    names = {**vars(cls), **inspect.get_annotations(cls)}
    return [name for name in names if not name.startswith("_") and not NOT_OURS.fullmatch(name)]


def shown_members(cls, options):
    """Those of a class that its directive shows."""
    if "members" not in options:
        return []
    if options["members"]:
        return options["members"]
    everything = "undoc-members" in options
    shown = [m for m in own_members(cls) if everything or m in noted(cls) or _has_docstring(cls, m)]
    return [m for m in shown if m not in options.get("exclude-members", ())]


def _has_docstring(cls, name):
    thing = inspect.getattr_static(cls, name, None)
    is_code = inspect.isroutine(thing) or isinstance(thing, classmethod | staticmethod) or hasattr(thing, "__get__")
    return is_code and bool(inspect.getdoc(getattr(cls, name)) or inspect.getdoc(thing))


@cache
def documented():
    """Every full name that the pages have an entry for."""
    found = set()

    def add(name, options):
        found.add(name)
        thing = reference_tables.find(name)
        owner, _, last = name.rpartition(".")
        known = thing is not None or last in inspect.get_annotations(reference_tables.find(owner))
        assert known, f"the reference has an entry for {name}, which there is not"
        if inspect.isclass(thing):
            canonical = f"{thing.__module__}.{thing.__qualname__}"
            found.update({canonical, *(f"{name}.{member}" for member in shown_members(thing, options))})

    for _, text in pages():
        for kind, name, options in directives(text):
            if kind != "automodule":
                add(name, options)
                continue
            module = import_module(name)
            found.add(name)
            if "members" not in options:
                continue
            for member in options["members"] or getattr(module, "__all__", ()):
                thing = getattr(module, member)
                shown = is_entity(thing) or member in noted(module)
                if shown and not inspect.ismodule(thing) and member not in options.get("exclude-members", ()):
                    add(f"{name}.{member}", {**options, "members": []})
    return frozenset(found)


@cache
def entries_of():
    """The names of the entries of each class, function and variable."""
    found = {}
    for name in sorted(documented()):
        if (thing := reference_tables.find(name)) is not None:
            found.setdefault(id(thing), []).append(name)
    return found


def public_modules():
    yield mv
    for info in pkgutil.walk_packages(mv.__path__, "manyview."):
        if not re.search(r"\._", info.name):
            yield import_module(info.name)


def public_names():
    for module in public_modules():
        for name in getattr(module, "__all__", ()):
            if not inspect.ismodule(getattr(module, name)):
                yield module, name


def is_covered(module, name):
    """Whether an object has an entry, under this name or, the same object, under another."""
    if f"{module.__name__}.{name}" in documented():
        return True
    thing = getattr(module, name)
    others = entries_of().get(id(thing), [])
    return bool(others) if is_entity(thing) else any(other.endswith(f".{name}") for other in others)


def lacks(cls):
    """The public members of a class that no page explains."""
    told = set()
    for base in cls.__mro__:
        docstring = inspect.cleandoc(vars(base).get("__doc__") or "")
        for section in ("Parameters", "Attributes"):
            told |= {name for name, _ in reference_tables.entries(docstring, section)}
    names = entries_of().get(id(cls), [])
    for member in own_members(cls):
        if member in told or any(f"{name}.{member}" in documented() for name in names):
            continue
        bases = [base for base in cls.__mro__[1:] if member in vars(base) or member in inspect.get_annotations(base)]
        if not bases or all(base.__module__.startswith("manyview") and member in lacks(base) for base in bases):
            yield member


def test_every_public_name_is_in_the_reference():
    missing = sorted({f"{module.__name__}.{name}" for module, name in public_names() if not is_covered(module, name)})
    assert not missing, f"on no page of the reference: {', '.join(missing)}"


def test_every_public_member_is_in_the_reference():
    classes = {getattr(module, name) for module, name in public_names() if inspect.isclass(getattr(module, name))}
    ours = sorted(
        (cls for cls in classes if cls.__module__.startswith("manyview")),
        key=lambda cls: (cls.__module__, cls.__qualname__),
    )
    missing = [f"{cls.__module__}.{cls.__qualname__}.{member}" for cls in ours for member in lacks(cls)]
    assert not missing, f"on no page of the reference: {', '.join(missing)}"


def test_names_that_pages_link_to_have_entries():
    broken = []
    for page, text in pages():
        for role, name in re.findall(rf"\{{({ROLES})\}}`(?:[^`<]*<)?~?([\w.]+)>?`", text):
            thing = reference_tables.find(name)
            if name not in documented() and not (is_entity(thing) and id(thing) in entries_of()):
                broken.append(f"{page}: {{{role}}}`{name}`")
    assert not broken, "\n".join(broken)


def test_the_parser_of_directives_sees_what_there_is():
    text = (
        "```{eval-rst}\n.. currentmodule:: a\n\n.. autoclass:: B\n   :members: c,\n             d\n   :no-index:\n```\n"
    )
    assert list(directives(text)) == [("autoclass", "a.B", {"members": ["c", "d"], "no-index": []})]
    assert {"manyview.MVAE", "manyview.models.mvae.MVAE", "manyview.Views", "manyview.Views.shapes"} <= documented()
    assert {"manyview.metrics.fid", "manyview.fusion.Fusion.per_view", "manyview.Estimator.fit"} <= documented()
    assert not {"manyview.Estimator.no_such", "manyview.Estimator.set_fit_request"} & documented()


# ---- settings -------------------------------------------------------------------------------------------------------


def rows(markdown):
    """The cells of the rows of all tables."""
    lines = [line for line in markdown.split("\n") if line.startswith("| ") and not line.startswith("| ---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def keys(markdown):
    return {row[0].strip("`") for row in rows(markdown)}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_of_a_configuration_is_in_the_tables(model):
    _, _, after = reference_tables.of_models().partition(f"### {model.__name__}\n")
    own, config = after.partition("\n### ")[0], to_config(model())
    known = keys(reference_tables.shared()) | keys(own) | {"_target_"}
    assert set(config["model"]) <= known
    assert set(config["trainer"]) <= keys(reference_tables.trainer())
    stated = {row[0].strip("`"): row[2].strip("`") for row in [*rows(reference_tables.shared()), *rows(own)]}
    assert all(stated[key] == reference_tables.value(x) for key, x in config["model"].items() if key != "_target_")


def test_every_key_of_fit_is_in_the_tables():
    told = keys(reference_tables.fit_keys())
    assert {*settings.FIT} <= {key.partition(".")[0] for key in told}
    assert {f"data.{key}" for key in settings.DATA} <= {key.removesuffix(".NAME") for key in told}


@pytest.mark.parametrize("name", [name for name in reference_tables.PAGES if name.startswith("settings")])
def test_tables_of_settings_have_no_gaps(name):
    for row in rows(reference_tables.PAGES[name]()):
        assert row[-1] or "none" in row, row
        assert "function" not in " ".join(row) or "<" not in " ".join(row), row


def test_pages_include_every_table():
    text = "\n".join(text for _, text in pages())
    assert all(f"_generated/{name}.md" in text for name in reference_tables.PAGES)


def test_types_are_in_the_words_of_a_configuration():
    assert reference_tables.shared().startswith("| key | type | default | meaning |")
    kinds = {row[0].strip("`"): row[1] for row in rows(reference_tables.shared())}
    assert kinds["z_dim"] == "integer > 0"
    assert kinds["validation_fraction"] == "number ≥ 0 and < 1"
    assert kinds["encoder"] == "[network](#networks)"
    assert kinds["batch_size"] == "integer > 0 or `auto`, `full`"


# ---- the command line -----------------------------------------------------------------------------------------------


def command_page():
    text = (DOCS / "command_line.md").read_text(encoding="utf-8")
    assert "{include} _generated/commands.md" in text
    return text, text + reference_tables.commands()


def keys_in_code(command):
    """The settings that a command's function takes, read from its source."""
    tree = ast.parse(inspect.getsource(getattr(using, command)))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Task.of"]
    return {keyword.arg for call in calls for keyword in call.keywords}


@pytest.mark.parametrize("command", program.COMMANDS)
def test_every_command_and_option_is_on_the_page(command):
    text, whole = command_page()
    assert f"manyview {command}" in text, "in the page's own words"
    assert f"### manyview {command}" in whole
    usage = reference_tables.help_of(command)
    assert usage in whole
    for option in re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", usage.partition("options:")[2]):
        assert f"`{option}`" in text or f" {option} " in text, f"{option} of {command}"
    if command == "fit":
        for key in settings.FIT:
            assert re.search(rf"\b{key}[=.]|`{key}`", text), f"{key}= of fit"
    elif hasattr(using, command):
        told = {key.partition("=")[0] for key in reference_tables.keys_of(command)}
        assert keys_in_code(command) <= told
        for key in keys_in_code(command):
            assert f"{key}=" in whole


def test_every_exit_status_is_on_the_page():
    text, _ = command_page()
    assert all(re.search(rf"^\| {code} \| \S", text, flags=re.MULTILINE) for code in EXIT_CODES)


def command_lines():
    """Each call of the program in the pages' blocks for the shell."""
    for name, text in [("README.md", (ROOT / "README.md").read_text(encoding="utf-8")), *pages()]:
        for block in re.findall(r"^```(?:bash|console|sh)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").split("\n"):
                if line.strip().startswith("manyview "):
                    yield pytest.param(line.strip(), id=f"{name}: {line.strip()[:60]}")


@pytest.mark.parametrize("line", list(command_lines()))
def test_command_lines_on_pages_are_understood(line):
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words
    if "--help" in words or "--version" in words:
        return
    args, rest = program._parser().parse_known_args(words)
    overrides = [*args.overrides, *rest]
    if args.name == "fit":
        settings.parse(overrides, settings.FIT)
    elif hasattr(using, args.name):
        settings.parse(overrides, settings.use(**dict.fromkeys(keys_in_code(args.name))))
    else:
        assert not overrides
