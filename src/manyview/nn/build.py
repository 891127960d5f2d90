"""From what a user says about a view's network to the network, checked."""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from manyview.imports import import_callable
from manyview.messages import closest
from manyview.nn.cnn import CNNDecoder, CNNEncoder
from manyview.nn.mlp import MLP, choose

Shape = tuple[int, ...]
NetworkSpec = str | Mapping[str | int, Any] | nn.Module | Callable[..., nn.Module]


def build_encoder(spec: object, in_shape: Sequence[int], out_dim: int, view: str) -> nn.Module:
    """Build the encoder of one view, a module from ``(B, *in_shape)`` to (B, out_dim).

    Parameters
    ----------
    spec : str, mapping, torch.nn.Module or callable
        One of

        - "auto" (a CNN for shapes (channels, height, width), else an MLP), "mlp" or "cnn";
        - settings of `MLP` or `CNNEncoder`, as in ``{"hidden": [512, 512], "activation": "silu"}``;
          the key "name" chooses between them as above;
        - a module, which is copied;
        - a function or module class, called with ``(in_shape, out_dim)``;
        - ``{"_target_": "package.module.Class", **settings}``: imported and called with
          ``(in_shape, out_dim, **settings)``.
    in_shape : sequence of int
        Shape of one sample of the view.
    out_dim : int
        Number of outputs.
    view : str
        Name of the view, for messages.

    Returns
    -------
    torch.nn.Module
        Tried on two rows of zeros, which initialises lazy layers and leaves random state and training mode
        as they were.

    Raises
    ------
    TypeError
        If ``spec`` is none of these, or what it makes is not a module.
    ValueError
        If a name or setting is unknown, or the module cannot be made or does not map the one shape to the
        other.

    Examples
    --------
    >>> from manyview.nn import build_encoder
    >>> type(build_encoder("auto", (1, 28, 28), 32, "image")).__name__
    'CNNEncoder'
    >>> build_encoder({"hiden": [64]}, (9,), 8, "age")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: encoder of view 'age': unknown setting 'hiden' of MLP; did you mean 'hidden'? Allowed: ...
    """
    shape = tuple(in_shape)
    where = f"encoder of view {view!r}"
    module = _make(spec, shape, out_dim, cnn=CNNEncoder, shape=shape, where=where)
    return _checked(module, shape, (out_dim,), where)


def build_decoder(spec: object, in_dim: int, out_shape: Sequence[int], view: str) -> nn.Module:
    """Build the decoder of one view, a module from (rows, in_dim) to ``(rows, *out_shape)``.

    Parameters
    ----------
    spec : str, mapping, torch.nn.Module or callable
        As in `build_encoder`, with `CNNDecoder` for `CNNEncoder`; callables get ``(in_dim, out_shape)``.
    in_dim : int
        Number of inputs.
    out_shape : sequence of int
        Shape of one sample of the view.
    view : str
        Name of the view, for messages.

    Returns
    -------
    torch.nn.Module
        Tried on two rows of zeros, as in `build_encoder`.

    Raises
    ------
    TypeError, ValueError
        As in `build_encoder`.

    Examples
    --------
    >>> import torch
    >>> from manyview.nn import build_decoder
    >>> build_decoder(lambda in_dim, out_shape: torch.nn.Linear(in_dim, *out_shape), 2, (10,), "label")
    Linear(in_features=2, out_features=10, bias=True)
    """
    shape = tuple(out_shape)
    where = f"decoder of view {view!r}"
    module = _make(spec, in_dim, shape, cnn=CNNDecoder, shape=shape, where=where)
    return _checked(module, (in_dim,), shape, where)


def per_view(
    spec: object, names: Sequence[str], argument: str, *, default: object = "auto", plain: bool = False
) -> dict[str, object]:
    """Give each view its own specification.

    Parameters
    ----------
    spec : object
        A mapping whose keys are all names of views, their positions (integers from 0), or "default" for the
        views not named, is taken view by view. Anything else serves all views.
    names : sequence of str
        The views.
    argument : str
        Name of the argument, for messages.
    default : object, default "auto"
        For views that a mapping without "default" leaves out.
    plain : bool, default False
        Whether a specification is a plain value, so that a mapping is always one by view.

    Returns
    -------
    dict
        From each name to its specification.

    Raises
    ------
    ValueError
        If some keys of a mapping are names of views and some are not, one looks like a misspelt name, a
        position is out of range, or two keys mean the same view.

    Examples
    --------
    >>> from manyview.nn import per_view
    >>> per_view({"image": "cnn"}, ["image", "label"], "encoder")
    {'image': 'cnn', 'label': 'auto'}
    >>> per_view({1: "mlp", "default": "cnn"}, ["image", "label"], "encoder")
    {'image': 'cnn', 'label': 'mlp'}
    >>> per_view({"hidden": [64]}, ["image", "label"], "encoder")
    {'image': {'hidden': [64]}, 'label': {'hidden': [64]}}
    """
    if not isinstance(spec, Mapping):
        return dict.fromkeys(names, spec)
    keys = [*names, "default"]
    by_name = _by_name(spec, names, argument)
    others = [key for key in by_name if key not in keys]
    if not others:
        return {name: by_name.get(name, by_name.get("default", default)) for name in names}
    one_spec = len(others) == len(spec) and ("name" in spec or "_target_" in spec)
    settings = {*_settings(MLP), *_settings(CNNEncoder)}
    misspelt = [key for key in others if key not in settings and get_close_matches(str(key), keys, n=1)]
    if plain or (not one_spec and (misspelt or len(others) < len(spec))):
        key = (misspelt or others)[0]
        advice = "" if plain else ". To give every view the same settings, wrap them as {'default': {...}}."
        raise ValueError(f"{argument}: {key!r} is not a view{closest(key, keys)}{advice}")
    return dict.fromkeys(names, spec)


