"""From a YAML file or mapping to the keyword arguments of a model."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from typing import TYPE_CHECKING, Any

from manyview.config.building import check_targets
from manyview.config.loading import load_config
from manyview.config.multiviewae import is_theirs, place_of, translate
from manyview.config.source import Source
from manyview.imports import import_object, split_target
from manyview.validation import TRAINER, check_values, find_trainer, unknown

if TYPE_CHECKING:
    from manyview.estimator import Estimator

__all__ = ["read_config"]

logger = logging.getLogger("manyview")

_TRAINERS = ("pytorch_lightning.Trainer", "lightning.pytorch.Trainer", "lightning.Trainer")

# Sections that hold hyperparameters, and sections of others that may stand in the same file.
_SECTIONS = ("model", "trainer", "callbacks", "logger", "optimizer", "scheduler", "seed")
_APART = {"optimizer": "optimizer", "scheduler": "scheduler", "seed": "random_state"}
_SHORT = re.compile(r"^torch\.optim\.(lr_scheduler\.)?(?=\w+$)")  # what names of optimisers and schedulers may lack
_OTHERS = {
    "data": "the command line reads it",
    "datamodule": "make it with manyview.config.build_section, and give it to fit(datamodule=...)",
    "out": "the command line reads it",
}


def read_config(
    cfg: str | PathLike[str] | Mapping[str, Any], cls: type[Estimator], instead: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Read the hyperparameters of a model from a configuration.

    A configuration has a section ``model`` with hyperparameters and, optionally, a section ``trainer`` with arguments
    of Lightning's Trainer; or it has hyperparameters alone, without sections. In place of ``model.optimizer``,
    ``model.scheduler``, ``model.random_state``, ``trainer.callbacks`` and ``trainer.logger`` there may be sections
    ``optimizer``, ``scheduler``, ``seed``, ``callbacks`` and ``logger``. A list ``defaults`` names what the file
    starts from: other files in its folder, or models, as in ``defaults: [model: mvtcae]``; Hydra composes it.

    Files of the multi-view-AE library (sections ``model``, ``encoder``, ``decoder``, ``prior``, ``datamodule``,
    ``trainer``, ``callbacks``, ``logger``) are translated, which the logger "manyview" reports at level INFO; their
    views are known by position. Where such a file gives the dimensions of private latents, its ``z_dim`` counts them
    and is lessened by as many; a ``z_dim`` given to the model itself is of the shared latent alone, as everywhere here.

    Parameters
    ----------
    cfg : path, mapping or DictConfig
        The configuration. Interpolations such as ``${model.z_dim}`` are resolved. Each ``_target_`` is imported, to
        check that it can be, and called when the model is fitted: read files from sources that you trust.
    cls : type
        The model.
    instead : dict, optional
        Hyperparameters that will be used in place of those in the configuration, which need not be valid then.

    Returns
    -------
    dict
        Keyword arguments for ``cls``: only those that the configuration states.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no valid YAML, has an unknown key, a value that is not allowed, or asks for what the model does not
        have; the message says where.

    Examples
    --------
    >>> from manyview import MVAE
    >>> from manyview.config import read_config
    >>> read_config({"model": {"z_dim": 4, "batch_size": "${model.z_dim}"}, "trainer": {"max_epochs": 20}}, MVAE)
    {'z_dim': 4, 'batch_size': 4, 'max_epochs': 20}
    """
    source, content = load_config(cfg)
    theirs = is_theirs(content, cls)
    if theirs:
        source = Source(source.name, source.places, ", read as a file of the multi-view-AE library")
    sections = {key: dict(value) if isinstance(value, Mapping) else value for key, value in content.items()}
    given, trainer = (translate if theirs else _native)(sections, cls, source)
    given = source.merge([_split_targets(given, content, source), _read_trainer(trainer, content, source)])
    instead = instead or {}
    stated = {name: value for name, value in given.items() if name not in instead}

    def error(name: str, view: object, message: str) -> ValueError:
        return source.error(f"{_place(name, content)}.{view}".strip("."), message)

    check_values(cls, stated, instead, error)
    return given


