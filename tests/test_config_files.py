"""Configurations as files: complete ones of every model and back, lists of defaults, classes of one's own."""

import logging
import sys
from types import ModuleType

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from torch import nn

import manyview as mv
from manyview.config import (
    default_config,
    find_model,
    model_names,
    print_config,
    read_config,
    register_models,
    save_config,
    to_config,
)
from manyview.config.building import build_object, build_trainer
from manyview.likelihoods import MultivariateNormal, Normal
from manyview.models import MODELS

by_model = pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)

# Values that differ from the default wherever a model has the hyperparameter.
OTHERS = {
    "z_dim": 3,
    "encoder": {"view_0": {"hidden": [5, 4], "activation": "silu"}, 1: "mlp"},
    "decoder": {"_target_": "torch.nn.Linear", "bias": False},
    "likelihood": {"default": MultivariateNormal(rank=1, scale=0.5), "${odd} name": {"name": "normal", "scale": 0.75}},
    "scale": {"view_0": None},
    "likelihood_weight": {"view_0": np.float64(2.0), "view_1": "dimension"},
    "condition": "encoder",
    "learning_rate": 1e-5,
    "optimizer": "AdamW",
    "optimizer_args": {"betas": (0.8, 0.9)},
    "scheduler": "StepLR",
    "scheduler_args": {"step_size": 3},
    "gradient_clip": 2.0,
    "max_epochs": 7,
    "batch_size": "full",
    "validation_fraction": 0.0,
    "patience": None,
    "input_dim": [10, (2, 4)],
    "device": "cpu",
    "trainer": {"precision": "32-true", "callbacks": [{"_target_": "pytorch_lightning.callbacks.Timer"}]},
    "random_state": np.int64(5),
    "verbose": False,
    "beta": 2.5,
    "sparse": True,
    "private": True,
    "h_dim": 2,
    "posterior": "normal",
    "reference": "view_1",
    "pi": {"view_0": 2.0},
    "discriminator": {"hidden": [6]},
}


def others(cls):
    return cls(**{name: value for name, value in OTHERS.items() if name in cls().get_params()})


