"""Networks whose layers are listed one by one, as files of the multi-view-AE library do for images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn

from manyview.nn.mlp import ACTIVATIONS, choose

__all__ = ["LayeredDecoder", "LayeredEncoder"]

Layer = Mapping[str, Any]


@final
class LayeredEncoder(nn.Module):
    r"""Encoder of listed layers, each with an activation after it, and a linear one that makes the output.

    Parameters
    ----------
    in_shape : sequence of int
        Shape of one sample; the first layer must take it.
    out_dim : int
        Number of outputs.
    layers : sequence of dict
        Each with the name of a class of ``torch.nn`` as "layer", and its arguments.
    activation : str, default "identity"
        As in :class:`~manyview.nn.MLP`.
    bias : bool, default True
        Whether the last layer has a bias.

    Examples
    --------
    >>> import torch
    >>> layers = [{"layer": "Conv2d", "in_channels": 1, "out_channels": 4, "kernel_size": 2, "stride": 2}]
    >>> layers += [{"layer": "AdaptiveAvgPool2d", "output_size": 1}, {"layer": "Flatten"}]
    >>> LayeredEncoder((1, 6, 6), 3, layers=layers)(torch.zeros(5, 1, 6, 6)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_dim: int,
        *,
        layers: Sequence[Layer],
        activation: str = "identity",
        bias: bool = True,
    ) -> None:
        super().__init__()
        follow = choose(activation, ACTIVATIONS, "activation")
        listed = [part for layer in layers for part in (_make(layer), follow())]
        self.layers = nn.Sequential(*listed, nn.Linear(_width(layers), out_dim, bias=bias))

    def forward(self, x: Float[Tensor, "B *in_shape"]) -> Float[Tensor, "B out_dim"]:
        r"""Map samples (B, \*in_shape) to (B, out_dim)."""
        h: Tensor = self.layers(x)
        return h


@final
class LayeredDecoder(nn.Module):
    r"""Decoder of listed layers, with an activation between them; the first is linear and takes the input.

    Parameters
    ----------
    in_dim : int
        Number of inputs.
    out_shape : sequence of int
        Shape of one sample; the last layer must give it.
    layers : sequence of dict
        As in :class:`LayeredEncoder`; of the first, a Linear, ``out_features`` alone counts.
    activation : str, default "identity"
        As in :class:`~manyview.nn.MLP`.
    bias : bool, default True
        Whether the first layer has a bias.

    Examples
    --------
    >>> import torch
    >>> layers = [{"layer": "Linear", "out_features": 4}]
    >>> layers += [{"layer": "Unflatten", "dim": 1, "unflattened_size": [4, 1, 1]}]
    >>> layers += [{"layer": "ConvTranspose2d", "in_channels": 4, "out_channels": 1, "kernel_size": 6}]
    >>> LayeredDecoder(3, (1, 6, 6), layers=layers)(torch.zeros(5, 3)).shape
    torch.Size([5, 1, 6, 6])
    """

    def __init__(
        self,
        in_dim: int,
        out_shape: Sequence[int],
        *,
        layers: Sequence[Layer],
        activation: str = "identity",
        bias: bool = True,
    ) -> None:
        super().__init__()
        follow = choose(activation, ACTIVATIONS, "activation")
        first, *others = layers
        listed = [part for layer in others for part in (follow(), _make(layer))]
        self.layers = nn.Sequential(nn.Linear(in_dim, first["out_features"], bias=bias), *listed)

    def forward(self, z: Float[Tensor, "rows in_dim"]) -> Float[Tensor, "rows *out_shape"]:
        r"""Map (rows, in_dim) to samples (rows, \*out_shape)."""
        eta: Tensor = self.layers(z)
        return eta


def _make(layer: Layer) -> nn.Module:
    arguments = dict(layer)
    made: nn.Module = getattr(nn, arguments.pop("layer"))(**arguments)
    return made


def _width(layers: Sequence[Layer]) -> int:
    """The channels or features that the last layer to say so gives."""
    widths: list[int] = [layer[key] for layer in layers for key in ("out_channels", "out_features") if key in layer]
    return widths[-1]
