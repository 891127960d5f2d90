"""Configurations: both layouts against the keyword arguments that they must give, and every refusal."""

import logging
import math
import re
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from manyview import (
    AE,
    DCCAE,
    DMVAE,
    DVCCA,
    JMVAE,
    MAAE,
    MCVAE,
    MEMVAE,
    MMJSD,
    MMVAE,
    MVAE,
    MMVAEPlus,
    WeightedMVAE,
    load,
)  # fmt: skip
from manyview.config import read_config
from manyview.config.building import build_trainer
from manyview.likelihoods import Normal

MLP_ENCODER = "multiviewae.architectures.mlp.VariationalEncoder"
PLAIN_ENCODER = "multiviewae.architectures.mlp.Encoder"
MLP_DECODER = "multiviewae.architectures.mlp.Decoder"
CONDITIONAL = "multiviewae.architectures.mlp.ConditionalVariational"
DISCRIMINATOR = "multiviewae.architectures.mlp.Discriminator"
LAYERS = {
    "layer0": {"layer": "Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 3},
    "layer2": {"layer": "Flatten"},
    "layer3": {"layer": "Linear", "in_features": 8, "out_features": 5},
}
UNLAYERS = {
    "layer0": {"layer": "Linear", "out_features": 8},
    "layer1": {"layer": "Unflatten", "dim": 1, "unflattened_size": [2, 2, 2]},
    "layer2": {"layer": "ConvTranspose2d", "in_channels": 2, "out_channels": 1, "kernel_size": 3},
}
CNN_DECODER = "multiviewae.architectures.cnn.Decoder"
CNN_ENCODER = "multiviewae.architectures.cnn.VariationalEncoder"

TUTORIAL = """\
# @package _global_

model:
  z_dim: 64
  s_dim: 30
  learning_rate: 0.00001

encoder:
  default:
    _target_: multiviewae.architectures.mlp.VariationalEncoder
    hidden_layer_dim: [256, 256]
    bias: True
    non_linear: True
    enc_dist:
      _target_: multiviewae.base.distributions.Normal

decoder:
  default:
    _target_: multiviewae.architectures.mlp.Decoder
    non_linear: True
    hidden_layer_dim: [256, 256]
    bias: True
    dec_dist:
      _target_: multiviewae.base.distributions.Bernoulli
"""

IMAGE_TEXT = """\
# @package _global_

model:
  z_dim: 4
  learning_rate: 0.001
  K: 3
  seed_everything: True
  seed: 42
  save_model: False

datamodule:
  _target_: multiviewae.base.dataloaders.MultiviewDataModule
  batch_size: 20
  is_validate: True
  train_size: 0.8
  is_labelled: False
  dataset:
    _target_: multiviewae.base.datasets.MVDataset

encoder:
  enc0:
    _target_: multiviewae.architectures.mlp.VariationalEncoder
    hidden_layer_dim: [16, 8]
    bias: True
    non_linear: True
    enc_dist:
      _target_: multiviewae.base.distributions.Laplace
  enc1:
    _target_: multiviewae.architectures.mlp.VariationalEncoder
    hidden_layer_dim: []
    bias: False
    non_linear: False
    enc_dist:
      _target_: multiviewae.base.distributions.Laplace

decoder:
  dec0:
    _target_: multiviewae.architectures.mlp.Decoder
    hidden_layer_dim: [8]
    non_linear: True
    bias: True
    dec_dist:
      _target_: multiviewae.base.distributions.Bernoulli
  dec1:
    _target_: multiviewae.architectures.mlp.Decoder
    hidden_layer_dim: [8]
    non_linear: True
    bias: True
    dec_dist:
      _target_: multiviewae.base.distributions.Categorical

prior:
  _target_: multiviewae.base.distributions.Laplace
  loc: 0
  scale: 1

trainer:
  _target_: pytorch_lightning.Trainer
  accelerator: cpu
  max_epochs: 2
"""

IMAGE_TEXT_READ = {
    "z_dim": 4,
    "learning_rate": 0.001,
    "n_importance_samples": 3,
    "random_state": 42,
    "batch_size": 20,
    "validation_fraction": 0.2,
    "encoder": {
        0: {"name": "mlp", "hidden": [16, 8], "activation": "relu", "bias": True},
        1: {"name": "mlp", "hidden": [], "activation": "identity", "bias": False},
    },
    "decoder": {
        0: {"name": "mlp", "hidden": [8], "activation": "relu", "bias": True},
        1: {"name": "mlp", "hidden": [8], "activation": "relu", "bias": True},
    },
    "likelihood": {0: "bernoulli", 1: "categorical"},
    "posterior": "laplace",
    "device": "cpu",
    "max_epochs": 2,
}


class Net(nn.Module):
    """A user's network."""

    def __init__(self, first, second, *, non_linear=False, width=1):
        super().__init__()


class Poisson(Normal):
    """A user's likelihood."""

    def __init__(self, rate=1.0):
        super().__init__()


@pytest.fixture(autouse=True)
def mine(monkeypatch):
    """A user's module, which configurations import from."""
    module = ModuleType("mine")
    vars(module).update(Net=Net, Poisson=Poisson)
    monkeypatch.setitem(sys.modules, "mine", module)


@pytest.fixture
def write(tmp_path):
    def write(text, name="config.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def image_text():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 2, (60, 6)).astype(float), np.eye(3)[rng.integers(0, 3, 60)]]


def network(target=MLP_ENCODER, **settings):
    return {"_target_": target, **settings}


def enc(**settings):
    return {"encoder": {"enc0": settings}}


def dec(**settings):
    return {"decoder": {"dec0": settings}}


def dist(name, **settings):
    return {"_target_": f"multiviewae.base.distributions.{name}", **settings}


MLP_ALONE = {"encoder": {"default": {"name": "mlp"}}}


# ---- our own layout -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("model:\n", {}),
        ("z_dim: 3\nbeta: 2\n", {"z_dim": 3, "beta": 2}),
        (
            "model: {z_dim: 3, learning_rate: 1e-5, patience: null}",
            {"z_dim": 3, "learning_rate": 1e-5, "patience": None},
        ),
        ("model: {z_dim: 3, batch_size: '${model.z_dim}'}", {"z_dim": 3, "batch_size": 3}),
        ("z_dim: 5\nencoder: {hidden: ['${z_dim}']}", {"z_dim": 5, "encoder": {"hidden": [5]}}),
        (
            "encoder: cnn\ndecoder: {image: cnn, default: {name: mlp}}",
            {"encoder": "cnn", "decoder": {"image": "cnn", "default": {"name": "mlp"}}},
        ),
        ("encoder: {0: mlp, 1: {hidden: [4]}}", {"encoder": {0: "mlp", 1: {"hidden": [4]}}}),
        (
            "model:\n  encoder: {_target_: torch.nn.Linear, bias: false}\n"
            "  likelihood: {_target_: manyview.likelihoods.Normal, scale: 0.5}",
            {
                "encoder": {"_target_": "torch.nn.Linear", "bias": False},
                "likelihood": {"_target_": "manyview.likelihoods.Normal", "scale": 0.5},
            },
        ),
        ("encoder: {_target_: mine.Net, non_linear: true}", {"encoder": {"_target_": "mine.Net", "non_linear": True}}),
        ("trainer: {max_epochs: 7}", {"max_epochs": 7}),
        (
            "model: {z_dim: 3}\ntrainer: {max_epochs: 7, accelerator: cpu, gradient_clip_val: 2.0, precision: 64}",
            {"z_dim": 3, "max_epochs": 7, "device": "cpu", "gradient_clip": 2.0, "trainer": {"precision": 64}},
        ),
        ("model: {trainer: {precision: 64}}", {"trainer": {"precision": 64}}),
        ("optimizer: SGD\noptimizer_args: {momentum: 0.9}", {"optimizer": "SGD", "optimizer_args": {"momentum": 0.9}}),
    ],
)
def test_native(write, text, expected):
    path = write(text)
    assert read_config(path, MVAE) == expected
    assert read_config(str(path), MVAE) == expected
    node = OmegaConf.create(text)
    assert read_config(node, MVAE) == expected
    assert read_config(OmegaConf.to_container(node), MVAE) == expected