def plain(value):
    """Lists for tuples, and Python's numbers: what YAML tells apart no longer."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Normal | MultivariateNormal):
        return {"_target_": f"manyview.likelihoods.{type(value).__name__}", **value.settings()}
    return value.item() if isinstance(value, np.generic) else value


@pytest.fixture
def folder(tmp_path):
    def write(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


# ---- complete configurations ----------------------------------------------------------------------------------------


@by_model
def test_the_default_configuration_gives_the_defaults(cls, folder):
    text = default_config(cls)
    path = folder(config=text) / "config.yaml"
    assert cls.from_config(path).get_params() == cls().get_params()
    stated = read_config(path, cls)
    assert stated.keys() == cls().get_params().keys() - {"trainer"}


@by_model
def test_every_hyperparameter_has_a_comment(cls):
    lines = default_config(cls).splitlines()
    assert max(map(len, lines)) <= 120
    keys = [i for i, line in enumerate(lines) if line.startswith("  ") and line[2].isalpha()]
    assert len(keys) == len(cls().get_params()) - 1  # all but trainer, which is a section
    for i in keys:
        assert lines[i - 1].startswith("  # "), lines[i]
    assert not any(mark in line for line in lines for mark in ("``", ":class:", ":math:", "\\*"))


@by_model
def test_a_configured_model_comes_back(cls, tmp_path):
    model = others(cls)
    save_config(model, tmp_path / "config.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    for twin in (
        cls.from_config(tmp_path / "config.yaml"),
        cls.from_config(to_config(model)),
        cls.from_config(yaml.safe_load(yaml.safe_dump(to_config(model)))),
    ):
        assert plain(twin.get_params()) == plain(model.get_params())
        assert to_config(twin) == to_config(model)


def test_a_configured_model_is_fitted_as_it_was(folder):
    views = mv.datasets.make_multiview(60, (5, 4), n_shared=2, random_state=0)
    model = mv.MVAE(
        z_dim=2, encoder={"hidden": (6,)}, likelihood={"view_0": Normal(scale=0.5)}, decoder=from_shapes,
        max_epochs=2, random_state=0, verbose=False,
    )  # fmt: skip
    save_config(model, folder() / "config.yaml")
    twin = mv.MVAE.from_config(folder() / "config.yaml")
    np.testing.assert_array_equal(model.fit(views).transform(views), twin.fit(views).transform(views))


def from_shapes(first, second):
    return nn.Linear(first, *second)


def test_what_has_no_plain_form_is_refused():
    from pytorch_lightning.callbacks import Timer

    for key, value, message in [
        ("encoder", nn.Linear(2, 2), r"^encoder is a Linear object, .*'_target_': 'package\.module\.Linear'"),
        ("decoder", {"view_1": nn.Linear(2, 2)}, r"^decoder\.view_1 is a Linear object"),
        ("decoder", lambda first, second: None, r"^decoder=<function .* cannot be imported from a module"),
        ("trainer", {"callbacks": [Timer()]}, r"^trainer\.callbacks\[0\] is a Timer object"),
        ("random_state", np.random.RandomState(0), r"^random_state is a RandomState object.*; give an integer"),
    ]:
        with pytest.raises(ValueError, match=message):
            to_config(mv.MVAE(**{key: value}))


def test_a_failed_save_leaves_the_former_file(tmp_path):
    path = tmp_path / "config.yaml"
    save_config(mv.MVAE(z_dim=3), path)
    with pytest.raises(ValueError, match="encoder"):
        save_config(mv.MVAE(encoder=nn.Linear(2, 2)), path)
    assert mv.MVAE.from_config(path).z_dim == 3


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("z_dim", {"model": {"z_dim": 3}}),
        (["model.beta", "trainer.accelerator"], {"model": {"beta": 1.0}, "trainer": {"accelerator": "auto"}}),
        ("trainer", {"trainer": {"max_epochs": "auto", "accelerator": "auto", "gradient_clip_val": None}}),
        (None, to_config(mv.MVAE(z_dim=3))),
    ],
)
def test_print_config(keys, expected, capsys):
    print_config(mv.MVAE(z_dim=3), keys)
    assert yaml.safe_load(capsys.readouterr().out) == expected


def test_print_config_refuses_unknown_keys():
    with pytest.raises(ValueError, match=r"^keys=\['z_dm'\]: the configuration has no 'z_dm'; did you mean 'z_dim'\?"):
        print_config(mv.MVAE(), ["z_dm"])


# ---- what a file says, and what it starts from ----------------------------------------------------------------------


def test_a_model_in_the_list_of_defaults(folder):
    path = folder(config="defaults: [model: mvtcae]\nmodel: {z_dim: 3, batch_size: '${model.z_dim}'}") / "config.yaml"
    assert mv.MVTCAE.from_config(path).get_params() == mv.MVTCAE(z_dim=3, batch_size=3).get_params()
    with pytest.raises(ValueError, match=r"line 2: model\._target_: 'manyview\.MVTCAE' is what the file configures"):
        mv.MVAE.from_config(path)


def test_files_in_the_list_of_defaults(folder):
    files = {
        "base": "model: {z_dim: 3, beta: 2.0}\ntrainer: {max_epochs: 5}",
        "model__mine": "z_dim: 6\nencoder: {hidden: [7]}",
        "after": "defaults: [base, _self_]\nmodel: {beta: 3.0}",
        "before": "defaults: [_self_, base]\nmodel: {beta: 3.0, threshold: 0.5}",
        "group": "defaults: [model: mine]\nmodel: {threshold: 0.4}",
        "without_self": "defaults: [base]\nmodel: {beta: 4.0}",
    }
    path = folder(**files)
    common = {"z_dim": 3, "max_epochs": 5}
    assert read_config(path / "after.yaml", mv.MVAE) == {**common, "beta": 3.0}
    assert read_config(path / "before.yaml", mv.MVAE) == {**common, "beta": 2.0, "threshold": 0.5}
    assert read_config(path / "group.yaml", mv.MVAE) == {"z_dim": 6, "encoder": {"hidden": [7]}, "threshold": 0.4}
    assert read_config(path / "without_self.yaml", mv.MVAE) == {**common, "beta": 4.0}


def test_a_mistake_is_found_in_the_file_that_makes_it(folder):
    path = folder(
        base="model:\n  z_dim: -1\n",
        model__mine="\n\nz_dim: x",
        one="defaults:\n- base",
        two="defaults:\n- model: mine",
    )
    with pytest.raises(ValueError, match=r"base\.yaml', line 2: model\.z_dim: -1"):
        read_config(path / "one.yaml", mv.MVAE)
    with pytest.raises(ValueError, match=r"mine\.yaml', line 3: model\.z_dim: 'x'"):
        read_config(path / "two.yaml", mv.MVAE)


def test_hydra_is_left_as_it_was(folder):
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    path = folder(config="defaults: [model: mvae]", other="defaults: [model: nothing]")
    read_config(path / "config.yaml", mv.MVAE)  # Hydra registers its own configurations once
    before = ConfigStore.instance().repo
    groups, initialised = set(before), GlobalHydra.instance().is_initialized()
    read_config(path / "config.yaml", mv.MVAE)
    with pytest.raises(ValueError, match="there is no 'model/nothing'"):
        read_config(path / "other.yaml", mv.MVAE)
    assert ConfigStore.instance().repo is before
    assert (set(before), GlobalHydra.instance().is_initialized()) == (groups, initialised)
    assert not any(OmegaConf.has_resolver(name) for name in ("now", "hydra", "python_version"))


def test_hydra_composes_our_models(folder):
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    store = ConfigStore.instance()
    register_models()
    try:
        with initialize_config_dir(str(folder(run="defaults: [model: mvae, _self_]\nseed: 0")), version_base="1.3"):
            cfg = compose("run", ["model=mopoe", "model.z_dim=4", "model.subsets=all", "seed=3"])
    finally:
        store.repo.pop("model")
        for name in ("now", "hydra", "python_version"):
            OmegaConf.clear_resolver(name)
    cls = find_model(cfg.model._target_)
    assert cls.from_config(cfg).get_params() == mv.MoPoEVAE(z_dim=4, subsets="all", random_state=3).get_params()


def test_models_by_name():
    names = model_names()
    assert set(names.values()) == set(MODELS)
    for name, cls in {
        "mvae": mv.MVAE,
        "me_mvae": mv.MEMVAE,
        "MoPoE": mv.MoPoEVAE,
        "mmvae_plus": mv.MMVAEPlus,
        "mmvaeplus": mv.MMVAEPlus,
        "manyview.DVCCA": mv.DVCCA,
    }.items():
        assert find_model(name) is cls
    with pytest.raises(ValueError, match=r"^unknown model 'mvtcea'; did you mean 'mvtcae'\?"):
        find_model("mvtcea")
    with pytest.raises(ValueError, match=r"^'torch\.nn\.Linear' is no model"):
        find_model("torch.nn.Linear")


def test_sections_beside_the_model(folder, caplog):
    text = """
