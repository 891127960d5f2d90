"""From a YAML file or mapping to the keyword arguments of a model."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyview.config.multiviewae import is_theirs, translate
from manyview.config.source import Source

if TYPE_CHECKING:
    from manyview.estimator import Estimator

__all__ = ["read_config"]

# What Lightning calls a hyperparameter of ours.
_TRAINER = {"max_epochs": "max_epochs", "accelerator": "device", "gradient_clip_val": "gradient_clip"}
_TRAINERS = ("pytorch_lightning.Trainer", "lightning.pytorch.Trainer", "lightning.Trainer")


def read_config(cfg: str | PathLike[str] | Mapping[str, Any], cls: type[Estimator]) -> dict[str, Any]:
    """Read the hyperparameters of a model from a configuration.

    A configuration has a section ``model`` with hyperparameters and, optionally, a section ``trainer`` with arguments
    of Lightning's Trainer; or it has hyperparameters alone, without sections. Files of the multi-view-AE library
    (sections ``model``, ``encoder``, ``decoder``, ``prior``, ``datamodule``, ``trainer``, ``callbacks``, ``logger``)
    are translated, which the logger "manyview" reports at level INFO; their views are known by position. Where such a
    file gives the dimensions of private latents, its ``z_dim`` counts them and is lessened by as many; a ``z_dim``
    given to the model itself is of the shared latent alone, as everywhere here.

    Parameters
    ----------
    cfg : path, mapping or DictConfig
        The configuration. Interpolations such as ``${model.z_dim}`` are resolved. In ``trainer``, a mapping with a
        ``_target_`` is replaced by what calling the target returns: read files from sources that you trust.
    cls : type
        The model.

    Returns
    -------
    dict
        Keyword arguments for ``cls``: only those that the configuration states.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no valid YAML, has an unknown key, or asks for what the model does not have; the message says where.

    Examples
    --------
    >>> from manyview import MVAE
    >>> from manyview.config import read_config
    >>> read_config({"model": {"z_dim": 4, "batch_size": "${model.z_dim}"}, "trainer": {"max_epochs": 20}}, MVAE)
    {'z_dim': 4, 'batch_size': 4, 'max_epochs': 20}
    """
    source, content = _load(cfg)
    if is_theirs(content, cls):
        source = Source(f"{source.name}, read as a file of the multi-view-AE library")
        given, trainer = translate(content, cls, source)
    else:
        given, trainer = _native(content, cls, source)
    return source.merge([given, _read_trainer(trainer, source)])


def _load(cfg: object) -> tuple[Source, dict[str, Any]]:
    """The configuration as plain containers, and what to call it in messages."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    source = Source("the configuration")
    try:
        if isinstance(cfg, str | PathLike):
            path, source = Path(cfg), Source(repr(os.fspath(cfg)))
            if not path.exists():
                raise FileNotFoundError(f"no configuration file {os.fspath(cfg)!r}; looked from {Path.cwd()}")
            cfg = OmegaConf.create(path.read_text(encoding="utf-8"))
            if not isinstance(cfg, DictConfig):
                raise source.error("", "must hold a mapping at its top, such as 'model: {z_dim: 10}'")
        if not isinstance(cfg, Mapping):
            raise TypeError(f"cfg must be the path of a YAML file or a mapping, but is a {type(cfg).__name__}")
        node = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg), flags={"allow_objects": True})
        content: Any = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else ""
        raise source.error(where, getattr(error, "problem", None) or str(error)) from None
    except OmegaConfBaseException as error:
        raise source.error(str(getattr(error, "full_key", None) or ""), str(error).splitlines()[0]) from None
    except UnicodeDecodeError as error:
        raise source.error("", f"is no text file: {error}") from None
    return source, content


def _native(content: dict[str, Any], cls: type[Estimator], source: Source) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hyperparameters, and the arguments of the trainer."""
    known = [field.name for field in fields(cls)]
    if "model" not in content:
        source.check_keys("", content, known)
        given = dict(content)
        return given, source.section(given, "trainer")
    source.check_keys("", content, ["model", "trainer"])
    given = source.section(content, "model")
    source.check_keys("model", given, known)
    return given, source.merge([source.section(given, "trainer"), source.section(content, "trainer")])


def _read_trainer(section: dict[str, Any], source: Source) -> dict[str, Any]:
    """Those arguments of Lightning's Trainer that are hyperparameters of ours, and the others in one mapping."""
    if "_target_" in section:
        source.check_keys("trainer._target_", [section.pop("_target_")], _TRAINERS, "target")
    ours = {name: section.pop(theirs) for theirs, name in _TRAINER.items() if theirs in section}
    if not section:
        return ours
    import pytorch_lightning as pl

    source.check_keys("trainer", section, [*_TRAINER, *inspect.signature(pl.Trainer).parameters])
    built = {key: _build(value, f"trainer.{key}", source) for key, value in section.items()}
    if "callbacks" in built:
        callbacks = built["callbacks"]
        callbacks = list(callbacks.values()) if isinstance(callbacks, Mapping) else callbacks
        built["callbacks"] = callbacks if isinstance(callbacks, list) else [callbacks]
        if any(isinstance(callback, pl.callbacks.Checkpoint) for callback in built["callbacks"]):
            built.setdefault("enable_checkpointing", True)
    return {**ours, "trainer": built}


def _build(value: Any, where: str, source: Source) -> Any:
    """The value with every mapping that has a ``_target_`` replaced by what that makes."""
    if isinstance(value, list):
        return [_build(item, where, source) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "_target_" not in value:
        return {key: _build(item, f"{where}.{key}", source) for key, item in value.items()}
    from hydra.errors import HydraException
    from hydra.utils import instantiate

    try:
        return instantiate(value, _convert_="all")
    except HydraException as error:
        raise source.error(where, str(error).splitlines()[0]) from error
