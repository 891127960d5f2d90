"""The convolutional networks of the PolyMNIST experiments, layer by layer those of manyview's "cnn", in torch alone."""

from collections.abc import Sequence
from math import prod

from torch import nn


def sizes(shape: Sequence[int], times: int) -> list[tuple[int, int]]:
    """Sizes of an image before and after each convolution of stride 2."""
    found = [(shape[1], shape[2])]
    for _ in range(times):
        height, width = found[-1]
        found.append(((height + 1) // 2, (width + 1) // 2))
    return found


def image_encoder(shape: Sequence[int], out_dim: int, channels: Sequence[int]) -> nn.Sequential:
    """From images (B, *shape) to (B, out_dim)."""
    layers: list[nn.Module] = []
    for before, after in zip([shape[0], *channels], channels, strict=False):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
    features = (channels[-1], *sizes(shape, len(channels))[-1])
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(prod(features), out_dim))


def image_decoder(in_dim: int, shape: Sequence[int], channels: Sequence[int]) -> nn.Sequential:
    """From codes (B, in_dim) to images (B, *shape)."""
    *finer, coarsest = sizes(shape, len(channels))
    features = (channels[0], *coarsest)
    layers: list[nn.Module] = [nn.Linear(in_dim, prod(features)), nn.Unflatten(1, features)]
    for before, after, (height, width) in zip(channels, [*channels[1:], shape[0]], reversed(finer), strict=True):
        padding = (1 - height % 2, 1 - width % 2)
        layers += [nn.ReLU(), nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=padding)]
    return nn.Sequential(*layers)
