"""The face of the models, as a user of scikit-learn meets it: every form of data, every method, every container."""

import copy
import logging
import pickle
import subprocess
import sys
import threading
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, train_test_split
from sklearn.pipeline import Pipeline
from torch import nn

import manyview as mv
from manyview.data import Views, as_views
from manyview.data.preprocessing import make_batch
from manyview.datasets import make_multiview
from manyview.likelihoods import Bernoulli, Categorical, Laplace, Likelihood, MultivariateNormal, Normal
from manyview.models import MODELS

NAN = float("nan")
TINY = {
    "z_dim": 2,
    "encoder": {"hidden": [8]},
    "decoder": {"hidden": [8]},
    "max_epochs": 3,
    "batch_size": 32,
    "random_state": 0,
    "verbose": False,
}


def frame(array, prefix, index=None):
    """A DataFrame with named rows and columns."""
    index = [f"s{i}" for i in range(len(array))] if index is None else index
    return pd.DataFrame(array, index=index, columns=[f"{prefix}{i}" for i in range(array.shape[1])])


def arrays(data):
    """What a method returned, as a list of arrays."""
    return [np.asarray(x) for x in (data.values() if isinstance(data, dict) else data)]


def same_weights(one, other):
    a, b = one.network_.state_dict(), other.network_.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def data():
    return make_multiview(90, (5, 4), random_state=0)


@pytest.fixture(scope="module")
def a(data):
    return data.array("view_0")


@pytest.fixture(scope="module")
def b(data):
    return data.array("view_1")


@pytest.fixture(scope="module")
def model(data):
    return mv.MVAE(**TINY).fit(data)


@pytest.fixture(scope="module", params=MODELS, ids=lambda cls: cls.__name__)
def any_model(request, data):
    return request.param(**TINY).fit(data)


@pytest.fixture(scope="module")
def mixed():
    """A grey image, a one-hot label, a binary table, and numbers in units of their own."""
    rng = np.random.RandomState(0)
    n = 80
    label = rng.randint(3, size=n)
    return Views(
        image=rng.uniform(size=(n, 1, 8, 8)),
        label=np.eye(3)[label],
        binary=rng.randint(2, size=(n, 4)),
        real=100 + 10 * rng.standard_normal((n, 3)),
    )


# ---- forms of data --------------------------------------------------------------------------------------------------

FORMS = {
    "views": lambda a, b: (Views(view_0=a, view_1=b),),
    "dict": lambda a, b: ({"view_0": a, "view_1": b},),
    "list": lambda a, b: ([a, b],),
    "tuple": lambda a, b: ((a, b),),
    "positional": lambda a, b: (a, b),
    "float64": lambda a, b: (a.astype(np.float64), b.astype(np.float64)),
    "fortran order": lambda a, b: (np.asfortranarray(a), b),
    "tensors": lambda a, b: (torch.tensor(a), torch.tensor(b)),
    "tensors in a dict": lambda a, b: ({"view_0": torch.tensor(a), "view_1": torch.tensor(b, requires_grad=True)},),
    "nested lists": lambda a, b: ([a.tolist(), b.tolist()],),
    "frames": lambda a, b: (frame(a, "a"), frame(b, "b")),
    "frames in a list": lambda a, b: ([frame(a, "a"), frame(b, "b")],),
    "two-level frame": lambda a, b: (pd.concat({"view_0": frame(a, "a"), "view_1": frame(b, "b")}, axis=1),),
    "frame and array": lambda a, b: ({"view_0": frame(a, "a"), "view_1": b},),
    "reordered": lambda a, b: (frame(a, "a"), frame(b, "b").iloc[::-1]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_data_gives_the_same_model_and_the_same_answers(form, a, b, model):
    given = FORMS[form](a, b)
    other = mv.MVAE(**TINY).fit(*given)
    assert same_weights(model, other)
    expected = model.transform(a, b)
    for fitted in (model, other):
        np.testing.assert_array_equal(np.asarray(fitted.transform(*given)), expected)
        for got, want in zip(arrays(fitted.predict(*given)), model.predict([a, b]), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)  # float64 data get float64 answers
        np.testing.assert_array_equal(fitted.score_samples(*given), model.score_samples(a, b))


def test_frames_are_joined_on_their_index(a, b):
    left, right = frame(a, "a").iloc[:70], frame(b, "b").iloc[20:].sample(frac=1, random_state=0)
    aligned_b = np.full((90, 4), NAN, np.float32)
    aligned_b[20:] = b[20:]
    aligned_a = a.copy()
    aligned_a[70:] = NAN
    order = [*range(70), *(int(i[1:]) for i in right.index if int(i[1:]) >= 70)]  # of first appearance
    joined = mv.MEMVAE(**TINY).fit(left, right)
    aligned = mv.MEMVAE(**TINY).fit(aligned_a[order], aligned_b[order])
    assert same_weights(joined, aligned)
    z = joined.transform(left, right)
    assert z.index.tolist() == [f"s{i}" for i in range(70)] + [i for i in right.index if int(i[1:]) >= 70]
    by_id = z.loc[[f"s{i}" for i in range(90)]].to_numpy()
    np.testing.assert_allclose(by_id, aligned.transform(aligned_a, aligned_b), rtol=1e-5, atol=1e-6)
    filled = joined.impute(left, right)
    assert filled[0].shape == (90, 5)
    assert not filled[0].isna().any(axis=None)
    pd.testing.assert_frame_equal(filled[1].loc[right.index], right, check_dtype=False)


def test_one_view(a):
    model = mv.MVAE(**TINY).fit(a)
    assert model.view_names_ == ["view_0"]
    assert model.transform(a).shape == (90, 2)
    assert model.predict(a).shape == a.shape
    assert model.impute(a).shape == a.shape
    assert isinstance(model.predict(frame(a, "a")), pd.DataFrame)
    assert model.fit(frame(a, "a"), None).predict({"view_0": a}).keys() == {"view_0"}


def test_six_views_with_gaps():
    widths = (3, 1, 4, 2, 5, 2)
    data = make_multiview(80, widths, missing=0.3, random_state=0)
    model = mv.MMVAE(**{**TINY, "n_importance_samples": 2}).fit(data)
    with pytest.warns(UserWarning, match=r"^\d+ of 80 samples have none of the given views"):
        out = model.predict(data, given=[0, "view_3"], target=["view_5", 1])
    assert list(out) == ["view_5", "view_1"]
    assert [x.shape for x in out.values()] == [(80, 2), (80, 1)]
    assert len(model.predict_latents(data)) == 6
    assert np.isfinite(model.score_samples(data, n_samples=5)).all()
    filled = as_views(model.impute(data))
    assert filled.present.all()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7)])
