"""The training loop: the only place that knows PyTorch Lightning, which it imports when training starts."""

from manyview.training.settings import NonFiniteObjectiveError, Outcome, TrainingSettings

__all__ = ["NonFiniteObjectiveError", "Outcome", "TrainingSettings"]
