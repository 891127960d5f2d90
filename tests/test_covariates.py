r"""Conditional models through the face: covariates beside the views in every method, matched, split and dropped with
their rows; what they explain, z need not hold; what would be, if they were others; the evidence, log p(X | c).
"""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from torch import nn

import manyview as mv
from manyview.data import Views
from manyview.datasets import make_multiview

NAN = float("nan")
N = 60
TINY = {
    "z_dim": 2,
    "encoder": {"hidden": [6]},
    "decoder": {"hidden": [6]},
    "max_epochs": 2,
    "batch_size": 32,
    "random_state": 0,
    "verbose": False,
}
LINEAR = {
    **TINY,
    "encoder": {"hidden": []},
    "decoder": {"hidden": []},
    "max_epochs": 40,
    "batch_size": 50,
    "learning_rate": 0.03,
}
IDS = [f"s{i}" for i in range(N)]
COVARIATES = pd.DataFrame(
    {"age": np.random.RandomState(3).uniform(20, 80, N), "site": (["Rome", "Oslo", "Bern"] * N)[:N]}, index=IDS
)
OTHERS = pd.DataFrame({"age": COVARIATES["age"] + 30, "site": np.roll(COVARIATES["site"], 1)}, index=IDS)
C = 4  # numbers that these become: age, and one for each of three sites


def same_weights(one, other):
    a, b = one.network_.state_dict(), other.network_.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_same(found, expected, **tolerance):
    """Of answers in any container."""
    if isinstance(expected, dict | list | Views):
        pairs = expected.items() if hasattr(expected, "items") else enumerate(expected)
        for key, x in pairs:
            assert_same(found[key], x, **tolerance)
    else:
        np.testing.assert_allclose(
            np.asarray(found), np.asarray(expected), **(tolerance or {"rtol": 1e-5, "atol": 1e-6})
        )


def differ(one, other):
    try:
        assert_same(one, other)
    except AssertionError:
        return True
    return False


@pytest.fixture(scope="module")
def frames():
    views = make_multiview(N, (5, 4), n_private=1, random_state=0)
    return {name: pd.DataFrame(views.array(name), index=IDS) for name in views.names}


@pytest.fixture(scope="module")
def gaps(frames):
    """Some rows without one of their views."""
    holes = {name: table.copy() for name, table in frames.items()}
    holes["view_0"].iloc[:5] = NAN
    holes["view_1"].iloc[5:9] = NAN
    return holes


@pytest.fixture(scope="module")
def model(frames):
    return mv.DMVAE(**TINY).fit(frames, covariates=COVARIATES)


@pytest.fixture(scope="module")
def plain(frames):
    return mv.DMVAE(**TINY).fit(frames)


METHODS = {
    "transform": lambda m, x, c: m.transform(x, covariates=c),
    "transform(given=)": lambda m, x, c: m.transform(x, given="view_1", covariates=c),
    "transform(n_samples=)": lambda m, x, c: m.transform(x, covariates=c, n_samples=2, random_state=0),
    "transform_private": lambda m, x, c: m.transform_private(x, covariates=c),
    "predict": lambda m, x, c: m.predict(x, covariates=c),
    "predict(given=, target=)": lambda m, x, c: m.predict(x, given="view_0", target="view_1", covariates=c),
    "predict(n_samples=)": lambda m, x, c: m.predict(x, covariates=c, n_samples=2, random_state=0),
    "impute": lambda m, x, c: m.impute({"view_0": x["view_0"]}, covariates=c),
    "score_samples": lambda m, x, c: m.score_samples(x, covariates=c, n_samples=3, random_state=0),
    "score_samples(given=)": lambda m, x, c: m.score_samples(x, covariates=c, given=0, n_samples=3, random_state=0),
    "score": lambda m, x, c: m.score(x, covariates=c, n_samples=3, random_state=0),
    "predict_latents": lambda m, x, c: m.predict_latents(x, covariates=c),
    "predict_reconstruction": lambda m, x, c: m.predict_reconstruction(x, covariates=c),
    "sample": lambda m, x, c: m.sample(covariates=c, random_state=0),
}
OF_SAMPLES = [name for name in METHODS if name != "sample"]  # new samples have no labels to match