model: {z_dim: 3, patience: 4}
optimizer: {_target_: torch.optim.AdamW, weight_decay: 0.1, _partial_: true}
scheduler: {_target_: torch.optim.lr_scheduler.StepLR, step_size: 2}
callbacks: {timer: {_target_: pytorch_lightning.callbacks.Timer}}
logger:
  csv: {_target_: pytorch_lightning.loggers.CSVLogger, save_dir: "${out}/logs"}
trainer: {max_epochs: 2}
seed: 4
out: runs
data: {views: {genes: genes.csv}}
"""
    caplog.set_level(logging.INFO, logger="manyview")
    given = read_config(folder(config=text) / "config.yaml", mv.MVAE)
    trainer = given.pop("trainer")
    assert given == {
        "z_dim": 3,
        "patience": 4,
        "optimizer": "AdamW",
        "optimizer_args": {"weight_decay": 0.1},
        "scheduler": "StepLR",
        "scheduler_args": {"step_size": 2},
        "random_state": 4,
        "max_epochs": 2,
    }
    built = build_trainer(trainer)
    assert [type(part).__name__ for part in (*built["callbacks"], *built["logger"])] == ["Timer", "CSVLogger"]
    assert built["logger"][0].root_dir.startswith("runs/logs")
    assert caplog.messages == [f"{key} was read and is no matter of the model: the command line reads it"
                               for key in ("data", "out")]  # fmt: skip


# ---- classes of one's own -------------------------------------------------------------------------------------------


class MyOptimizer(torch.optim.SGD):
    """Plain steps that go twice as far."""

    def __init__(self, params, lr=1e-3, factor=2.0):
        super().__init__(params, lr=factor * lr)


class MyScheduler(torch.optim.lr_scheduler.ExponentialLR):
    """Named otherwise."""


class MyModel(mv.MVAE):
    """A model of one's own.

    Parameters
    ----------
    colour : str, default "red"
        What it looks like.
    """

    colour: str = "red"


@pytest.fixture(autouse=True)
def my_module(monkeypatch):
    module = ModuleType("my_module")
    for part in (MyOptimizer, MyScheduler, MyModel):
        monkeypatch.setattr(part, "__module__", "my_module")
        setattr(module, part.__name__, part)
    monkeypatch.setitem(sys.modules, "my_module", module)


SPECIFIED = """
model:
  z_dim: 2
  optimizer: {_target_: my_module.MyOptimizer, factor: 4.0}
  scheduler: {_target_: my_module.MyScheduler, gamma: 0.5}
  max_epochs: 2
  random_state: 0
  verbose: false
