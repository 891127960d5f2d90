"""Networks that the published experiments use beside those of the library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ResNetDecoder", "ResNetEncoder", "digit_classifier"]


class Block(nn.Module):
    """A residual block of two convolutions, whose residual is damped."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        between = min(before, after)
        self.residual = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.Conv2d(before, between, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(between, after, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(before, after, 1, bias=False) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + 0.1 * self.residual(x)


class ResNetEncoder(nn.Module):
    """Residual blocks, halving the image between them, for each of some latents in a network of its own.

    Of the MMVAE+ paper's PolyMNIST experiment (E. Palumbo, I. Daunhawer, J. E. Vogt, ICLR 2023): one network for the
    shared latent, and one for the private one.
    """

    def __init__(self, in_shape: Sequence[int], out_dim: int, *, channels: int = 64, networks: int = 2) -> None:
        super().__init__()
        colours, height, width = in_shape
        features = 4 * channels * math.ceil(height / 4) * math.ceil(width / 4)
        self.networks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(colours, channels, 3, padding=1),
                Block(channels, channels),
                nn.AvgPool2d(3, stride=2, padding=1),
                Block(channels, 2 * channels),
                nn.AvgPool2d(3, stride=2, padding=1),
                Block(2 * channels, 4 * channels),
                nn.LeakyReLU(0.2),
                nn.Flatten(),
                nn.Linear(features, out_dim // networks),
            )
            for _ in range(networks)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([network(x) for network in self.networks], dim=1)


class ResNetDecoder(nn.Module):
    """The mirror of one network of :class:`ResNetEncoder`."""

    def __init__(self, in_dim: int, out_shape: Sequence[int], *, channels: int = 64) -> None:
        super().__init__()
        colours, height, width = out_shape
        self.layers = nn.Sequential(
            nn.Linear(in_dim, 4 * channels * (height // 4) * (width // 4)),
            nn.Unflatten(1, (4 * channels, height // 4, width // 4)),
            Block(4 * channels, 2 * channels),
            nn.Upsample(scale_factor=2),
            Block(2 * channels, channels),
            nn.Upsample(scale_factor=2),
            Block(channels, channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, colours, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


def digit_classifier(
    images: np.ndarray,
    labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    path: Path,
    *,
    epochs: int = 4,
) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """A convolutional classifier of real images, (n, 28, 28), (n, 3, 28, 28) or half the size, and its test accuracy.

    Its weights are read from a file if that is there, and kept in it otherwise.
    """
    colours = 1 if images.ndim == 3 else images.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(colours, 16, 5, stride=images.shape[-1] // 14, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )
        if path.exists():
            network.load_state_dict(load_file(path))
        else:
            _train(network, images, labels, epochs)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(network.state_dict(), path)
    network.eval()

    @torch.no_grad()
    def classify(x: np.ndarray) -> np.ndarray:
        parts = [network(_tensor(x[i : i + 2048])).argmax(1) for i in range(0, len(x), 2048)]
        return torch.cat(parts).numpy()

    return classify, float((classify(test_images) == test_labels).mean())


def _tensor(images: np.ndarray) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
    return x.unsqueeze(1) if x.ndim == 3 else x


def _train(network: nn.Module, images: np.ndarray, labels: np.ndarray, epochs: int) -> None:
    size = 256
    x, y = _tensor(images), torch.from_numpy(labels).long()
    n_steps = epochs * math.ceil(len(x) / size)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=n_steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(size):
            optimizer.zero_grad()
            F.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
