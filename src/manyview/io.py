"""Fitted models as files: tensors as safetensors, everything else as JSON in its header. Nothing is pickled.

The header has one entry, ``manyview``: the version of the format and of the library, the model's class and
hyperparameters, the views, and the history. Classes outside manyview are stored by import path.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from manyview.atomic import write_atomically
from manyview.data.covariates import FittedCovariates
from manyview.data.preprocessing import FittedView
from manyview.imports import import_object
from manyview.likelihoods import Likelihood
from manyview.validation import check_known

if TYPE_CHECKING:
    from manyview.estimator import Estimator

__all__ = ["load", "save"]

FORMAT = 1
"""The version of the file format that this library writes; it reads this one and all before."""

_KEY = "manyview"


def save(model: Estimator, path: str | PathLike[str]) -> None:
    """Write a fitted model to one file.

    The file appears under its name only when it is complete: a full disk leaves an older file as it was.

    Parameters
    ----------
    model : Estimator
        The model.
    path : path
        Where to; by convention it ends in ``.safetensors``.

    Raises
    ------
    ValueError
        If the model holds something that has no import path, such as a lambda.
    OSError
        If the file cannot be written.
    """
    from safetensors.torch import save as to_bytes

    from manyview import __version__

    tensors = {f"network.{name}": tensor for name, tensor in model.fitted_network().state_dict().items()}
    views = []
    for m, view in enumerate(model.views_):
        for statistic in ("loc", "scale", "fill"):
            values = np.ascontiguousarray(getattr(view, statistic), dtype=np.float64)
            tensors[f"views.{m}.{statistic}"] = torch.from_numpy(values)
        views.append(
            {
                "name": view.name,
                "shape": view.shape,
                "feature_names": view.feature_names,
                "named": view.named,
                "dtype": view.dtype,
                "likelihood": _encode(view.likelihood, f"likelihood of view {view.name!r}"),
            }
        )
    header = {
        "format": FORMAT,
        "version": __version__,
        "model": _import_path(type(model), "the model"),
        "hyperparameters": {
            name: _encode(value, name) for name, value in model.get_params(deep=False).items() if name != "trainer"
        },
        "views": views,
        "covariates": None if model.covariates_ is None else model.covariates_.to_dict(),
        "best_epoch": model.best_epoch_,
        "held_out": model.held_out_.tolist(),
        "init_losses": [loss if np.isfinite(loss) else None for loss in model.init_losses_],
        "interrupted": model.interrupted_,
        "history": model._history,
    }
    data = to_bytes({name: tensor.contiguous() for name, tensor in tensors.items()}, {_KEY: json.dumps(header)})
    write_atomically(path, data)


def load(path: str | PathLike[str]) -> Any:
    """Read a fitted model from a file.

    Parameters
    ----------
    path : path
        A file that ``model.save`` wrote.

    Returns
    -------
    Estimator
        The model, of the class that was saved. Classes of other packages are imported by the path in the file, and
        must be models, likelihoods, modules or functions that make modules: load files from sources that you trust.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a manyview file, is damaged, was written by a newer version, or its model has a hyperparameter
        that this version's has not.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {os.fspath(path)!r}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)!r} is not a manyview file, or is damaged or cut short: {error}") from None
    if _KEY not in metadata:
        raise ValueError(f"{os.fspath(path)!r} is a safetensors file, but no model of manyview")
    try:
        header = json.loads(metadata[_KEY])
        newer = header["format"] > FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from None
    if newer:
        raise ValueError(
            f"{os.fspath(path)!r} was written by manyview {header['version']} in format {header['format']}, but this "
            f"version reads formats up to {FORMAT}; upgrade manyview"
        )
    try:
        return _rebuild(header, tensors)
    except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        raise _damaged(path, error) from None


def _damaged(path: str | PathLike[str], error: Exception) -> ValueError:
    return ValueError(f"{os.fspath(path)!r} is damaged: {type(error).__name__}: {error}")


