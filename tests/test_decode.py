"""Views at latents of the caller's choosing are what `predict` says at those that it infers."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

import manyview as mv
from manyview.models import MODELS

VIEWS = mv.datasets.make_multiview(40, (4, 3), n_private=1, random_state=0)
QUICK = {"z_dim": 2, "max_epochs": 1, "random_state": 0, "verbose": False}


@pytest.fixture(scope="module")
def model():
    return mv.MVAE(**QUICK).fit(VIEWS)


@pytest.mark.parametrize("Model", [m for m in MODELS if m.__name__ not in ("DCCA", "DCCAE")], ids=lambda m: m.__name__)
def test_agrees_with_predict(Model):
    model = Model(**QUICK).fit(VIEWS)
    z = model.transform(VIEWS, given="view_0")  # one view: one component, whose mean it is
    h = {"view_0": model.transform_private(VIEWS)["view_0"]} if model.network_.latent.private is not None else None
    expected = model.predict(VIEWS, given="view_0")
    for name, x in model.decode(z, h=h).items():
        np.testing.assert_allclose(x, expected[name], atol=1e-5)


def test_canonical_codes_are_decoded_as_each_views_own():
    model = mv.DCCA(**QUICK).fit(VIEWS)
    z = model.transform(VIEWS, given="view_1")
    own = model.predict(VIEWS, given="view_1", target="view_1")["view_1"]
    np.testing.assert_allclose(model.decode(z, "view_1")["view_1"], own, atol=1e-4)


def test_containers(model):
    z = np.zeros((3, 2))
    frames = model.decode(pd.DataFrame(z, index=["p", "q", "r"]))
    assert list(frames["view_1"].index) == ["p", "q", "r"]
    tensors = model.decode(torch.zeros(3, 2), target=["view_1"])
    assert list(tensors) == ["view_1"]
    assert isinstance(tensors["view_1"], torch.Tensor)
    np.testing.assert_allclose(frames["view_1"].to_numpy(), tensors["view_1"].numpy())


def test_columns_of_a_frame_are_found_by_their_names(model):
    z = pd.DataFrame({"z1": [1.0, 0.0], "z0": [0.0, 2.0]})
    np.testing.assert_array_equal(model.decode(z)["view_0"], model.decode([[0.0, 1.0], [2.0, 0.0]])["view_0"])
    other = z.set_axis(["first", "second"], axis=1)
    np.testing.assert_array_equal(model.decode(other)["view_0"], model.decode(z.to_numpy())["view_0"])


def test_covariates_of_a_frame_are_found_by_its_index():
    labels = pd.Index([f"p{i}" for i in range(40)])
    frames = {name: pd.DataFrame(x, index=labels).add_prefix("f") for name, x in VIEWS.items()}
    age = pd.DataFrame({"age": np.linspace(0, 1, 40)}, index=labels)
    model = mv.MVAE(**QUICK).fit(frames, covariates=age)
    z = model.transform(frames, covariates=age)
    pd.testing.assert_frame_equal(
        model.decode(z, covariates=age[::-1])["view_1"], model.predict(frames, covariates=age)["view_1"], atol=1e-5
    )


def test_z_is_not_changed(model):
    z = np.zeros((2, 2), dtype=np.float32)
    z.flags.writeable = False
    model.decode(z)
    assert (z == 0).all()


def test_before_fit():
    with pytest.raises(NotFittedError):
        mv.MVAE().decode([[0.0]])


def test_many_rows_are_taken_in_pieces(model):
    z = np.random.default_rng(0).normal(size=(2500, 2))
    whole = model.decode(z, "view_0")["view_0"]
    np.testing.assert_allclose(whole[2000:2010], model.decode(z[2000:2010], "view_0")["view_0"], atol=1e-5)


def test_private_latents_are_the_priors_unless_given():
    model = mv.DMVAE(h_dim=1, **QUICK).fit(VIEWS)
    z = np.zeros((2, 2))
    at_prior = model.decode(z)
    np.testing.assert_allclose(at_prior["view_0"], model.decode(z, h={"view_0": np.zeros((2, 1))})["view_0"])
    other = model.decode(z, h={"view_0": np.ones((2, 1))})
    assert np.abs(other["view_0"] - at_prior["view_0"]).max() > 1e-4
    np.testing.assert_array_equal(other["view_1"], at_prior["view_1"])
    listed = model.decode(z, h=[np.ones((2, 1)), np.zeros((2, 1))])
    np.testing.assert_array_equal(listed["view_0"], other["view_0"])
    frames = {name: pd.DataFrame(np.ones((2, 1)), columns=["h0"]) for name in ["view_0"]}
    np.testing.assert_array_equal(model.decode(z, h=frames)["view_0"], other["view_0"])


def test_covariates():
    age = np.linspace(0, 1, 40)
    model = mv.MVAE(**QUICK).fit(VIEWS, covariates={"age": age})
    young, old = (model.decode([[0.0, 0.0]], covariates={"age": [value]})["view_0"] for value in (0.0, 1.0))
    assert np.abs(young - old).max() > 1e-4
    with pytest.raises(ValueError, match="covariates"):
        model.decode([[0.0, 0.0]])
    with pytest.raises(ValueError, match="covariates: 2 rows for 1 samples"):
        model.decode([[0.0, 0.0]], covariates={"age": [0.0, 1.0]})


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (np.zeros((2, 3)), r"z has shape \(2, 3\); give .* 2 latent dimensions: \(n, 2\)"),
        (np.zeros(2), r"z has shape \(2,\)"),
        (np.full((1, 2), np.nan), "z has 2 entries that are NaN or infinite, first in row 0"),
        (np.zeros((0, 2)), r"z has shape \(0, 2\)"),
        ([["a", "b"]], "z holds something else than numbers"),
    ],
)
def test_bad_latents(model, z, message):
    with pytest.raises(ValueError, match=message):
        model.decode(z)


def test_bad_private_latents(model):
    with pytest.raises(ValueError, match="no private latents"):
        model.decode(np.zeros((1, 2)), h={"view_0": np.zeros((1, 1))})
    private = mv.DMVAE(h_dim=1, **QUICK).fit(VIEWS)
    with pytest.raises(ValueError, match=r"h\['view_0'\] has shape \(2, 1\); give .*\(1, 1\)"):
        private.decode(np.zeros((1, 2)), h={"view_0": np.zeros((2, 1))})
    with pytest.raises(ValueError, match="no view 'view_7'"):
        private.decode(np.zeros((1, 2)), h={"view_7": np.zeros((1, 1))})
    with pytest.raises(TypeError, match="h is a ndarray"):
        private.decode(np.zeros((1, 2)), h=np.zeros((1, 1)))