FORMS = {
    "shuffled rows": COVARIATES.sample(frac=1, random_state=0),
    "more rows": pd.concat([OTHERS.set_axis([f"t{i}" for i in range(N)]), COVARIATES]),
    "other order of columns": COVARIATES[["site", "age"]],
    "dict": {name: COVARIATES[name].to_numpy() for name in COVARIATES},
    "dict of lists": {name: COVARIATES[name].tolist() for name in COVARIATES},
    "dict of series": {name: COVARIATES[name][::-1] for name in COVARIATES},
    "array of objects": COVARIATES.to_numpy(),
    "nested lists": COVARIATES.to_numpy().tolist(),
}


# ---- forms, rows and methods ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", OF_SAMPLES)
def test_every_form_gives_the_same_answers(method, model, frames):
    ask = METHODS[method]
    expected = ask(model, frames, COVARIATES)
    for form, covariates in FORMS.items():
        assert_same(ask(model, frames, covariates), expected, err_msg=form, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "more rows"])
def test_every_form_gives_the_same_model(form, model, frames):
    other = mv.DMVAE(**TINY).fit(frames, covariates=FORMS[form])
    nameless = form in ("array of objects", "nested lists")
    if form == "other order of columns":
        assert other.covariates_.names == ("site", "age")
        assert not same_weights(other, model)
    else:
        assert other.covariates_.names == (("covariate_0", "covariate_1") if nameless else ("age", "site"))
        assert same_weights(other, model)


def test_numbers_in_arrays_and_tensors_are_numeric_covariates(frames):
    numbers = np.random.RandomState(0).standard_normal((N, 2))
    models = [mv.MVAE(**TINY).fit(frames, covariates=c) for c in (numbers, torch.tensor(numbers), numbers.tolist())]
    assert all(same_weights(models[0], other) for other in models[1:])
    assert_same(models[0].transform(frames, covariates=numbers), models[1].transform(frames, covariates=numbers))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_uses_and_asks_for_covariates(method, model, plain, frames):
    ask = METHODS[method]
    assert differ(ask(model, frames, COVARIATES), ask(model, frames, OTHERS))
    with pytest.raises(ValueError, match=r"fitted with covariates \['age', 'site'\]; give them as covariates="):
        ask(model, frames, None)
    with pytest.raises(ValueError, match="covariates given, but the model was fitted without"):
        ask(plain, frames, COVARIATES)


@pytest.mark.filterwarnings("ignore:. of 60 samples have none of the given views")
@pytest.mark.parametrize("method", [name for name in OF_SAMPLES if "n_samples" not in name and "score" not in name])
def test_covariates_go_with_their_rows_through_every_stretch(method, model, gaps, monkeypatch):
    """Reversed samples have reversed answers, whatever the stretches in which rows go through the networks."""
    ask = METHODS[method]
    expected = ask(model, gaps, COVARIATES)
    monkeypatch.setattr("manyview.estimator._ROWS", 7)
    assert_same(ask(model, gaps, COVARIATES), expected)
    found = ask(model, {name: x[::-1] for name, x in gaps.items()}, COVARIATES)
    if isinstance(expected, list):
        found = [x[::-1] if isinstance(x, np.ndarray) else [y[::-1] for y in x] for x in found]
    elif isinstance(expected, dict):
        found = {name: x.loc[IDS] for name, x in found.items()}
    else:
        found = found.loc[IDS]
    assert_same(found, expected)


def test_new_samples_have_their_covariates_through_every_stretch(model, monkeypatch):
    expected = model.sample(covariates=COVARIATES, expected=True, random_state=0)
    monkeypatch.setattr("manyview.estimator._ROWS", 7)
    assert_same(model.sample(covariates=COVARIATES, expected=True, random_state=0), expected)
    assert len(model.sample(N, covariates=COVARIATES)) == len(model.sample(covariates=COVARIATES)) == N


