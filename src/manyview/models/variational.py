"""What all variational models share: a prior, a weight of the divergences, and the evidence."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from manyview.data.batch import Batch
from manyview.estimator import Estimator
from manyview.inference import log_evidence
from manyview.network import Network

__all__ = ["Variational"]


class Variational(Estimator):
    """A model with a prior p(z) and posteriors q(z | x_m), trained on a bound of log p(X)."""

    has_likelihood = True

    beta: Annotated[float, Gt(0)] = 1.0
    beta_warmup: Annotated[int, Ge(0)] = 0

    def beta_at(self, epoch: float) -> float:
        """Beta after so many epochs: linear from 0 to its full value during the warm-up."""
        return self.beta if epoch >= self.beta_warmup else self.beta * epoch / self.beta_warmup

    def adversary(self) -> None:
        """There is none."""

    def evaluate(self, network: Network, batch: Batch, n_samples: int) -> Float[Tensor, " B"]:
        """The importance-weighted log-likelihood of each sample, in nats."""
        return log_evidence(network, batch, n_samples)