def _native(content: dict[str, Any], cls: type[Estimator], source: Source) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hyperparameters, and the arguments of the trainer."""
    for key, reason in _OTHERS.items():
        if content.pop(key, None) is not None:
            logger.info("%s was read and is no matter of the model: %s", key, reason)
    known = [field.name for field in fields(cls)]
    path = "model" if "model" in content else ""
    if path:
        source.check_keys("", content, _SECTIONS)
        given = source.section(content, "model")
    else:
        given = {key: content.pop(key) for key in list(content) if key not in _SECTIONS}
    _check_class(given, path, cls, source)
    for key in given:
        if key not in known:
            raise source.error(path, f"unknown key {key!r}{unknown(cls, key, () if path else _SECTIONS)}", key)
    trainer = [source.section(given, "trainer", "model.trainer"), source.section(content, "trainer")]
    trainer += [{key: content[key]} for key in ("callbacks", "logger") if content.get(key) is not None]
    apart = {name: content[key] for key, name in _APART.items() if content.get(key) is not None}
    # A model in the list of defaults brings its defaults, which do not compete with what is chosen.
    usual = {field.name: field.default for field in fields(cls) if field.name in apart}
    given = source.merge([{key: x for key, x in given.items() if key not in usual or x != usual[key]}, apart])
    return given, source.merge(trainer)


def _split_targets(given: dict[str, Any], content: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """Optimiser and scheduler by their name or path, and their arguments apart."""
    for name in ("optimizer", "scheduler"):
        if isinstance(given.get(name), Mapping):
            try:
                target, arguments = split_target(given[name], given.get(f"{name}_args"), name)
            except ValueError as error:
                raise source.error(_place(name, content), str(error)) from None
            given |= {name: _SHORT.sub("", target), **({f"{name}_args": arguments} if arguments else {})}
    return given


def _check_class(section: dict[str, Any], path: str, cls: type[Estimator], source: Source) -> None:
    """The class that a section names must be the one that reads it."""
    target = section.pop("_target_", None)
    if target is None:
        return
    try:
        found = import_object(target)
    except ValueError as error:
        raise source.error(path, str(error), "_target_") from None
    if found is not cls:
        raise source.error(
            f"{path}._target_".strip("."),
            f"{target!r} is what the file configures, but {cls.__name__} reads it; "
            f"call from_config of that class, or remove the line",
        )


def _read_trainer(section: dict[str, Any], content: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """Those arguments of Lightning's Trainer that are hyperparameters of ours, and the others in one mapping."""
    if section.get("_target_") in _TRAINERS:
        del section["_target_"]
    ours = {name: section.pop(theirs) for theirs, name in TRAINER.items() if theirs in section}
    if not section:
        return ours
    try:
        parameters = inspect.signature(find_trainer(section)).parameters
    except ValueError as error:
        raise source.error("trainer._target_", str(error), "_target_") from None
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        source.check_keys("trainer", section, dict.fromkeys(["_target_", *TRAINER, *parameters]))
    for key, value in section.items():
        check_targets(value, _place(key, content), source)
    return {**ours, "trainer": section}


def _place(name: str, content: Mapping[str, Any]) -> str:
    """The path at which a configuration states a hyperparameter."""
    lightning = next((theirs for theirs, ours in TRAINER.items() if ours == name), name)
    apart = next((key for key, ours in _APART.items() if ours == name), name)
    paths = [f"model.{name}", f"trainer.{lightning}", f"model.trainer.{lightning}", *place_of(name), apart]
    return next((path for path in paths if _holds(content, path)), name or "model")


def _holds(content: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(content, Mapping) or key not in content:
            return False
        content = content[key]
    return True
