"""The calls of the multi-view-AE library's users, under its names, with its files and its nested results.

Facts: the outer index of a reconstruction is the latent, one for joint models and one a view for the others, the inner
one the decoder; that of a latent is what that decoder makes of that latent; answers do not depend on batches or on the
container; each fit starts anew; conditional models need the labels that they were fitted with, and use them.
"""

import functools
import inspect

import numpy as np
import pytest
import torch

from manyview import load, models

PER_VIEW = ("AE", "mAAE", "mWAE", "mcVAE", "mmVAE", "mmVAEPlus", "DCCA", "DCCAE")
JOINT = (
    "JMVAE", "DVCCA", "mVAE", "me_mVAE", "mvtCAE", "MoPoEVAE", "mmJSD", "weighted_mVAE", "DMVAE", "weighted_DMVAE",
)  # fmt: skip
NAMES = PER_VIEW + JOINT
CODES = ("AE", "mAAE", "mWAE", "DCCA", "DCCAE")  # without noise
VARIATIONAL = tuple(name for name in NAMES if name not in CODES)
CANONICAL = ("DCCA", "DCCAE")
PRIVATE = ("DMVAE", "weighted_DMVAE", "mmVAEPlus")
SPARSE = ("mcVAE", "mVAE", "DVCCA")
WIDTHS = (6, 3, 4)

CONFIG = """\
# @package _global_

model:
  z_dim: 5
  seed_everything: True
  seed: 42

datamodule:
  _target_: multiviewae.base.dataloaders.MultiviewDataModule
  batch_size: null
  is_validate: True
  train_size: 0.8

encoder:
  default:
    hidden_layer_dim: [8]
    non_linear: True
  enc0:
    hidden_layer_dim: [8, 5]
    non_linear: True

decoder:
  default:
    hidden_layer_dim: [8]
    non_linear: True

trainer:
  _target_: pytorch_lightning.Trainer
  accelerator: cpu
  max_epochs: 2
  deterministic: True
"""

CONDITIONAL = """\
encoder:
  default:
    _target_: multiviewae.architectures.mlp.ConditionalVariationalEncoder
    hidden_layer_dim: [8]
    non_linear: False
    num_cat: 3
    one_hot: True
    enc_dist:
      _target_: multiviewae.base.distributions.Normal

decoder:
  default:
    _target_: multiviewae.architectures.mlp.ConditionalVariationalDecoder
    hidden_layer_dim: [8]
    non_linear: False
    init_logvar: -3
    num_cat: 3
    one_hot: True
    dec_dist:
      _target_: multiviewae.base.distributions.Normal
"""

CNN = """\
model:
  z_dim: 2
  seed: 1

encoder:
  default:
    _target_: multiviewae.architectures.cnn.{variant}Encoder
    layer0: {{layer: Conv2d, in_channels: 1, out_channels: 4, kernel_size: 4, stride: 2, padding: 1}}
    layer1: {{layer: Conv2d, in_channels: 4, out_channels: 8, kernel_size: 4, stride: 2, padding: 0}}
    layer3: {{layer: AdaptiveAvgPool2d, output_size: 1}}
    layer4: {{layer: Flatten, start_dim: 1}}
    layer5: {{layer: Linear, in_features: 8, out_features: 6}}
    bias: True
    non_linear: False
    enc_dist:
      _target_: multiviewae.base.distributions.{distribution}

decoder:
  default:
    _target_: multiviewae.architectures.cnn.Decoder
    layer0: {{layer: Linear, out_features: 8}}
    layer1: {{layer: Unflatten, dim: 1, unflattened_size: [8, 1, 1]}}
    layer2: {{layer: ConvTranspose2d, in_channels: 8, out_channels: 4, kernel_size: 4, stride: 2, padding: 0}}
    layer3: {{layer: ConvTranspose2d, in_channels: 4, out_channels: 1, kernel_size: 4, stride: 2, padding: 1}}
    bias: True
    non_linear: False
    dec_dist:
      _target_: multiviewae.base.distributions.Default
"""


