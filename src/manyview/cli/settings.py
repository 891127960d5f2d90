"""From the command line to settings: Hydra's grammar, over defaults of ours and a file of the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyview.cli.console import UsageError
from manyview.messages import closest

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

__all__ = ["FIT", "compose", "composing", "parse", "read_file", "use"]

_NAME, _FILE = "_manyview_", "_manyview_file_"  # of our configurations among those in the user's folder

DATA: dict[str, Any] = {"views": {}, "id": None, "covariates": None, "in_memory": None}
FIT: dict[str, Any] = {
    "model": {},
    "trainer": {},
    "optimizer": {},
    "scheduler": {},
    "callbacks": {},
    "logger": {},
    "data": DATA,
    "datamodule": {},
    "seed": None,
    "out": "run",
    "checkpoint": False,
    "resume": False,
    "overwrite": False,
    "objective": "val_loss",
}
"""What ``manyview fit`` can be told, and the defaults. Sections may have further keys, which the model checks."""


def use(**defaults: Any) -> dict[str, Any]:
    """What a command that uses a run can be told."""
    return {"data": DATA, "datamodule": {}, **defaults}


def parse(overrides: Sequence[str], defaults: Mapping[str, Any], file: str | None = None) -> list[Override]:
    """Overrides in Hydra's grammar, their keys checked: those of the defaults and of a file are known.

    Raises
    ------
    UsageError
        If one cannot be parsed, or there is no such key.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    known = dict(defaults) if file is None else {**defaults, **_keys(read_file(file))}
    parsed = []
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            if "=" not in text:
                raise UsageError(f"{text!r} is no setting: settings are written key=value, as in out=folder") from None
            key, _, value = text.partition("=")
            reason = str(error).splitlines()[0]
            raise UsageError(
                f"{text!r} cannot be read ({reason}); put a value with special characters in quotes of its own: "
                f"'{key}=\"{value}\"'"
            ) from None
        _check_key(override.key_or_group.replace("/", ".").split("."), known)
        parsed.append(override)
    return parsed