def test_fit_transform_takes_covariates(model, frames):
    z = mv.DMVAE(**TINY).fit_transform(frames, covariates=COVARIATES)
    assert_same(z, model.transform(frames, covariates=COVARIATES))


def test_given_is_masking_beside_the_same_covariates(model, frames):
    """And a sample with none of the given views is predicted from its covariates alone."""
    masked = {"view_0": frames["view_0"] * NAN, "view_1": frames["view_1"]}
    assert_same(
        model.predict(frames, given="view_1", covariates=COVARIATES), model.predict(masked, covariates=COVARIATES)
    )
    nothing = {name: table * NAN for name, table in frames.items()}
    with pytest.warns(UserWarning, match="60 of 60 samples have none of the given views"):
        found = model.predict(nothing, covariates=COVARIATES)["view_0"]
    network, view = model.network_, model.views_[0]
    c = model.covariates_.encode(COVARIATES)
    with torch.no_grad():
        eta = network.decoders[0](torch.cat([torch.zeros(N, 2 + 1), c], dim=1))  # z and h at the prior's mean
    assert_same(found, eta.numpy() * view.scale + view.loc, rtol=1e-4, atol=1e-5)
    assert np.ptp(found.to_numpy(), axis=0).min() > 1e-3


# ---- training, held-out and dropped rows ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told():
    """View b is the covariate, in its own units; view a is noise, and knows nothing of it."""
    rng = np.random.RandomState(0)
    age = rng.uniform(20, 80, 150)
    index = [f"s{i}" for i in range(150)]
    a = pd.DataFrame(rng.standard_normal((150, 2)), index=index)
    b = pd.DataFrame({"b": 7 + 3 * age}, index=index)
    return {"a": a, "b": b}, pd.DataFrame({"age": age}, index=index)


TOLD = {**LINEAR, "z_dim": 1, "condition": "decoder", "max_epochs": 30}


@pytest.mark.parametrize("split", ["held out", "validation", "rows without views"])
def test_rows_keep_their_covariates_in_training_and_validation(told, split):
    """b is predicted from a, which cannot know it: the decoder was told; and the held-out samples bear it out."""
    views, covariates = {name: table.copy() for name, table in told[0].items()}, told[1].sample(frac=1, random_state=0)
    options = {}
    if split == "validation":
        options = {"validation": {name: table[100:] for name, table in views.items()}}
        options["validation_covariates"] = covariates
        views = {name: table[:100] for name, table in views.items()}
    if split == "rows without views":
        for table in views.values():
            table.iloc[::10] = NAN
        with pytest.warns(UserWarning, match="15 of 150 samples have no view at all; they are left out"):
            model = mv.MVAE(**TOLD, validation_fraction=0.2).fit(views, covariates=covariates)
    else:
        model = mv.MVAE(**TOLD, validation_fraction=0.2).fit(views, covariates=covariates, **options)
    found = model.predict(told[0], given="a", target="b", covariates=told[1])["b"]
    assert np.corrcoef(found["b"], told[0]["b"]["b"])[0, 1] > 0.99
    last = model.history_.iloc[-1]
    assert last["val_log_lik[b]"] == pytest.approx(last["log_lik[b]"], abs=0.3)
    marginal = -0.5 * np.log(2 * np.pi * np.e * views["b"].var().item())  # of N(mean, variance), without covariates
    assert last["log_lik[b]"] > marginal + 1


def test_validation_covariates_are_those_of_the_validation_samples(told):
    """Shuffled among the samples, they explain b no longer."""
    views, covariates = told
    half = {name: table[:75].to_numpy() for name, table in views.items()}
    rest = {name: table[75:].to_numpy() for name, table in views.items()}
    right = covariates[75:].to_numpy()
    scores = [
        mv.MVAE(**TOLD, patience=None)
        .fit(half, covariates=covariates[:75].to_numpy(), validation=rest, validation_covariates=c)
        .history_["val_log_lik[b]"]
        .iloc[-1]
        for c in (right, right[::-1])
    ]
    assert scores[0] > scores[1] + 5