def test_images_go_through_convolutions_and_keep_their_shape(shape):
    rng = np.random.RandomState(0)
    images, table = rng.uniform(size=(40, *shape)), rng.standard_normal((40, 3))
    model = mv.MVAE(**{**TINY, "encoder": "auto", "decoder": "auto"}, likelihood={"image": "bernoulli"})
    model.fit({"image": images, "table": table})
    kinds = [type(net).__name__ for net in (*model.network_.encoders, *model.network_.decoders)]
    assert kinds == ["CNNEncoder", "MLP", "CNNDecoder", "MLP"]
    out = model.predict({"table": table}, target="image")["image"]
    assert out.shape == images.shape
    assert ((out >= 0) & (out <= 1)).all()
    assert model.sample(3).array("image").shape == (3, *shape)
    assert model.predict({"table": table}, target="image", n_samples=2)["image"].shape == (2, *images.shape)


# ---- containers of answers ------------------------------------------------------------------------------------------


def test_frames_in_frames_out(a, b, model):
    model = mv.MVAE(**TINY).fit({"left": frame(a, "a"), "right": frame(b, "b")})
    new = {"left": frame(a[:7], "a", list("tuvwxyz")), "right": frame(b[:7], "b", list("tuvwxyz"))}
    z = model.transform(new)
    assert z.columns.tolist() == ["z0", "z1"]
    assert z.index.tolist() == list("tuvwxyz")
    for out in (model.predict(new), model.impute(new)):
        assert list(out) == ["left", "right"]
        assert out["left"].columns.tolist() == [f"a{i}" for i in range(5)]
        assert out["right"].index.tolist() == list("tuvwxyz")
    crossed = model.predict({"left": new["left"]}, target="right")
    assert crossed["right"].columns.tolist() == [f"b{i}" for i in range(4)]
    assert crossed["right"].index.tolist() == list("tuvwxyz")


def test_column_labels_come_back_as_they_were(a):
    table = pd.DataFrame(a)
    out = mv.MVAE(**TINY).fit({"left": table}).impute({"left": table})["left"]
    pd.testing.assert_frame_equal(out, table)


def test_index_of_every_kind_comes_back(a):
    for index in (pd.date_range("2020", periods=90, name="day"), pd.MultiIndex.from_product([range(9), range(10)])):
        table = frame(a, "a", index)
        model = mv.MVAE(**TINY).fit({"left": table})
        assert model.transform({"left": table}).index.equals(index)
        assert model.impute({"left": table})["left"].index.equals(index)


def test_columns_are_matched_by_name(a, b):
    model = mv.MVAE(**TINY).fit({"left": frame(a, "a"), "right": frame(b, "b")})
    expected = model.transform({"left": frame(a, "a"), "right": frame(b, "b")})
    shuffled = {"right": frame(b, "b"), "left": frame(a, "a").iloc[:, ::-1]}
    pd.testing.assert_frame_equal(model.transform(shuffled), expected)


def test_tensors_in_tensors_out(a, b, model):
    ta, tb = torch.tensor(a), torch.tensor(b)
    z = model.transform(ta, tb)
    assert isinstance(z, torch.Tensor)
    assert z.dtype == torch.float32
    assert not z.requires_grad
    assert all(isinstance(x, torch.Tensor) for x in model.predict(ta, tb))
    assert isinstance(model.transform(ta, tb, n_samples=3, random_state=0), torch.Tensor)
    assert all(isinstance(x, torch.Tensor) for x in model.predict(ta, tb, n_samples=3, random_state=0))


@pytest.mark.parametrize(
    ("form", "n_samples"),
    [
        *((form, 3) for form in ["dict", "list", "tensors", "frames", "two-level frame"]),
        *((form, 90) for form in ["dict", "list", "tensors", "frames", "two-level frame"]),
    ],
)
def test_draws_keep_their_axis_in_every_container(form, n_samples, a, b, model):
    given = FORMS[form](a, b)
    assert tuple(np.shape(model.transform(*given, n_samples=n_samples))) == (n_samples, 90, 2)
    assert [x.shape for x in arrays(model.predict(*given, n_samples=n_samples))] == [
        (n_samples, 90, 5),
        (n_samples, 90, 4),
    ]


def test_keys_are_those_of_the_input(a, b, model):
    assert isinstance(model.predict([a, b]), list)
    assert isinstance(model.predict(a, b), list)
    assert list(model.predict({"view_1": b, "view_0": a})) == ["view_0", "view_1"]
    assert list(model.predict(Views(view_0=a, view_1=b), target=["view_1"])) == ["view_1"]
    # a model of one view: a bare view in, a bare view out
    assert mv.MVAE(**TINY).fit(a).predict(a).shape == a.shape
    # a view left out by None
    assert [x.shape for x in model.predict(None, b)] == [a.shape, b.shape]
    np.testing.assert_array_equal(model.transform([None, b]), model.transform({"view_1": b}))


def test_inputs_are_not_changed(a, b, model):
    left, right = a.copy(), b.copy()
    left[3], right[5, 2] = NAN, NAN
    kept = left.copy(), right.copy()
    other = clone(model).fit(left, right)
    other.transform(left, right)
    other.predict(left, right)
    other.impute(left, right)
    other.score(left, right)
    np.testing.assert_array_equal(left, kept[0])
    np.testing.assert_array_equal(right, kept[1])


