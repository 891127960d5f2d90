"""A configuration from wherever it is kept to plain containers: YAML, lists of defaults, interpolations."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyview.config.source import Source, lines
from manyview.config.writing import to_config
from manyview.messages import closest

if TYPE_CHECKING:
    from manyview.estimator import Estimator

__all__ = ["find_model", "load_config", "model_names", "register_models"]

# What Hydra adds to OmegaConf's resolvers when it composes.
_RESOLVERS = ("now", "hydra", "python_version")


def load_config(cfg: object) -> tuple[Source, dict[str, Any]]:
    """The configuration as plain containers with interpolations resolved, and where it comes from.

    Parameters
    ----------
    cfg : path, mapping or DictConfig
        The configuration. A file with a list ``defaults`` is composed by Hydra, with the file's folder as its folder
        of configurations and our models as the group ``model``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no valid YAML, is no mapping, or cannot be composed or resolved; the message says where.
    """
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    source = Source("the configuration")
    try:
        if isinstance(cfg, str | PathLike):
            return _load_file(Path(cfg))
        if not isinstance(cfg, Mapping):
            raise TypeError(f"cfg must be the path of a YAML file or a mapping, but is a {type(cfg).__name__}")
        node = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg), flags={"allow_objects": True})
        return source, _resolve(node)
    except OmegaConfBaseException as error:
        raise _explain(error, source) from None


def _load_file(path: Path) -> tuple[Source, dict[str, Any]]:
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    name = repr(os.fspath(path))
    source = Source(name)
    if not path.exists():
        raise FileNotFoundError(f"no configuration file {name}; looked from {Path.cwd()}")
    try:
        text = path.read_text(encoding="utf-8")
        node = OmegaConf.create(text)
        if not isinstance(node, DictConfig):
            raise source.error("", "must hold a mapping at its top, such as 'model: {z_dim: 10}'")
        source = Source(name, _places(path, text))
        return source, _compose(path, node, source) if "defaults" in node else _resolve(node)
    except IsADirectoryError:
        raise source.error("", "is a folder; give the path of a YAML file") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = Source(f"{name}, line {mark.line + 1}") if mark else source
        raise where.error("", getattr(error, "problem", None) or str(error)) from None
    except OmegaConfBaseException as error:
        raise _explain(error, source) from None
    except UnicodeDecodeError as error:
        raise source.error("", f"is no text file: {error}") from None


def _resolve(node: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    content: Any = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    return dict(content)


def _explain(error: Exception, source: Source) -> ValueError:
    """An error of OmegaConf as one of ours."""
    return source.error(str(getattr(error, "full_key", None) or ""), str(error).splitlines()[0])


# ---- lists of defaults ----------------------------------------------------------------------------------------------


def _compose(path: Path, node: Any, source: Source) -> dict[str, Any]:
    """A file with the files and models in its list of defaults."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException, MissingConfigException

    if path.suffix != ".yaml":
        raise source.error("defaults", f"a file with a list of defaults must end in .yaml, not {path.suffix!r}")
    try:
        with hydra_kept_as_it_is():
            register_models()
            with initialize_config_dir(str(path.parent.resolve()), version_base="1.3"):
                return _resolve(compose(path.stem))
    except MissingConfigException as error:
        asked = error.missing_cfg_file
        if asked is None:
            raise source.error("defaults", str(error).splitlines()[0]) from None
        group, _, option = asked.rpartition("/")
        files = {file.stem for file in (path.parent / group).glob("*.yaml")} - {path.stem}
        known = sorted({*files, *(model_names() if group == "model" else ())})
        advice = closest(option, known) if known else "."
        raise source.error("defaults", f"there is no {asked!r} in {str(path.parent)!r}{advice}") from None
    except HydraException as error:
        raise source.error("defaults", " ".join(str(error).split())) from None


@contextmanager
def hydra_kept_as_it_is() -> Iterator[None]:
    """Hydra's registered configurations and resolvers are the program's own: ours are there for a moment only."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from omegaconf import OmegaConf

    Plugins.instance()  # registers Hydra's own configurations, once
    store, absent = ConfigStore.instance(), [name for name in _RESOLVERS if not OmegaConf.has_resolver(name)]
    repo, store.repo = store.repo, copy.deepcopy(store.repo)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "In '.*': Defaults list is missing `_self_`")  # then it comes last
            yield
    finally:
        store.repo = repo
        for name in absent:
            OmegaConf.clear_resolver(name)


def _places(path: Path, text: str, package: str = "") -> dict[str, str]:
    """The file and the line of each path, in a file and in the files of its list of defaults."""
    import yaml

    prefix = f"{package}." if package else ""
    own = {f"{prefix}{key}": f"{str(path)!r}, line {line}" for key, line in lines(text).items()}
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    entries: Any = yaml.safe_load(text).get("defaults") if "defaults" in own and node is not None else None
    if not isinstance(entries, list):
        return own
    found: dict[str, str] = {}
    for entry in entries if "_self_" in entries else [*entries, "_self_"]:
        if entry == "_self_":
            found |= own
            continue
        group, option = next(iter(entry.items())) if isinstance(entry, dict) and entry else ("", entry)
        file = path.parent / str(group) / f"{str(option).removesuffix('.yaml')}.yaml"
        if file.is_file():
            found |= _places(file, file.read_text(encoding="utf-8"), str(group).replace("/", "."))
    return found


# ---- models by name -------------------------------------------------------------------------------------------------


def model_names() -> dict[str, type[Estimator]]:
    """Each model under the names that configurations and the command line know it by, in lower case.

    Examples
    --------
    >>> names = model_names()
    >>> names["mvtcae"].__name__, names["mopoe"].__name__, names["me_mvae"].__name__
    ('MVTCAE', 'MoPoEVAE', 'MEMVAE')
    """
    from manyview import models

    names = {name.lower(): cls for name, cls in vars(models).items() if cls in models.MODELS}
    for cls in models.MODELS:
        name = cls.__module__.rpartition(".")[2]
        names |= {name: cls, name.removesuffix("_vae"): cls}
    return dict(sorted(names.items()))


def find_model(name: str) -> type[Estimator]:
    """The model of that name, in any case; or a user's own by its dotted path.

    Raises
    ------
    ValueError
        If there is none, with the closest name that there is.
    """
    from manyview.estimator import Estimator
    from manyview.imports import import_object

    known = model_names()
    if name.lower() in known:
        return known[name.lower()]
    if "." not in name:
        raise ValueError(f"unknown model {name!r}{closest(name, known)}")
    cls = import_object(name)
    if not (isinstance(cls, type) and issubclass(cls, Estimator)):
        raise ValueError(f"{name!r} is no model: no subclass of manyview.Estimator")
    return cls


def register_models() -> None:
    """Make each model, with all its defaults, an option of Hydra's group ``model``."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    configs = {cls: to_config(cls())["model"] for cls in model_names().values()}
    for name, cls in model_names().items():
        store.store(name=name, group="model", node=configs[cls])
