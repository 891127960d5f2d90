"""From a model to the configuration that makes it: as plain containers, and as YAML with a comment on every line."""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from manyview.atomic import write_atomically
from manyview.imports import import_path
from manyview.likelihoods import Likelihood
from manyview.messages import closest
from manyview.validation import TRAINER

if TYPE_CHECKING:
    from manyview.estimator import Estimator

__all__ = ["default_config", "print_config", "save_config", "to_config"]

_WIDTH = 100
_HEADER = """\
# {summary}
#
# Every hyperparameter, with what it means. Lines may be left out: what a file does not say has its default.
# Networks, likelihoods, optimisers and callbacks of your own: {{_target_: package.module.Class, argument: value}}.
"""
_TRAINER_COMMENT = "Any argument of pytorch_lightning.Trainer may follow, such as precision, callbacks or logger."


def to_config(model: Estimator) -> dict[str, Any]:
    """The complete configuration of a model, in plain containers.

    Parameters
    ----------
    model : Estimator
        The model; whether it is fitted does not matter.

    Returns
    -------
    dict
        With the sections ``model``, whose ``_target_`` says the class, and ``trainer``: what
        ``type(model).from_config`` reads.

    Raises
    ------
    ValueError
        If a hyperparameter is an object that has no plain form, such as a module that was made already.

    Examples
    --------
    >>> from manyview import MVAE
    >>> config = to_config(MVAE(z_dim=4, max_epochs=20))
    >>> config["model"]["_target_"], config["model"]["z_dim"], config["trainer"]["max_epochs"]
    ('manyview.MVAE', 4, 20)
    """
    cls = type(model)
    given = {field.name: _plain(getattr(model, field.name), field.name) for field in fields(cls)}
    trainer = {theirs: given.pop(ours) for theirs, ours in TRAINER.items()} | (given.pop("trainer") or {})
    own_first = sorted(given, key=lambda name: name != "z_dim" and name in _shared())
    return {"model": {"_target_": _target(cls), **{name: given[name] for name in own_first}}, "trainer": trainer}


def default_config(cls: type[Estimator]) -> str:
    """The complete configuration of a model with its defaults, as YAML with a comment on each hyperparameter.

    Examples
    --------
    >>> from manyview import MVAE
    >>> print(default_config(MVAE)[:36])
    # Multimodal variational autoencoder
    """
    return _render(cls, to_config(cls()))


def save_config(model: Estimator, path: str | PathLike[str]) -> None:
    """Write the complete configuration of a model to a YAML file, with comments.

    Parameters
    ----------
    model : Estimator
        The model.
    path : path
        Where to; by convention it ends in ``.yaml``.

    Raises
    ------
    ValueError
        As in :func:`to_config`.
    """
    write_atomically(path, _render(type(model), to_config(model)).encode("utf-8"))


def print_config(model: Estimator, keys: str | Sequence[str] | None = None) -> None:
    """Print the configuration of a model, or some of it.

    Parameters
    ----------
    model : Estimator
        The model.
    keys : str or sequence of str, optional
        Sections or keys, such as "trainer", "model.z_dim" or, for short, "z_dim"; all by default.

    Raises
    ------
    ValueError
        If there is no such key.

    Examples
    --------
    >>> from manyview import MVAE
    >>> print_config(MVAE(z_dim=4), keys=["z_dim", "trainer.max_epochs"])
    model:
      z_dim: 4
    trainer:
      max_epochs: auto
    """
    config = to_config(model)
    if keys is None:
        print(_render(type(model), config), end="")
        return
    known = {
        **{section: (section, None) for section in config},
        **{key: (section, key) for section, values in config.items() for key in values},
        **{f"{section}.{key}": (section, key) for section, values in config.items() for key in values},
    }
    chosen: dict[str, dict[str, Any]] = {}
    for name in [keys] if isinstance(keys, str) else keys:
        if name not in known:
            raise ValueError(f"keys={keys!r}: the configuration has no {name!r}{closest(name, known)}")
        section, key = known[name]
        chosen.setdefault(section, {}).update(config[section] if key is None else {key: config[section][key]})
    print(_yaml(chosen), end="")


