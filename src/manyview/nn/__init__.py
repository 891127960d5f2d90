"""Encoders and decoders: networks for one view, each usable alone."""

from manyview.nn.build import build_decoder, build_encoder, per_view
from manyview.nn.cnn import CNNDecoder, CNNEncoder
from manyview.nn.mlp import MLP

__all__ = ["MLP", "CNNDecoder", "CNNEncoder", "build_decoder", "build_encoder", "per_view"]
