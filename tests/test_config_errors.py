"""Wrong configurations, each with the message that it must give: the line, the key, what is allowed, the mend."""

import re
import textwrap

import numpy as np
import pytest

import manyview as mv
from manyview.config import default_config

# Model, file, line at which the mistake is (0: of the file as a whole), and what follows in the message. An ellipsis
# stands for anything; a message may go on after what is printed here.
WRONG = [
    # ---- text that is no configuration
    (mv.MVAE, "z_dim: [3", 1, "expected ',' or ']'..."),
    (mv.MVAE, "model:\n\tz_dim: 3", 2, "found character '\\t' that cannot start any token"),
    (mv.MVAE, "z_dim: 3\nz_dim: 4", 2, "found duplicate key z_dim"),
    (mv.MVAE, "- z_dim\n- 3", 0, "must hold a mapping at its top, such as 'model: {z_dim: 10}'"),
    (mv.MVAE, "model: 5", 1, "model: must be a section of its own, with keys, but is 5"),
    (mv.MVAE, "model:\n  z_dim: ${width}", 2, "model.z_dim: Interpolation key 'width' not found"),
    (mv.MVAE, "model:\n  z_dim: ???", 2, "model.z_dim: Missing mandatory value"),
    # ---- names
    (mv.MVAE, "model:\n  beta: 1\n  z_dmi: 3", 3,
     "model: unknown key 'z_dmi'; did you mean 'z_dim'? Allowed: 'z_dim',"),
    (mv.MVAE, "modle:\n  z_dim: 3", 1, "unknown key 'modle'; did you mean 'model'?"),
    (mv.MVAE, "model: {}\ntrianer: {max_epochs: 2}", 2, "unknown key 'trianer'; did you mean 'trainer'?"),
    (mv.MVAE, "model: {}\ntrainer:\n  precison: 32", 3, "trainer: unknown key 'precison'; did you mean 'precision'?"),
    (mv.MVAE, "model:\n  max_epochs: 3\ntrainer:\n  max_epochs: 4", 0,
     "'max_epochs' is given twice: 3 and 4; keep one of them"),
    (mv.MVAE, "model: {random_state: 1}\nseed: 2", 0, "'random_state' is given twice: 1 and 2; keep one of them"),
    (mv.MVAE, "model:\n  _target_: manyview.MMVAE", 2,
     "model._target_: 'manyview.MMVAE' is what the file configures, but MVAE reads it; call from_config of that class"),
    (mv.MVAE, "model:\n  _target_: manyview.MVEA", 2,
     "model: module 'manyview' has no 'MVEA'; did you mean 'manyview.MVAE'?"),
    (mv.MVAE, "beta: 1\ndefaults:\n- model: mvea", 2,
     "defaults: there is no 'model/mvea' in '...'; did you mean 'mvae'? Allowed: 'ae', 'dcca',"),
    (mv.MVAE, "defaults:\n- bsae", 1, "defaults: there is no 'bsae' in"),
    # ---- what a model does not have
    (mv.MMVAE, "model:\n  sparse: true", 2,
     "model: unknown key 'sparse': MMVAE has no sparse variant, which takes normal posteriors; remove it, or choose a "
     "model that has it: JMVAE, DVCCA, MCVAE,"),
    (mv.MVAE, "model:\n  posterior: laplace", 2,
     "model: unknown key 'posterior': MVAE has posteriors that its class settles; a product of experts, for one, takes "
     "normal ones; remove it, or choose a model that has it: MMVAE, MMVAEPlus"),
    (mv.MVAE, "model:\n  h_dim: 3", 2,
     "model: unknown key 'h_dim': MVAE has no private latents; remove it, or choose a model that has it: DVCCA,"),
    (mv.MVTCAE, "model:\n  discriminator: {hidden: [8]}", 2,
     "model: unknown key 'discriminator': MVTCAE has no adversary; remove it, or choose a model that has it: MAAE,"),
    (mv.AE, "model:\n  beta: 2.0", 2, "model: unknown key 'beta': AE has no divergences to weigh; remove it, or"),
    (mv.MVAE, "model:\n  n_importance_samples: 5", 2,
     "model: unknown key 'n_importance_samples': MVAE has no importance-weighted bound; remove it, or choose"),
    (mv.MMVAE, "model:\n  reference: genes", 2,
     "model: unknown key 'reference': MMVAE treats its views alike; remove it"),
    # ---- types and ranges
    (mv.MVAE, "model:\n  z_dim: 0", 2, "model.z_dim: 0: input should be greater than 0"),
    (mv.MVAE, "model:\n  z_dim: '10'", 2, "model.z_dim: '10': input should be a valid integer"),
    (mv.MVAE, "z_dim: 2.5", 1, "z_dim: 2.5: input should be a valid integer"),
    (mv.MVAE, "model:\n  learning_rate: fast", 2, "model.learning_rate: 'fast': input should be a valid number"),
    (mv.MVAE, "model:\n  learning_rate: -0.1", 2, "model.learning_rate: -0.1: input should be greater than 0"),
    (mv.MVAE, "model:\n  batch_size: null", 2,
     "model.batch_size: None: input should be a valid integer; or input should be 'auto' or 'full'"),
    (mv.MVAE, "model:\n  validation_fraction: 1", 2, "model.validation_fraction: 1: input should be less than 1"),
    (mv.MVAE, "model:\n  condition: none", 2,
     "model.condition: 'none': input should be 'both', 'encoder' or 'decoder'"),
    (mv.MVAE, "model:\n  scale: {genes: minmax}", 2, "model.scale: {'genes': 'minmax'}: input should be 'standard'"),
    (mv.MVAE, "model:\n  likelihood_weight: {genes: -1}", 2,
     "model.likelihood_weight: {'genes': -1}: ...greater than or"),
    (mv.JMVAE, "model:\n  z_dim: 4\n  input_dim: [10]", 3,
     "model.input_dim: [10]: JMVAE relates views to each other and needs 2; give more views, or choose AE or MVAE"),
    (mv.MVTCAE, "model:\n  alpha: 1.5", 2, "model.alpha: 1.5: input should be less than or equal to 1"),
    (mv.MMVAE, "model:\n  gradient: doubly", 2, "model.gradient: 'doubly': input should be 'iwae' or 'dreg'"),
    (mv.MVAE, "model: {}\ntrainer:\n  max_epochs: ten", 3,
     "trainer.max_epochs: 'ten': input should be a valid integer; or input should be 'auto'"),
    (mv.MVAE, "model: {}\ntrainer: {gradient_clip_val: 0}", 2, "trainer.gradient_clip_val: 0: input should be greater"),
    (mv.MVAE, "model: {}\nseed: x", 2, "seed: 'x': input should be a valid integer"),
    # ---- networks and likelihoods
    (mv.MVAE, "model:\n  encoder: cnnn", 2, "model.encoder: unknown network 'cnnn'; did you mean 'cnn'?"),
    (mv.MVAE, "model:\n  encoder:\n    hiden: [64]", 2,
     "model.encoder: unknown setting 'hiden'; did you mean 'hidden'?"),
    (mv.MVAE, "model:\n  decoder:\n    genes: mlp\n    lipids: {actvation: relu}", 4,
     "model.decoder.lipids: unknown setting 'actvation'; did you mean 'activation'?"),
    (mv.MVAE, "model:\n  encoder: {hidden: [64, 0]}", 2, "model.encoder: hidden must be a positive integer or"),
    (mv.MVAE, "model:\n  encoder: {activation: rellu}", 2,
     "model.encoder: unknown activation 'rellu'; did you mean 'relu'"),
    (mv.MVAE, "model:\n  encoder: {dropout: 1.5}", 2,
     "model.encoder: dropout must lie in [0, 1), where 0 switches it off"),
    (mv.MVAE, "model:\n  encoder: {name: mlp, channels: [8]}", 2,
     "model.encoder: unknown setting 'channels'. Allowed: 'hidden', 'activation', 'dropout', 'norm', 'bias'"),
    (mv.MVAE, "model:\n  encoder: 64", 2,
     "model.encoder: 64: input should be a valid string; or input should be a valid"),
    (mv.MVAE, "model:\n  encoder:\n    _target_: torch.nn.Liner", 2,
     "model.encoder: module 'torch.nn' has no 'Liner'; did you mean 'torch.nn.Linear'?"),
    (mv.MVAE, "model:\n  encoder: {_target_: torch.nn.Linear, bais: no}", 2,
     "model.encoder: torch.nn.Linear has no argument 'bais'; did you mean 'bias'?"),
    (mv.MVAE, "model:\n  encoder: {_target_: nowhere.Net}", 2,
     "model.encoder: 'nowhere.Net' needs the module 'nowhere', which cannot be imported: ModuleNotFoundError"),
    (mv.MVAE, "model:\n  encoder: {_target_: math.pi}", 2,
     "model.encoder: 'math.pi' must be a class or function; it is 3."),
    (mv.MVAE, "model:\n  encoder: {_target_: MLP}", 2,
     "model.encoder: _target_ must be a path such as 'package.module.Class'; got 'MLP'"),
    (mv.JMVAE, "model:\n  joint_encoder: {hiden: [8]}", 2,
     "model.joint_encoder: unknown setting 'hiden'; did you mean"),
    (mv.MAAE, "model:\n  discriminator: {hidden: -8}", 2, "model.discriminator: hidden must be a positive integer or"),
    (mv.MVAE, "model:\n  likelihood: bernouli", 2,
     "model.likelihood: unknown likelihood 'bernouli'; did you mean 'bernoulli'"),
    (mv.MVAE, "model:\n  likelihood:\n    genes: gaussian", 3,
     "model.likelihood.genes: unknown likelihood 'gaussian'. Allowed:"),
    (mv.MVAE, "model:\n  likelihood: {name: normal, sd: 1}", 2,
     "model.likelihood: likelihood 'normal' has no setting 'sd'"),
    (mv.MVAE, "model:\n  likelihood: {name: laplace, scale: -3}", 2,
     "model.likelihood: scale must be above 0, but is -3"),
    (mv.MVAE, "model:\n  likelihood: {_target_: torch.nn.Linear}", 2,
     "model.likelihood: the likelihood's _target_ 'torch.nn.Linear' is not a likelihood; give the full path of a"),
    # ---- optimisers, schedulers, callbacks
    (mv.MVAE, "model:\n  optimizer: adam", 2,
     "model.optimizer: optimizer='adam' is not in torch.optim; did you mean 'Adam'?"),
    (mv.MVAE, "model: {}\noptimizer:\n  _target_: torch.optim.AdamW\n  weight_dcay: 1", 2,
     "optimizer: optimizer_args: AdamW has no argument 'weight_dcay'; did you mean 'weight_decay'?"),
    (mv.MVAE, "model:\n  optimizer: {_target_: torch.nn.Linear}", 2,
     "model.optimizer: optimizer='torch.nn.Linear' is no subclass of torch.optim.optimizer.Optimizer"),
    (mv.MVAE, "model:\n  optimizer: {weight_decay: 0.1}", 2,
     "model.optimizer: optimizer={'weight_decay': 0.1} says no class: give its path as _target_"),
    (mv.MVAE, "model:\n  optimizer_args: {lr: 0.1}", 2,
     "model.optimizer_args: {'lr': 0.1}: lr is learning_rate here; give that instead"),
    (mv.MVAE, "model: {}\noptimizer: {_target_: torch.optim.SGD, lr: 0.1}", 2,
     "optimizer: {'lr': 0.1}: lr is learning_rate here; give that instead"),
    (mv.MVAE, "model:\n  optimizer_args: {weight_dcay: 1}", 2,
     "model.optimizer_args: optimizer_args: Adam has no argument 'weight_dcay'; did you mean 'weight_decay'?"),
    (mv.MVAE, "model:\n  scheduler: StepLR", 2, "model.scheduler: scheduler_args: StepLR needs 'step_size' as well"),
    (mv.MVAE, "model:\n  scheduler_args: {gamma: 0.1}", 2,
     "model.scheduler_args: {'gamma': 0.1}, but there is no scheduler: name one"),
    (mv.MVAE, "model: {}\ntrainer:\n  callbacks:\n  - _target_: pytorch_lightning.callbacks.Timer\n    duratio: 3", 4,
     "trainer.callbacks.0: pytorch_lightning.callbacks.Timer has no argument 'duratio'; did you mean 'duration'?"),
    (mv.MVAE, "model: {_target_: manyview.MVAE}\nlogger:\n  csv:\n    _target_: pytorch_lightning.loggers.CSVLoger", 4,
     "logger.csv: module 'pytorch_lightning.loggers' has no 'CSVLoger'; did you"),
    (mv.MVAE, "trainer: {_target_: mine.Trainer}", 1,
     "trainer._target_: trainer: 'mine.Trainer' needs the module 'mine', which cannot be imported"),
    (mv.MVAE, "trainer: {_target_: torch.nn.Linear}", 1,
     "trainer._target_: trainer='torch.nn.Linear' is no subclass of pytorch_lightning"),
    # ---- what does not go together
    (mv.DVCCA, "model:\n  h_dim: 2", 2,
     "model.h_dim: 2, but there are no private latents; set private=True, or remove it"),
    (mv.MWAE, "model:\n  clip: 0.01", 1,
     "model: gradient_penalty=10.0 and clip=0.01: the critic's slope is to be bounded in one way; give"),
    # ---- files of the multi-view-AE library
    (mv.MVAE, "encoder:\n  default:\n    enc_dist: {_target_: multiviewae.base.distributions.Laplace}", 3,
     "encoder.default.enc_dist: Laplace, but the latents of MVAE are Gaussian, as a product of experts takes normal "
     "ones alone; give Normal or MultivariateNormal, or choose another model"),
    (mv.MVAE, "model: {s_dim: 4}", 1, "model: s_dim=4, but MVAE has no private latents; remove it, or choose a model"),
    (mv.MMVAE, "model: {seed: 1, sparse: true}", 1,
     "model: sparse=True, but MMVAE has no sparse variant; remove it, or"),
    (mv.MVAE, "prior: {}\ndiscriminator: {bias: true}", 2, "discriminator: MVAE has none; remove this section"),
    (mv.MVAE, "prior:\n  _target_: mine.Prior", 1,
     "prior: 'mine.Prior': what z is drawn from is settled by the model; write a model of your own"),
    (mv.DMVAE, "model:\n  s_dim: 3\n  z_dim: -2", 1, "model: s_dim=3 must be below z_dim=-2, which includes it"),
    (mv.MVAE, "prior: {}\nmodel:\n  learning_rate: 0", 3, "model.learning_rate: 0: input should be greater than 0"),
    (mv.MVAE, "model: {seed: 2}\ndatamodule:\n  batch_size: 0", 3, "datamodule.batch_size: 0: input should be greater"),
    (mv.MVAE, "encoder:\n  enc0:\n    hiden_layer_dim: [3]\n    non_linear: yes", 3,
     "encoder.enc0: unknown key 'hiden_layer_dim'; did you mean 'hidden_layer_dim'?"),
]  # fmt: skip


