"""manyview: multi-view autoencoders in one place, in one notation, behind one interface."""

from manyview import datasets, likelihoods, models, nn, testing
from manyview.data.views import Views
from manyview.estimator import Estimator
from manyview.io import load
from manyview.models import AE, MCVAE, MEMVAE, MMVAE, MVAE, WeightedMVAE
from manyview.training import NonFiniteObjectiveError

__version__ = "0.1.0"

__all__ = [
    "AE",
    "MCVAE",
    "MEMVAE",
    "MMVAE",
    "MVAE",
    "Estimator",
    "NonFiniteObjectiveError",
    "Views",
    "WeightedMVAE",
    "datasets",
    "likelihoods",
    "load",
    "models",
    "nn",
    "testing",
]  # fmt: skip
