"""Hyperparameters checked against the types and ranges that their fields declare."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np
import torch
from torch import nn

from manyview.imports import check_call, resolve_class, split_target
from manyview.messages import closest, warn

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from manyview.estimator import Estimator

__all__ = [
    "TRAINER",
    "check_arguments",
    "check_count",
    "check_hyperparameters",
    "check_known",
    "check_values",
    "find_optimizer",
    "find_trainer",
    "unknown",
]

# What a model is like that lacks a hyperparameter of others.
_LACKS = {
    "sparse": "has no sparse variant, which takes normal posteriors",
    "posterior": "has posteriors that its class settles; a product of experts, for one, takes normal ones",
    "h_dim": "has no private latents",
    "private": "has no choice of private latents",
    "alpha": "has no divergences between posteriors to weigh",
    "beta": "has no divergences to weigh",
    "discriminator": "has no adversary",
    "n_importance_samples": "has no importance-weighted bound",
    "joint_encoder": "has no encoder of all views together",
    "reference": "treats its views alike",
}

# What the model's own parameters say to optimisers, schedulers and Lightning's Trainer.
_OURS = ("params", "lr", "optimizer", "max_epochs")

TRAINER = {"max_epochs": "max_epochs", "accelerator": "device", "gradient_clip_val": "gradient_clip"}
"""What Lightning's Trainer calls hyperparameters of ours."""


def check_known(cls: type[Estimator], names: Mapping[str, Any]) -> None:
    """Refuse names that are no hyperparameters of a model.

    Raises
    ------
    TypeError
        With the closest name that there is.
    """
    known = [field.name for field in fields(cls)]
    for name in names:
        if name not in known:
            raise TypeError(f"{cls.__name__} has no hyperparameter {name!r}{unknown(cls, name)}")


def unknown(cls: type[Estimator], name: object, others: tuple[str, ...] = ()) -> str:
    """The end of a message about a name that is no hyperparameter of a model: who has it, or what may be meant."""
    from manyview.models import MODELS

    owners = [model.__name__ for model in MODELS if name in {field.name for field in fields(model)}]
    if not owners:
        return closest(name, [*(field.name for field in fields(cls)), *others])
    reason = f": {cls.__name__} {_LACKS[str(name)]}" if name in _LACKS else ""
    return f"{reason}; remove it, or choose a model that has it: {', '.join(owners)}"