def test_there_are_fifty():
    assert len({text for _, text, _, _ in WRONG}) >= 50


@pytest.mark.parametrize(("cls", "text", "line", "message"), WRONG, ids=[f"{c.__name__}: {t}" for c, t, _, _ in WRONG])
def test_wrong_configurations(cls, text, line, message, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        cls.from_config(path)
    place, _, said = str(caught.value).removeprefix(repr(str(path))).partition(": ")
    assert place.removesuffix(", read as a file of the multi-view-AE library") == (f", line {line}" if line else "")
    assert re.match(".*".join(map(re.escape, message.split("..."))), said), said


X = np.random.default_rng(0).normal(size=(30, 6))
GREY = np.clip(X, -2, 2)

# What only the data tell: Model, configuration, data, message of fit.
UNFIT = [
    (mv.MVAE, {"likelihood": "bernoulli"}, [GREY, X],
     "likelihood of view 'view_0': bernoulli needs values in [0, 1], but found ... at row ...; rescale the view"),
    (mv.MVAE, {"likelihood": {1: "categorical"}}, [X, X], "likelihood of view 'view_1': categorical needs one-hot"),
    (mv.MVAE, {"encoder": "cnn"}, [X, X], "encoder of view 'view_0': ...shape...(6,)"),
    (mv.DCCA, {}, [X], "DCCA relates views to each other and needs 2, but there is only 'view_0'; give more views"),
    (mv.MVAE, {"input_dim": [6, 5]}, [X, X], "input_dim=[6, 5], but the views have [6, 6] features"),
    (mv.MVAE, {"encoder": {"gens": "mlp", "default": "mlp"}}, {"genes": X, "lipids": X},
     "encoder: 'gens' is not a view; did you mean 'genes'?"),
    (mv.DVCCA, {"reference": "gens"}, {"genes": X, "lipids": X}, "reference='gens'...did you mean 'genes'"),
    (mv.DCCA, {"batch_size": 8}, [X, X], "DCCA needs batches of at least 20 samples, but there are"),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "settings", "data", "message"), UNFIT)