def test_validation_samples_without_views_are_dropped_with_their_covariates(told):
    views, covariates = told
    rest = {name: table[100:].to_numpy() for name, table in views.items()}
    c = covariates[100:].to_numpy()
    holes = {name: np.insert(x, 3, NAN, axis=0) for name, x in rest.items()}
    one = mv.MVAE(**TINY).fit(views, covariates=covariates, validation=rest, validation_covariates=c)
    with pytest.warns(UserWarning, match="1 of 51 samples have no view at all"):
        other = mv.MVAE(**TINY).fit(
            views, covariates=covariates, validation=holes, validation_covariates=np.insert(c, 3, 0.0, axis=0)
        )
    pd.testing.assert_frame_equal(one.history_, other.history_)


def test_rows_without_views_are_as_if_they_had_not_been_given(frames):
    holes = {name: np.insert(table.to_numpy(), [4, 31], NAN, axis=0) for name, table in frames.items()}
    site = np.insert(COVARIATES["site"].to_numpy().astype(object), [4, 31], ["Oslo", "Bern"])
    with pytest.warns(UserWarning, match="2 of 62 samples have no view at all"):
        model = mv.MVAE(**TINY).fit(holes, covariates={"site": site})
    arrays = {name: table.to_numpy() for name, table in frames.items()}
    assert same_weights(model, mv.MVAE(**TINY).fit(arrays, covariates={"site": COVARIATES["site"].to_numpy()}))


@pytest.mark.filterwarnings("ignore:1 of 60 samples have no view at all")
@pytest.mark.parametrize(
    ("column", "value"), [("site", "Lima"), ("age", 1e6), ("age", NAN)], ids=["category", "outlier", "missing"]
)
def test_covariates_of_rows_that_are_left_out_are_not_learned(column, value, frames):
    holes, covariates = {name: table.copy() for name, table in frames.items()}, COVARIATES.copy()
    for table in holes.values():
        table.iloc[3] = NAN
    covariates.loc["s3", column] = value
    known = mv.MVAE(**TINY).fit(holes, covariates=covariates).covariates_
    rest = COVARIATES.drop("s3")
    assert known.columns[1].categories == ("Bern", "Oslo", "Rome")
    assert known.columns[0].loc == pytest.approx(rest["age"].mean())
    assert known.columns[0].scale == pytest.approx(rest["age"].std(ddof=0))


# ---- what covariates explain ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def confounded():
    """x_m = age w_m + s v_m + noise, in units of their own: age explains more than the factor s."""
    rng = np.random.RandomState(0)
    both = np.column_stack([np.ones(200), rng.standard_normal((200, 2))])
    age, s = np.sqrt(200) * np.linalg.qr(both)[0].T[1:]  # mean 0, variance 1, and uncorrelated in this very sample
    age = 50 + 12 * age
    w, v = [[rng.standard_normal(width) for width in (6, 5)] for _ in range(2)]
    views = [
        100 + 5 * (np.outer((age - 50) / 6, a) + np.outer(s, b) + 0.3 * rng.standard_normal((200, len(a))))
        for a, b in zip(w, v, strict=True)
    ]
    return views, age, s, [5 * a / 6 for a in w]


@pytest.fixture(scope="module", params=["decoder", "both"])
def adjusted(request, confounded):
    views, age, *_ = confounded
    model = mv.MVAE(**{**LINEAR, "z_dim": 1}, condition=request.param, validation_fraction=0)
    return model.fit(views, covariates={"age": age})


def r2(z, y):
    return np.corrcoef(z[:, 0], y)[0, 1] ** 2


def test_latents_hold_what_the_covariate_does_not_explain(adjusted, confounded):
    views, age, s, _ = confounded
    z = adjusted.transform(views, covariates={"age": age})
    assert r2(z, age) < 0.05
    assert r2(z, s) > 0.9


