"""Encoders and decoders: networks for one view, each usable alone."""

from manyview.nn.build import NetworkSpec, build_decoder, build_encoder, per_view
from manyview.nn.cnn import CNNDecoder, CNNEncoder
from manyview.nn.conditional import conditional_shape, with_covariates
from manyview.nn.joint import JointEncoder
from manyview.nn.mlp import MLP

__all__ = [
    "MLP",
    "CNNDecoder",
    "CNNEncoder",
    "JointEncoder",
    "NetworkSpec",
    "build_decoder",
    "build_encoder",
    "conditional_shape",
    "per_view",
    "with_covariates",
]