def _by_name(spec: Mapping[object, object], names: Sequence[str], argument: str) -> dict[object, object]:
    """Replace positions of views among the keys by their names."""
    by_name: dict[object, object] = {}
    for key, value in spec.items():
        name = key
        if isinstance(key, Integral) and not isinstance(key, bool):
            if int(key) not in range(len(names)):
                raise ValueError(f"{argument}: there is no view {key}; positions go from 0 to {len(names) - 1}.")
            name = names[int(key)]
        if name in by_name:
            raise ValueError(f"{argument}: view {name!r} is given twice, by its name and by its position.")
        by_name[name] = value
    return by_name


def _make(
    spec: object,
    first: int | Shape,
    second: int | Shape,
    *,
    cnn: Callable[..., nn.Module],
    shape: Shape,
    where: str,
) -> nn.Module:
    """Follow the specification of a network from ``first`` to ``second``; ``shape`` is the view's."""
    if isinstance(spec, nn.Module):
        return copy.deepcopy(spec)
    if isinstance(spec, Mapping) and "_target_" in spec:
        settings = {key: value for key, value in spec.items() if key != "_target_"}
        try:
            factory = import_callable(spec["_target_"])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        return _call(factory, first, second, settings, where)
    if callable(spec):
        return _call(spec, first, second, {}, where)
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping):
        raise TypeError(
            f"{where}: needs 'auto', 'mlp', 'cnn', a mapping of settings, a torch.nn.Module, a callable that "
            f"makes one, or {{'_target_': 'package.module.Class'}}; got {spec!r}."
        )
    networks = {"auto": cnn if len(shape) == 3 else MLP, "mlp": MLP, "cnn": cnn}
    settings = dict(spec)
    try:
        network = choose(settings.pop("name", "auto"), networks, "network")
        for key in settings:
            if key not in _settings(network):
                allowed = closest(key, ["name", *_settings(network)])
                raise ValueError(f"unknown setting {key!r} of {network.__name__}{allowed}.")
        return network(first, second, **settings)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from error


def _settings(network: Callable[..., nn.Module]) -> list[str]:
    """Names of the keyword-only arguments."""
    parameters = inspect.signature(network).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def _call(
    factory: Callable[..., object],
    first: int | Shape,
    second: int | Shape,
    settings: Mapping[str, object],
    where: str,
) -> nn.Module:
    """Call a user's factory."""
    name = getattr(factory, "__name__", repr(factory))
    call = f"{name}({', '.join([repr(first), repr(second), *(f'{k}={v!r}' for k, v in settings.items())])})"
    try:
        module = factory(first, second, **settings)
    except Exception as error:  # a user's code may raise anything
        raise ValueError(f"{where}: {call} failed: {error!r}.") from error
    if not isinstance(module, nn.Module):
        raise TypeError(f"{where}: {call} must return a torch.nn.Module; it returned {module!r}.")
    return module


def _checked(module: nn.Module, in_shape: Shape, out_shape: Shape, where: str) -> nn.Module:
    """Return the module after a trial on two rows of zeros, which leaves modes and random state as before."""
    training = [(part, part.training) for part in module.modules()]
    device = next((parameter.device for parameter in module.parameters()), None)
    x = torch.zeros(2, *in_shape, device=device)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            out = module.eval()(x)
    except Exception as error:  # a user's code may raise anything
        raise ValueError(f"{where}: the module fails on shape {tuple(x.shape)}: {error!r}.") from error
    finally:
        for part, mode in training:
            part.training = mode
    given = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
    if not isinstance(out, Tensor) or out.shape != (2, *out_shape):
        raise ValueError(
            f"{where}: the module returned {given}, but {(2, *out_shape)} is needed: "
            f"2 rows of shape {in_shape} went in, and each must come out with shape {out_shape}."
        )
    return module
