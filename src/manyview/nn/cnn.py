"""Convolutional encoder and decoder for images of any size."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from manyview.nn.mlp import MLP, after_linear, positive_ints


def image_shape(shape: int | Sequence[int], argument: str) -> tuple[int, int, int]:
    """Return (channels, height, width); an image (height, width) has one channel."""
    match positive_ints(shape, argument):
        case (height, width):
            return 1, height, width
        case (channels, height, width):
            return channels, height, width
        case other:
            raise ValueError(
                "a CNN needs images of shape (channels, height, width) or (height, width), "
                f"but the view has shape {other}; use 'mlp'."
            )


def halvings(height: int, width: int, times: int) -> list[tuple[int, int]]:
    """Sizes of an image before and after each convolution, which keeps every second pixel from the first."""
    sizes = [(height, width)]
    for _ in range(times):
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    return sizes


@final
class CNNEncoder(nn.Module):
    r"""Convolutional encoder: 3 x 3 convolutions of stride 2, then an `MLP`.

    Each convolution turns a size :math:`n` into :math:`\lceil n / 2 \rceil`, so a size of 1 stays 1 and any
    image will do. Norm, activation and dropout follow each convolution.

    Parameters
    ----------
    in_shape : sequence of int
        Shape of an image: (channels, height, width), or (height, width) for one channel.
    out_dim : int
        Number of outputs.
    channels : int or sequence of int, default (32, 64, 128)
        Channels after each convolution, at least one.
    hidden : int or sequence of int, default ()
        Widths of the hidden layers between the last convolution and the output.
    activation : str, default "relu"
        As in `MLP`.
    dropout : float, default 0.0
        Probability in [0, 1) that a channel (or, in a hidden layer, a unit) is dropped during training.
    norm : {None, "batch", "layer"}, default None
        Normalisation of each channel over the batch, or of all channels of one sample together.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import torch
    >>> from manyview.nn import CNNEncoder
    >>> CNNEncoder((3, 28, 28), 20, channels=(16, 32))(torch.zeros(5, 3, 28, 28)).shape
    torch.Size([5, 20])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_dim: int,
        *,
        channels: int | Sequence[int] = (32, 64, 128),
        hidden: int | Sequence[int] = (),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
    ) -> None:
        super().__init__()
        before, height, width = image_shape(in_shape, "in_shape")
        channels = positive_ints(channels, "channels")
        follow = after_linear(activation, dropout, norm, images=True)
        layers: list[nn.Module] = [nn.Unflatten(1, (1, height))] if len(in_shape) == 2 else []
        for after in channels:
            layers += [nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1), *follow(after)]
            before = after
        features = (before, *halvings(height, width, len(channels))[-1])
        out = positive_ints(out_dim, "out_dim")
        layers.append(MLP(features, out, hidden=hidden, activation=activation, dropout=dropout, norm=norm))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "B *in_shape"]) -> Float[Tensor, "B out_dim"]:
        """Map images ``(B, *in_shape)`` to (B, out_dim)."""
        h: Tensor = self.layers(x)
        return h


@final
class CNNDecoder(nn.Module):
    r"""Convolutional decoder, the mirror of `CNNEncoder`: an `MLP`, then transposed convolutions.

    Each transposed 3 x 3 convolution of stride 2 turns :math:`\lceil n / 2 \rceil` back into exactly
    :math:`n`, odd or even. Norm, activation and dropout precede each of them; the output :math:`\eta` is
    linear.

    Parameters
    ----------
    in_dim : int
        Number of inputs.
    out_shape : sequence of int
        Shape of an image: (channels, height, width), or (height, width) for one channel.
    channels : int or sequence of int, default (128, 64, 32)
        Channels before each transposed convolution, at least one.
    hidden : int or sequence of int, default ()
        Widths of the hidden layers between the input and the first image.
    activation : str, default "relu"
        As in `MLP`.
    dropout : float, default 0.0
        Probability in [0, 1) that a channel (or, in a hidden layer, a unit) is dropped during training.
    norm : {None, "batch", "layer"}, default None
        Normalisation of each channel over the batch, or of all channels of one sample together.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import torch
    >>> from manyview.nn import CNNDecoder
    >>> CNNDecoder(20, (1, 7, 5))(torch.zeros(4, 20)).shape
    torch.Size([4, 1, 7, 5])
    """

    def __init__(
        self,
        in_dim: int,
        out_shape: Sequence[int],
        *,
        channels: int | Sequence[int] = (128, 64, 32),
        hidden: int | Sequence[int] = (),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
    ) -> None:
        super().__init__()
        colours, height, width = image_shape(out_shape, "out_shape")
        channels = positive_ints(channels, "channels")
        follow = after_linear(activation, dropout, norm, images=True)
        *finer, coarsest = halvings(height, width, len(channels))
        features = (channels[0], *coarsest)
        into = positive_ints(in_dim, "in_dim")
        layers: list[nn.Module] = [
            MLP(into, features, hidden=hidden, activation=activation, dropout=dropout, norm=norm)
        ]
        for before, after, size in zip(channels, (*channels[1:], colours), reversed(finer), strict=True):
            # 2k - 1 and 2k both came down to k; the output padding adds the last row or column of the even.
            padding = (1 - size[0] % 2, 1 - size[1] % 2)
            convolution = nn.ConvTranspose2d(before, after, kernel_size=3, stride=2, padding=1, output_padding=padding)
            layers += [*follow(before), convolution]
        if len(out_shape) == 2:
            layers.append(nn.Flatten(1, 2))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Float[Tensor, "rows in_dim"]) -> Float[Tensor, "rows *out_shape"]:
        """Map (rows, in_dim) to images ``(rows, *out_shape)``."""
        eta: Tensor = self.layers(z)
        return eta
