"""Objects that a configuration names by ``_target_``: checked when it is read, made when they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from manyview.config.loading import load_config
from manyview.config.source import Source
from manyview.imports import check_call
from manyview.messages import closest

__all__ = ["build_object", "build_section", "build_trainer", "check_targets"]

# What Hydra reads beside the arguments.
_HYDRA = ("_target_", "_args_", "_partial_", "_convert_", "_recursive_")


def check_targets(value: Any, where: str, source: Source) -> None:
    """Check that each ``_target_`` in a section can be imported, and takes the arguments beside it.

    Raises
    ------
    ValueError
        If not, saying which and where.
    """
    if isinstance(value, Mapping | list):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            check_targets(item, f"{where}.{key}", source)
    if not isinstance(value, Mapping) or "_target_" not in value:
        return
    try:
        check_call(value["_target_"], [key for key in value if key not in _HYDRA])
    except ValueError as error:
        raise source.error(where, str(error), "_target_") from None


def build_object(value: Any) -> Any:
    """A value in which each mapping with a ``_target_`` is replaced by what calling the target returns.

    Examples
    --------
    >>> build_object({"steps": [{"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2}]})
    {'steps': [Fraction(1, 2)]}
    """
    if isinstance(value, list | tuple):
        return [build_object(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "_target_" not in value:
        return {key: build_object(item) for key, item in value.items()}
    from hydra.errors import HydraException
    from hydra.utils import instantiate

    try:
        return instantiate(dict(value), _convert_="all")
    except HydraException as error:
        reason = error.__cause__ or error
        raise ValueError(f"{value['_target_']} cannot be made: {type(reason).__name__}: {reason}") from error


def build_section(cfg: str | PathLike[str] | Mapping[str, Any], section: str) -> Any:
    """What a section of a configuration describes by its ``_target_``, such as a data module.

    Parameters
    ----------
    cfg : path or mapping
        The configuration, as in :func:`~manyview.config.read_config`.
    section : str
        Its dotted path.

    Raises
    ------
    ValueError
        If there is no such section, or it cannot be made.

    Examples
    --------
    >>> cfg = {"model": {"z_dim": 3}, "datamodule": {"_target_": "collections.Counter", "z": "${model.z_dim}"}}
    >>> build_section(cfg, "datamodule")
    Counter({'z': 3})
    """
    source, content = load_config(cfg)
    value: Any = content
    for key in section.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise source.error("", f"has no section {section!r}{closest(section, content)}")
        value = value[key]
    check_targets(value, section, source)
    return build_object(value)


def build_trainer(options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of Lightning's Trainer, callbacks and loggers made.

    Both may be one, a list, or a mapping from any names, as configurations have them.
    """
    from pytorch_lightning.callbacks import Checkpoint

    built = {key: build_object(value) for key, value in options.items()}
    for key in ("callbacks", "logger"):
        if isinstance(built.get(key), Mapping):
            built[key] = list(built[key].values())
    callbacks = built.get("callbacks") or []
    if any(isinstance(c, Checkpoint) for c in (callbacks if isinstance(callbacks, list) else [callbacks])):
        built.setdefault("enable_checkpointing", True)
    return built