def test_without_the_covariate_latents_hold_it(confounded):
    views, age, s, _ = confounded
    z = mv.MVAE(**{**LINEAR, "z_dim": 1}, validation_fraction=0).fit_transform(views)
    assert r2(z, age) > 0.85
    assert r2(z, s) < 0.15


def test_what_if_the_covariate_were_another(adjusted, confounded):
    """Predictions move by slope times the change of age, in the units of the data; the rest of a sample stays."""
    views, age, _, slopes = confounded
    change = np.linspace(-15, 15, len(age))
    now = adjusted.predict(views, covariates={"age": age})
    then = adjusted.predict(views, covariates={"age": age}, target_covariates={"age": age + change})
    for before, after, slope in zip(now, then, slopes, strict=True):
        moved = np.linalg.lstsq(change[:, None], after - before, rcond=None)[0]
        np.testing.assert_allclose(after - before, change[:, None] * moved, atol=1e-3)  # linear, the same for all
        np.testing.assert_allclose(moved[0], slope, atol=0.1 * np.abs(slope).max())
    draws = [
        adjusted.predict(views, covariates={"age": age}, target_covariates=c, n_samples=2, random_state=0)[0]
        for c in ({"age": age}, {"age": age + change})
    ]
    np.testing.assert_allclose(draws[1] - draws[0], np.stack([then[0] - now[0]] * 2), atol=2e-3)


@pytest.mark.parametrize("condition", ["both", "encoder", "decoder"])
def test_condition_says_which_networks_are_told(condition, frames):
    model = mv.MVAE(**TINY, condition=condition).fit(frames, covariates=COVARIATES)
    assert differ(*(model.transform(frames, covariates=c) for c in (COVARIATES, OTHERS))) == (condition != "decoder")
    what_if = model.predict(frames, covariates=COVARIATES, target_covariates=OTHERS)
    assert differ(what_if, model.predict(frames, covariates=COVARIATES)) == (condition != "encoder")
    same = model.predict(frames, covariates=COVARIATES, target_covariates=COVARIATES)
    assert_same(same, model.predict(frames, covariates=COVARIATES))


# ---- the generative model p(X | c) ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear(confounded):
    """A fitted linear model, and its mean given a standardised age, loadings and noise, in the units of the data."""
    views, age, *_ = confounded
    model = mv.MVAE(**{**LINEAR, "max_epochs": 15}, condition="both").fit(views, covariates={"age": age})
    layers = [part for part in model.network_.decoders.modules() if isinstance(part, nn.Linear)]
    scale = np.hstack([view.scale for view in model.views_])
    weight = np.vstack([layer.weight.detach().numpy() for layer in layers]) * scale[:, None]  # (D, Z + C)
    bias = np.hstack([view.loc for view in model.views_]) + scale * np.hstack([x.bias.detach().numpy() for x in layers])
    sigma = scale * np.hstack([part.sigma.detach().numpy() for part in model.network_.likelihoods])

    def mean(ages):
        """b + W_c c: the decoder sees z, then c."""
        return bias + np.outer((np.asarray(ages) - age.mean()) / age.std(), weight[:, 2])

    assert weight.shape == (11, 3)
    return model, mean, weight[:, :2], sigma


def test_evidence_is_that_of_the_views_given_the_covariates(linear, confounded):
    """log p(X | c) = log N(X; b + W_c c, W_z W_zᵀ + Ψ), with gaps, and of one view given the other."""
    model, mean, w, sigma = linear
    x, ages = np.hstack(confounded[0])[:8].copy(), confounded[1][:8] + 10
    x[0, :6] = x[1, 6:] = x[2, 2] = NAN
    covariance = w @ w.T + np.diag(sigma**2)

    def evidence(columns):
        out = np.zeros(8)
        for i, (row, centre) in enumerate(zip(x, mean(ages), strict=True)):
            o = columns[~np.isnan(row[columns])]
            out[i] = multivariate_normal(centre[o], covariance[np.ix_(o, o)]).logpdf(row[o]) if len(o) else 0.0
        return out

    views, c = [x[:, :6], x[:, 6:]], {"age": ages}
    options = {"covariates": c, "n_samples": 20_000, "random_state": 0}
    total, first = evidence(np.arange(11)), evidence(np.arange(6))
    np.testing.assert_allclose(model.score_samples(views, **options), total, atol=0.15)
    np.testing.assert_allclose(model.score_samples(views, given=0, **options), total - first, atol=0.2)
    away = {"covariates": {"age": ages - 10}, "n_samples": 100}
    assert np.abs(model.score_samples(views, **away) - total).min() > 1  # age does matter