# ---- given and target -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["view_1", 1, -1, ["view_1"], [1], ("view_1",), np.array([1])])
def test_given_by_name_and_by_position(any_model, data, given):
    expected = any_model.transform(data.select("view_1"))
    np.testing.assert_array_equal(any_model.transform(data, given=given), expected)
    for got, want in zip(
        arrays(any_model.predict(data, given=given)), arrays(any_model.predict(data.select("view_1"))), strict=True
    ):
        np.testing.assert_array_equal(got, want)


def test_given_as_a_numpy_integer(model, data):
    np.testing.assert_array_equal(model.transform(data, given=np.int64(1)), model.transform(data, given=1))


def test_given_uses_nothing_of_the_other_views(any_model, a, b):
    z = any_model.transform(a, b, given=0)
    np.testing.assert_array_equal(any_model.transform(a, np.full_like(b, 1e6), given=0), z)
    np.testing.assert_array_equal(any_model.transform(a, np.full_like(b, NAN), given=0), z)


@pytest.mark.parametrize("target", ["view_0", 0, -2, ["view_0"], [0]])
def test_target_by_name_and_by_position(model, data, target):
    out = model.predict(data, target=target)
    assert list(out) == ["view_0"]
    np.testing.assert_array_equal(out["view_0"], model.predict(data)["view_0"])


def test_transform_and_predict_are_deterministic(any_model, data):
    state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    np.testing.assert_array_equal(any_model.transform(data), any_model.transform(data))
    for one, other in zip(arrays(any_model.predict(data)), arrays(any_model.predict(data)), strict=True):
        np.testing.assert_array_equal(one, other)
    any_model.transform(data, n_samples=2)
    any_model.score(data)
    assert torch.equal(torch.random.get_rng_state(), state[0])
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002