def test_a_mapping_may_hold_objects_and_is_left_alone():
    module = nn.Linear(2, 2)
    cfg = {"model": {"encoder": module, "decoder": nn.Linear, "z_dim": 2}, "trainer": {"max_epochs": 3}}
    given = read_config(cfg, MVAE)
    assert given["encoder"] is module
    assert given["decoder"] is nn.Linear
    assert cfg == {"model": {"encoder": module, "decoder": nn.Linear, "z_dim": 2}, "trainer": {"max_epochs": 3}}


def test_a_part_of_a_larger_config_resolves_against_the_whole():
    whole = OmegaConf.create({"dims": {"z": 6}, "net": {"model": {"z_dim": "${dims.z}"}}})
    assert read_config(whole.net, MVAE) == {"z_dim": 6}


def test_callbacks_stay_as_they_are_said_until_they_are_needed(write):
    from pytorch_lightning.callbacks import EarlyStopping, Timer

    text = "trainer: {callbacks: [{_target_: pytorch_lightning.callbacks.Timer, interval: epoch}]}"
    trainer = read_config(write(text), MVAE)["trainer"]
    assert trainer == {"callbacks": [{"_target_": "pytorch_lightning.callbacks.Timer", "interval": "epoch"}]}
    (timer,), (other,) = build_trainer(trainer)["callbacks"], build_trainer(trainer)["callbacks"]
    assert isinstance(timer, Timer)
    assert timer is not other
    single = {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "loss", "patience": 4}
    stopping = build_trainer(read_config({"trainer": {"callbacks": single}}, MVAE)["trainer"])["callbacks"]
    assert isinstance(stopping, EarlyStopping)
    assert (stopping.monitor, stopping.patience) == ("loss", 4)
    mine = Timer()
    assert build_trainer(read_config({"trainer": {"callbacks": mine}}, MVAE)["trainer"])["callbacks"] is mine


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {z_dmi: 3}", r"model: unknown key 'z_dmi'; did you mean 'z_dim'\? Allowed: .*'batch_size'"),
        ("z_dmi: 3", r"unknown key 'z_dmi'; did you mean 'z_dim'\?"),
        ("modle: {z_dim: 3}", r"unknown key 'modle'"),
        ("model: {z_dim: 3}\ntrianer: {max_epochs: 1}", r"unknown key 'trianer'; did you mean 'trainer'\?"),
        ("trainer: {max_epoch: 3}", r"trainer: unknown key 'max_epoch'; did you mean 'max_epochs'\?"),
        ("model: {max_epochs: 3}\ntrainer: {max_epochs: 3}", r"'max_epochs' is given twice: 3 and 3"),
        ("model: {trainer: {precision: 64}}\ntrainer: {precision: 32}", r"'precision' is given twice: 64 and 32"),
        ("model: 5", r"model: must be a section of its own, with keys, but is 5"),
        ("- 1\n- 2", r"must hold a mapping at its top"),
        ("z_dim: ${beta}", r"z_dim: .*'beta' not found"),
        ("z_dim: ???", r"z_dim: Missing mandatory value"),
        ("z_dim: ${now:%Y}", r"z_dim: Unsupported interpolation type now"),
        ("z_dim: ${", r"z_dim: "),
        ("z_dim: 3\nbeta: [1\nx: 2", r"expected ',' or '\]'"),
        ("z_dim: 3\nz_dim: 4", r"found duplicate key z_dim"),
        (
            "trainer: {callbacks: [{_target_: pytorch_lightning.callbacks.Timmer}]}",
            r"trainer\.callbacks\.0: module .* has no 'Timmer'; did you mean 'pytorch_lightning\.callbacks\.Timer'\?",
        ),
    ],
)
def test_native_refusals(write, text, message):
    path, line = write(text), rf"[1-{text.count(chr(10)) + 1}]"
    with pytest.raises(ValueError, match=f"^{re.escape(repr(str(path)))}(, line {line})?: {message}"):
        read_config(path, MVAE)