def data(n_views, seed, n=40, dtype=np.float64):
    """Views that share a factor, as arrays."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    loadings = [np.random.default_rng(m).normal(size=(2, width)) for m, width in enumerate(WIDTHS)]
    return [(z @ w + 0.1 * rng.normal(size=(n, w.shape[1]))).astype(dtype) for w in loadings[:n_views]]


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    """The path of a file of theirs, with a name for each content."""
    folder = tmp_path_factory.mktemp("user_config")

    def write(text=CONFIG):
        path = folder / f"{abs(hash(text))}.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def make(name, cfg, n_views=2, **parameters):
    parameters = {"input_dim": list(WIDTHS[:n_views]), "z_dim": 2, "verbose": False, **parameters}
    return getattr(models, name)(cfg=cfg, **parameters)


@pytest.fixture(scope="module")
def fitted(cfg):
    """A model of each kind, fitted once."""

    @functools.cache
    def fit(name, n_views=2):
        return make(name, cfg(), n_views).fit(*data(n_views, seed=0), max_epochs=1, batch_size=20)

    return fit


def assert_same(ours, theirs, **tolerance):
    """Nested results are equal."""
    if isinstance(ours, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other, **tolerance)
    else:
        np.testing.assert_allclose(ours, theirs, **tolerance)


def as_tensors(views, dtype):
    return [torch.tensor(view, dtype=dtype) for view in views]


# ---- one, two and three views ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_views", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_the_outer_index_is_the_latent_and_the_inner_one_the_decoder(fitted, name, n_views):
    if n_views == 1 and name in (*CANONICAL, "JMVAE"):
        with pytest.raises(ValueError, match="relates views to each other and needs 2"):
            fitted(name, 1)
        return
    model, test = fitted(name, n_views), data(n_views, seed=1, n=25)
    n_latents = n_views if name in PER_VIEW else 1
    latents, pred = model.predict_latents(*test), model.predict_reconstruction(*test)
    assert [(type(z), z.shape) for z in latents] == [(np.ndarray, (25, 2))] * n_latents
    assert [[x.shape for x in row] for row in pred] == [[(25, width) for width in WIDTHS[:n_views]]] * n_latents
    assert all(np.isfinite(x).all() for row in [latents, *pred] for x in row)
    assert pred[0][0][20].shape == (6,)
    assert_same(model.predict_latent(*test), latents)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PRIVATE])
def test_a_reconstruction_is_what_that_decoder_makes_of_that_latent(cfg, name):
    train, test = data(2, seed=0), data(2, seed=1)
    model = make(name, cfg(), scale=None, likelihood="mse").fit(*train, max_epochs=1, batch_size=20)
    pred = model.predict_reconstruction(*test)
    latents = torch.from_numpy(np.stack(model.predict_latents(*test))).float()
    for s, z in enumerate(latents):
        for m, decoder in enumerate(model.network_.decoders):
            code = z
            if name in CANONICAL:  # E[z_m | z_s]; and the decoders know codes as they were before linear CCA
                rho = torch.from_numpy(model.correlations_).float()
                code = model.network_.fusion.unalign(z if s == m else rho * z, m)
            np.testing.assert_allclose(pred[s][m], decoder(code).detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", PER_VIEW)
def test_a_latent_of_one_view_depends_on_that_view_alone(fitted, name):
    test, other = data(2, seed=1), data(2, seed=2)
    model = fitted(name)
    latents, changed = model.predict_latents(*test), model.predict_latents(test[0], other[1])
    np.testing.assert_allclose(changed[0], latents[0], rtol=1e-5, atol=1e-6)
    assert not np.allclose(changed[1], latents[1], atol=1e-3)


@pytest.mark.parametrize("name", JOINT)
def test_a_joint_latent_depends_on_every_view(fitted, name):
    test, other = data(2, seed=1), data(2, seed=2)
    latents = fitted(name).predict_latents(*test)
    assert not np.allclose(fitted(name).predict_latents(other[0], test[1])[0], latents[0], atol=1e-3)
    if name == "DVCCA":  # its latent is inferred from the first view, as in the paper
        assert_same(fitted(name).predict_latents(test[0], other[1]), latents)
    else:
        assert not np.allclose(fitted(name).predict_latents(test[0], other[1])[0], latents[0], atol=1e-3)


# ---- containers and batches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_batches_and_containers_do_not_change_answers(fitted, name):
    model, test = fitted(name), data(2, seed=1, n=25)
    latents, pred = model.predict_latents(*test), model.predict_reconstruction(*test)
    same = {"rtol": 1e-4, "atol": 1e-5}
    assert_same(model.predict_latents(*test, batch_size=10), latents, **same)
    assert_same(model.predict_reconstruction(*test, batch_size=1), pred, **same)
    for dtype in (torch.float32, torch.float64):
        assert_same(model.predict_reconstruction(*as_tensors(test, dtype)), pred, **same)


@pytest.mark.parametrize("name", ["mmVAE", "mAAE", "DCCAE", "JMVAE"])
def test_tensors_fit_as_arrays_do(cfg, name):
    train, test = data(2, seed=0, dtype=np.float32), data(2, seed=1)
    expected = make(name, cfg()).fit(*train, max_epochs=1).predict_latents(*test)
    for dtype in (torch.float32, torch.float64):
        assert_same(make(name, cfg()).fit(*as_tensors(train, dtype), max_epochs=1).predict_latents(*test), expected)


# ---- fit ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_second_fit_starts_anew(cfg, name):
    train, test = data(2, seed=0), data(2, seed=1)
    model = make(name, cfg()).fit(*train)
    assert len(model.history_) == 2  # as the file says
    model.fit(*train, max_epochs=1, batch_size=20)
    assert len(model.history_) == 1
    assert (model.max_epochs, model.batch_size) == (2, "full")
    fresh = make(name, cfg()).fit(*train, max_epochs=1, batch_size=20)
    assert_same(model.predict_latents(*test), fresh.predict_latents(*test))


def test_batch_size_of_a_call_makes_the_steps_of_an_epoch(cfg, monkeypatch):
    sizes = []
    objective = models.mVAE.objective
    monkeypatch.setattr(
        models.mVAE,
        "objective",
        lambda self, network, batch, beta: sizes.append(len(batch)) or objective(self, network, batch, beta),
    )
    make("mVAE", cfg(), validation_fraction=0).fit(*data(2, seed=0), max_epochs=1, batch_size=10)
    assert sizes[:4] == [10] * 4
    sizes.clear()
    make("mVAE", cfg(), validation_fraction=0).fit(*data(2, seed=0), max_epochs=1)
    assert sizes[0] == 40


def test_z_dim_of_the_call_comes_before_the_file(cfg):
    model = make("mVAE", cfg()).fit(*data(2, seed=0), max_epochs=1)
    assert model.z_dim == 2
    assert make("mVAE", cfg(), z_dim=4).fit(*data(2, seed=0)).predict_latents(*data(2, seed=1))[0].shape == (40, 4)
    assert models.mVAE(cfg=cfg()).z_dim == 5


def test_a_path_is_relative_to_where_the_script_runs(tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "mine.yaml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert make("mmVAE", "./config/mine.yaml").max_epochs == 2


@pytest.mark.parametrize("name", ["mmVAE", "AE", "mWAE"])
def test_the_wrong_data_are_refused(cfg, fitted, name):
    a, b, c = data(3, seed=0)
    with pytest.raises(ValueError, match=r"input_dim=\[6, 3\], but the views have \[6, 4\] features"):
        make(name, cfg()).fit(a, c)
    with pytest.raises(ValueError, match=r"input_dim=\[6, 3\], but the views have"):
        make(name, cfg()).fit(a, b, c)
    with pytest.raises(ValueError, match="view_1"):
        make(name, cfg()).fit(a, b[:-1])
    with pytest.raises(ValueError, match="1 views are given by position, but the model has 2"):
        fitted(name).predict_latents(a)
    with pytest.raises(ValueError, match=r"features of shape \(4,\), but the model was fitted on \(3,\)"):
        fitted(name).predict_reconstruction(a, c)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_reconstructs_the_same(fitted, tmp_path, name):
    model, test = fitted(name), data(2, seed=1)
    model.save(tmp_path / "model.safetensors")
    assert_same(load(tmp_path / "model.safetensors").predict_reconstruction(*test), model.predict_reconstruction(*test))


# ---- distributions, sparsity and private latents --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "distribution"),
    [*((name, "Laplace") for name in VARIATIONAL), *((name, "MultivariateNormal") for name in SPARSE)],
)
def test_decoding_distributions(cfg, name, distribution):
    text = CONFIG.replace(
        "decoder:\n  default:\n",
        f"decoder:\n  default:\n    dec_dist:\n      _target_: multiviewae.base.distributions.{distribution}\n",
    )
    model = make(name, cfg(text), 3).fit(*data(3, seed=0), max_epochs=1)
    assert {type(view.likelihood).__name__ for view in model.views_} == {distribution}
    assert model.predict_reconstruction(*data(3, seed=1))[0][2].shape == (40, 4)


@pytest.mark.filterwarnings("ignore:no dimension has a dropout rate below")
@pytest.mark.parametrize("threshold", [0.1, 0.9])  # dropout rates start at one half
@pytest.mark.parametrize("name", SPARSE)
def test_sparse_models_drop_dimensions_above_the_threshold(cfg, name, threshold):
    text = CONFIG.replace("  seed: 42\n", f"  sparse: True\n  threshold: {threshold}\n  seed: 42\n")
    model = make(name, cfg(text), 3).fit(*data(3, seed=0), max_epochs=1)
    for z in model.predict_latents(*data(3, seed=1)):
        assert (z != 0).all() if threshold == 0.9 else (z == 0).all()


@pytest.mark.parametrize(
    ("name", "lines", "h_dim"),
    [
        ("DMVAE", "s_dim: 3", 3),
        ("weighted_DMVAE", "private: True\n  s_dim: 3", 3),
        ("mmJSD", "private: True\n  s_dim: 1", 1),
        ("mmJSD", "private: False\n  s_dim: 3", 0),
        ("mmVAEPlus", "u_dim: 3\n  w_dim: 2", 2),
        ("DVCCA", "private: True", 5),
        ("DVCCA", "private: False", 0),
    ],
)
def test_private_latents_have_the_dimensions_that_a_file_says(cfg, name, lines, h_dim):
    model = getattr(models, name)(cfg=cfg(CONFIG.replace("  seed: 42\n", f"  {lines}\n  seed: 42\n")), verbose=False)
    model.fit(*data(2, seed=0), max_epochs=1)
    test = data(2, seed=1)
    shared = 5 if name == "DVCCA" else 5 - h_dim  # of z_dim, in which only DVCCA's private latents are not counted
    assert {z.shape[1] for z in model.predict_latents(*test)} == {shared}
    latent = model.network_.latent
    assert (latent.private.z_dim if latent.private else 0) == h_dim
    assert model.predict_reconstruction(*test)[0][1].shape == (40, 3)


# ---- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_images_go_through_the_layers_of_a_file(cfg, name):
    variant, distribution = ("", "Default") if name in CODES else ("Variational", "Normal")
    if "mmVAE" in name:
        distribution = "Laplace"
    text = CNN.format(variant=variant, distribution=distribution)
    rng = np.random.default_rng(0)
    train, test = ([rng.random((n, 1, 8, 8)) for _ in range(2)] for n in (20, 5))
    model = getattr(models, name)(cfg=cfg(text), verbose=False).fit(*train, max_epochs=1, batch_size=10)
    pred = model.predict_reconstruction(*test)
    assert {x.shape for row in pred for x in row} == {(5, 1, 8, 8)}
    assert_same(model.predict_reconstruction(*test, batch_size=2), pred, rtol=1e-4, atol=1e-5)
    kinds = [type(part).__name__ for part in model.network_.decoders[0].modules()]
    assert kinds.count("ConvTranspose2d") == 2


@pytest.mark.parametrize("name", ["AE", "mVAE"])
def test_input_dim_may_be_the_shape_of_an_image(name):
    images = np.random.default_rng(0).random((20, 1, 8, 8))
    model = getattr(models, name)(input_dim=[(1, 8, 8), 3], z_dim=2, verbose=False)
    model.fit(images, data(2, seed=0, n=20)[1], max_epochs=1)
    with pytest.raises(ValueError, match="input_dim"):
        model.fit(images.reshape(20, 64), data(2, seed=0, n=20)[1], max_epochs=1)


# ---- labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIATIONAL)
def test_conditional_models_use_their_labels_and_need_them(cfg, name):
    text = CONDITIONAL.replace("Normal\n\ndecoder", "Laplace\n\ndecoder") if "mmVAE" in name else CONDITIONAL
    train, test = data(2, seed=0, n=60), data(2, seed=1, n=20)
    y, y_test = np.arange(60) % 3, np.arange(20) % 3
    model = make(name, cfg(text), random_state=0).fit(*train, labels=y, max_epochs=1, batch_size=20)
    assert model.condition == "both"
    latents, pred = model.predict_latents(*test, labels=y_test), model.predict_reconstruction(*test, labels=y_test)
    assert_same(model.predict_reconstruction(*test, labels=y_test, batch_size=7), pred, rtol=1e-4, atol=1e-5)
    for same in (torch.from_numpy(y_test), np.eye(3, dtype=int)[y_test], list(y_test)):
        assert_same(model.predict_latents(*test, labels=same), latents)
    others = (y_test + 1) % 3
    assert not np.allclose(model.predict_latents(*test, labels=others)[0], latents[0], atol=1e-3)
    assert not np.allclose(model.predict_reconstruction(*test, labels=others)[0][1], pred[0][1], atol=1e-3)
    for predict in (model.predict_latents, model.predict_reconstruction):
        with pytest.raises(ValueError, match="7"):
            predict(*test, labels=np.where(y_test == 0, 7, y_test))
        with pytest.raises(ValueError, match="fitted with covariates"):
            predict(*test)


@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_labels_go_only_where_a_file_has_conditional_networks(cfg, role):
    """In the weights of the first layers: a conditional network has three more inputs."""
    plain = "decoder" if role == "encoder" else "encoder"
    text = CONDITIONAL.replace(f"ConditionalVariational{plain.capitalize()}", f"Variational{plain.capitalize()}")
    sections = {part[:7]: part for part in text.split("\n\n")}
    sections[plain] = sections[plain].replace("    num_cat: 3\n    one_hot: True\n", "")
    model = make("mVAE", cfg("\n\n".join(sections.values()))).fit(
        *data(2, seed=0), labels=np.arange(40) % 3, max_epochs=1
    )
    widths = {
        kind: next(part.in_features for part in nets[0].modules() if hasattr(part, "in_features"))
        for kind, nets in (("encoder", model.network_.encoders), ("decoder", model.network_.decoders))
    }
    assert widths == {"encoder": 6 + 3 * (role == "encoder"), "decoder": 2 + 3 * (role == "decoder")}


# ---- what is there --------------------------------------------------------------------------------------------------


def test_every_model_has_the_name_of_that_library():
    assert {getattr(models, name) for name in NAMES} == set(models.MODELS)
    assert len(NAMES) == len(models.MODELS) == 18


@pytest.mark.parametrize("method", ["predict_latents", "predict_latent", "predict_reconstruction"])
def test_predictions_take_views_by_position_and_options_by_name(method):
    parameters = inspect.signature(getattr(models.mmVAE, method)).parameters
    assert {"labels", "batch_size"} <= parameters.keys()
    assert parameters["labels"].kind is parameters["batch_size"].kind is inspect.Parameter.KEYWORD_ONLY