"""


def test_an_optimiser_and_a_scheduler_of_ones_own(folder):
    views = mv.datasets.make_multiview(40, (5, 4), n_shared=2, random_state=0)
    ours = mv.MVAE.from_config(folder(config=SPECIFIED) / "config.yaml").fit(views)
    in_python = mv.MVAE(
        z_dim=2, max_epochs=2, random_state=0, verbose=False,
        optimizer={"_target_": "my_module.MyOptimizer", "factor": 4.0},
        scheduler={"_target_": "my_module.MyScheduler", "gamma": 0.5},
    ).fit(views)  # fmt: skip
    theirs = mv.MVAE(
        z_dim=2, max_epochs=2, random_state=0, verbose=False, optimizer="SGD", learning_rate=4e-3,
        scheduler="ExponentialLR", scheduler_args={"gamma": 0.5},
    ).fit(views)  # fmt: skip
    z = theirs.transform(views)
    np.testing.assert_allclose(ours.transform(views), z, rtol=1e-5)
    np.testing.assert_allclose(in_python.transform(views), z, rtol=1e-5)


def test_a_model_of_ones_own(folder):
    text = default_config(MyModel)
    assert "_target_: my_module.MyModel" in text
    assert "  # str: What it looks like.\n  colour: red\n" in text
    path = folder(config=text.replace("colour: red", "colour: blue")) / "config.yaml"
    assert MyModel.from_config(path).colour == "blue"
    assert find_model("my_module.MyModel") is MyModel


def test_callbacks_are_made_anew_in_each_fit(folder):
    views = mv.datasets.make_multiview(40, (5, 4), n_shared=2, random_state=0)
    stopping = {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "loss", "min_delta": 1e9}
    model = mv.MVAE(
        z_dim=2,
        max_epochs=6,
        random_state=0,
        verbose=False,
        trainer={"callbacks": {"stop": {**stopping, "patience": 2}}},
    )
    assert len(model.fit(views).history_) == 3
    assert len(model.fit(views).history_) == 3


def test_objects_are_made_inside_out():
    made = build_object({"a": [{"_target_": "builtins.dict", "x": {"_target_": "builtins.list"}}], "b": 2})
    assert made == {"a": [{"x": []}], "b": 2}
    with pytest.raises(ValueError, match=r"^pytorch_lightning\.callbacks\.Timer cannot be made: \w+: .*interval"):
        build_object({"_target_": "pytorch_lightning.callbacks.Timer", "interval": "year"})


def test_a_data_module_of_ours_makes_no_file_of_the_other_library():
    """Without ``model._target_``, too."""
    module = {"_target_": "manyview.MultiviewDataModule", "data": {"genes": "genes.npy"}}
    assert mv.MVAE.from_config({"model": {"z_dim": 3}, "datamodule": module}).z_dim == 3


def test_a_trainer_of_ones_own(monkeypatch):
    """A subclass of Lightning's, with arguments of its own; it trains, and the configuration comes back."""
    made = []

    class Trainer(pl.Trainer):
        def __init__(self, *, tag="", **options):
            super().__init__(**options)
            made.append(tag)

    module = ModuleType("my_trainers")
    module.Trainer = Trainer
    monkeypatch.setitem(sys.modules, "my_trainers", module)
    config = {"trainer": {"_target_": "my_trainers.Trainer", "tag": "mine", "max_epochs": 2}}
    model = mv.MVAE.from_config({"model": {"z_dim": 2}, **config})
    assert model.max_epochs == 2
    again = mv.MVAE.from_config(model.to_config())
    views = mv.datasets.make_multiview(40, (4, 3), random_state=0)
    for each in (model, again):
        each.verbose, each.random_state = False, 0
        assert len(each.fit(views).history_) == 2
    assert made == ["mine", "mine"]
