"""What all variational models share: a prior, a weight of the divergences, and the evidence."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from manyview.data.batch import Batch
from manyview.inference import log_evidence
from manyview.models.weighed import Weighed
from manyview.network import Network

__all__ = ["Variational"]


class Variational(Weighed):
    """A model with a prior p(z) and posteriors q(z | x_m), trained on a bound of log p(X)."""

    has_likelihood = True

    def adversary(self) -> None:
        """There is none."""

    def evaluate(self, network: Network, batch: Batch, n_samples: int) -> Float[Tensor, " B"]:
        """The importance-weighted log-likelihood of each sample, in nats."""
        return log_evidence(network, batch, n_samples)
