"""Objects by their dotted path: what a ``_target_`` in a configuration, or a file of a model, names."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from manyview.messages import closest

__all__ = ["check_call", "import_callable", "import_object", "import_path", "resolve_class", "split_target"]


def import_object(path: object) -> Any:
    """What a dotted path names: a module's class or function, or an attribute of a class.

    Parameters
    ----------
    path : str
        As in ``package.module.Class``, or ``package.module.Class.method``.

    Raises
    ------
    ValueError
        If it is no such path, or cannot be imported; the message says how far it could be followed.

    Examples
    --------
    >>> import_object("torch.optim.AdamW").__name__
    'AdamW'
    >>> import_object("torch.optim.Adan")
    Traceback (most recent call last):
    ...
    ValueError: module 'torch.optim' has no 'Adan'; did you mean 'torch.optim.Adam'?
    """
    parts = path.split(".") if isinstance(path, str) else []
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ValueError(f"_target_ must be a path such as 'package.module.Class'; got {path!r}.")
    found: Any
    found, n_modules = _import_module(parts)
    for done, name in enumerate(parts[n_modules:], n_modules):
        if not hasattr(found, name):
            owner = ".".join(parts[:done])
            close = get_close_matches(name, [known for known in dir(found) if not known.startswith("_")], n=1)
            meant = f"; did you mean '{owner}.{close[0]}'?" if close else "."
            kind = "module" if inspect.ismodule(found) else "class"
            raise ValueError(f"{kind} {owner!r} has no {name!r}{meant}")
        found = getattr(found, name)
    return found


def import_callable(path: object) -> Callable[..., Any]:
    """The class or function that a dotted path names.

    Raises
    ------
    ValueError
        As :func:`import_object`, and if it is neither.
    """
    found = import_object(path)
    if not callable(found):
        raise ValueError(f"{path!r} must be a class or function; it is {found!r}.")
    return found  # type: ignore[no-any-return]


def import_path(value: Any) -> str | None:
    """The dotted path that :func:`import_object` finds a class or function by, if there is one in a module.

    Examples
    --------
    >>> import torch
    >>> import_path(torch.optim.AdamW)
    'torch.optim.adamw.AdamW'
    >>> import_path(lambda: 0) is None
    True
    """
    path = f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', None)}"
    try:
        found = import_object(path)
    except ValueError:
        return None
    return path if found is value and not path.startswith("__main__.") else None


def resolve_class(name: str, module: ModuleType, base: type, argument: str) -> Any:
    """A class by its name in a module, or a user's own by its dotted path.

    Parameters
    ----------
    name : str
        As in "AdamW", or "package.module.MyOptimizer".
    module : module
        Where names without dots are looked up.
    base : type
        What the class must be a subclass of.
    argument : str
        Name of the argument, for messages.

    Raises
    ------
    ValueError
        If there is no such class, or it is of another kind.

    Examples
    --------
    >>> import torch
    >>> resolve_class("SGD", torch.optim, torch.optim.Optimizer, "optimizer").__name__
    'SGD'
    >>> resolve_class("torch.optim.AdamW", torch.optim, torch.optim.Optimizer, "optimizer").__name__
    'AdamW'
    """
    if isinstance(name, str) and "." in name:
        try:
            cls = import_object(name)
        except ValueError as error:
            raise ValueError(f"{argument}: {error}") from None
        if not (inspect.isclass(cls) and issubclass(cls, base)):
            raise ValueError(f"{argument}={name!r} is no subclass of {base.__module__}.{base.__qualname__}")
        return cls
    classes = {
        key: cls
        for key, cls in vars(module).items()
        if inspect.isclass(cls) and issubclass(cls, base) and cls is not base and not key.startswith("_")
    }
    if name not in classes:
        advice = f"{closest(name, classes)}; or give the path of a class of your own, such as 'package.module.Class'"
        raise ValueError(f"{argument}={name!r} is not in {module.__name__}{advice}")
    return classes[name]


def check_call(target: object, arguments: Iterable[str], n_before: int = 0) -> None:
    """Check that what a path names can be called with arguments of these names, after so many by position.

    Raises
    ------
    ValueError
        If it cannot be imported or called, or has no such argument.

    Examples
    --------
    >>> check_call("torch.nn.Linear", ["bais"], n_before=2)
    Traceback (most recent call last):
    ...
    ValueError: torch.nn.Linear has no argument 'bais'; did you mean 'bias'? Allowed: 'bias', 'device', 'dtype'
    """
    found = import_callable(target)
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except ValueError:  # nothing is known of what is written in C
        return
    names = [parameter.name for parameter in parameters[n_before:]]
    for name in arguments:
        if name not in names and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            raise ValueError(f"{target} has no argument {name!r}{closest(name, names)}")


def split_target(
    spec: str | Mapping[str, Any], arguments: Mapping[str, Any] | None, argument: str
) -> tuple[str, dict[str, Any]]:
    """The path of a class and its arguments, from a mapping with a ``_target_`` or from both apart.

    Examples
    --------
    >>> split_target({"_target_": "torch.optim.SGD", "momentum": 0.9}, None, "optimizer")
    ('torch.optim.SGD', {'momentum': 0.9})
    """
    if isinstance(spec, str):
        return spec, dict(arguments or {})
    settings = dict(spec)
    path = settings.pop("_target_", None)
    settings.pop("_partial_", None)  # that parameters are to come is understood
    if not isinstance(path, str):
        raise ValueError(f"{argument}={dict(spec)!r} says no class: give its path as _target_")
    if settings and arguments:
        raise ValueError(f"{argument} has arguments beside _target_, and {argument}_args has others; give them once")
    return path, settings or dict(arguments or {})


def _import_module(parts: list[str]) -> tuple[ModuleType, int]:
    """The innermost module on a path, which is not all of it, and the number of the module's parts."""
    for n in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:n])
        try:
            return importlib.import_module(name), n
        except ModuleNotFoundError as error:
            # What is no module may be a class. But a module that lacks one of its own imports is reported as such.
            if n == 1 or not f"{name}.".startswith(f"{error.name}."):
                raise _lacking(parts, name, error) from error
        except Exception as error:  # a module's own code may raise anything
            raise _lacking(parts, name, error) from error
    raise AssertionError("a path has at least one part")


def _lacking(parts: list[str], module: str, error: Exception) -> ValueError:
    return ValueError(f"{'.'.join(parts)!r} needs the module {module!r}, which cannot be imported: {error!r}.")