def test_a_row_does_not_depend_on_those_around_it(any_model, data):
    z = any_model.transform(data)
    np.testing.assert_allclose(any_model.transform(data[[7, 3]]), z[[7, 3]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(any_model.transform(data[5]), z[5:6], rtol=1e-5, atol=1e-6)


def test_dropout_and_batch_norm_are_off_after_training(data):
    net = {"hidden": [8], "dropout": 0.5, "norm": "batch"}
    model = mv.MVAE(**{**TINY, "encoder": net, "decoder": net}).fit(data)
    assert not model.network_.training
    z, weights = model.transform(data), copy.deepcopy(model.network_.state_dict())
    np.testing.assert_allclose(model.transform(data[:1]), z[:1], rtol=1e-5, atol=1e-6)
    assert all(torch.equal(weights[name], value) for name, value in model.network_.state_dict().items())


# ---- draws ----------------------------------------------------------------------------------------------------------


def test_draws_are_seeded(any_model, data):
    one, same, other = (any_model.transform(data, n_samples=4, random_state=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    if not isinstance(any_model, mv.AE):  # whose codes have no noise
        assert not np.allclose(one, other)
        assert not np.allclose(one[0], one[1])
    np.testing.assert_array_equal(
        any_model.transform(data, n_samples=4), any_model.transform(data, n_samples=4, random_state=0)
    )  # the model's own random_state


def test_draws_have_the_posterior_as_their_distribution(any_model, data):
    rows = data[:3]
    z = any_model.transform(rows, n_samples=4000, random_state=0)
    mean = any_model.transform(rows)
    error = z.std(axis=0) / np.sqrt(4000)
    assert (np.abs(z.mean(axis=0) - mean) <= 4.5 * error + 1e-5).all()


def test_posterior_of_mvae_draws_are_normal_with_the_products_scale(model, data):
    z = model.transform(data[:1], n_samples=3000, random_state=0)[:, 0]
    batch_q = model.network_.posterior(make_batch(data[:1], model.views_))
    for i in range(2):
        p = stats.kstest(z[:, i], "norm", args=(batch_q.mean[0, i].item(), batch_q.stddev[0, i].item())).pvalue
        assert p > 1e-3


def test_predicted_draws_scatter_around_the_data_in_their_units(mixed):
    model = mv.MVAE(**TINY, likelihood={"image": "mse"}).fit(mixed)
    out = model.predict(mixed[:20], n_samples=300, random_state=0)
    assert set(np.unique(out["binary"])) == {0, 1}
    assert (out["label"].sum(-1) == 1).all()
    assert abs(out["real"].mean() - 100) < 5
    assert 5 < out["real"].std() < 20  # the noise is part of a draw: an untrained model explains nothing
    # the mean over draws of a binary entry is near its probability at the posterior mean, which hardly moves it here
    assert np.abs(out["binary"].mean(0) - model.predict(mixed[:20])["binary"]).mean() < 0.1
    again = model.predict(mixed[:20], n_samples=300, random_state=0)
    np.testing.assert_array_equal(out["real"], again["real"])


# ---- sample ---------------------------------------------------------------------------------------------------------


def test_sample_draws_views_in_the_units_of_the_data(mixed):
    model = mv.MVAE(**TINY, likelihood={"image": "bernoulli"}).fit(mixed)
    new = model.sample(500, random_state=1)
    assert isinstance(new, Views)
    assert new.shapes == mixed.shapes
    assert len(new) == 500
    assert set(np.unique(new.array("binary"))) == {0, 1}
    assert set(np.unique(new.array("label"))) == {0, 1}
    assert abs(new.array("real").mean() - 100) < 5
    np.testing.assert_array_equal(new.array("real"), model.sample(500, random_state=1).array("real"))
    assert not np.array_equal(new.array("real"), model.sample(500, random_state=2).array("real"))
    expected = model.sample(500, expected=True, random_state=1)
    assert ((expected.array("binary") > 0) & (expected.array("binary") < 1)).all()
    np.testing.assert_allclose(expected.array("label").sum(1), 1, rtol=1e-5)
    assert expected.array("real").std() < new.array("real").std()
    assert model.transform(new).shape == (500, 2)
    assert len(model.sample()) == 1


def test_samples_carry_the_feature_names(a, b):
    model = mv.MVAE(**TINY).fit({"left": frame(a, "a"), "right": frame(b, "b")})
    assert model.sample(2).feature_names["right"].tolist() == [f"b{i}" for i in range(4)]


def test_where_nothing_is_given_the_answer_is_the_priors(model, a, b):
    left, right = a.copy(), b.copy()
    left[[2, 4]], right[[4, 6]] = NAN, NAN
    with pytest.warns(UserWarning, match=r"^1 of 90 samples have none of the given views"):
        z = model.transform(left, right)
    np.testing.assert_array_equal(z[4], 0)
    assert (z[[2, 6]] != 0).all()
    with pytest.warns(UserWarning, match=r"^2 of 90 samples"):
        assert (model.transform(left, right, given=0)[[2, 4]] == 0).all()
    with pytest.warns(UserWarning, match=r"^90 of 90 samples"):
        draws = model.transform({"view_0": a}, given="view_1", n_samples=50, random_state=0)
    assert stats.kstest(draws.ravel(), "norm").pvalue > 1e-3
    with pytest.warns(UserWarning, match=r"^2 of 90 samples"):
        out = model.predict(left, right, given=0)
    np.testing.assert_array_equal(out[0][2], out[0][4])
    with pytest.warns(UserWarning, match=r"^1 of 90 samples"):
        assert np.isfinite(model.impute([left, right])[1]).all()


def test_the_warning_points_at_the_users_line(model, a):
    with pytest.warns(UserWarning, match="90 of 90") as caught:
        model.transform({"view_0": a}, given="view_1")
    assert caught[0].filename == __file__


# ---- missing data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [mv.AE, mv.MEMVAE, mv.MMVAE], ids=lambda cls: cls.__name__)
def test_missing_views_in_every_form_are_the_same(cls, a, b):
    holes = b.copy()
    holes[10:30] = NAN
    forms = [
        (a, holes),
        ({"view_0": a, "view_1": [None if 10 <= i < 30 else row for i, row in enumerate(b)]},),
        (Views({"view_0": a, "view_1": b}, present={"view_1": ~np.isnan(holes[:, 0])}),),
        ([frame(a, "a"), frame(b, "b").drop(index=[f"s{i}" for i in range(10, 30)])],),
    ]
    models = [cls(**TINY).fit(*form) for form in forms]
    for other, form in zip(models, forms, strict=True):
        assert same_weights(other, models[0])
        np.testing.assert_array_equal(np.asarray(other.transform(*form)), models[0].transform(a, holes))
    # the rows without it answer as if only the other view were given
    z = models[0].transform(a, holes)
    np.testing.assert_allclose(z[10:30], models[0].transform(a[10:30], b[10:30], given=0), rtol=1e-5, atol=1e-6)


def test_zeros_are_data(any_model, a, b):
    zeros, holes = a.copy(), a.copy()
    zeros[10:30], holes[10:30] = 0, NAN
    assert not np.allclose(any_model.transform(zeros, b)[10:30], any_model.transform(holes, b)[10:30])


def test_a_missing_entry_looks_like_the_training_mean_and_leaves_the_likelihood(model, a, b):
    holes = a.copy()
    holes[:, 2] = NAN
    filled = a.copy()
    filled[:, 2] = model.views_[0].loc[2]
    np.testing.assert_allclose(model.transform(holes, b), model.transform(filled, b), atol=1e-6)
    # one draw of z, the same for both: the scores differ by the density of the entry alone
    scores, full = (model.score_samples(x, b, n_samples=1, random_state=0) for x in (holes, filled))
    z = model.transform(holes, b, n_samples=1, random_state=0)[0]
    with torch.no_grad():
        eta = model.network_.decode(torch.from_numpy(z), 0)[:, 2].numpy()
        sigma = model.network_.likelihood(0).sigma[2].item()
    density = stats.norm.logpdf(0.0, eta, sigma) - np.log(model.views_[0].scale[2])
    np.testing.assert_allclose(full - scores, density, rtol=1e-3, atol=1e-4)


def test_impute_keeps_what_is_there_and_predicts_what_is_not(any_model, a, b):
    left, right = a.astype(float), b.astype(float)
    left[3:9], right[20, 1], right[40] = NAN, NAN, NAN
    out = any_model.impute({"view_0": left, "view_1": right})
    predicted = any_model.predict({"view_0": left, "view_1": right})
    for name, x in {"view_0": left, "view_1": right}.items():
        hole = np.isnan(x)
        np.testing.assert_array_equal(out[name][~hole], x[~hole])
        np.testing.assert_allclose(out[name][hole], predicted[name][hole], rtol=1e-6)
    # a view that was left out altogether
    both = any_model.impute({"view_0": a})
    assert both["view_1"].shape == b.shape


def test_rows_without_any_view_are_left_out_of_training(a, b):
    left, right = a.copy(), b.copy()
    left[80:], right[80:] = NAN, NAN
    with pytest.warns(UserWarning, match="10 of 90 samples have no view at all; they are left out"):
        model = mv.MVAE(**TINY).fit(left, right)
    assert same_weights(model, mv.MVAE(**TINY).fit(a[:80], b[:80]))


# ---- scores ---------------------------------------------------------------------------------------------------------


def test_scores(any_model, data, a, b):
    scores = any_model.score_samples(data, random_state=3)
    assert isinstance(scores, np.ndarray)
    assert scores.shape == (90,)
    assert np.isfinite(scores).all()
    score = any_model.score(data, random_state=3)
    assert isinstance(score, float)
    assert score == pytest.approx(scores.mean(), rel=1e-6)
    assert any_model.score(data, np.arange(90)) == any_model.score(data, None) == any_model.score(a, b)


def test_scores_are_densities_in_the_units_of_the_data(any_model, a, b):
    """x -> c x + d divides a density by |c| per feature; predictions follow the data."""
    c, d = 50.0, -300.0
    other = clone(any_model).fit(c * a + d, b)
    np.testing.assert_allclose(other.transform(c * a + d, b), any_model.transform(a, b), rtol=1e-2, atol=1e-3)
    predicted = other.predict(c * a + d, b)[0]
    np.testing.assert_allclose(predicted, c * any_model.predict(a, b)[0] + d, rtol=1e-3, atol=1e-2)
    jacobian = -5 * np.log(c) if any_model.has_likelihood else 0
    np.testing.assert_allclose(
        other.score_samples(c * a + d, b), any_model.score_samples(a, b) + jacobian, rtol=1e-3, atol=1e-2
    )


def test_large_offsets_do_not_round_the_answers_away(b):
    years = 1e9 + np.random.RandomState(0).standard_normal((90, 3))
    out = mv.MVAE(**TINY).fit(years, b).predict(years, b)[0]
    assert 0 < np.ptp(out) < 20  # the predictions differ, and stay near the data
    assert np.abs(out - 1e9).max() < 10


def test_score_of_few_draws_is_below_that_of_many(model, data):
    few = np.mean([model.score(data, n_samples=1, random_state=seed) for seed in range(20)])
    assert few < model.score(data, n_samples=300, random_state=0)


def test_without_scaling_data_go_through_as_they_are(a, b):
    model = mv.MVAE(**TINY, scale={"view_0": None}).fit(a, b)
    np.testing.assert_array_equal(model.views_[0].loc, 0)
    np.testing.assert_array_equal(model.views_[0].scale, 1)
    np.testing.assert_allclose(model.views_[1].loc, b[_training_rows(model, b)].mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.views_[1].scale, b[_training_rows(model, b)].std(0), rtol=1e-5)
    assert all((view.scale == 1).all() for view in mv.MVAE(**TINY, scale=None).fit(a, b).views_)


def _training_rows(model, x):
    """All rows but those held out."""
    return np.setdiff1d(np.arange(len(x)), model.held_out_)


# ---- likelihoods ----------------------------------------------------------------------------------------------------


def test_likelihoods_are_chosen_from_the_data_and_said_in_one_line_each(mixed, caplog):
    with caplog.at_level(logging.INFO, logger="manyview"):
        model = mv.MVAE(**{**TINY, "max_epochs": 1}).fit(mixed)
    kinds = {view.name: type(view.likelihood).__name__ for view in model.views_}
    assert kinds == {"image": "Normal", "label": "Categorical", "binary": "Bernoulli", "real": "Normal"}
    lines = [r.getMessage() for r in caplog.records if r.name == "manyview" and "likelihood" in r.getMessage()]
    assert len(lines) == 4
    assert "view 'binary': likelihood 'bernoulli', chosen from the data" in lines


def test_the_choice_does_not_depend_on_the_split():
    rare = np.zeros((50, 2))
    rare[0] = 1
    kinds = {type(mv.MVAE(**{**TINY, "random_state": i}).fit(rare).views_[0].likelihood) for i in range(6)}
    assert kinds == {Bernoulli}


def test_counts_stay_continuous():
    counts = np.random.RandomState(0).poisson(2.0, size=(40, 3))
    assert type(mv.MVAE(**TINY).fit(counts).views_[0].likelihood) is Normal


@pytest.mark.parametrize(
    ("spec", "kind", "settings"),
    [
        ("laplace", Laplace, {}),
        (Normal(scale=0.75, learn_scale=False), Normal, {"scale": 0.75, "learn_scale": False}),
        ({"name": "normal", "scale": 0.5}, Normal, {"scale": 0.5}),
        ({"_target_": "manyview.likelihoods.MultivariateNormal", "rank": 2}, MultivariateNormal, {"rank": 2}),
        ({"view_0": "laplace", "default": {"name": "normal", "min_scale": 0.1}}, Laplace, {}),
        ({"view_0": {"name": "multivariate_normal", "rank": 1}}, MultivariateNormal, {"rank": 1}),
    ],
)
def test_likelihoods_by_name_object_mapping_and_view(data, spec, kind, settings):
    model = mv.MVAE(**TINY, likelihood=spec).fit(data)
    likelihood = model.views_[0].likelihood
    assert type(likelihood) is kind
    assert likelihood.settings().items() >= settings.items()
    assert type(model.network_.likelihood(0)) is kind
    assert np.isfinite(model.score(data))


def test_a_likelihood_per_view(mixed):
    spec = {"image": "bernoulli", "label": Categorical(), "binary": "normal", "real": "laplace"}
    model = mv.MEMVAE(**TINY, likelihood=spec, scale={"binary": None}).fit(mixed)
    assert [type(view.likelihood).__name__ for view in model.views_] == [
        "Bernoulli",
        "Categorical",
        "Normal",
        "Laplace",
    ]
    standardised = [bool((view.scale != 1).any()) for view in model.views_]
    assert standardised == [False, False, False, True]
    assert spec["image"] == "bernoulli"
    assert model.likelihood is spec


def test_a_likelihood_object_is_not_changed_by_training(data):
    mine = Normal(scale=0.5)
    mv.MVAE(**TINY, likelihood=mine).fit(data)
    assert mine.shape is None
    assert not list(mine.parameters())


def test_probabilities_and_not_logits(mixed):
    model = mv.MVAE(**TINY, likelihood={"image": Bernoulli()}).fit(mixed)
    out = model.predict(mixed)
    for name in ("image", "binary"):
        assert ((out[name] > 0) & (out[name] < 1)).all()
    np.testing.assert_allclose(out["label"].sum(1), 1, rtol=1e-5)


class Gamma(Likelihood):
    """A user's own likelihood, of positive numbers with a fixed shape."""

    continuous = True

    def __init__(self, concentration: float = 2.0) -> None:
        super().__init__()
        self.concentration = concentration

    def _make_parameters(self, shape):
        pass

    def log_prob(self, eta, x, observed=None):
        q = torch.distributions.Gamma(self.concentration, eta.exp(), validate_args=False)
        density = q.log_prob(x.clamp(min=1e-6))
        return (density if observed is None else density * observed).sum(-1)

    def mean(self, eta):
        return self.concentration * (-eta).exp()

    def sample(self, eta, generator=None):
        return torch._standard_gamma(torch.full_like(eta, self.concentration), generator) * (-eta).exp()

    def check(self, x, view):
        if (x <= 0).any():
            raise ValueError(f"view {view!r}: gamma needs positive values")


def test_a_likelihood_of_ones_own():
    x = np.random.RandomState(0).gamma(2.0, size=(60, 3))
    model = mv.MVAE(**TINY, likelihood=Gamma(2.0), scale=None).fit(x)
    assert (model.predict(x) > 0).all()
    assert (model.sample(20, random_state=0).array("view_0") > 0).all()
    with pytest.raises(ValueError, match="gamma needs positive values"):
        model.fit(-x)


# ---- networks -------------------------------------------------------------------------------------------------------


class Encoder(nn.Module):
    """A user's encoder."""

    def __init__(self, in_shape=(5,), out_dim=4, hidden=6):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(*in_shape, hidden), nn.Tanh(), nn.Linear(hidden, out_dim))

    def forward(self, x):
        return self.layers(x)


def linear_decoder(in_dim, out_shape):
    return nn.Linear(in_dim, out_shape[0])


def test_networks_in_every_form(data):
    mine = Encoder()
    before = copy.deepcopy(mine.state_dict())
    model = mv.MVAE(
        **{**TINY, "encoder": {"view_0": mine, "view_1": Encoder}, "decoder": {"view_0": linear_decoder}}
    ).fit(data)
    nets = model.network_
    assert type(nets.encoders[0]) is type(nets.encoders[1]) is Encoder
    assert type(nets.decoders[0]) is nn.Linear
    assert type(nets.decoders[1]).__name__ == "MLP"
    assert nets.encoders[0] is not mine
    assert all(torch.equal(before[name], value) for name, value in mine.state_dict().items())


def test_networks_by_settings_name_and_target(data):
    spec = {
        "view_0": {"_target_": f"{Encoder.__module__}.Encoder", "hidden": 3},
        "view_1": {"hidden": [7, 5], "activation": "silu", "norm": "layer"},
    }
    model = mv.MVAE(**{**TINY, "encoder": spec, "decoder": "mlp"}).fit(data)
    assert model.network_.encoders[0].layers[0].out_features == 3
    assert [x.out_features for x in model.network_.encoders[1].modules() if isinstance(x, nn.Linear)] == [7, 5, 4]
    assert any(isinstance(x, nn.SiLU) for x in model.network_.encoders[1].modules())


# ---- scikit-learn ---------------------------------------------------------------------------------------------------


def test_fit_returns_self_and_fit_transform_its_latents(any_model, data):
    other = clone(any_model)
    assert other.fit(data) is other
    np.testing.assert_array_equal(other.fit_transform(data, np.zeros(90)), any_model.transform(data))


def test_fit_transform_takes_what_fit_takes(model, data, a, b):
    np.testing.assert_array_equal(clone(model).fit_transform(a, b), model.transform(data))
    assert len(clone(model).fit_transform(data, max_epochs=1)) == 90


def test_params_clone_and_repr(any_model):
    params = any_model.get_params()
    assert params["z_dim"] == 2
    assert "cfg" not in params
    twin = clone(any_model)
    assert twin.get_params() == params
    assert "network_" not in vars(twin)
    with pytest.raises(NotFittedError):
        twin.history_  # noqa: B018
    twin.set_params(z_dim=7, beta=2.0) if "beta" in params else twin.set_params(z_dim=7)
    assert twin.z_dim == 7
    assert any_model.z_dim == 2
    assert type(any_model).__name__ in repr(any_model)
    assert "z_dim=2" in repr(any_model)
    assert repr(type(any_model)()) == f"{type(any_model).__name__}()"
    assert any_model._repr_html_().startswith("<")
    assert not is_regressor(any_model)


def test_train_test_split_and_cross_validation(data):
    train, test, labels, _ = train_test_split(data, np.arange(90), test_size=0.2, random_state=0)
    assert isinstance(train, Views)
    np.testing.assert_array_equal(train.array("view_0"), data.array("view_0")[labels])
    model = mv.MVAE(**TINY)
    plain = cross_val_score(model, data, cv=3, error_score="raise")
    with_y = cross_val_score(model, data, np.arange(90), cv=3, error_score="raise")
    assert plain.shape == (3,)
    np.testing.assert_array_equal(plain, with_y)
    folds = list(KFold(3).split(np.arange(90)))
    by_hand = [clone(model).fit(data[rows]).score(data[others]) for rows, others in folds]
    np.testing.assert_array_equal(plain, by_hand)
    assert len(test) == 18


@pytest.mark.parametrize("y", [None, np.arange(90) % 2, pd.Series(np.arange(90) % 2)], ids=["none", "array", "series"])
def test_cross_validation_of_a_two_level_frame(a, b, data, y):
    table = pd.concat({"view_0": frame(a, "a"), "view_1": frame(b, "b")}, axis=1)
    if isinstance(y, pd.Series):
        y.index = table.index
    scores = cross_val_score(mv.MVAE(**TINY), table, y, cv=KFold(3), error_score="raise")
    np.testing.assert_allclose(scores, cross_val_score(mv.MVAE(**TINY), data, cv=3), rtol=1e-5)


def test_grid_search_in_two_processes(data):
    search = GridSearchCV(mv.MVAE(**TINY), {"z_dim": [1, 2], "beta": [1.0]}, cv=2, n_jobs=2, error_score="raise")
    search.fit(data)
    assert search.best_params_["z_dim"] in (1, 2)
    assert search.best_estimator_.transform(data).shape == (90, search.best_params_["z_dim"])
    expected = cross_val_score(mv.MVAE(**{**TINY, "z_dim": 2}), data, cv=2)
    row = [p["z_dim"] for p in search.cv_results_["params"]].index(2)
    assert search.cv_results_["mean_test_score"][row] == pytest.approx(expected.mean(), rel=1e-4)


def test_pipelines(data, a, model):
    alone = Pipeline([("model", mv.MVAE(**TINY))]).fit(data)
    np.testing.assert_array_equal(alone.transform(data), model.transform(data))
    assert alone.score(data) == model.score(data)
    assert alone.get_feature_names_out().tolist() == ["z0", "z1"]
    assert alone.set_params(model__z_dim=3)["model"].z_dim == 3

    y = (a[:, 0] > 0).astype(int)
    classifier = Pipeline([("latents", mv.MVAE(**TINY)), ("classify", LogisticRegression())]).fit(data, y)
    expected = LogisticRegression().fit(model.transform(data), y)
    np.testing.assert_array_equal(classifier.predict(data), expected.predict(model.transform(data)))
    assert classifier.score(data, y) == expected.score(model.transform(data), y)
    assert cross_val_score(classifier, data, y, cv=3, error_score="raise").shape == (3,)


def test_set_output(data, a, b):
    model = mv.MVAE(**TINY).set_output(transform="pandas").fit(data)
    z = model.transform(data)
    assert isinstance(z, pd.DataFrame)
    assert z.columns.tolist() == model.get_feature_names_out().tolist() == ["z0", "z1"]
    assert isinstance(model.fit_transform(data), pd.DataFrame)
    assert isinstance(model.set_output(transform="default").transform(data), np.ndarray)


def test_set_output_keeps_the_ids(a, b):
    labelled = Views({"view_0": a, "view_1": b}, ids=[f"s{i}" for i in range(90)])
    model = mv.MVAE(**TINY).set_output(transform="pandas").fit(labelled)
    assert model.transform(labelled).index.tolist() == labelled.ids.tolist()


def test_draws_do_not_fit_in_the_output_that_was_set(data):
    model = mv.MVAE(**TINY).set_output(transform="pandas").fit(data)
    with pytest.raises(ValueError, match=r"n_samples=3: draws have three dimensions"):
        model.transform(data, n_samples=3)
    assert np.shape(model.set_output(transform="default").transform(data, n_samples=3)) == (3, 90, 2)


@pytest.mark.parametrize(
    "copied",
    [lambda m, _: pickle.loads(pickle.dumps(m)), lambda m, _: copy.deepcopy(m), lambda m, path: _joblib(m, path)],
    ids=["pickle", "deepcopy", "joblib"],
)
def test_fitted_models_are_copied_whole(any_model, data, copied, tmp_path):
    other = copied(any_model, tmp_path)
    assert same_weights(any_model, other)
    np.testing.assert_array_equal(other.transform(data), any_model.transform(data))
    np.testing.assert_array_equal(other.score_samples(data), any_model.score_samples(data))
    pd.testing.assert_frame_equal(other.history_, any_model.history_)


def test_a_copy_is_trained_without_its_original(model, data):
    before = copy.deepcopy(model.network_.state_dict())
    copy.deepcopy(model).fit(data[:40])
    assert all(torch.equal(before[name], value) for name, value in model.network_.state_dict().items())


def _joblib(model, path):
    joblib.dump(model, path / "model.joblib")
    return joblib.load(path / "model.joblib")


def test_the_history_is_not_shared_by_reference(model):
    table = model.history_
    table.loc[:, "loss"] = 0.0
    assert (model.history_["loss"] != 0).all()


# ---- fit ------------------------------------------------------------------------------------------------------------


def test_fitting_again_forgets_the_first(data):
    other = make_multiview(60, (3, 6, 2), random_state=1)
    model = mv.MVAE(**TINY).fit(data).fit(other)
    assert same_weights(model, mv.MVAE(**TINY).fit(other))
    assert model.view_names_ == ["view_0", "view_1", "view_2"]
    assert len(model.history_) == 3


def test_a_fit_that_fails_leaves_the_model_as_it_was(data):
    model = mv.MVAE(**TINY).fit(data)
    z = model.transform(data)
    with pytest.raises(ValueError, match="no samples"):
        model.fit(np.zeros((0, 3)))
    np.testing.assert_array_equal(model.transform(data), z)


def test_arguments_of_fit_come_before_the_parameters(data):
    model = mv.MVAE(**TINY)
    model.fit(data, max_epochs=2, batch_size=10)
    assert (model.max_epochs, model.batch_size) == (3, 32)
    assert len(model.history_) == 2
    assert same_weights(model, mv.MVAE(**{**TINY, "max_epochs": 2, "batch_size": 10}).fit(data))
    assert len(model.fit(data).history_) == 3


def test_validation_data_of_ones_own(data, a, b):
    train, held_out = data[:60], data[60:]
    model = mv.MVAE(**TINY).fit(train, validation=held_out)
    assert "val_loss" in model.history_
    np.testing.assert_allclose(model.views_[0].loc, a[:60].mean(0), rtol=1e-5, atol=1e-7)  # all rows were trained on
    for form in ([a[60:], b[60:]], (a[60:], b[60:]), {"view_1": b[60:], "view_0": a[60:]}):
        other = mv.MVAE(**TINY).fit(train, validation=form)
        assert same_weights(model, other)
        pd.testing.assert_frame_equal(model.history_, other.history_)
    assert "val_loss" not in mv.MVAE(**TINY, validation_fraction=0).fit(data).history_


def test_input_dim(data):
    assert mv.MVAE(**TINY, input_dim=[5, 4]).fit(data).transform(data).shape == (90, 2)
    with pytest.raises(ValueError, match=r"input_dim=\[4, 5\], but the views have \[5, 4\] features"):
        mv.MVAE(**TINY, input_dim=[4, 5]).fit(data)


def test_fitting_in_a_thread(data, model):
    other = mv.MVAE(**TINY)
    thread = threading.Thread(target=other.fit, args=(data,))
    thread.start()
    thread.join()
    assert same_weights(model, other)


def test_fitting_in_several_threads_at_once(data):
    models = [mv.MVAE(**{**TINY, "max_epochs": 20}) for _ in range(3)]
    threads = [threading.Thread(target=other.fit, args=(data,)) for other in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = mv.MVAE(**{**TINY, "max_epochs": 20}).fit(data)
    assert all(same_weights(alone, other) for other in models)


def test_another_default_dtype(data):
    torch.set_default_dtype(torch.float64)
    try:
        assert np.isfinite(mv.MVAE(**TINY).fit(data).score(data))
    finally:
        torch.set_default_dtype(torch.float32)


# ---- the calls of the multi-view-AE library -------------------------------------------------------------------------


def test_predict_latents_and_reconstructions(any_model, a, b):
    joint = (mv.JMVAE, mv.DVCCA, mv.MVAE, mv.MEMVAE, mv.WeightedMVAE, mv.MVTCAE, mv.MoPoEVAE, mv.MMJSD, mv.DMVAE,
             mv.WeightedDMVAE)  # fmt: skip
    n_latents = 1 if isinstance(any_model, joint) else 2
    latents = any_model.predict_latents(a, b)
    assert isinstance(latents, list)
    assert [z.shape for z in latents] == [(90, 2)] * n_latents
    np.testing.assert_allclose(np.mean(latents, axis=0), any_model.transform(a, b), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(any_model.predict_latent(a, b), latents)
    if n_latents == 2:  # each view's own latent
        for m, z in enumerate(latents):
            np.testing.assert_allclose(z, any_model.transform(a, b, given=m), rtol=1e-5, atol=1e-6)
    pred = any_model.predict_reconstruction(a, b)
    assert [[x.shape for x in row] for row in pred] == [[a.shape, b.shape]] * n_latents
    if isinstance(any_model, mv.MoPoEVAE | mv.MMJSD | mv.MMVAEPlus):
        return  # their predictions average over subsets or views, and use what each view knows of its own
    expected = any_model.predict(a, b)
    for m in range(2):
        np.testing.assert_allclose(np.mean([row[m] for row in pred], axis=0), expected[m], rtol=1e-4, atol=1e-5)


def test_the_tutorials_names():
    aliases = {
        "mcVAE": mv.MCVAE, "mVAE": mv.MVAE, "me_mVAE": mv.MEMVAE, "mmVAE": mv.MMVAE, "weighted_mVAE": mv.WeightedMVAE,
        "mvtCAE": mv.MVTCAE, "mmJSD": mv.MMJSD, "mmVAEPlus": mv.MMVAEPlus, "weighted_DMVAE": mv.WeightedDMVAE,
        "mAAE": mv.MAAE, "mWAE": mv.MWAE,
    }  # fmt: skip
    assert {name: getattr(mv.models, name) for name in aliases} == aliases


# ---- nothing global -------------------------------------------------------------------------------------------------

STATE = """
import json, logging, sys, warnings, signal
import numpy as np, torch, sklearn.base
def state():
    root = logging.getLogger()
    return [str(torch.get_default_dtype()), torch.get_num_threads(), torch.initial_seed(),
            torch.random.get_rng_state().tolist(), np.random.get_state()[1].tolist(), np.geterr(),
            [str(f) for f in warnings.filters], [repr(h) for h in root.handlers], root.level, logging.root.disabled,
            repr(signal.getsignal(signal.SIGINT)), torch.is_grad_enabled(), np.get_printoptions()["precision"],
            torch.distributions.Distribution._validate_args, torch.are_deterministic_algorithms_enabled()]
"""


def _in_a_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_importing_and_training_change_nothing_global_and_are_silent():
    heavy = "['pandas', 'pytorch_lightning', 'hydra', 'omegaconf', 'matplotlib', 'tqdm', 'pydantic', 'torch._dynamo']"
    done = _in_a_new_process(f"""{STATE}
def same(before):
    after = state()
    assert after == before, [(a, b) for a, b in zip(after, before) if a != b]

before, modules = state(), set(sys.modules)
import manyview as mv
same(before)
print([m for m in {heavy} if m in set(sys.modules) - modules])
handlers = logging.getLogger("manyview").handlers
assert not [h for h in handlers if not isinstance(h, logging.NullHandler)]
assert logging.getLogger("manyview").level == logging.NOTSET

import pytorch_lightning
before, level = state(), logging.getLogger("pytorch_lightning").level
torch.cuda.manual_seed_all = None  # accelerators that take no part are not seeded
x = np.eye(20)[:, :5] + 1.5
model = mv.MVAE(z_dim=1, max_epochs=2, random_state=0, verbose=False).fit(x)
model.transform(x, n_samples=2), model.sample(2), model.score(x)
same(before)
assert logging.getLogger("pytorch_lightning").level == level
""")
    assert done.stdout == "[]\n"
    assert done.stderr == ""


def test_no_warnings_on_good_data(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = mv.MVAE(**TINY).fit(data)
        model.predict(data, given=0)
        model.impute(data)
        model.score(data)
        model.sample(2)


def test_held_out_samples_are_named_by_their_positions(data):
    """Those of the data as given, whatever rows were left out; none with validation samples of one's own."""
    holes = {name: data.array(name).copy() for name in data.names}
    for x in holes.values():
        x[:7] = np.nan
    with pytest.warns(UserWarning, match="7 of"):
        model = mv.MVAE(**TINY, validation_fraction=0.25).fit(holes)
    n = len(data)
    assert len(model.held_out_) == round(0.25 * (n - 7))
    assert len(set(model.held_out_)) == len(model.held_out_)
    assert model.held_out_.min() >= 7
    assert model.held_out_.max() < n
    rest = np.setdiff1d(np.arange(7, n), model.held_out_)
    np.testing.assert_allclose(model.views_[0].loc, holes["view_0"][rest].mean(0), rtol=1e-5)
    assert not len(mv.MVAE(**TINY).fit(data, validation=data).held_out_)


@pytest.mark.parametrize("Model", [mv.MoPoEVAE, mv.DMVAE, mv.DCCA], ids=lambda cls: cls.__name__)
def test_predictions_are_the_same_however_much_is_decoded_at_once(Model, data, monkeypatch):
    model = Model(**TINY).fit(data)
    expected = model.predict(data)
    monkeypatch.setattr("manyview.estimator._DRAWS", 10)
    for found, whole in zip(arrays(model.predict(data)), arrays(expected), strict=True):
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)