def test_configurations_that_the_data_refute(cls, settings, data, message):
    model = cls.from_config({"model": {**settings, "verbose": False}, "trainer": {"max_epochs": 1}})
    with pytest.raises(ValueError, match=r"\w") as caught:
        model.fit(data)
    assert re.match(".*".join(map(re.escape, message.split("..."))), str(caught.value)), caught.value


def test_explicit_arguments_come_before_what_a_file_says_wrongly():
    assert mv.MVAE.from_config({"model": {"z_dim": 0, "beta": 2.0}}, z_dim=3).z_dim == 3
    assert mv.DVCCA.from_config({"model": {"h_dim": 2}}, private=True).h_dim == 2
    assert mv.MWAE.from_config({"model": {"clip": 0.01}}, gradient_penalty=0.0).clip == 0.01
    with pytest.raises(ValueError, match=r"^the configuration: model\.beta: 0: input should be greater than 0"):
        mv.MVAE.from_config({"model": {"beta": 0}}, z_dim=3)
    with pytest.raises(TypeError, match=r"^MVAE has no hyperparameter 'z_dmi'"):
        mv.MVAE.from_config({"model": {"beta": 1}}, z_dmi=3)


def test_what_is_unwise_is_said(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(default_config(mv.JMVAE).replace("sparse: false", "sparse: true"))
    with pytest.warns(UserWarning, match=r"line \d+: model\.alpha: 0\.1 with sparse=True: .*; set alpha=0"):
        assert mv.JMVAE.from_config(path).sparse


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"scheduler_args": {"gamma": 0.1}},
            "MVAE: scheduler_args={'gamma': 0.1}, but there is no scheduler: name one",
        ),
        ({"optimizer_args": {"lr": 1}}, "MVAE: optimizer_args={'lr': 1}: lr is learning_rate here; give that instead"),
        ({"trainer": {"accelerator": "cpu"}}, "MVAE: trainer={'accelerator': 'cpu'}: accelerator is device here; give"),
        ({"trainer": {"gradient_clip_val": 1}}, "MVAE: trainer={...}: gradient_clip_val is gradient_clip here; give"),
    ],
)
def test_arguments_are_checked_as_files_are(settings, message):
    with pytest.raises(ValueError, match=".*".join(map(re.escape, message.split("...")))):
        mv.MVAE(**settings, verbose=False).fit([X, X])


def test_all_mistakes_are_found_in_a_complete_file(tmp_path):
    """Lines are right also where a file has comments, and keys in several sections."""
    path = tmp_path / "config.yaml"
    text = default_config(mv.MVAE).replace("accelerator: auto", "accelerator: 3")
    path.write_text(text)
    line = text[: text.index("accelerator: 3")].count("\n") + 1
    with pytest.raises(ValueError, match=rf"line {line}: trainer\.accelerator: 3: input should be a valid string"):
        mv.MVAE.from_config(path)
    path.write_text(textwrap.dedent(text).replace("z_dim: 10", "z_dim: 10\n  z_dim: 3"))
    with pytest.raises(ValueError, match="found duplicate key z_dim"):
        mv.MVAE.from_config(path)
