"""What users get wrong: each case has a message that names what was given and how to mend it, or simply works."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

import manyview as mv
from manyview.datasets import make_multiview
from manyview.likelihoods import Normal

NAN = float("nan")
TINY = {
    "z_dim": 2,
    "encoder": {"hidden": [8]},
    "decoder": {"hidden": [8]},
    "max_epochs": 2,
    "batch_size": 32,
    "random_state": 0,
    "verbose": False,
}
DATA = make_multiview(60, (5, 4), random_state=0)
A, B = DATA.array("view_0"), DATA.array("view_1")
LEFT, RIGHT = pd.DataFrame(A, columns=list("abcde")), pd.DataFrame(B, columns=list("wxyz"))
BATCH_NORM = {"hidden": [8], "norm": "batch"}


def new(cls=mv.MVAE, **parameters):
    return cls(**{**TINY, **parameters})


@pytest.fixture(scope="module")
def model():
    return new().fit(DATA)


@pytest.fixture(scope="module")
def named():
    return new().fit({"left": LEFT, "right": RIGHT})


@pytest.fixture(scope="module")
def binary():
    return new(likelihood="bernoulli").fit((A > 0).astype(float))


@pytest.fixture(scope="module")
def one_hot():
    return new().fit(np.eye(3)[np.arange(60) % 3])


def with_value(x, value, row=1, column=2):
    out = x.astype(float)
    out[row, column] = value
    return out


# Each case: its name, what is done, the error's type, and its message (in full, or up to the part after "...").
DATA_CASES = [
    ("too few rows in a view", lambda: new().fit(A, B[:50]), ValueError,
     "views have different numbers of samples: view_0 60, view_1 50; arrays are matched by position: give equal "
     "numbers, or DataFrames with sample ids as index"),
    ("default indexes of different lengths", lambda: new().fit({"a": LEFT, "b": RIGHT[:50]}), ValueError,
     "rows cannot be matched: the indexes differ, and that of ['a', 'b'] is a default RangeIndex (a 60, b 50); "
     "set_index with a sample id, or give views of equal length"),
    ("a frame and an array of different lengths", lambda: new().fit({"a": LEFT, "b": B[:50]}), ValueError,
     "views have different numbers of samples: a 60, b 50..."),
    ("a label twice in an index", lambda: new().fit({"a": LEFT.set_axis([0] * 60)}), ValueError,
     "view 'a': index label 0 occurs more than once, but must be unique"),
    ("a view all missing", lambda: new().fit(A, np.full_like(B, NAN)), ValueError,
     "view 'view_1' is missing for every training sample; leave it out, or give it values"),
    ("all views all missing", lambda: new().fit(np.full_like(A, NAN)), ValueError,
     "every sample lacks every view: there is nothing to learn from"),
    ("text in an array", lambda: new().fit(A, np.array([["low"]] * 60)), ValueError,
     "view 'view_1': column 0 is not real numbers but <U3, for example 'low'; encode it, e.g. by pandas.get_dummies "
     "(categories) or .astype(float) (numbers held as objects)"),
    ("text in a frame", lambda: new().fit({"t": pd.DataFrame({"age": range(60), "sex": ["m", "f"] * 30})}), ValueError,
     "view 't': column 'sex' is not real numbers but str, for example 'm'; encode it..."),
    ("categories", lambda: new().fit({"t": pd.DataFrame({"sex": pd.Categorical(["m", "f"] * 30)})}), ValueError,
     "view 't': column 'sex' is not real numbers but category, for example 'm'; encode it..."),
    ("dates", lambda: new().fit(A.astype("datetime64[s]")), ValueError,
     "view 'view_0': column 0 is not real numbers but datetime64[s]..."),
    ("complex numbers", lambda: new().fit(A + 1j), ValueError,
     "view 'view_0': column 0 is not real numbers but complex64..."),
    ("an infinite value", lambda: new().fit({"a": A, "b": with_value(B, np.inf)}), ValueError,
     "view 'b': 1 infinite values, first at row 1 (id 1), feature 'b_2'; replace them by NaN (missing) or a finite "
     "value"),
    ("an infinite value in a frame", lambda: new().fit({"b": RIGHT.replace(RIGHT.iloc[3, 1], -np.inf)}), ValueError,
     "view 'b': 1 infinite values, first at row 3 (id 3), feature 'x'..."),
    ("no rows", lambda: new().fit(np.zeros((0, 3))), ValueError,
     "view 'view_0': has no samples, its shape is (0, 3)"),
    ("no features", lambda: new().fit(np.zeros((5, 0))), ValueError,
     "view 'view_0': has no features, its shape is (5, 0)"),
    ("no feature axis", lambda: new().fit({"a": A, "b": B[:, 0]}), ValueError,
     "view 'b': needs shape (samples, features), but got shape (60,); use .reshape(-1, 1) for a single feature..."),
    ("a y after a bare array", lambda: new().fit(A, np.arange(60)), ValueError,
     "view 'view_1': needs shape (samples, features), but got shape (60,); use .reshape(-1, 1) for a single feature; "
     "if it is a target y, it is not used: pass the views in a dict or list"),
    ("nothing", lambda: new().fit(None), ValueError,
     "no views: give an array, tensor or DataFrame of shape (samples, features)"),
    ("an empty dict", lambda: new().fit({}), ValueError,
     "no views: give an array, tensor or DataFrame of shape (samples, features)"),
    ("an empty list", lambda: new().fit([]), ValueError,
     "no views: give an array, tensor or DataFrame of shape (samples, features)"),
    ("names that are not text", lambda: new().fit({0: A, 1: B}), TypeError, "names of views must be str, but got 0"),
    ("a dict in a dict", lambda: new().fit({"a": {"b": A}}), TypeError,
     "view 'a': is a collection of views itself (dict)..."),
    ("rows of different lengths", lambda: new().fit([[[1.0, 2.0], [3.0]]]), ValueError,
     "view 'view_0': rows differ in shape, (2,) and others; None is a missing row"),
    ("a view that is None", lambda: new().fit([A, None]), ValueError,
     "view 1 is None, missing for every training sample; leave it out, or give it values"),
    ("a share for validation data", lambda: new().fit(DATA, validation=0.2), ValueError,
     "1 views are given by position, but the model has 2..."),
    ("validation data with other features", lambda: new().fit(DATA, validation=[A[:, :3], B]), ValueError,
     "view 'view_0' has features of shape (3,), but the model was fitted on (5,)"),
    ("another input_dim", lambda: new(input_dim=[5]).fit(DATA), ValueError,
     "input_dim=[5], but the views have [5, 4] features, of shapes [(5,), (4,)]; leave input_dim out, or give the ..."),
    ("two dicts", lambda: new().fit({"a": A}, {"b": B}), (TypeError, ValueError), "..."),
    ("validation values outside the support",
         lambda: new(likelihood="bernoulli").fit((A > 0).astype(float), validation=10 * A), ValueError,
         "likelihood of view 'view_0': bernoulli needs values in [0, 1]..."),
]  # fmt: skip

PARAMETER_CASES = [
    *[(f"{name}={value!r}", lambda n=name, v=value: new(**{n: v}).fit(DATA), ValueError,
       f"MVAE: {name}={value!r}: {reason}")
      for name, value, reason in [
          ("z_dim", 0, "input should be greater than 0"),
          ("z_dim", -3, "input should be greater than 0"),
          ("z_dim", 2.5, "input should be a valid integer"),
          ("z_dim", "2", "input should be a valid integer"),
          ("z_dim", True, "input should be a valid integer"),
          ("z_dim", None, "input should be a valid integer"),
          ("learning_rate", 0, "input should be greater than 0"),
          ("learning_rate", NAN, "input should be greater than 0"),
          ("learning_rate", "fast", "input should be a valid number"),
          ("max_epochs", 0, "input should be greater than 0; or input should be 'auto'"),
          ("max_epochs", "many", "input should be a valid integer; or input should be 'auto'"),
          ("batch_size", 0, "input should be greater than 0; or input should be 'auto' or 'full'"),
          ("validation_fraction", 1.0, "input should be less than 1"),
          ("validation_fraction", -0.1, "input should be greater than or equal to 0"),
          ("patience", 0, "input should be greater than 0"),
          ("gradient_clip", 0, "input should be greater than 0"),
          ("beta", -1.0, "input should be greater than 0"),
          ("beta_warmup", -1, "input should be greater than or equal to 0"),
          ("random_state", "x", "input should be a valid integer; or input should be an instance of RandomState"),
          ("scale", "minmax", "input should be 'standard'; or input should be a valid dictionary"),
          ("scale", {"view_0": "robust"}, "input should be 'standard'"),
          ("likelihood", 3, "..."),
          ("encoder", 7, "..."),
          ("input_dim", 5, "..."),
      ]],
    ("fit(max_epochs=-1)", lambda: new().fit(DATA, max_epochs=-1), ValueError,
     "MVAE: max_epochs=-1: input should be greater than 0; or input should be 'auto'"),
    ("a misspelt hyperparameter", lambda: mv.MVAE(z_dims=3), TypeError,
     "MVAE has no hyperparameter 'z_dims'; did you mean 'z_dim'? Allowed: 'z_dim', 'encoder', ..."),
    ("a misspelt hyperparameter of one model", lambda: mv.MMVAE(n_importance_sample=3), TypeError,
     "MMVAE has no hyperparameter 'n_importance_sample'; did you mean 'n_importance_samples'?..."),
    ("a hyperparameter of another model", lambda: mv.AE(beta=1.0), TypeError, "AE has no hyperparameter 'beta'..."),
    ("set_params", lambda: new().set_params(z_dims=3), ValueError, "Invalid parameter 'z_dims' for estimator MVAE..."),
    ("a positional hyperparameter", lambda: mv.MVAE(3), TypeError, "MVAE.__init__() takes 1 positional argument..."),
    ("gradient", lambda: new(mv.MMVAE, gradient="dregs").fit(DATA), ValueError,
     "MMVAE: gradient='dregs': input should be 'iwae' or 'dreg'"),
    ("posterior", lambda: new(mv.MMVAE, posterior="gauss").fit(DATA), ValueError,
     "MMVAE: posterior='gauss': input should be 'laplace' or 'normal'"),
    ("K", lambda: new(mv.MMVAE, n_importance_samples=0).fit(DATA), ValueError,
     "MMVAE: n_importance_samples=0: input should be greater than 0"),
    ("threshold", lambda: new(mv.MCVAE, threshold=1.5).fit(DATA), ValueError,
     "MCVAE: threshold=1.5: input should be less than 1"),
    ("hidden=0", lambda: new(encoder={"hidden": [0]}).fit(DATA), ValueError,
     "encoder of view 'view_0': hidden must be a positive integer or a sequence of them, as in (128, 64); got [0]."),
    ("hidden=-4", lambda: new(decoder={"hidden": -4}).fit(DATA), ValueError,
     "decoder of view 'view_0': hidden must be a positive integer..."),
    ("likelihood's name", lambda: new(likelihood="bernouli").fit(DATA), ValueError,
     "unknown likelihood 'bernouli'; did you mean 'bernoulli'? Allowed: 'normal', 'multivariate_normal', 'laplace', "
     "'bernoulli', 'categorical', 'mse', 'default'"),
    ("likelihood's view", lambda: new(likelihood={"view0": "normal"}).fit(DATA), ValueError,
     "likelihood: 'view0' is not a view; did you mean 'view_0'? Allowed: 'view_0', 'view_1', 'default'..."),
    ("likelihood's setting", lambda: new(likelihood={"name": "normal", "scle": 1}).fit(DATA), ValueError,
     "likelihood 'normal' has no setting 'scle'; did you mean 'scale'? Allowed: 'scale', 'learn_scale', 'min_scale'"),
    ("likelihood's class", lambda: new(likelihood=Normal).fit(DATA), ValueError, "MVAE: likelihood=<class..."),
    ("bernoulli of real numbers", lambda: new(likelihood="bernoulli").fit(DATA), ValueError,
     f"likelihood of view 'view_0': bernoulli needs values in [0, 1], but found {A[0, 0]:g} at row ..."),
    ("categorical of real numbers", lambda: new(likelihood={"view_1": "categorical"}).fit(DATA), ValueError,
     "likelihood of view 'view_1': categorical needs one-hot rows, one 1 and else 0, but found ..."),
    ("scale's view", lambda: new(scale={"veiw_0": None}).fit(DATA), ValueError,
     "scale: 'veiw_0' is not a view; did you mean 'view_0'? Allowed: 'view_0', 'view_1', 'default'..."),
    ("encoder's name", lambda: new(encoder="resnet").fit(DATA), ValueError,
     "encoder of view 'view_0': unknown network 'resnet'. Allowed: 'auto', 'mlp', 'cnn'."),
    ("encoder's setting", lambda: new(encoder={"hiden": [3]}).fit(DATA), ValueError,
     "encoder of view 'view_0': unknown setting 'hiden' of MLP; did you mean 'hidden'?..."),
    ("encoder's view", lambda: new(encoder={"view_0": "mlp", "view_x": "mlp"}).fit(DATA), ValueError,
     "encoder: 'view_x' is not a view..."),
    ("encoder's shape", lambda: new(encoder=torch.nn.Linear(5, 3)).fit(A), ValueError,
     "encoder of view 'view_0': the module returned shape (2, 3), but (2, 4) is needed..."),
    ("a CNN for a table", lambda: new(encoder="cnn").fit(DATA), ValueError,
     "encoder of view 'view_0': a CNN needs images of shape (channels, height, width) or (height, width)..."),
    ("a target that does not exist", lambda: new(decoder={"_target_": "torch.nn.Liner"}).fit(DATA), ValueError,
     "decoder of view 'view_0': module 'torch.nn' has no 'Liner'; did you mean 'torch.nn.Linear'?"),
    ("optimizer", lambda: new(optimizer="adam").fit(DATA), ValueError,
     "optimizer='adam' is not in torch.optim; did you mean 'Adam'? Allowed: ..."),
    ("optimizer_args", lambda: new(optimizer_args={"weight_decy": 1}).fit(DATA), ValueError,
     "optimizer_args: Adam has no argument 'weight_decy'; did you mean 'weight_decay'?..."),
    ("scheduler", lambda: new(scheduler="stepLR").fit(DATA), ValueError,
     "scheduler='stepLR' is not in torch.optim.lr_scheduler; did you mean 'StepLR'?..."),
    ("scheduler_args", lambda: new(scheduler="StepLR", scheduler_args={"step_sise": 1}).fit(DATA), ValueError,
         "scheduler_args: StepLR has no argument 'step_sise'; did you mean 'step_size'?..."),
    ("scheduler_args lacking", lambda: new(scheduler="StepLR").fit(DATA), ValueError, "...scheduler_args..."),
    ("scheduler_args alone", lambda: new(scheduler_args={"step_size": 1}).fit(DATA), ValueError,
         "...scheduler..."),
    ("an optimiser that needs a closure", lambda: new(optimizer="LBFGS").fit(DATA), ValueError, "...LBFGS..."),
    ("device", lambda: new(device="cup").fit(DATA), ValueError,
     "You selected an invalid accelerator name: `accelerator='cup'`. Available names are: auto..."),
    ("trainer", lambda: new(trainer={"logge": False}).fit(DATA), (TypeError, ValueError),
         "trainer: ...'logge'...did you mean 'logger'..."),
    ("trainer's max_epochs", lambda: new(trainer={"max_epochs": 1}).fit(DATA), ValueError, "...max_epochs..."),
    ("a negative seed", lambda: new(random_state=-1).fit(DATA), ValueError, "...random_state..."),
    ("a file of settings that is not there", lambda: mv.MVAE(cfg="nowhere.yaml"), FileNotFoundError,
     "...nowhere.yaml..."),
]  # fmt: skip

USE_CASES = [
    *[(f"{method} before fit", lambda call=call: call(new()), NotFittedError,
       "this MVAE is not fitted yet; call fit with training views first")
      for method, call in {
          "transform": lambda m: m.transform(DATA),
          "predict": lambda m: m.predict(DATA),
          "impute": lambda m: m.impute(DATA),
          "sample": lambda m: m.sample(),
          "score": lambda m: m.score(DATA),
          "score_samples": lambda m: m.score_samples(DATA),
          "predict_latents": lambda m: m.predict_latents(DATA),
          "predict_reconstruction": lambda m: m.predict_reconstruction(DATA),
          "save": lambda m: m.save("never.safetensors"),
          "history_": lambda m: m.history_,
      }.items()],
    ("view_names_ before fit", lambda: new().view_names_, NotFittedError, "this MVAE is not fitted yet..."),
    ("samples of a sparse model", lambda: new(mv.MCVAE, sparse=True).fit(DATA).sample(), ValueError,
     "sparse=True has the improper prior..."),
    ("the score of a sparse model", lambda: new(mv.MCVAE, sparse=True).fit(DATA).score(DATA), ValueError,
     "sparse=True has the improper prior..."),
    ("samples of an autoencoder", lambda: new(mv.AE).fit(DATA).sample(), ValueError,
     "an autoencoder without noise has no prior p(z) to draw from; use a variational model, such as MVAE..."),
    ("dimensions of a model that is not sparse", lambda: new(mv.MCVAE).fit(DATA).kept_dimensions_, AttributeError,
     "kept_dimensions_ belongs to sparse models: fit with sparse=True to have it"),
]  # fmt: skip


def check(call, error, message):
    parts = [re.escape(part) for part in message.split("...")]
    with pytest.raises(error) as caught:
        call()
    assert re.fullmatch(".*".join(parts), str(caught.value), re.DOTALL), str(caught.value)


def cases(table):
    return [case if hasattr(case, "marks") else pytest.param(*case, id=case[0]) for case in table]


@pytest.mark.parametrize(("name", "call", "error", "message"), cases([*DATA_CASES, *PARAMETER_CASES, *USE_CASES]))
def test_messages(name, call, error, message):
    check(call, error, message)


FITTED_CASES = [
    ("a list too short", "model", lambda m: m.transform([A]), ValueError,
     "1 views are given by position, but the model has 2: ['view_0', 'view_1']; give None for a view that is missing, "
     "or a dict from name to view"),
    ("a bare view of two", "model", lambda m: m.transform(A), ValueError,
     "1 views are given by position, but the model has 2..."),
    ("a list too long", "model", lambda m: m.transform([A, B, A]), ValueError,
     "3 views are given by position, but the model has 2: ['view_0', 'view_1']..."),
    ("positional views too many", "model", lambda m: m.score(A, B, A), ValueError,
     "3 views are given by position, but the model has 2: ['view_0', 'view_1']..."),
    ("other features", "model", lambda m: m.transform(A[:, :3], B), ValueError,
     "view 'view_0' has features of shape (3,), but the model was fitted on (5,)"),
    ("views swapped", "model", lambda m: m.transform([B, A]), ValueError,
     "view 'view_0' has features of shape (4,), but the model was fitted on (5,)"),
    ("another shape", "model", lambda m: m.transform({"view_1": B.reshape(60, 2, 2)}), ValueError,
     "view 'view_1' has features of shape (2, 2), but the model was fitted on (4,)"),
    ("another view", "model", lambda m: m.transform({"view_0": A, "view_2": B}), ValueError,
     "the model has no view 'view_2'; did you mean 'view_1'? Allowed: 'view_0', 'view_1'"),
    ("a renamed column", "named", lambda m: m.transform({"left": LEFT.rename(columns={"a": "A"})}), ValueError,
     "view 'left': features differ from those expected: 1 lacking ['a'], 1 not expected ['A']"),
    ("a column too few", "named", lambda m: m.transform({"right": RIGHT[["w", "x", "y"]]}), ValueError,
     "view 'right': features differ from those expected: 1 lacking ['z'], 0 not expected []"),
    ("an infinite value", "model", lambda m: m.transform(with_value(A, np.inf), B), ValueError,
     "view 'view_0': 1 infinite values, first at row 1 (id 1), feature 'view_0_2'..."),
    ("text", "model", lambda m: m.transform(A.astype(str), B), ValueError,
     "view 'view_0': column 0 is not real numbers..."),
    ("one row without its axis", "model", lambda m: m.transform(A[0], B[0]), ValueError,
     "view 'view_0': needs shape (samples, features), but got shape (5,)..."),
    ("given", "model", lambda m: m.transform(DATA, given="veiw_0"), ValueError,
     "given='veiw_0': the model has no view 'veiw_0'; did you mean 'view_0'? Allowed: 'view_0', 'view_1'"),
    ("given in a list", "model", lambda m: m.predict(DATA, given=["view_0", "view1"]), ValueError,
     "given=['view_0', 'view1']: the model has no view 'view1'; did you mean 'view_1'? Allowed: 'view_0', 'view_1'"),
    ("given by a wrong position", "model", lambda m: m.transform(DATA, given=2), ValueError,
     "given=2: the model has no view 2. Allowed: 'view_0', 'view_1'"),
    ("given nothing", "model", lambda m: m.transform(DATA, given=[]), ValueError,
     "given=[]: name at least one view. Allowed: 'view_0', 'view_1'"),
    ("target", "model", lambda m: m.predict(DATA, target="view_3"), ValueError,
     "target='view_3': the model has no view 'view_3'; did you mean 'view_1'? Allowed: 'view_0', 'view_1'"),
    ("no samples", "model", lambda m: m.sample(0), ValueError, "n_samples=0: give a whole number, at least 1"),
    ("fewer than no samples", "model", lambda m: m.sample(-2), ValueError,
     "n_samples=-2: give a whole number, at least 1"),
    ("a seed that is none", "model", lambda m: m.transform(DATA, n_samples=2, random_state="a"), ValueError,
     "random_state='a': give an integer from 0 to 2**32 - 1..."),
    ("given a float", "model", lambda m: m.transform(DATA, given=1.5), ValueError,
     "given=1.5: the model has no view 1.5..."),
    ("given a bool", "model", lambda m: m.transform(DATA, given=True), (TypeError, ValueError),
     "given=True..."),
    ("draws of none", "model", lambda m: m.transform(DATA, n_samples=0), ValueError,
     "n_samples=0: give a whole number, at least 1"),
    ("predicted draws below none", "model", lambda m: m.predict(DATA, n_samples=-1), ValueError,
     "n_samples=-1: give a whole number, at least 1"),
    ("a score from no draws", "model", lambda m: m.score_samples(DATA, n_samples=0), ValueError,
     "n_samples=0: give a whole number, at least 1"),
    ("half a sample", "model", lambda m: m.sample(2.5), (TypeError, ValueError),
     "n_samples=2.5..."),
    ("scores outside the support", "binary", lambda m: m.score(10 * A), ValueError,
     "likelihood of view 'view_0': bernoulli needs values in [0, 1]..."),
    ("scores of rows that are not one-hot", "one_hot", lambda m: m.score(np.ones((4, 3))), ValueError,
     "likelihood of view 'view_0': categorical needs one-hot rows..."),
    ("scores of no rows", "model", lambda m: m.score_samples(DATA[[]]), ValueError,
     "...no samples..."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "fixture", "call", "error", "message"),
    [pytest.param(*case, id=case[0]) for case in FITTED_CASES],
)
def test_messages_of_fitted_models(name, fixture, call, error, message, request):
    model = request.getfixturevalue(fixture)
    check(lambda: call(model), error, message)


# ---- what simply works ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "views"),
    [
        pytest.param({"batch_size": 500}, [A, B], id="fewer rows than a batch"),
        pytest.param({}, [A[:1], B[:1]], id="a single sample"),
        pytest.param({}, [A[:2], B[:2]], id="two samples"),
        pytest.param({}, [np.ones_like(A), B], id="constant features"),
        pytest.param({}, [np.full((60, 1), 1e9), B], id="a large constant"),
        pytest.param({}, [np.full_like(A, 0.1, dtype=np.float64), B], id="a constant that is no binary fraction"),
        pytest.param({}, [np.zeros((60, 2)), B], id="all zeros"),
        pytest.param({}, [A > 0, B], id="booleans"),
        pytest.param({}, [np.arange(60).reshape(-1, 1), B], id="integers"),
        pytest.param({}, [np.where(np.arange(5) == 2, NAN, A), B], id="a feature that is always missing"),
        pytest.param({}, [np.where(np.arange(60)[:, None] > 0, NAN, A), B], id="a view that one sample has"),
        pytest.param(
            {"encoder": BATCH_NORM, "validation_fraction": 0}, [A[:33], B[:33]], id="batch norm, one row over"
        ),
        pytest.param({"batch_size": 1}, [A[:9], B[:9]], id="batches of one row"),
        pytest.param({"validation_fraction": 0.99}, [A, B], id="a single training sample"),
        pytest.param({"validation_fraction": 0.01}, [A, B], id="too small a share for validation"),
    ],
)
def test_what_simply_works(parameters, views):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = new(**parameters).fit(views)
    assert np.isfinite(model.transform(views)).all()
    assert all(np.isfinite(x).all() for x in model.predict(views))
    assert np.isfinite(model.score_samples(views, n_samples=3)).all()
    assert np.isfinite(model.history_.to_numpy(float)).all()


def test_constant_features_are_predicted_as_they_are():
    model = new(max_epochs=40, learning_rate=0.02).fit(np.full((60, 2), 7.5), B)
    np.testing.assert_allclose(model.predict(np.full((60, 2), 7.5), B)[0], 7.5, atol=0.3)
    np.testing.assert_array_equal(model.views_[0].loc, 7.5)


@pytest.mark.parametrize(
    "parameters", [{"batch_size": 1}, {"validation_fraction": 0}], ids=["batches of one", "one row"]
)
def test_batch_norm_on_one_row_says_how_to_mend_it(parameters):
    rows = A[:9] if "batch_size" in parameters else A[:1]
    with pytest.raises(ValueError, match=r"batch.*(norm|batch_size)"):
        new(encoder=BATCH_NORM, **parameters).fit(rows)


def test_batch_norm_serves_single_rows_after_training():
    model = new(encoder=BATCH_NORM).fit(A, B)
    assert model.transform(A[:1], B[:1]).shape == (1, 2)


def test_hyperparameters_are_checked_again_when_fit_is_called():
    model = new()
    model.z_dim = 0
    with pytest.raises(ValueError, match="MVAE: z_dim=0: input should be greater than 0"):
        model.fit(DATA)
    assert not hasattr(model, "network_")


@pytest.mark.parametrize("name", ["z_dim", "batch_size", "max_epochs"])
def test_numpy_integers_for_sizes(name):
    assert new(**{name: np.int64(3)}).fit(DATA).transform(DATA).shape[0] == 60


def test_numpy_scalars_are_numbers():
    model = new(learning_rate=np.float32(1e-3), random_state=np.int32(1), patience=np.int64(1))
    assert len(model.fit(DATA).history_) == 2
