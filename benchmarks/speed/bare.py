"""Five models written by hand in plain PyTorch, as short as one can write them well: no library around the loop.

The objectives are manyview's, term by term (tests/test_speed_benchmark.py), for data without missing views.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers.image_networks import image_decoder, image_encoder
from benchmarks.peers.protocol import Peer

__all__ = ["OBJECTIVES", "ROWS_AT_ONCE", "Bare", "Networks", "log_evidence", "networks_of"]

ALPHA = 5 / 6  # of MVTCAE
SCALE = 0.75  # of Laplace likelihoods
ROWS_AT_ONCE = 16  # in the log-likelihood, times K draws


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Networks(nn.Module):
    """An encoder and a decoder for each view, and the scales of normal likelihoods."""

    def __init__(
        self, encoders: Sequence[nn.Module], decoders: Sequence[nn.Module], likelihoods: Sequence[str], n: Sequence[int]
    ) -> None:
        super().__init__()
        self.encoders, self.decoders, self.likelihoods = nn.ModuleList(encoders), nn.ModuleList(decoders), likelihoods
        self.rho = nn.ParameterList(
            nn.Parameter(torch.full((d,), math.log(0.99))) if x == "normal" else None
            for d, x in zip(n, likelihoods, strict=True)
        )
        m = len(self.encoders)
        subsets = [[code >> i & 1 for i in range(m)] for code in range(1, 2**m)]
        self.register_buffer("subsets", torch.tensor(subsets, dtype=torch.float32))

    def encode(self, x: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Means and log-variances, (M, B, Z)."""
        both = torch.stack([encoder(view) for encoder, view in zip(self.encoders, x, strict=True)])
        return both.chunk(2, -1)

    def log_lik(self, z: Tensor, x: Tensor, m: int) -> Tensor:
        """log p(x_m | z), (S, B), from sources z, (S, B, Z)."""
        eta = self.decoders[m](z.flatten(0, 1)).unflatten(0, z.shape[:2])
        likelihood, axes = self.likelihoods[m], tuple(range(2, eta.ndim))
        if likelihood == "bernoulli":
            return -F.binary_cross_entropy_with_logits(eta, x.expand_as(eta), reduction="none").sum(axes)
        if likelihood == "categorical":
            return (eta * x).sum(-1) - eta.logsumexp(-1)
        if likelihood == "laplace":
            return -(eta - x).abs().sum(axes) / SCALE - x[0].numel() * math.log(2 * SCALE)
        sigma = 0.01 + self.rho[m].exp()
        return -0.5 * ((eta - x) / sigma).square().sum(-1) - (sigma.log() + 0.5 * math.log(2 * math.pi)).sum()

    def reconstruct(self, z: Tensor, x: Sequence[Tensor]) -> Tensor:
        """The log-likelihood of all views from all sources, (S, B)."""
        return sum(self.log_lik(z, view, m) for m, view in enumerate(x))


def divergence(loc: Tensor, scale: Tensor) -> Tensor:
    """KL(N(loc, scale²) ‖ N(0, 1))."""
    return (0.5 * (scale.square() + loc.square() - 1) - scale.log()).sum(-1)


def mvae(net: Networks, x: Sequence[Tensor]) -> Tensor:
    mean, log_variance = net.encode(x)
    precision = (-log_variance).exp()
    total = 1 + precision.sum(0, keepdim=True)
    loc, scale = (precision * mean).sum(0, keepdim=True) / total, total.rsqrt()
    z = loc + scale * torch.randn_like(loc)
    return (net.reconstruct(z, x) - divergence(loc, scale)).sum(0)


def memvae(net: Networks, x: Sequence[Tensor]) -> Tensor:
    mean, log_variance = net.encode(x)
    precision = (-log_variance).exp()
    weighted = precision * mean
    total = 1 + torch.cat([precision.sum(0, keepdim=True), precision])
    loc, scale = torch.cat([weighted.sum(0, keepdim=True), weighted]) / total, total.rsqrt()
    z = loc + scale * torch.randn_like(loc)
    log_lik = sum(net.log_lik(torch.stack([z[0], z[1 + m]]), view, m).sum(0) for m, view in enumerate(x))
    return log_lik - divergence(loc, scale).sum(0)


def mmvae(net: Networks, x: Sequence[Tensor]) -> Tensor:
    mean, log_variance = net.encode(x)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    log_q = -0.5 * ((z.unsqueeze(1) - mean).square() * (-log_variance).exp() + log_variance).sum(-1)
    log_ratio = -0.5 * z.square().sum(-1) - log_q.logsumexp(1) + math.log(len(x))
    return (net.reconstruct(z, x) + log_ratio).mean(0)