def _keys(node: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a file, and the groups in its list of defaults."""
    entries = [entry for entry in node.get("defaults") or [] if isinstance(entry, Mapping)]
    groups = (str(group).removeprefix("override ").removeprefix("optional ") for entry in entries for group in entry)
    return dict.fromkeys([*node, *(group.partition("/")[0].partition("@")[0] for group in groups)])


def _check_key(path: list[str], known: Mapping[str, Any]) -> None:
    first, *rest = path
    if first == "hydra" and "model" in known:
        return
    if first not in known:
        raise UsageError(f"unknown key {first!r}{closest(first, known)}")
    if first == "data" and rest and rest[0] not in DATA:
        raise UsageError(f"unknown key 'data.{rest[0]}'{closest(rest[0], DATA)}")


def compose(overrides: Sequence[str], defaults: Mapping[str, Any], file: str | None = None) -> dict[str, Any]:
    """Settings: the defaults, then what a file says, then the overrides.

    Parameters
    ----------
    overrides : sequence of str
        As in "model.z_dim=8". For a command that has no sweeps, "given=a,b" is the list [a, b].
    defaults : mapping
        What there is to be set.
    file : path, optional
        A YAML file.

    Raises
    ------
    UsageError
        If an override cannot be parsed, or there is no such key.
    ValueError
        If the settings cannot be composed or resolved.

    Examples
    --------
    >>> compose(["given=genes,lipids", "data.views.genes=new.csv"], use(out=None, given=None))  # doctest: +ELLIPSIS
    {'data': {'views': {'genes': 'new.csv'}, ...}, 'datamodule': {}, 'out': None, 'given': ['genes', 'lipids']}
    """
    from hydra import compose
    from omegaconf import OmegaConf

    parsed = parse(overrides, defaults, file)
    several = [override for override in parsed if override.is_sweep_override()]
    if several and "model" in defaults:
        raise UsageError(
            f"{several[0].input_line!r} gives several values: add -m to fit a model with each, "
            "or write a list in brackets, [a,b]"
        )
    lines = [_as_list(override) if override.is_choice_sweep() else str(override.input_line) for override in parsed]
    with composing(parsed, defaults, file) as name:
        settings: Any = OmegaConf.to_container(compose(name, lines), resolve=True, throw_on_missing=True)
    return dict(settings)


def _as_list(override: Override) -> str:
    return f"{override.get_key_element()}=[{','.join(override.sweep_string_iterator())}]"


@contextmanager
def composing(parsed: Sequence[Override], defaults: Mapping[str, Any], file: str | None = None) -> Iterator[str]:
    """Hydra, ready to compose the configuration whose name this yields."""
    from hydra import initialize_config_dir, initialize_config_module
    from hydra.core.config_store import ConfigStore

    from manyview.config.loading import hydra_kept_as_it_is, register_models

    path = None if file is None else _config_file(file)
    node = None if path is None else _load(path)
    entries = node.get("defaults") if node is not None else None
    start: list[Any] = ["_self_"]
    with _explained(), hydra_kept_as_it_is():
        if entries is not None and path is not None:
            start.append(path.stem)
            _check_groups(path.parent, parsed)
        elif node is not None:
            start.append(_FILE)
            ConfigStore.instance().store(name=_FILE, node=node)
        if "model" in defaults:
            if any("model" in entry for entry in entries or [] if not isinstance(entry, str)):
                register_models()
            else:
                start.append({"model": None})
                _register_targets(parsed)
        ConfigStore.instance().store(name=_NAME, node=_open({"defaults": start, **defaults}))
        with (
            initialize_config_module(__package__, version_base="1.3")  # all there is, is in the store
            if entries is None or path is None
            else initialize_config_dir(os.fspath(path.parent.resolve()), version_base="1.3")
        ):
            yield _NAME


def _open(node: dict[str, Any]) -> Any:
    """A configuration whose empty sections take any key, without Hydra's leading +."""
    from omegaconf import OmegaConf

    config = OmegaConf.create(node)
    for section in (config, config.data):
        for key, value in section.items():
            if value == {}:
                section[key] = OmegaConf.create({}, flags={"struct": False})
    return config


def _register_targets(parsed: Sequence[Override]) -> None:
    """Each model as an option that names it and no more, so that what a file says of its sizes holds."""
    from hydra.core.config_store import ConfigStore

    from manyview.config.loading import find_model, model_names
    from manyview.imports import import_path

    asked: set[str] = set()
    for override in parsed:
        if override.key_or_group == "model" and override.is_sweep_override():
            asked |= {*model_names(), *map(str, override.sweep_iterator())}  # a sweep may say model=glob(*)
        elif override.key_or_group == "model" and override.value() is not None:
            asked.add(str(override.value()))
    for name in asked:
        ConfigStore.instance().store(group="model", name=name, node={"_target_": import_path(find_model(name))})


def _config_file(file: str) -> Path:
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"--config: no file {file!r}; looked from {Path.cwd()}")
    if path.suffix != ".yaml":
        raise ValueError(f"--config: {file!r} must end in .yaml")
    return path


def read_file(file: str) -> dict[str, Any]:
    """What a file itself says, its list of defaults and its interpolations as they stand there."""
    from omegaconf import OmegaConf

    content: Any = OmegaConf.to_container(_load(_config_file(file)))
    return dict(content)


def _load(path: Path) -> Any:
    """A file as it is, its interpolations still open."""
    from omegaconf import DictConfig, OmegaConf
    from yaml import YAMLError  # type: ignore[import-untyped]

    from manyview.config.loading import load_config

    try:
        node = OmegaConf.create(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError):
        load_config(path)  # says the line
        raise
    if not isinstance(node, DictConfig):
        raise ValueError(
            f"--config: {os.fspath(path)!r} must hold a mapping at its top, such as 'model: {{z_dim: 10}}'"
        )
    return node


def _check_groups(folder: Path, parsed: Sequence[Override]) -> None:
    """Hydra takes folders beside a file with a list of defaults for groups of configurations; ours must not be so."""
    for override in parsed:
        key = override.key_or_group
        if key in FIT and key != "model" and (folder / key).is_dir():
            raise ValueError(
                f"--config: beside the file there is a folder {os.fspath(folder / key)!r}, which Hydra takes for what "
                f"{key}= chooses from; move the file to a folder of its own"
            )


@contextmanager
def _explained() -> Iterator[None]:
    """Errors of Hydra and OmegaConf as ours."""
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except MissingConfigException as error:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        mend = closest(option, error.options or ())
        if group.startswith("hydra/"):
            mend += f"; or install it: packages have names such as hydra-{option}-{group.rpartition('/')[2]}"
        raise ValueError(f"there is no {error.missing_cfg_file!r}{mend}") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(" ".join(str(error).split())) from None
