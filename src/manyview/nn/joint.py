"""One encoder for all the views of a sample together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["JointEncoder"]


@final
class JointEncoder(nn.Module):
    r"""A network of all the views: features of each, side by side, and which of them are there.

    .. math:: h = g\big( b_1 f_1(x_1), \dots, b_M f_M(x_M), b_1, \dots, b_M \big)

    with :math:`b_m = 1` for a view that is present, and 0 for one that is not.

    Parameters
    ----------
    trunks : sequence of Module
        One a view, :math:`f_m`: (B, \*shape_m) to (B, F_m).
    head : Module
        g: (B, ΣF_m + M) to (B, W).
    """

    def __init__(self, trunks: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(trunks)
        self.head = head

    def forward(
        self, x: Sequence[Float[Tensor, "B ..."]], present: Bool[Tensor, "B M"] | None = None
    ) -> Float[Tensor, "B W"]:
        """Features of what is present."""
        features = [trunk(part) for trunk, part in zip(self.trunks, x, strict=True)]
        flags = features[0].new_ones(len(features[0]), len(features))
        if present is not None:
            flags = present.to(flags.dtype)
            features = [part * flag.unsqueeze(-1) for part, flag in zip(features, flags.T, strict=True)]
        h: Tensor = self.head(torch.cat([*features, flags], dim=1))
        return h