def mopoe(net: Networks, x: Sequence[Tensor]) -> Tensor:
    mean, log_variance = net.encode(x)
    precision = (-log_variance).exp()
    total = torch.einsum("sm,mbz->sbz", net.subsets, precision)
    loc = torch.einsum("sm,mbz->sbz", net.subsets, precision * mean) / total
    scale = total.rsqrt()
    rows = torch.arange(len(x[0]), device=loc.device)
    drawn = torch.randint(len(loc), rows.shape, device=loc.device)
    z = loc[drawn, rows] + scale[drawn, rows] * torch.randn_like(loc[0])
    return net.reconstruct(z.unsqueeze(0), x).sum(0) - divergence(loc, scale).mean(0)


def mvtcae(net: Networks, x: Sequence[Tensor]) -> Tensor:
    mean, log_variance = net.encode(x)
    precision = (-log_variance).exp()
    total = precision.sum(0)
    loc, scale = (precision * mean).sum(0) / total, total.rsqrt()
    z = loc + scale * torch.randn_like(loc)
    ratio = precision / total
    to_views = 0.5 * (ratio + precision * (loc - mean).square() - 1 - ratio.log()).sum((0, -1))
    share = ALPHA / len(x)
    log_lik = net.reconstruct(z.unsqueeze(0), x).sum(0)
    return (1 - share) * log_lik - (1 - ALPHA) * divergence(loc, scale) - share * to_views


OBJECTIVES: dict[str, Callable[[Networks, Sequence[Tensor]], Tensor]] = {
    "MVAE": mvae,
    "MEMVAE": memvae,
    "MMVAE": mmvae,
    "MoPoEVAE": mopoe,
    "MVTCAE": mvtcae,
}


def log_evidence(net: Networks, x: Sequence[Tensor], k: int) -> Tensor:
    """The importance-weighted log p(X) of MVAE, (B,), from K draws."""
    mean, log_variance = net.encode(x)
    precision = (-log_variance).exp()
    total = 1 + precision.sum(0)
    loc, scale = (precision * mean).sum(0) / total, total.rsqrt()
    noise = torch.randn(k, *loc.shape, device=loc.device)
    z = loc + scale * noise
    log_ratio = (0.5 * (noise.square() - z.square()) + scale.log()).sum(-1)
    return (net.reconstruct(z, x) + log_ratio).logsumexp(0) - math.log(k)


def networks_of(task: dict[str, Any], shapes: Sequence[tuple[int, ...]]) -> Networks:
    """The networks that a task asks for."""
    z_dim, encoders, decoders = task["z_dim"], [], []
    for shape in shapes:
        if len(shape) == 3:
            encoders.append(image_encoder(shape, 2 * z_dim, task["channels"]))
            decoders.append(image_decoder(z_dim, shape, task["channels"][::-1]))
        else:
            encoders.append(mlp(*shape, *task["encoder_hidden"], 2 * z_dim))
            decoders.append(mlp(z_dim, *task["decoder_hidden"], *shape))
    return Networks(encoders, decoders, task["likelihoods"], [math.prod(shape) for shape in shapes])


class Bare(Peer):
    """The loop, timed as the libraries are."""

    library = "bare"

    def version(self) -> str:
        return torch.__version__

    def build(self) -> None:
        task, device = self.task, self.task.get("device", "cpu")
        self.network = networks_of(task, [view.shape[1:] for view in self.train]).to(device)
        if task.get("channels_last"):
            self.network.to(memory_format=torch.channels_last)
        self.x = [torch.from_numpy(view).to(device) for view in self.train]
        self.adam = torch.optim.Adam(self.network.parameters(), lr=task["learning_rate"], fused=True)
        objective = OBJECTIVES[task["model"]]
        self.objective = torch.compile(objective, mode=task["compile"]) if task.get("compile") else objective
        half = task.get("precision") == "bf16-mixed"
        self.precision = torch.autocast(device, torch.bfloat16) if half else nullcontext()

    def step(self, rows: Tensor) -> None:
        with self.precision:
            value = self.objective(self.network, [view[rows] for view in self.x])
        self.adam.zero_grad()
        (-value.mean()).backward()
        self.adam.step()

    def fit(self) -> None:
        n, device = len(self.x[0]), self.x[0].device
        for _ in range(self.task["epochs"]):
            self.epochs.start()
            for rows in torch.randperm(n, device=device).split(self.task["batch_size"]):
                self.step(rows)
            self.epochs.stop()

    def latents(self, views: list[np.ndarray]) -> np.ndarray:
        raise NotImplementedError("the bare loop only trains")

    def reconstructions(self) -> list[np.ndarray]:
        raise NotImplementedError("the bare loop only trains")

    def log_likelihood(self, test: list[np.ndarray]) -> tuple[float, str]:
        """By importance sampling from MVAE's joint posterior."""
        k, device = self.task["n_importance"], self.x[0].device
        batches = zip(*(torch.from_numpy(view).to(device).split(ROWS_AT_ONCE) for view in test), strict=True)
        found = torch.cat([log_evidence(self.network, x, k) for x in batches])
        return float(found.mean()), f"K = {k}"
