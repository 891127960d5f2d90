"""The training loop: the only place that knows PyTorch Lightning, which it imports when training starts."""

from manyview.training.run import NonFiniteObjectiveError, Outcome, Run, TrainingSettings

__all__ = ["NonFiniteObjectiveError", "Outcome", "Run", "TrainingSettings"]
