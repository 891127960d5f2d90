"""What autoencoders without noise share: no divergences to weigh, and no likelihood."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from manyview.data.batch import Batch
from manyview.estimator import Estimator
from manyview.network import Network

__all__ = ["Deterministic"]


class Deterministic(Estimator):
    """A model whose codes are points, held in place by nothing but what they reconstruct, or how they correlate."""

    has_likelihood = False

    def beta_at(self, epoch: float) -> float:
        """There are no divergences to weigh."""
        return 1.0

    def adversary(self) -> None:
        """There is none."""

    def evaluate(self, network: Network, batch: Batch, n_samples: int) -> Float[Tensor, " B"]:
        """The objective of each sample: codes have no noise to average over."""
        return self.objective(network, batch, 1.0).value