def test_new_samples_have_the_moments_that_go_with_their_covariates(linear):
    model, mean, w, sigma = linear
    n = 4000
    for age in (30.0, 75.0):
        new = model.sample(covariates={"age": [age] * n}, random_state=1)
        x = np.hstack([new.array(name) for name in new.names])
        spread = np.sqrt((w**2).sum(1) + sigma**2)
        assert (np.abs(x.mean(0) - mean([age])[0]) < 4.5 * spread / np.sqrt(n)).all()
        np.testing.assert_allclose(np.cov(x.T), w @ w.T + np.diag(sigma**2), atol=0.1 * spread.max() ** 2)


# ---- labels ---------------------------------------------------------------------------------------------------------


def test_labels_are_one_categorical_covariate(frames):
    labels = np.arange(N) % 3
    model = mv.MVAE(**TINY).fit(frames, labels=labels)
    other = mv.MVAE(**TINY).fit(frames, covariates={"label": pd.Categorical(labels)})
    assert model.covariates_ == other.covariates_
    assert model.covariates_.feature_names == ("label=0", "label=1", "label=2")
    assert same_weights(model, other)
    assert same_weights(model, mv.MVAE(**TINY).fit(frames, labels=np.eye(3)[labels]))
    assert_same(model.predict_latents(frames, labels=labels), [model.transform(frames, covariates=labels)])
    assert_same(
        model.predict_reconstruction(frames, labels=labels),
        [list(model.predict(frames, covariates={"label": labels}).values())],
        rtol=1e-4,
        atol=1e-5,
    )
    assert differ(model.predict_latents(frames, labels=labels), model.predict_latents(frames, labels=labels[::-1]))


def test_fit_transform_takes_labels(frames):
    labels = np.arange(N) % 3
    z = mv.MVAE(**TINY).fit_transform(frames, labels=labels)
    assert_same(z, mv.MVAE(**TINY).fit(frames, labels=labels).transform(frames, covariates=labels))


# ---- networks of every kind -----------------------------------------------------------------------------------------


def inputs(module):
    """The number of features that a network takes."""
    first = next(layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d))
    return first.in_features if isinstance(first, nn.Linear) else first.in_channels


