"""The multilayer perceptron, and what every network shares: activations, norms, checks of arguments."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import prod
from numbers import Integral, Real
from typing import TypeVar, final

from jaxtyping import Float
from torch import Tensor, nn

from manyview.messages import closest

Key = TypeVar("Key", bound="str | None")
Value = TypeVar("Value")

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
}
VECTOR_NORMS: Mapping[str | None, Callable[[int], list[nn.Module]]] = {
    None: lambda width: [],
    "batch": lambda width: [nn.BatchNorm1d(width)],
    "layer": lambda width: [nn.LayerNorm(width)],
}
IMAGE_NORMS: Mapping[str | None, Callable[[int], list[nn.Module]]] = {
    None: lambda width: [],
    "batch": lambda width: [nn.BatchNorm2d(width)],
    "layer": lambda width: [nn.GroupNorm(1, width)],
}


def choose(given: object, options: Mapping[Key, Value], argument: str) -> Value:
    """Return the option that is called ``given``, or say which there are."""
    for name, option in options.items():
        if name == given:
            return option
    error = ValueError if isinstance(given, str) else TypeError
    names = [name for name in options if name is not None]
    none = " or None" if len(names) < len(options) else ""
    raise error(f"unknown {argument} {given!r}{closest(given, names)}{none}.")


def positive_ints(value: object, argument: str, *, fewest: int = 1) -> tuple[int, ...]:
    """Return a positive integer, or a sequence of at least ``fewest`` of them, as a tuple."""
    items = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    wrong = f"{argument} must be a positive integer or a sequence of them, as in (128, 64); got {value!r}."
    if not all(isinstance(item, Integral) and not isinstance(item, bool) for item in items):
        raise TypeError(wrong)
    if len(items) < fewest or any(item < 1 for item in items):
        raise ValueError(wrong)
    return tuple(int(item) for item in items)


def after_linear(
    activation: str, dropout: float, norm: str | None, *, images: bool = False
) -> Callable[[int], list[nn.Module]]:
    """Check the three settings; return what makes the layers that follow a linear map of some width.

    They are norm, activation and dropout, in this order. On images dropout takes whole channels.
    """
    make_norm = choose(norm, IMAGE_NORMS if images else VECTOR_NORMS, "norm")
    make_activation = choose(activation, ACTIVATIONS, "activation")
    make_dropout = nn.Dropout2d if images else nn.Dropout
    if not isinstance(dropout, Real) or isinstance(dropout, bool):
        raise TypeError(f"dropout must be a number in [0, 1); got {dropout!r}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), where 0 switches it off; got {dropout!r}.")
    return lambda width: [*make_norm(width), make_activation(), *([make_dropout(dropout)] if dropout else [])]


@final
class MLP(nn.Module):
    r"""Multilayer perceptron from features of one shape to features of another.

    With :math:`h_0` the flattened input and :math:`a` the activation,

    .. math:: h_l = a(W_l h_{l-1} + b_l), \quad l = 1 \dots L, \qquad \eta = W_{L+1} h_L + b_{L+1},

    with a norm before :math:`a` and dropout after it where asked for. The output :math:`\eta` is linear and
    has the shape ``out_shape``.

    Parameters
    ----------
    in_shape : int or sequence of int
        Shape of one sample.
    out_shape : int or sequence of int
        Shape of one sample's output.
    hidden : int or sequence of int, default (256,)
        Widths of the hidden layers; ``()`` leaves one linear map.
    activation : str, default "relu"
        "relu", "silu", "gelu", "tanh", "elu", "leaky_relu", "sigmoid", "softplus" or "identity".
    dropout : float, default 0.0
        Probability in [0, 1) that a hidden unit is dropped during training.
    norm : {None, "batch", "layer"}, default None
        Normalisation of the hidden layers, over the batch or over the units of a layer.
    bias : bool, default True
        Whether the linear maps have the term :math:`b_l`; a norm has its own shift in any case.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import torch
    >>> from manyview.nn import MLP
    >>> MLP((3, 8, 8), 20, hidden=(64, 32), activation="silu")(torch.zeros(5, 3, 8, 8)).shape
    torch.Size([5, 20])
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        out_shape: int | Sequence[int],
        *,
        hidden: int | Sequence[int] = (256,),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        shape = positive_ints(out_shape, "out_shape")
        widths = (prod(positive_ints(in_shape, "in_shape")), *positive_ints(hidden, "hidden", fewest=0))
        follow = after_linear(activation, dropout, norm)
        if not isinstance(bias, bool):
            raise TypeError(f"bias must be True or False; got {bias!r}.")
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after, bias=bias), *follow(after)]
        layers += [nn.Linear(widths[-1], prod(shape), bias=bias), nn.Unflatten(1, shape)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "B *in_shape"]) -> Float[Tensor, "B *out_shape"]:
        """Map ``(B, *in_shape)`` to ``(B, *out_shape)``."""
        eta: Tensor = self.layers(x)
        return eta