def check_count(name: str, value: Any) -> int:
    """A whole number of at least one.

    Raises
    ------
    ValueError
        Naming the argument.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1:
        return int(value)
    raise ValueError(f"{name}={value!r}: give a whole number, at least 1")


def check_hyperparameters(model: Estimator) -> None:
    """Check each hyperparameter against its field's annotation, and against the others.

    Raises
    ------
    ValueError
        Naming the hyperparameter, what it is, and what is allowed.
    """
    cls, values = type(model), {field.name: getattr(model, field.name) for field in fields(model)}
    for name, value in values.items():
        if reason := _mismatch(cls, name, value):
            raise ValueError(f"{cls.__name__}: {name}={value!r}: {reason}")
    for name, reason in _conflicts(cls, values):
        raise ValueError(f"{cls.__name__}: {name}={values[name]!r}{reason}")


def check_values(
    cls: type[Estimator],
    given: Mapping[str, Any],
    others: Mapping[str, Any],
    error: Callable[[str, object, str], ValueError],
) -> None:
    """Check what a configuration states: types and ranges, names and settings within, and how it goes together.

    Parameters
    ----------
    cls : type
        The model.
    given : dict
        Its hyperparameters, as far as they are stated.
    others : dict
        Hyperparameters from elsewhere, which matter for what goes together.
    error : callable
        Makes the error of a hyperparameter's name, of the view that it is about or "", and of a message.
    """
    for name, value in given.items():
        if reason := _mismatch(cls, name, value):
            raise error(name, "", f"{value!r}: {reason}")
        for view, spec, check in _specifications(cls, name, value):
            try:
                check(spec)
            except (TypeError, ValueError) as found:
                raise error(name, view, str(found)) from None
    check_known(cls, others)
    if any(_mismatch(cls, name, value) for name, value in others.items()):
        return  # for fit to say
    values: dict[str, Any] = {field.name: field.default for field in fields(cls)} | {**others, **given}
    for name, reason in _conflicts(cls, values):
        if name in given:
            raise error(name, "", f"{values[name]!r}{reason}")
    for name in ("optimizer", "scheduler"):
        stated = [key for key in (name, f"{name}_args") if given.get(key) is not None]
        if stated and values[name] is not None:
            try:
                find_optimizer(name, values[name], values[f"{name}_args"])
            except ValueError as found:
                raise error(stated[0], "", str(found)) from None
    if "joint_encoder" in values and values["alpha"] and values["sparse"]:
        reason = "what alpha weighs has no finite expectation where the mean of a sparse posterior changes sign"
        warn(str(error("alpha", "", f"{values['alpha']!r} with sparse=True: {reason}; set alpha=0")))
    model = cls(**{**others, **given})
    try:
        with torch.random.fork_rng(devices=[]):
            model.latent(), model.adversary()
    except (TypeError, ValueError) as found:
        raise error("", "", str(found)) from None


def _mismatch(cls: type[Estimator], name: str, value: Any) -> str:
    """Why a value is none that the annotation of its field allows; empty if it is."""
    from pydantic import ValidationError

    try:
        _adapters(cls)[name].validate_python(value, strict=True)
    except ValidationError as error:
        return "; or ".join(dict.fromkeys(_reason(detail) for detail in error.errors()))
    return ""


def _reason(detail: Any) -> str:
    message = str(detail["msg"])
    return message[0].lower() + message[1:]


@cache
def _adapters(cls: type[Estimator]) -> dict[str, TypeAdapter[Any]]:
    from pydantic import ConfigDict, TypeAdapter

    hints = get_type_hints(cls, include_extras=True)
    config = ConfigDict(arbitrary_types_allowed=True)
    return {field.name: TypeAdapter(hints[field.name], config=config) for field in fields(cls)}


# ---- what goes together ---------------------------------------------------------------------------------------------


def _conflicts(cls: type[Estimator], values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Hyperparameters, of all of a model, that another one leaves without effect: the name, and what to say."""
    for name in ("optimizer", "scheduler"):
        arguments = values[f"{name}_args"]
        if arguments and values[name] is None:
            yield f"{name}_args", f", but there is no {name}: name one"
    if "lr" in (values["optimizer_args"] or {}):
        yield "optimizer_args", ": lr is learning_rate here; give that instead"
    for key in (values["trainer"] or {}).keys() & TRAINER.keys():
        yield "trainer", f": {key} is {TRAINER[key]} here; give that instead"
    if values.get("private") is False and values.get("h_dim"):
        yield "h_dim", ", but there are no private latents; set private=True, or remove it"
    if values["input_dim"] is not None and len(values["input_dim"]) < cls.fewest_views:
        needs = f"{cls.__name__} relates views to each other and needs {cls.fewest_views}"
        yield "input_dim", f": {needs}; give more views, or choose AE or MVAE"


# ---- what is within a value -----------------------------------------------------------------------------------------


def _specifications(cls: type[Estimator], name: str, value: Any) -> Iterator[tuple[object, Any, Callable[[Any], None]]]:
    """The networks and likelihoods in a hyperparameter: the view, or "" for all, what is said, and how to check it."""
    from manyview.estimator import LikelihoodSpec
    from manyview.nn import NetworkSpec

    hint = get_type_hints(cls, include_extras=True)[name]
    if hint not in (NetworkSpec, LikelihoodSpec):
        return
    check = _check_network if hint == NetworkSpec else _check_likelihood
    of_one = {"name", "_target_", *(_settings() if hint == NetworkSpec else ())}
    if (
        isinstance(value, Mapping)
        and not of_one & value.keys()
        and all(isinstance(spec, str | Mapping) or callable(spec) for spec in value.values())
    ):
        yield from ((view, spec, check) for view, spec in value.items())
    else:
        yield "", value, check