@pytest.mark.parametrize("condition", ["both", "encoder", "decoder"])
@pytest.mark.parametrize(
    ("Model", "parameters"),
    [
        (mv.MVAE, {}),
        (mv.MCVAE, {}),
        (mv.JMVAE, {}),
        (mv.JMVAE, {"alpha": 0.0}),
        (mv.DMVAE, {"h_dim": 3}),
        (mv.MMVAEPlus, {"h_dim": 3}),
        (mv.MAAE, {}),
        (mv.MWAE, {}),
        (mv.DCCA, {}),
    ],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_encoders_see_views_and_covariates_decoders_latents_and_covariates(Model, parameters, condition, frames):
    """And joint encoders as encoders do; but adversaries see z alone."""
    model = Model(**{**TINY, **parameters}, condition=condition).fit(frames, covariates=COVARIATES)
    network, h_dim = model.network_, parameters.get("h_dim", 0)
    encoder_c, decoder_c = C * (condition != "decoder"), C * (condition != "encoder")
    trunks = [] if network.joint_encoder is None else list(network.joint_encoder.trunks)
    assert len(trunks) == 2 * (Model is mv.JMVAE)
    for networks in filter(len, (network.encoders, trunks)):
        assert [inputs(part) for part in networks] == [5 + encoder_c, 4 + encoder_c]
    assert [inputs(decoder) for decoder in network.decoders] == [2 + h_dim + decoder_c] * 2
    if network.adversary is not None:
        assert inputs(network.adversary) == 2
    assert differ(*(model.transform(frames, covariates=c) for c in (COVARIATES, OTHERS))) == (condition != "decoder")
    assert np.isfinite(model.history_["loss"]).all()


def test_canonical_codes_are_not_told_by_default(frames):
    """Encoders that see what they are to correlate in would find the covariates themselves."""
    model = mv.DCCA(**TINY).fit(frames, covariates=COVARIATES)
    assert model.condition == "decoder"
    assert_same(*(model.transform(frames, covariates=c) for c in (COVARIATES, OTHERS)))
    assert differ(*(model.predict(frames, covariates=COVARIATES, target_covariates=c) for c in (COVARIATES, OTHERS)))
    assert np.isfinite(model.correlations_).all()


def test_images_get_a_channel_for_each_number():
    """The brightness of an image is its covariate: what-if images have the other brightness."""
    rng = np.random.RandomState(0)
    light = rng.uniform(-1, 1, 80)
    images = light[:, None, None, None] + 0.1 * rng.standard_normal((80, 2, 5, 7))
    views = {"image": images, "table": rng.standard_normal((80, 3))}
    small = {"channels": [4], "hidden": []}
    model = mv.MVAE(
        **{**TINY, "encoder": {"image": small}, "decoder": {"image": small}, "max_epochs": 30, "batch_size": 20},
        learning_rate=0.03,
    ).fit(views, covariates={"light": light})
    assert [inputs(encoder) for encoder in model.network_.encoders] == [2 + 1, 3 + 1]
    assert [inputs(decoder) for decoder in model.network_.decoders] == [2 + 1, 2 + 1]
    c = {"covariates": {"light": light}, "target_covariates": {"light": -light}}
    found = model.predict({"table": views["table"]}, target="image", **c)["image"]
    assert found.shape == images.shape
    assert np.corrcoef(found.mean((1, 2, 3)), -light)[0, 1] > 0.9


# ---- copies and files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["file", "pickle", "deepcopy"])
def test_copies_answer_with_covariates_as_the_model_does(how, model, frames, tmp_path):
    if how == "file":
        model.save(tmp_path / "model.safetensors")
        twin = mv.load(tmp_path / "model.safetensors")
    else:
        twin = pickle.loads(pickle.dumps(model)) if how == "pickle" else copy.deepcopy(model)
    assert twin.covariates_ == model.covariates_
    for ask in METHODS.values():
        assert_same(ask(twin, frames, COVARIATES), ask(model, frames, COVARIATES), rtol=0, atol=0)
    with pytest.raises(ValueError, match="unseen in training"):
        twin.transform(frames, covariates=COVARIATES.assign(site="Lima"))


def test_clones_and_refitted_models_forget_covariates(model, plain, frames):
    blank = clone(model)
    assert blank.covariates_ is None
    assert same_weights(clone(model).fit(frames, covariates=COVARIATES), model)
    refitted = copy.deepcopy(model).fit(frames)
    assert refitted.covariates_ is None
    assert same_weights(refitted, plain)


# ---- errors ---------------------------------------------------------------------------------------------------------

ROWS = {"age": [30.0] * 7, "site": ["Rome"] * 7}
LIMA = COVARIATES.assign(site="Lima")


def fit(frames, **options):
    return mv.MVAE(**TINY).fit(frames, **options)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m, x: m.transform(x, covariates=ROWS), "covariates: 7 rows for 60 samples; give one row a sample"),
        (lambda m, x: m.transform(x, covariates=COVARIATES[:7]), "covariates: 53 of 60 samples have no row"),
        (lambda m, x: m.transform(x, covariates=COVARIATES[["age"]]), r"no \['site'\] among the columns"),
        (lambda m, x: m.transform(x, covariates=COVARIATES.assign(sex=0)), r"unknown \['sex'\] among the columns"),
        (lambda m, x: m.transform(x, covariates=LIMA), "'site' holds categories unseen in training.*'Lima'.*'Bern'"),
        (lambda m, x: m.predict(x, covariates=COVARIATES, target_covariates=LIMA), "unseen in training.*'Lima'"),
        (lambda m, x: m.predict(x, covariates=COVARIATES, target_covariates=ROWS), "7 rows for 60 samples"),
        (lambda m, x: m.predict(x, target_covariates=COVARIATES), "fitted with covariates.*give them as covariates="),
        (lambda m, x: m.sample(3, covariates=ROWS), "n_samples=3, but covariates have 7 rows; leave n_samples out"),
        (lambda m, x: m.sample(3), r"fitted with covariates \['age', 'site'\]"),
        (lambda m, x: m.predict_latents(x, labels=[1] * N), r"no \['age', 'site'\] and unknown \['label'\]"),
        (lambda m, x: m.predict_latents(x, covariates=COVARIATES, labels=[1] * N), "labels are one categorical"),
        (lambda m, x: m.predict_reconstruction(x, covariates=COVARIATES, labels=[1] * N), "labels are one categorical"),
        (lambda m, x: fit(x, covariates=COVARIATES, labels=[1] * N), "labels are one categorical covariate"),
        (lambda m, x: fit(x, covariates=ROWS), "covariates: 7 rows for 60 samples"),
        (lambda m, x: fit(x, labels=[0, 1]), "2 rows for 60 samples"),
        (lambda m, x: fit(x, covariates=COVARIATES, validation_covariates=COVARIATES), "give validation as well"),
        (lambda m, x: fit(x, covariates=COVARIATES, validation=x, validation_covariates=LIMA), "unseen.*'Lima'"),
        (lambda m, x: fit(x, covariates=COVARIATES, validation=x, validation_covariates=ROWS), "7 rows for 60 samples"),
        (lambda m, x: fit(x, validation=x, validation_covariates=COVARIATES), "was fitted without"),
        (lambda m, x: fit(x, covariates=COVARIATES, validation=x), "fitted with covariates"),
        (lambda m, x: fit(x, covariates=COVARIATES.where(COVARIATES != "Oslo")), "'site' has 20 missing values"),
        (lambda m, x: mv.MVAE(**TINY, condition="decoders").fit(x, covariates=COVARIATES), "condition='decoders'"),
    ],
)
def test_what_cannot_be_is_refused(ask, message, model, frames):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        ask(model, frames)


