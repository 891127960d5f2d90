"""What autoencoders without noise share: no divergences to weigh, and no likelihood."""

from __future__ import annotations

from manyview.estimator import Estimator

__all__ = ["Deterministic"]


class Deterministic(Estimator):
    """A model whose codes are points, held in place by nothing but what they reconstruct, or how they correlate."""

    has_likelihood = False

    def beta_at(self, epoch: float) -> float:
        """There are no divergences to weigh."""
        return 1.0

    def adversary(self) -> None:
        """There is none."""