# ---- values in plain form -------------------------------------------------------------------------------------------


def _plain(value: Any, key: str) -> Any:
    """A value as YAML can hold it; objects by their ``_target_``."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | PathLike):
        return os.fspath(value).replace("${", "\\${")  # no interpolation was meant
    if isinstance(value, Mapping):
        return {name: _plain(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{key}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Likelihood):
        return {"_target_": _target(type(value)), **value.settings()}
    if inspect.isclass(value) or inspect.isfunction(value):
        path = import_path(value)
        if path is None:
            raise ValueError(
                f"{key}={value!r} has no place in a configuration: it cannot be imported from a module. Define it at "
                "the top level of one (no lambda, not inside a function), and import it from there"
            )
        return {"_target_": path}
    mend = f"give its class and arguments instead: {{'_target_': 'package.module.{type(value).__name__}', ...}}"
    if isinstance(value, nn.Module):
        mend += ", where the shapes come first and are left out"
    if isinstance(value, np.random.RandomState):
        mend = "give an integer"
    raise ValueError(
        f"{key} is a {type(value).__name__} object, and a configuration cannot say how it was made; {mend}"
    )


def _target(cls: type[Any]) -> str:
    """The path of a class: that of the package itself for what it offers."""
    import manyview

    return f"manyview.{cls.__name__}" if getattr(manyview, cls.__name__, None) is cls else _full_name(cls)


def _full_name(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


# ---- as text --------------------------------------------------------------------------------------------------------


def _render(cls: type[Estimator], config: Mapping[str, Mapping[str, Any]]) -> str:
    documented = _descriptions(cls)
    summary = textwrap.fill(_text((inspect.getdoc(cls) or "").split("\n\n")[0]), _WIDTH)
    lines = [_HEADER.format(summary=summary.replace("\n", "\n# "))]
    for section, values in config.items():
        lines.append(f"\n{section}:\n")
        for key, value in values.items():
            description = documented.get(TRAINER.get(key, key) if section == "trainer" else key, "")
            lines += [f"  # {line}\n" for line in textwrap.wrap(description, _WIDTH)]
            lines.append(textwrap.indent(_yaml({key: value}), "  "))
    lines += [f"  # {_TRAINER_COMMENT}\n"]
    return "".join(lines)


def _yaml(value: Any) -> str:
    import yaml  # type: ignore[import-untyped]

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=_WIDTH))


def _shared() -> set[str]:
    """The hyperparameters that all models have."""
    from manyview.estimator import Estimator

    return {field.name for field in fields(Estimator)}


def _descriptions(cls: type[Any]) -> dict[str, str]:
    """What the docstrings of a class and its bases say about each parameter, the closest first."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found |= dict(_parameters(vars(base).get("__doc__") or ""))
    return found


def _parameters(docstring: str) -> Iterator[tuple[str, str]]:
    """Names and descriptions from the section Parameters of a docstring in numpy's style."""
    _, _, section = inspect.cleandoc(docstring).partition("\nParameters\n----------\n")
    section = re.split(r"\n\n(?=\S.*\n---)", section)[0]
    for entry in re.split(r"\n(?=\S)", section):
        head, _, body = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        kind = re.sub(r",? default .*", "", kind).replace(", optional", " or null")
        first, *others = names.split(", ")
        yield first, _text(f"{kind}: {body}" if kind else body)
        yield from ((name, f"As {first}.") for name in others)


def _text(markup: str) -> str:
    """Prose without the markup of docstrings."""
    without_roles = re.sub(r":\w+:`~?([^`]*)`", lambda found: found[1].rpartition(".")[2] or found[1], markup)
    return re.sub(r"\bNone\b", "null", " ".join(without_roles.replace("``", "").replace("\\*", "*").split()))
