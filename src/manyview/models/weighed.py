"""What models have in common that weigh a part of their objective: β, and how it grows."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt

from manyview.estimator import Estimator

__all__ = ["Weighed"]


class Weighed(Estimator):
    """A model with a weight β of what holds its latents in place, grown from 0 on request."""

    beta: Annotated[float, Gt(0)] = 1.0
    beta_warmup: Annotated[int, Ge(0)] = 0

    def beta_at(self, epoch: float) -> float:
        """Beta after so many epochs: linear from 0 to its full value during the warm-up."""
        return self.beta if epoch >= self.beta_warmup else self.beta * epoch / self.beta_warmup
