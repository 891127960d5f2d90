"""What a fitted model is worth: plain functions of (model, views, ...), each with its formula and its range.

Samples that lack a view are left out of what needs it, and counted. Functions with chance in them take
``random_state=``; those with errors that depend on the samples at hand tell them.
"""

from manyview.metrics.classification import latent_classification
from manyview.metrics.clusters import Clustering, clustering
from manyview.metrics.coherence import Coherence, conditional_coherence, joint_coherence
from manyview.metrics.deviation import FeatureDeviation, LatentDeviation, feature_deviation, latent_deviation
from manyview.metrics.factors import separation
from manyview.metrics.frechet import fid
from manyview.metrics.likelihood import LogLikelihood, log_likelihood
from manyview.metrics.prediction import cross_prediction
from manyview.metrics.predictive import calibration
from manyview.metrics.queries import Estimate
from manyview.metrics.reconstruction import ReconstructionError, reconstruction_error
from manyview.metrics.slopes import Loadings, loadings
from manyview.metrics.variance import variance_explained

__all__ = [
    "Clustering",
    "Coherence",
    "Estimate",
    "FeatureDeviation",
    "LatentDeviation",
    "Loadings",
    "LogLikelihood",
    "ReconstructionError",
    "calibration",
    "clustering",
    "conditional_coherence",
    "cross_prediction",
    "feature_deviation",
    "fid",
    "joint_coherence",
    "latent_classification",
    "latent_deviation",
    "loadings",
    "log_likelihood",
    "reconstruction_error",
    "separation",
    "variance_explained",
]