def _settings() -> dict[str, list[str]]:
    """The settings of networks, each with the networks that have it."""
    from manyview.nn import MLP, CNNEncoder

    found: dict[str, list[str]] = {}
    for kind, network in {"mlp": MLP, "cnn": CNNEncoder}.items():
        for parameter in inspect.signature(network).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                found.setdefault(parameter.name, []).append(kind)
    return found


def _check_network(spec: Any) -> None:
    """Check a network by making one that is like it, of no weights."""
    from manyview.nn import MLP, CNNEncoder
    from manyview.nn.mlp import choose

    if isinstance(spec, nn.Module) or (callable(spec) and not isinstance(spec, Mapping)):
        return
    settings = {"name": spec} if isinstance(spec, str) else spec
    known = _settings()
    if not isinstance(settings, Mapping):
        raise TypeError(f"{spec!r} is no network: give 'auto', 'mlp', 'cnn' or a mapping of settings")
    if "_target_" in settings:
        check_call(settings["_target_"], [key for key in settings if key != "_target_"], n_before=2)
        return
    settings = dict(settings)
    kind = choose(settings.pop("name", "auto"), {"auto": "", "mlp": "mlp", "cnn": "cnn"}, "network")
    for key in settings:
        if kind not in ("", *known.get(key, [])) or key not in known:
            allowed = [name for name, kinds in known.items() if not kind or kind in kinds]
            raise ValueError(f"unknown setting {key!r}{closest(key, allowed)}")
    with torch.device("meta"):
        if kind == "cnn" or any("mlp" not in known[key] for key in settings):
            CNNEncoder((1, 64, 64), 4, **settings)
        else:
            MLP(4, 4, **settings)


def _check_likelihood(spec: Any) -> None:
    from manyview.likelihoods import as_likelihood

    if spec != "auto":
        as_likelihood(spec)


def find_optimizer(name: str, spec: str | Mapping[str, Any], arguments: Mapping[str, Any] | None) -> tuple[Any, Any]:
    """The class of an optimizer or a scheduler, and its arguments, both checked.

    Parameters
    ----------
    name : {"optimizer", "scheduler"}
        Which.
    spec : str or dict
        A name in ``torch.optim`` or ``torch.optim.lr_scheduler``, or a dotted path; or such a path as ``_target_``,
        with arguments.
    arguments : dict or None
        The arguments, if they are not with the path.

    Raises
    ------
    ValueError
        If there is no such class, or it does not have, or lacks, an argument.

    Examples
    --------
    >>> find_optimizer("optimizer", {"_target_": "torch.optim.SGD", "momentum": 0.9}, None)
    (<class 'torch.optim.sgd.SGD'>, {'momentum': 0.9})
    """
    module, base = {
        "optimizer": (torch.optim, torch.optim.Optimizer),
        "scheduler": (torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler),
    }[name]
    path, settings = split_target(spec, arguments, name)
    cls = resolve_class(path, module, base, name)
    check_arguments(cls, settings, f"{name}_args")
    return cls, settings


def find_trainer(options: Mapping[str, Any]) -> type[Any]:
    """Lightning's Trainer, or the class of the user's own that the options name by ``_target_``.

    Raises
    ------
    ValueError
        If it cannot be imported, or is no Trainer.
    """
    import pytorch_lightning as pl

    if "_target_" not in options:
        return pl.Trainer
    return resolve_class(str(options["_target_"]), pl, pl.Trainer, "trainer")  # type: ignore[no-any-return]


def check_arguments(function: Callable[..., Any], given: Mapping[str, Any], argument: str) -> list[str]:
    """Refuse arguments that a function does not have, or that it lacks; some are not the user's to give here."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in _OURS]
    known = [parameter.name for parameter in parameters]
    for name in given:
        if name not in known and not any(p.kind is p.VAR_KEYWORD for p in parameters):
            raise ValueError(f"{argument}: {function.__name__} has no argument {name!r}{closest(name, known)}")
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]
    lacking = [name for name in required if name not in given]
    if lacking:
        raise ValueError(f"{argument}: {function.__name__} needs {', '.join(map(repr, lacking))} as well")
    return known