def _rebuild(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Any:
    from manyview import __version__
    from manyview.estimator import Estimator

    cls = _import_class(header["model"], Estimator)
    try:
        check_known(cls, header["hyperparameters"])
    except TypeError as error:
        raise ValueError(
            f"the file was written by manyview {header['version']}, and this is {__version__}: {error}; load it with "
            "the version that wrote it"
        ) from None
    model = cls(**{name: _decode(value) for name, value in header["hyperparameters"].items()})
    model.views_ = tuple(
        FittedView(
            view["name"],
            _shape(view["shape"]),
            view["feature_names"],
            view["named"],
            _decode(view["likelihood"]),
            view["dtype"],
            **{statistic: tensors[f"views.{m}.{statistic}"].numpy() for statistic in ("loc", "scale", "fill")},
        )
        for m, view in enumerate(header["views"])
    )
    covariates = header.get("covariates")  # the first files have none
    model.covariates_ = None if covariates is None else FittedCovariates.from_dict(covariates)
    with torch.random.fork_rng(devices=[]):
        network = model.build(model.views_, model.covariates_)
    weights = {name.removeprefix("network."): x for name, x in tensors.items() if name.startswith("network.")}
    network.load_state_dict(weights)
    model.network_, model.best_epoch_, model._history = network.eval(), header["best_epoch"], header["history"]
    model.held_out_ = np.array(header.get("held_out", []), dtype=np.intp)  # nor had they these
    model.interrupted_ = header.get("interrupted", False)
    model.init_losses_ = np.array(header.get("init_losses", [None]), dtype=float)
    return model


def _shape(shape: Any) -> tuple[int, ...]:
    """A view's shape. Functions that a file names are called with it, so it must be nothing else."""
    if isinstance(shape, list) and shape and all(type(size) is int and size > 0 for size in shape):
        return tuple(shape)
    raise ValueError(f"the file gives a view the shape {shape!r}, which is none")


# ---- values as JSON -------------------------------------------------------------------------------------------------


def _encode(value: Any, name: str) -> Any:
    """A hyperparameter as JSON; objects by import path."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        if "_target_" in value:
            _check_target(value["_target_"])
        encoded = [(key, _encode(item, f"{name}[{key!r}]")) for key, item in value.items()]
        # JSON has no integer keys, which name views by position.
        return dict(encoded) if all(isinstance(key, str) for key in value) else {"_items_": encoded}
    if isinstance(value, list | tuple):
        return [_encode(item, name) for item in value]
    if isinstance(value, Likelihood):
        return {"_likelihood_": _import_path(type(value), name), **value.settings()}
    if isinstance(value, np.random.RandomState):
        return None  # the stream of numbers is not part of what was learned
    if isinstance(value, nn.Module):
        return {"_module_": _import_path(_without_arguments(value, name), name)}
    if callable(value):
        path = _import_path(value, name)
        _import_factory(path)
        return {"_callable_": path}
    raise ValueError(f"{name}={value!r} cannot be saved: a {type(value).__name__} has no form in JSON")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "_items_" in value:
        return {key: _decode(item) for key, item in value["_items_"]}
    if "_callable_" in value:
        return _import_factory(value["_callable_"])
    if "_module_" in value:
        return _import_class(value["_module_"], nn.Module)()
    if "_likelihood_" in value:
        return _import_class(value.pop("_likelihood_"), Likelihood)(**value)
    if "_target_" in value:
        _check_target(value["_target_"])
    return {key: _decode(item) for key, item in value.items()}


def _check_target(target: str) -> None:
    """A file's ``_target_`` is called with arguments from the file, so it may be nothing but a module or likelihood."""
    module, _, name = target.rpartition(".")
    found = _import(f"{module}:{name}")
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise ValueError(f"_target_={target!r} in a file must be a torch.nn.Module class; for a function, give itself")


def _without_arguments(module: nn.Module, name: str) -> type[nn.Module]:
    """The class of a module, if calling it without arguments makes one like it."""
    cls = type(module)
    try:
        with torch.random.fork_rng(devices=[]):
            twin = cls()
        same = {k: v.shape for k, v in twin.state_dict().items()} == {
            k: v.shape for k, v in module.state_dict().items()
        }
    except Exception:
        same = False
    if not same:
        raise ValueError(
            f"{name} is a {cls.__name__} object, and a file cannot say how it was made. Give a function or class that "
            "makes it from the two shapes, or {'_target_': 'package.module.Class', ...} with its arguments; "
            f"or let {cls.__name__}() without arguments make one like it"
        )
    return cls


def _import_path(value: Any, name: str) -> str:
    module, qualified = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    path = f"{module}:{qualified}"
    try:
        found = _import(path)
    except ValueError:
        found = None
    if found is not value or module == "__main__":
        raise ValueError(
            f"{name}={value!r} cannot be saved: it cannot be imported from a module. "
            "Define it at the top level of a module (not in __main__, not as a lambda), and import it from there"
        )
    return path


def _import(path: str) -> Any:
    # Files keep a module and the name in it apart by a colon.
    try:
        return import_object(path.replace(":", "."))
    except ValueError as error:
        raise ValueError(f"the file needs {path!r}, which cannot be imported: {error}") from None


def _import_factory(path: str) -> Any:
    """What makes a network from two shapes: a module class, or a function."""
    found = _import(path)
    if not (inspect.isfunction(found) or (inspect.isclass(found) and issubclass(found, nn.Module))):
        raise ValueError(f"{path!r} can be neither saved nor loaded: it is no torch.nn.Module class, and no function")
    return found


def _import_class(path: str, base: type) -> type[Any]:
    cls = _import(path)
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        raise ValueError(f"the file names {path!r}, which is no {base.__name__}")
    return cls