def test_other_refusals(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^no configuration file 'nowhere\.yaml'"):
        read_config("nowhere.yaml", MVAE)
    with pytest.raises(TypeError, match=r"^cfg must be the path of a YAML file or a mapping, but is a list"):
        read_config(["z_dim"], MVAE)
    with pytest.raises(ValueError, match=r"^the configuration: unknown key 'zdim'; did you mean 'z_dim'\?"):
        read_config({"zdim": 2}, MVAE)
    binary = tmp_path / "model.safetensors"
    binary.write_bytes(b"\xff\xfe\x00z_dim")
    with pytest.raises(ValueError, match=r"model\.safetensors': .*can't decode"):
        read_config(binary, MVAE)


# ---- the layout of the multi-view-AE library ------------------------------------------------------------------------


def test_the_file_of_the_tutorial(write):
    assert read_config(write(IMAGE_TEXT), MMVAE) == IMAGE_TEXT_READ


def test_the_listing_of_the_tutorial(write):
    settings = {"name": "mlp", "hidden": [256, 256], "activation": "relu", "bias": True}
    assert read_config(write(TUTORIAL), DMVAE) == {
        "z_dim": 34,
        "h_dim": 30,
        "learning_rate": 1e-5,
        "encoder": {"default": settings},
        "decoder": {"default": settings},
        "likelihood": {"default": "bernoulli"},
    }
    message = "library: model: s_dim=30, but MVAE has no private latents; remove it, or choose a model that has"
    with pytest.raises(ValueError, match=message):
        read_config(write(TUTORIAL), MVAE)


@pytest.mark.parametrize(
    ("cls", "cfg", "expected"),
    [
        (MVAE, {"model": {"z_dim": 3, "seed": 4}}, {"z_dim": 3, "random_state": 4}),
        (MVAE, {"model": {"seed": 4, "seed_everything": False}}, {}),
        (MVAE, {"model": {"seed_everything": True}}, {}),
        (MMVAE, {"model": {"sparse": False, "threshold": 0.2, "beta": 2, "warmup": 9}}, {"beta": 2, "beta_warmup": 9}),
        (MVAE, {"model": {"sparse": True, "threshold": 0.1}}, {"sparse": True, "threshold": 0.1}),
        (JMVAE, {"model": {"alpha": 0.3}}, {"alpha": 0.3}),
        (DVCCA, {"model": {"z_dim": 4, "private": True}}, {"z_dim": 4, "private": True}),
        (DMVAE, {"model": {"z_dim": 10, "s_dim": 3}}, {"z_dim": 7, "h_dim": 3}),
        (
            MMVAEPlus,
            {"model": {"z_dim": 64, "s_dim": 32, "K": 1}},
            {"z_dim": 32, "h_dim": 32, "n_importance_samples": 1},
        ),
        (MMJSD, {"model": {"z_dim": 10, "s_dim": 3, "private": True}}, {"z_dim": 7, "h_dim": 3}),
        (MMJSD, {"model": {"z_dim": 10, "s_dim": 3, "private": False}}, {"z_dim": 10, "h_dim": 0}),
        (
            MAAE,
            {"out_dir": "", "discriminator": {"hidden_layer_dim": [5], "non_linear": True, "is_wasserstein": False}},
            {"discriminator": {"hidden": [5], "activation": "relu"}},
        ),
        (AE, {"datamodule": {"batch_size": None, "is_labelled": True}}, {"batch_size": "full"}),
        (
            MVAE,
            enc(**network("multiviewae.architectures.mlp.ConditionalVariationalEncoder", num_cat=3)),
            {"condition": "encoder", "encoder": {0: {"name": "mlp"}}},
        ),
        (
            MVAE,
            {
                **enc(**network("multiviewae.architectures.mlp.ConditionalVariationalEncoder", num_cat=3)),
                "decoder": {"dec0": network("multiviewae.architectures.mlp.ConditionalDecoder", num_cat=3)},
            },
            {"condition": "both", "encoder": {0: {"name": "mlp"}}, "decoder": {0: {"name": "mlp"}}},
        ),
        (MMJSD, {"model": {"z_dim": 12, "private": True}}, {"z_dim": 10, "h_dim": 2}),
        (MMJSD, {"model": {"alpha": 2.5, "beta": 1, "private": False}}, {"beta": 2.5, "h_dim": 0}),
        (MMJSD, {"model": {"alpha": 2.5, "beta": 2.5, "s_dim": 3}}, {"beta": 2.5, "h_dim": 3}),
        (DMVAE, {"model": {"private": True, "z_dim": 4}}, {"z_dim": 4}),
        (DMVAE, {"model": {"_lambda": [50, 1]}}, {"likelihood_weight": {0: 50, 1: 1}}),
        (DCCAE, {"model": {"_lambda": 0.1}}, {"reconstruction_weight": 0.1}),
        (WeightedMVAE, {"model": {"_lambda": 1, "private": False}}, {}),
        (
            MMVAEPlus,
            {"model": {"u_dim": 3, "w_dim": 2, "z_dim": 5, "learn_private_prior": True, "learn_shared_prior": True}},
            {"z_dim": 3, "h_dim": 2, "learn_prior": True},
        ),
        (DVCCA, {"model": {"sparse": True, "threshold": 0}, "out_dir": ""}, {"sparse": False}),
        (
            DMVAE,
            {"encoder": {"default": network(multiple_latents=False)}, "model": {"multiple_latents": True}},
            MLP_ALONE,
        ),
        (MVAE, {"model": {"use_prior": True, "weight_ll": False, "return_mean": True}}, {}),
        (WeightedMVAE, {"model": {"use_prior": False, "weight_kld": False}}, {}),
        (MAAE, {"prior": dist("Normal", loc=0.0, scale=1.0)}, {}),
        (MAAE, {"encoder": {"default": network(PLAIN_ENCODER, enc_dist=dist("Default"))}}, MLP_ALONE),
        (MVAE, {"prior": dist("MultivariateNormal", loc=[0, 0.0], scale=[1, 1])}, {}),
        (
            MMVAEPlus,
            {
                "prior": dist("Laplace", with_softmax=True),
                "encoder": {"default": {"enc_dist": dist("Laplace", with_softmax=True)}},
            },
            {"posterior": "laplace", "scale_transform": "softmax"},
        ),
        (
            MAAE,
            {"discriminator": network(DISCRIMINATOR, hidden_layer_dim=[], bias=True, dropout_threshold=0.2)},
            {"discriminator": {"hidden": [], "bias": True, "dropout": 0.2}},
        ),
        (MVAE, {"model": {}, "optimizer": {"_target_": "torch.optim.Adam"}}, {"optimizer": "Adam"}),
        (
            MVAE,
            {"model": {}, "optimizer": {"_target_": "torch.optim.SGD", "momentum": 0.9}},
            {"optimizer": "SGD", "optimizer_args": {"momentum": 0.9}},
        ),
        (
            MVAE,
            {
                "encoder": {"default": network(f"{CONDITIONAL}Encoder", num_cat=3, one_hot=False)},
                "decoder": {"default": network(f"{CONDITIONAL}Decoder", num_cat=3, init_logvar=0)},
            },
            {
                "condition": "both",
                **MLP_ALONE,
                "decoder": {"default": {"name": "mlp"}},
                "likelihood": {"default": {"name": "normal", "scale": 1.0}},
            },
        ),
        (
            MVAE,
            {"model": {}, "decoder": {"default": network(f"{CONDITIONAL}Decoder", num_cat=3)}},
            {"condition": "decoder", "decoder": {"default": {"name": "mlp"}}},
        ),
        (MVAE, {"decoder": {"dec1": {"dec_dist": dist("ApproxBernoulli")}}}, {"likelihood": {1: "bernoulli"}}),
        (
            MVAE,
            enc(**network(CNN_ENCODER, **LAYERS, bias=False, non_linear=True)),
            {
                "encoder": {
                    0: {
                        "_target_": "manyview.config.layers.LayeredEncoder",
                        "layers": list(LAYERS.values()),
                        "activation": "relu",
                        "bias": False,
                    }
                }
            },
        ),
        (
            AE,
            {"decoder": {"default": network(CNN_DECODER, **UNLAYERS, dec_dist=dist("Default"))}},
            {
                "decoder": {
                    "default": {
                        "_target_": "manyview.config.layers.LayeredDecoder",
                        "layers": list(UNLAYERS.values()),
                    }
                },
                "likelihood": {"default": "mse"},
            },
        ),
        (MVAE, {"model": {"join_type": "PoE", "private": False, "use_GPU": False}}, {"device": "cpu"}),
        (MVAE, {"model": {"use_GPU": True}}, {"device": "auto"}),
        (MCVAE, {"model": {"sparse": True, "threshold": 0.3}, "out_dir": "x"}, {"sparse": True, "threshold": 0.3}),
        (MCVAE, {"model": {"sparse": False, "threshold": 0, "seed": 1}}, {"sparse": False, "random_state": 1}),
        (MMVAE, {"model": {"K": 7, "DREG_loss": True}}, {"n_importance_samples": 7, "gradient": "dreg"}),
        (MMVAE, {"prior": dist("Laplace", loc=0, scale=1)}, {"posterior": "laplace"}),
        (MMVAE, {"prior": dist("Normal", loc=[0])}, {"posterior": "normal"}),
        (
            MMVAE,
            {"prior": dist("MultivariateNormal"), "encoder": {"default": {"enc_dist": dist("Normal")}}},
            {"posterior": "normal"},
        ),
        (WeightedMVAE, {"prior": dist("Normal")}, {}),
        (MEMVAE, {"encoder": {"default": {"enc_dist": dist("MultivariateNormal")}}}, {}),
        (AE, {"encoder": {"enc0": {"enc_dist": dist("Default")}}, "model": {}}, {}),
        (
            AE,
            {"decoder": {"default": network(MLP_DECODER, dec_dist=dist("Default"))}},
            {"decoder": {"default": {"name": "mlp"}}, "likelihood": {"default": "mse"}},
        ),
        (MVAE, {"encoder": {"default": {"hidden_layer_dim": [5]}}}, {"encoder": {"default": {"hidden": [5]}}}),
        (MVAE, {"encoder": {"hidden_layer_dim": [5]}}, {"encoder": {"default": {"hidden": [5]}}}),
        (
            MVAE,
            {"encoder": {"enc0": network(CNN_ENCODER, bias=True, non_linear=True), "default": network(MLP_ENCODER)}},
            {"encoder": {0: {"name": "cnn", "activation": "relu"}, "default": {"name": "mlp"}}},
        ),
        (
            MVAE,
            {"encoder": {"enc12": network("mine.Net", width=3)}, "model": {}},
            {"encoder": {12: network("mine.Net", width=3)}},
        ),
        (MVAE, {"decoder": {"dec1": {"dec_dist": dist("Laplace")}}}, {"likelihood": {1: "laplace"}}),
        (
            MVAE,
            dec(dec_dist=dist("Normal", scale=0.75)),
            {"likelihood": {0: {"name": "normal", "scale": 0.75, "learn_scale": False}}},
        ),
        (
            MVAE,
            dec(dec_dist=dist("MultivariateNormal", rank=2)),
            {"likelihood": {0: {"name": "multivariate_normal", "rank": 2}}},
        ),
        (
            MVAE,
            {"decoder": {"dec0": {"init_logvar": -3, "dec_dist": dist("Normal")}}},
            {"likelihood": {0: {"name": "normal", "scale": math.exp(-1.5)}}},
        ),
        (
            MVAE,
            {"decoder": {"dec0": {"dec_dist": {"_target_": "mine.Poisson", "rate": 1}}}},
            {"likelihood": {0: {"_target_": "mine.Poisson", "rate": 1}}},
        ),
        (
            MVAE,
            {"datamodule": {"batch_size": 64, "is_validate": False, "train_size": 0.7}},
            {"batch_size": 64, "validation_fraction": 0.0},
        ),
        (MVAE, {"datamodule": {"is_validate": True, "train_size": 0.7}}, {"validation_fraction": 0.3}),
        (MVAE, {"datamodule": None, "trainer": {"gpus": 0, "resume_from_checkpoint": None}}, {"device": "cpu"}),
        (
            MVAE,
            {"prior": None, "trainer": {"gpus": 2, "deterministic": True}},
            {"device": "gpu", "trainer": {"devices": 2, "deterministic": True}},
        ),
        (
            MVAE,
            {"model": {"use_GPU": False, "seed": 0}, "trainer": {"accelerator": "gpu"}},
            {"random_state": 0, "device": "gpu"},
        ),
        (MVAE, {"model": {"z_dim": 5, "seed": "${model.z_dim}"}}, {"z_dim": 5, "random_state": 5}),
    ],
)
def test_translations(cls, cfg, expected):
    assert read_config(cfg, cls) == expected


@pytest.mark.parametrize(
    ("cls", "cfg", "message"),
    [
        (MVAE, {"model": {"seed": 1, "z_dims": 3}}, r"model: unknown key 'z_dims'; did you mean 'z_dim'\?"),
        (MVAE, {"model": {"K": 3}}, "model: K=3, but MVAE has no importance samples; remove it"),
        (AE, {"model": {"beta": 1}, "prior": None}, "model: beta=1, but AE has no weight of the divergences"),
        (MMVAE, {"model": {"sparse": True, "seed": 0}}, "model: sparse=True, but MMVAE has no sparse variant"),
        (MVAE, {"model": {"alpha": 1.0}}, "model: alpha=1.0, but MVAE has no weight alpha"),
        (MVAE, {"model": {"private": True}}, "model: private=True, but MVAE has no private latents"),
        (MVAE, {"model": {"join_type": "Mean"}}, "model: join_type='Mean', but MVAE joins views by PoE"),
        (MVAE, {"model": {"join_type": "poe"}}, "model.join_type: unknown value 'poe'; did you mean 'PoE'"),
        (MVAE, {"prior": None, "enocder": {}}, "unknown key 'enocder'; did you mean 'encoder'"),
        (MVAE, {"encoder": 3, "model": {}}, "encoder: must be a section of its own, with keys, but is 3"),
        (MVAE, {"encoder": {"enc_0": {"hidden_layer_dim": []}}}, "encoder: unknown key 'enc_0'; did you mean 'enc0'"),
        (
            MVAE,
            enc(**network(hiden_layer_dim=[3])),
            r"encoder\.enc0: unknown key 'hiden_layer_dim'; did you mean 'hidden_layer_dim'",
        ),
        (
            MVAE,
            enc(**network("multiviewae.architectures.mlp.VariationalEncode")),
            rf"encoder\.enc0\._target_: unknown target .*; did you mean '{MLP_ENCODER}'",
        ),
        (MVAE, enc(**network(MLP_DECODER)), r"encoder\.enc0\._target_: unknown target"),
        (MVAE, enc(**network(CNN_ENCODER, layer0={"layer": "Conv2d"})), r"encoder\.enc0: no layer says how wide it is"),
        (MVAE, enc(**network(MLP_ENCODER, **LAYERS)), r"encoder\.enc0: unknown key 'layer0'"),
        (
            MVAE,
            enc(**network(CNN_ENCODER, layer0={"layer": "Conv2", "out_channels": 3})),
            r"encoder\.enc0\.layer0\.layer: unknown layer 'Conv2'; did you mean 'Conv2d'",
        ),
        (
            MVAE,
            enc(**network(CNN_ENCODER, layer0={"layer": "Conv2d", "out_channel": 3})),
            r"encoder\.enc0\.layer0: unknown key 'out_channel'; did you mean 'out_channels'",
        ),
        (
            MVAE,
            dec(**network(CNN_DECODER, layer0={"layer": "Flatten"})),
            r"decoder\.dec0: the first layer takes z: it must be a Linear with out_features",
        ),
        (
            MVAE,
            {"encoder": {"enc0": network(f"{CONDITIONAL}Encoder", num_cat=3), "default": network(MLP_ENCODER)}},
            "encoder: some encoders are conditional and some are not; make them all alike",
        ),
        (MVAE, enc(**network(MLP_ENCODER, num_cat=3)), r"encoder\.enc0: unknown key 'num_cat'"),
        (MVAE, enc(**network(PLAIN_ENCODER)), r"\S+mlp\.Encoder, but the codes of MVAE have noise; use a Variational"),
        (AE, enc(**network(MLP_ENCODER)), r"\S+VariationalEncoder, but the codes of AE have no noise; use an Encoder"),
        (MAAE, enc(**network(MLP_ENCODER)), r"\S+VariationalEncoder, but the codes of MAAE have no noise"),
        (MAAE, {"prior": dist("Laplace")}, "prior: Laplace, but the latents of MAAE are MatchedPoint"),
        (
            MVAE,
            dec(**network("multiviewae.architectures.mlp.VariationalDecoder", dec_dist=dist("Bernoulli"))),
            "Bernoulli has no variance, which a VariationalDecoder learns; use a Decoder",
        ),
        (MVAE, {"prior": dist("Normal", scale=[1.0, 2.3])}, r"prior: scale=\[1.0, 2.3\], but priors are standard"),
        (MMVAE, {"prior": dist("Laplace", with_softmax=True), **enc(enc_dist=dist("Laplace"))}, "with_softmax is for"),
        (MVAE, enc(enc_dist=dist("Normal", with_softmax=True)), r"encoder\.enc0\.enc_dist: unknown key 'with_softmax'"),
        (MMJSD, {"model": {"alpha": 1, "beta": 2}}, "model: alpha=1 and beta=2, but MMJSD has one weight of all its"),
        (MVAE, {"model": {"weight_ll": True}}, "model: weight_ll=True is not available: give likelihood_weight"),
        (MEMVAE, {"model": {"weight_kld": True}}, "model: weight_kld=True is not available: give beta"),
        (
            MVAE,
            {"model": {"return_mean": False}},
            "model: return_mean=False is not available: predictions are expected",
        ),
        (MMVAEPlus, {"model": {"learn_private_prior": False}}, "model: learn_private_prior=False is not available"),
        (MMVAE, {"model": {"use_prior": True}}, "model: use_prior=True, but the prior is no expert of MMVAE"),
        (MVAE, {"model": {"use_prior": False}}, "model: use_prior=False, but the prior is an expert of MVAE"),
        (MVAE, {"model": {"_lambda": 2}}, "model: _lambda=2, but MVAE has no weight of the reconstruction"),
        (DMVAE, {"model": {"_lambda": [1, "a"]}}, r"model\._lambda: must be a number, but is 'a'"),
        (MMVAEPlus, {"model": {"u_dim": 3, "w_dim": 2, "z_dim": 6}}, "model: u_dim and w_dim go together"),
        (MMVAEPlus, {"model": {"w_dim": 2}}, "model: u_dim and w_dim go together"),
        (MVAE, {"model": {"w_dim": 2, "u_dim": 2}}, "model: u_dim=2, but MVAE has no such private latents"),
        (DMVAE, {"model": {"s_dim": "three"}}, r"model\.s_dim: must be a whole number, at least 0, but is 'three'"),
        (
            MVAE,
            {"model": {}, "optimizer": {"_target_": "torch.optim.SGDD"}},
            r"optimizer: optimizer='SGDD' is not in torch\.optim; did you mean 'SGD'",
        ),
        (
            MVAE,
            {"model": {}, "optimizer": {"_target_": "torch.optim.SGD", "lr": 1}},
            r"optimizer: {'lr': 1}: lr is learning_rate here; give that instead",
        ),
        (
            MVAE,
            {"datamodule": {"_target_": "multiviewae.base.dataloaders.IndexDataModule", "batch_size": None}},
            "datamodule: lists of paths cannot be read: give arrays to fit",
        ),
        (MVAE, {"datamodule": {"dataset": {"data_dir": "here"}}}, "datamodule: lists of paths cannot be read"),
        (
            MVAE,
            enc(enc_dist=dist("Laplace")),
            r"encoder\.enc0\.enc_dist: Laplace, but the latents of MVAE are Gaussian",
        ),
        (MMVAE, enc(enc_dist=dist("Default")), r"Default, but the latents of MMVAE are Laplacian"),
        (AE, enc(enc_dist=dist("Normal")), r"Normal, but the latents of AE are Point"),
        (AE, {"prior": dist("Normal")}, r"prior: Normal, but the latents of AE are Point"),
        (
            MVAE,
            enc(enc_dist=dist("Bernoulli")),
            r"encoder\.enc0\.enc_dist\._target_: unknown target '\S*Bernoulli'.*Allowed: .*Normal",
        ),
        (MVAE, enc(enc_dist=dist("Normal", df=3)), r"encoder\.enc0\.enc_dist: unknown key 'df'"),
        (
            MMVAE,
            {"encoder": {f"enc{i}": {"enc_dist": dist(name)} for i, name in enumerate(["Normal", "Laplace"])}},
            r"encoder\.enc1\.enc_dist: Laplace, but another section says 'normal'",
        ),
        (
            MMVAE,
            {"prior": dist("Laplace"), "encoder": {"default": {"enc_dist": dist("Normal")}}},
            "prior: Laplace, but another section says 'normal'",
        ),
        (MVAE, {"prior": dist("Normal", scale=2)}, "prior: scale=2, but priors are standard; remove it or set 1"),
        (MVAE, {"prior": dist("Normal", mean=0)}, "prior: unknown key 'mean'"),
        (MCVAE, {"model": {"sparse": True}, "prior": dist("Normal")}, "prior: sparse models have a log-uniform prior"),
        (
            MVAE,
            dec(dec_dist=dist("Bernouli")),
            r"decoder\.dec0\.dec_dist\._target_: unknown target .*; did you mean '\S*Bernoulli'",
        ),
        (MVAE, dec(dec_dist=dist("Bernoulli", scale=1)), r"decoder\.dec0\.dec_dist: unknown key 'scale'"),
        (MVAE, dec(dec_dist=dist("Normal", sclae=1)), r"unknown key 'sclae'; did you mean 'scale'"),
        (
            MVAE,
            {"decoder": {"dec0": {"dec_dist": dist("Bernoulli"), "init_logvar": -3}}},
            "Bernoulli has no variance, which init_logvar sets",
        ),
        (MVAE, {"datamodule": {"batchsize": 3}}, "datamodule: unknown key 'batchsize'; did you mean 'batch_size'"),
        (MVAE, {"datamodule": {"dataset": {"_target_": "mine.Data"}}}, "datamodule: mine.Data is not used"),
        (MVAE, {"datamodule": {"dataset": {"is_path_ds": True}}}, "datamodule: lists of paths cannot be read"),
        (DMVAE, {"model": {"z_dim": "four", "s_dim": 4}}, r"model\.z_dim: must be a number, but is 'four'"),
        (DMVAE, {"model": {"z_dim": 4, "s_dim": 4}}, "model: s_dim=4 must be below z_dim=4, which includes it"),
        (
            MVAE,
            {"out_dir": "", "discriminator": {"hidden_layer_dim": [5]}},
            "discriminator: MVAE has none; remove this section",
        ),
        (MAAE, {"out_dir": "", "discriminator": {"layers": 2}}, "discriminator: unknown key 'layers'"),
        (
            MVAE,
            {"prior": None, "trainer": {"resume_from_checkpoint": "x.ckpt"}},
            "trainer: resume_from_checkpoint is not supported",
        ),
        (
            MVAE,
            {"prior": None, "trainer": {"max_epcohs": 3}},
            "trainer: unknown key 'max_epcohs'; did you mean 'max_epochs'",
        ),
        (
            MVAE,
            {"callbacks": {"a": {"_target_": "nowhere.Callback"}}},
            r"callbacks\.a: 'nowhere\.Callback' needs the module 'nowhere', which cannot be imported",
        ),
        (
            MVAE,
            {"callbacks": {"a": {"_target_": "pytorch_lightning.callbacks.Timer"}}, "trainer": {"callbacks": []}},
            "'callbacks' is given twice",
        ),
    ],
)
def test_refusals(cls, cfg, message):
    pattern = f"^the configuration, read as a file of the multi-view-AE library: (.*: )?{message}"
    with pytest.raises(ValueError, match=pattern):
        read_config(cfg, cls)


def test_every_mapping_is_said_once(write, caplog):
    caplog.set_level(logging.INFO, logger="manyview")
    text = IMAGE_TEXT.replace("save_model: False", "save_model: True\n  eps: 1e-10") + "out_dir: results\n"
    read_config(write(text), MMVAE)
    assert sorted(caplog.messages) == sorted(
        [
            f"{MLP_ENCODER} -> manyview.nn.MLP",
            f"{MLP_DECODER} -> manyview.nn.MLP",
            "multiviewae.base.distributions.Bernoulli -> manyview.likelihoods.Bernoulli",
            "multiviewae.base.distributions.Categorical -> manyview.likelihoods.Categorical",
            "multiviewae.base.distributions.Laplace -> manyview.latent.Laplacian",
            "multiviewae.base.dataloaders.MultiviewDataModule -> manyview.Views",
            "multiviewae.base.datasets.MVDataset -> manyview.Views",
            "out_dir was read and is not used: nothing is written unless asked for: call model.save(path)",
            "model.save_model was read and is not used: nothing is written unless asked for: "
            "call model.save(path) after fit",
            "model.eps was read and is not used: sums of probabilities are computed in logarithms, "
            "and need no such constant",
        ]
    )


def test_our_own_layout_says_nothing(caplog):
    caplog.set_level(logging.INFO, logger="manyview")
    read_config({"model": {"z_dim": 3}}, MVAE)
    assert caplog.messages == []


def test_callbacks_and_logger_sections(tmp_path):
    from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
    from pytorch_lightning.loggers import CSVLogger

    cfg = {
        "out_dir": str(tmp_path),
        "callbacks": {
            "model_checkpoint": {
                "_target_": "pytorch_lightning.callbacks.ModelCheckpoint",
                "monitor": "val_loss",
                "dirpath": "${out_dir}",
            },
            "early_stopping": {
                "_target_": "pytorch_lightning.callbacks.EarlyStopping",
                "monitor": "val_loss",
                "patience": 100,
            },
        },
        "logger": {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "${out_dir}/logs"},
    }
    given = read_config(cfg, MVAE)
    trainer = build_trainer(given.pop("trainer"))
    assert given == {"patience": None}
    checkpoint, stopping = trainer["callbacks"]
    assert isinstance(checkpoint, ModelCheckpoint)
    assert checkpoint.dirpath == str(tmp_path)
    assert isinstance(stopping, EarlyStopping)
    assert stopping.patience == 100
    assert isinstance(trainer["logger"], CSVLogger)
    assert trainer["logger"].root_dir.startswith(f"{tmp_path}/logs")
    assert trainer.keys() == {"callbacks", "logger", "enable_checkpointing"}


# ---- with models ----------------------------------------------------------------------------------------------------


def test_explicit_arguments_come_before_the_file_and_the_file_before_defaults(write):
    path = write("model: {z_dim: 3, beta: 2.0}\ntrainer: {max_epochs: 7}")
    model = MVAE(cfg=path, z_dim=20)
    assert (model.z_dim, model.beta, model.max_epochs) == (20, 2.0, 7)
    assert model.learning_rate == MVAE().learning_rate
    assert MVAE.from_config(path, max_epochs=1).get_params() == {
        **MVAE().get_params(),
        "z_dim": 3,
        "beta": 2.0,
        "max_epochs": 1,
    }


def test_precedence_with_their_file(write):
    model = MMVAE(cfg=str(write(IMAGE_TEXT)), input_dim=[6, 3], z_dim=20)
    assert model.get_params() == {**MMVAE().get_params(), **IMAGE_TEXT_READ, "z_dim": 20, "input_dim": [6, 3]}


def test_a_model_from_a_file_fits_as_one_from_arguments(write, image_text):
    path = write(
        "model:\n  z_dim: 2\n  encoder: {hidden: [5]}\n  likelihood: {view_0: bernoulli, view_1: categorical}\n"
        "  random_state: 0\n  verbose: false\ntrainer: {max_epochs: 2, accelerator: cpu}"
    )
    model = MVAE(cfg=path).fit(image_text)
    twin = MVAE(
        z_dim=2,
        encoder={"hidden": [5]},
        likelihood={"view_0": "bernoulli", "view_1": "categorical"},
        random_state=0,
        verbose=False,
        max_epochs=2,
        device="cpu",
    ).fit(image_text)
    assert len(model.history_) == 2
    np.testing.assert_array_equal(model.transform(image_text), twin.transform(image_text))


def test_their_default_section_fits(write, image_text):
    text = TUTORIAL.replace("  s_dim: 30\n", "").replace("256, 256", "7").replace("64", "3")
    model = MVAE(cfg=write(text), max_epochs=1, verbose=False, random_state=0).fit(image_text)
    widths = [
        [layer.out_features for layer in net.modules() if isinstance(layer, nn.Linear)]
        for net in model.network_.encoders
    ]
    assert widths == [[7, 6], [7, 6]]


def test_positions_survive_a_file(write, image_text, tmp_path):
    model = MMVAE(cfg=write(IMAGE_TEXT), verbose=False).fit(image_text)
    model.save(tmp_path / "model.safetensors")
    twin = load(tmp_path / "model.safetensors")
    assert twin.encoder == IMAGE_TEXT_READ["encoder"]
    np.testing.assert_array_equal(model.transform(image_text), twin.transform(image_text))


def test_the_file_of_the_tutorial_fits(write, image_text):
    model = MMVAE(cfg=write(IMAGE_TEXT), verbose=False).fit(image_text)
    kinds = [type(view.likelihood).__name__ for view in model.views_]
    assert kinds == ["Bernoulli", "Categorical"]
    linear = [[m for m in net.modules() if isinstance(m, nn.Linear)] for net in model.network_.encoders]
    assert [[layer.out_features for layer in layers] for layers in linear] == [[16, 8, 8], [8]]
    assert linear[0][0].bias is not None
    assert linear[1][0].bias is None
    assert len(model.history_) == 2


def test_early_stopping_of_their_file_stops(image_text):
    stopping = {
        "_target_": "pytorch_lightning.callbacks.EarlyStopping",
        "monitor": "val_loss",
        "patience": 1,
        "min_delta": 1e9,
    }
    cfg = {"model": {"z_dim": 2}, "callbacks": {"early_stopping": stopping}, "trainer": {"max_epochs": 20}}
    model = MVAE(cfg=cfg, verbose=False, random_state=0).fit(image_text)
    assert len(model.history_) == 2


def test_a_checkpoint_callback_writes_where_it_was_asked_to(tmp_path, image_text):
    checkpoint = {
        "_target_": "pytorch_lightning.callbacks.ModelCheckpoint",
        "dirpath": str(tmp_path),
        "filename": "last",
    }
    cfg = {"callbacks": {"model_checkpoint": checkpoint}, "trainer": {"max_epochs": 1}}
    MVAE(cfg=cfg, verbose=False, random_state=0).fit(image_text)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_reading_leaves_random_numbers_alone(write):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    read_config(write(IMAGE_TEXT), MMVAE)
    read_config({"model": {"encoder": {"hidden": [4]}, "discriminator": {"hidden": [4]}}}, MAAE)
    assert torch.equal(torch.get_rng_state(), state)


def test_listed_layers_are_the_network_that_they_list(tmp_path):
    """Against the same layers, called here one after the other."""
    cfg = {
        **enc(**network(CNN_ENCODER, **LAYERS, non_linear=True)),
        "decoder": {"default": network(CNN_DECODER, **UNLAYERS, non_linear=True, dec_dist=dist("Bernoulli"))},
    }
    images = np.random.default_rng(0).random((20, 1, 4, 4))
    model = MVAE(cfg=cfg, input_dim=[16], z_dim=2, max_epochs=1, verbose=False, random_state=0).fit(images)
    encoder, decoder = model.network_.encoders[0], model.network_.decoders[0]
    convolution, first, last = (part for part in encoder.modules() if isinstance(part, nn.Conv2d | nn.Linear))
    x = torch.from_numpy(images).float()
    h = last(torch.relu(first(torch.relu(convolution(x)).flatten(1))))
    torch.testing.assert_close(encoder(x), h)
    assert last.out_features == 4
    first, transposed = (part for part in decoder.modules() if isinstance(part, nn.Linear | nn.ConvTranspose2d))
    torch.testing.assert_close(decoder(h[:, :2]), transposed(torch.relu(first(h[:, :2])).view(-1, 2, 2, 2)))
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "model.safetensors").transform(images), model.transform(images))


@pytest.mark.parametrize(("target", "cls"), [("multiviewae.models.mmVAE", MMVAE), ("multiviewae.models.JMVAE", JMVAE)])
def test_a_file_of_theirs_may_name_its_model(target, cls):
    """And is read by that one alone."""
    config = {"out_dir": "out", "model": {"_target_": target, "z_dim": 4, "seed": 3}, "datamodule": {"batch_size": 20}}
    model = cls(cfg=config)
    assert (model.z_dim, model.batch_size, model.random_state) == (4, 20, 3)
    with pytest.raises(ValueError, match=f"model._target_: '{target}' is what the file configures, but MVAE reads it"):
        MVAE(cfg=config)