@pytest.mark.parametrize("argument", ["target_covariates", "validation_covariates"])
def test_a_model_without_covariates_takes_none(argument, plain, frames):
    def ask():
        if argument == "target_covariates":
            return plain.predict(frames, target_covariates=COVARIATES)
        return fit(frames, validation=frames, validation_covariates=COVARIATES)

    with pytest.raises(ValueError, match="given, but the model was fitted without; leave them out, or fit with them"):
        ask()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m, x: fit(x, covariates=COVARIATES, validation=x), "give them as validation_covariates="),
        (lambda m, x: fit(x, validation=x, validation_covariates=COVARIATES), "^validation_covariates given, but"),
        (
            lambda m, x: fit(x, covariates=COVARIATES, validation=x, validation_covariates=ROWS),
            "^validation_covariates",
        ),
        (lambda m, x: m.predict(x, covariates=COVARIATES, target_covariates=ROWS), "^target_covariates: 7 rows"),
        (lambda m, x: m.predict(x, covariates=COVARIATES, target_covariates=LIMA), "^target_covariates: .*'Lima'"),
    ],
)
def test_messages_name_the_argument(ask, message, model, frames):
    with pytest.raises(ValueError, match=message):
        ask(model, frames)


@pytest.mark.parametrize(("n_samples", "covariates"), [(0, ROWS), (None, COVARIATES[:0])], ids=["zero", "no rows"])
def test_no_samples_cannot_be_drawn(n_samples, covariates, model):
    with pytest.raises(ValueError, match=r"n_samples=0|no rows"):
        model.sample(n_samples, covariates=covariates)
