"""Many networks trained as one computation: each comes out as if it had been trained alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import KFold
from torch.nn import functional as F

import manyview as mv
from manyview.data.views import as_views
from manyview.seeding import as_seed
from manyview.training import loop, many, tape
from manyview.training.draws import Recorder, Replay, draw_all

TINY = {"encoder": {"hidden": [16]}, "decoder": {"hidden": [16]}, "max_epochs": 4, "batch_size": 32, "verbose": False}
ONE_BY_ONE = {"DCCA", "DCCAE", "MAAE", "MWAE"}


@pytest.fixture(scope="module")
def views():
    return mv.datasets.make_multiview(n_samples=120, n_features=(12, 8, 5), n_shared=2, random_state=0)


@pytest.fixture(scope="module")
def incomplete(views):
    return mv.datasets.remove(views, 0.2, random_state=0)


@pytest.fixture(autouse=True)
def taped_soon(monkeypatch):
    """Small data have few steps; all but the first ones are to be done from a tape here."""
    monkeypatch.setattr(tape, "_OFTEN", 2)


def together(models, data, covariates=None):
    """Models trained as one computation, with the data of each as fit would prepare them."""
    prepared = [m.preparation(as_seed(m.random_state))(as_views(data), covariates, (None, None), None) for m in models]
    runs = [m.run(d, as_seed(m.random_state)) for m, d in zip(models, prepared, strict=True)]
    outcomes = many.train_all(runs)
    for model, d, run, outcome in zip(models, prepared, runs, outcomes, strict=True):
        model.adopt(d, [run], [outcome])
    return models


@pytest.fixture
def no_single_training(monkeypatch):
    def refuse(run):
        raise AssertionError("a network was trained alone")

    def train_together(*args, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(loop, "train", refuse)
            return together(*args, **kwargs)

    return train_together


def assert_same(one, other, data, tolerance=1e-4, **kwargs):
    np.testing.assert_allclose(one.history_, other.history_, rtol=1e-5, atol=1e-3)
    assert one.best_epoch_ == other.best_epoch_
    np.testing.assert_allclose(one.transform(data, **kwargs), other.transform(data, **kwargs), atol=tolerance)


@pytest.mark.parametrize("cls", [cls for cls in mv.models.MODELS if cls.__name__ not in ONE_BY_ONE])
def test_every_model_is_what_it_is_alone(cls, incomplete, no_single_training):
    def models():
        rates = {"learning_rate": 1e-3}, {"learning_rate": 3e-3}, {"learning_rate": 1e-2}
        return [cls(z_dim=2, random_state=seed, **TINY, **rate) for seed, rate in enumerate(rates)]

    alone = [model.fit(incomplete) for model in models()]
    for one, other in zip(alone, no_single_training(models(), incomplete), strict=True):
        assert_same(one, other, incomplete)


def test_most_steps_of_small_networks_are_done_from_tapes(views, no_single_training, monkeypatch):
    calls, evaluate = [], many.Together.evaluate

    def counted(self, *args):
        calls.append(args[0])
        return evaluate(self, *args)

    monkeypatch.setattr(many.Together, "evaluate", counted)
    models = [mv.MVAE(z_dim=2, random_state=seed, **TINY | {"max_epochs": 20}) for seed in range(3)]
    no_single_training(models, views)
    # Each size of mini-batches, two to train on and one to watch: before training, then before, on and after the tape.
    assert (calls.count(True), calls.count(False)) == (2 * 4, 4)


@pytest.mark.parametrize("name", sorted(ONE_BY_ONE))
def test_others_are_trained_one_after_another(name, views):
    def models():
        return [getattr(mv, name)(z_dim=2, random_state=seed, **TINY) for seed in range(2)]

    for one, other in zip([model.fit(views) for model in models()], together(models(), views), strict=True):
        np.testing.assert_array_equal(one.transform(views), other.transform(views))


@pytest.mark.parametrize(
    "settings",
    [
        [{"beta": 0.5}, {"beta": 2.0, "beta_warmup": 3}],
        [{"encoder": {"hidden": [16], "dropout": rate}} for rate in (0.1, 0.5)],
        # Not Adam: biases before batch normalisation have no effect, and gradients that are rounding errors.
        [{"encoder": {"hidden": [16], "norm": "batch"}, "optimizer": "SGD", "learning_rate": r} for r in (1e-5, 1e-4)],
        [{"gradient_clip": 0.1}, {"gradient_clip": None}],
        [{"scheduler": "StepLR", "scheduler_args": {"step_size": 1, "gamma": rate}} for rate in (0.5, 1.0)],
        [{"scheduler": "ReduceLROnPlateau", "scheduler_args": {"patience": 0}, "learning_rate": r} for r in (0.1, 0.2)],
        [{"optimizer": "SGD", "optimizer_args": {"momentum": m}, "learning_rate": 1e-4} for m in (0.0, 0.9)],
        [{"optimizer": "AdamW", "optimizer_args": {"weight_decay": w}} for w in (0.0, 0.5)],
        [{"max_epochs": 2}, {"max_epochs": 5}, {"max_epochs": 5, "learning_rate": 0.5, "patience": 1}],
        [{"validation_fraction": 0.0, "random_state": seed} for seed in range(2)],
        [{"likelihood": "laplace", "likelihood_weight": "dimension", "random_state": seed} for seed in range(2)],
    ],
)
def test_each_keeps_its_own_settings(settings, views, no_single_training):
    def models():
        return [mv.MVAE(**{"z_dim": 2, "random_state": 0, **TINY, **own}) for own in settings]

    alone = [model.fit(views) for model in models()]
    assert len({model.history_["loss"].iloc[-1] for model in alone}) == len(settings)
    for one, other in zip(alone, no_single_training(models(), views), strict=True):
        assert_same(one, other, views)


def test_with_covariates(views, no_single_training):
    covariates = pd.DataFrame({"age": np.linspace(20, 80, 120), "site": ["a", "b", "c"] * 40})

    def models():
        return [mv.MVAE(z_dim=2, random_state=seed, **TINY) for seed in range(2)]

    alone = [model.fit(views, covariates=covariates) for model in models()]
    for one, other in zip(alone, no_single_training(models(), views, covariates), strict=True):
        assert_same(one, other, views, covariates=covariates)


def test_images(no_single_training):
    rng = np.random.default_rng(0)
    data = {"image": rng.random((60, 1, 8, 8)).astype(np.float32), "table": rng.normal(size=(60, 4))}
    networks = {"image": {"channels": [4, 8], "dropout": 0.2}, "table": {"hidden": [8]}}

    def models():
        return [mv.MVAE(**{"z_dim": 2, "random_state": s, **TINY, "encoder": networks}) for s in range(2)]

    alone = [model.fit(data) for model in models()]
    for one, other in zip(alone, no_single_training(models(), data), strict=True):
        assert_same(one, other, data)


def test_what_differs_in_shape_or_objective_is_not_mixed(views):
    models = [mv.MVAE(z_dim=2), mv.MVAE(z_dim=3), mv.MCVAE(z_dim=2), mv.MVTCAE(alpha=0.5), mv.MVTCAE(alpha=0.9)]
    models += [mv.MVAE(z_dim=2, batch_size=8), mv.MVAE(z_dim=2, trainer={"max_time": "0:1"}), mv.MVAE(z_dim=2)]
    data = models[0].preparation(0)(views, None, (None, None), None)
    groups = many._alike([model.run(data, 0) for model in models])
    assert groups == [[0, 7], [1], [2], [3], [4], [5], [6]]


class Odd(torch.nn.Module):
    """A network that PyTorch cannot map over: what it does depends on what it sees."""

    def __init__(self, in_shape, out_dim):
        super().__init__()
        self.layer = torch.nn.Linear(in_shape[0], out_dim)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


def test_what_cannot_be_stacked_is_trained_one_after_another(views):
    def models():
        return [mv.MVAE(**{**TINY, "encoder": Odd, "random_state": seed}) for seed in range(2)]

    for one, other in zip([model.fit(views) for model in models()], together(models(), views), strict=True):
        np.testing.assert_array_equal(one.transform(views), other.transform(views))


def test_those_that_did_not_agree_are_trained_as_if_never_tried(views, monkeypatch):
    def models():
        dropout = {"hidden": [16], "dropout": 0.3}
        return [mv.MVAE(**{**TINY, "encoder": dropout, "random_state": seed}) for seed in range(2)]

    monkeypatch.setattr(many, "_TOLERANCE", -1.0)
    for one, other in zip([model.fit(views) for model in models()], together(models(), views), strict=True):
        np.testing.assert_array_equal(one.transform(views), other.transform(views))


def frozen(shape, n_outputs):
    """Dropout that is off, in training too."""
    return torch.nn.Sequential(torch.nn.Linear(*shape, n_outputs), torch.nn.Dropout(0.9).eval())


def test_frozen_parts_stay_frozen(views, no_single_training):
    def models():
        return [mv.MVAE(**{**TINY, "encoder": frozen, "random_state": seed}) for seed in range(2)]

    for one, other in zip([m.fit(views) for m in models()], no_single_training(models(), views), strict=True):
        assert_same(one, other, views)


@pytest.mark.filterwarnings("ignore")
def test_one_that_fails_leaves_the_others_alone(views, no_single_training):
    good, bad = (mv.MVAE(random_state=0, **{**TINY, "learning_rate": rate, "max_epochs": 6}) for rate in (1e-3, 1e20))
    alone = mv.MVAE(random_state=0, **{**TINY, "learning_rate": 1e-3, "max_epochs": 6}).fit(views)
    with pytest.raises(mv.NonFiniteObjectiveError, match=r"non-finite in epoch 1.*Lower learning_rate"):
        no_single_training([good, bad], views)
    assert_same(alone, good, views)
    assert np.isfinite(bad.transform(views)).all()


def test_ctrl_c_keeps_the_best_weights(views, monkeypatch):
    steps = many.Together._end_epoch

    def stop(self, means):
        steps(self, means)
        self.stop_requested = len(self.reached[0].history) == 2

    monkeypatch.setattr(many.Together, "_end_epoch", stop)
    model = mv.MVAE(n_init=2, random_state=0, **TINY).fit(views)
    assert model.interrupted_
    assert len(model.history_) == 2
    assert np.isfinite(model.transform(views)).all()


def test_ctrl_c_ends_all_of_it(views, monkeypatch):
    train = loop.train
    begun = []

    def interrupt(run):
        begun.append(run)
        return train(run)._replace(interrupted=True)

    monkeypatch.setattr(loop, "train", interrupt)
    model = mv.MVAE(random_state=0, **{**TINY, "trainer": {"max_time": "00:01:00:00"}})
    with pytest.raises(KeyboardInterrupt):
        mv.tune(model, views, {"beta": [1.0, 2.0]}, cv=2)
    assert len(begun) == 1
    model.set_params(n_init=3).fit(views)
    assert len(begun) == 2
    assert model.interrupted_
    np.testing.assert_array_equal(model.init_losses_[1:], np.inf)


# ---- n_init ---------------------------------------------------------------------------------------------------------


def test_the_best_of_several_initial_weights(views):
    one = mv.MVAE(random_state=1, **TINY).fit(views)
    best = mv.MVAE(n_init=4, random_state=1, **TINY).fit(views)
    assert best.init_losses_.shape == (4,)
    assert one.init_losses_[0] == pytest.approx(best.init_losses_[0], rel=1e-5)
    assert best.history_["val_loss"][best.best_epoch_] == best.init_losses_.min() < best.init_losses_[0]
    np.testing.assert_array_equal(best.held_out_, one.held_out_)


def test_n_init_keeps_no_checkpoint(views, tmp_path):
    with pytest.raises(ValueError, match="checkpoint keeps one training, but n_init=2"):
        mv.MVAE(n_init=2, **TINY).fit(views, checkpoint=tmp_path)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_start_that_fails_is_left_out(views, monkeypatch):
    finish = many.Together._finish
    failed = mv.NonFiniteObjectiveError("overflow")
    monkeypatch.setattr(
        many.Together, "_finish", lambda self, n: finish(self, n)._replace(error=failed if n == 1 else None)
    )
    with pytest.warns(UserWarning, match=r"1 of 3 trainings \(n_init\) failed"):
        model = mv.MVAE(n_init=3, random_state=0, **TINY).fit(views)
    assert np.isnan(model.init_losses_).tolist() == [False, True, False]


def test_init_losses_are_saved(views, tmp_path):
    model = mv.MVAE(n_init=2, random_state=0, **TINY).fit(views)
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(mv.load(tmp_path / "model.safetensors").init_losses_, model.init_losses_)


# ---- tune -----------------------------------------------------------------------------------------------------------


def test_tune_is_cross_validation(views):
    model = mv.MVAE(z_dim=2, random_state=0, **TINY)
    grid = {"beta": [0.5, 1.0], "encoder__dropout": [0.1, 0.4], "z_dim": [1, 2]}
    found = mv.tune(model, views, grid, cv=3, n_samples=10)
    assert len(found.results) == 8
    folds = list(KFold(3, shuffle=True, random_state=as_seed(0)).split(np.arange(120)))
    for row in (0, 5):
        line = found.results.iloc[row]
        encoder = {"hidden": [16], "dropout": line["encoder__dropout"]}
        own = {**TINY, "z_dim": int(line["z_dim"]), "beta": line["beta"], "encoder": encoder, "random_state": 0}
        for fold, (train, test) in enumerate(folds):
            alone = mv.MVAE(**own).fit(views[train])
            score = alone.score(views[test], n_samples=10, random_state=fold)
            assert line[f"score_{fold}"] == pytest.approx(score, abs=1e-3)
    scores = found.results[["score_0", "score_1", "score_2"]].to_numpy()
    np.testing.assert_allclose(found.results["mean_score"], scores.mean(1))
    np.testing.assert_allclose(found.results["sd_score"], scores.std(1, ddof=1))
    np.testing.assert_allclose(found.results["se_score"], scores.std(1, ddof=1) / 3**0.5)
    best = found.results.loc[found.results["rank"] == 1].iloc[0]
    assert found.best_score == best["mean_score"] == found.results["mean_score"].max()
    assert found.best_params == {name: best[name] for name in grid}
    refitted = mv.MVAE(**{**TINY, **found.best_model.get_params(deep=False)}).fit(views)
    np.testing.assert_array_equal(found.best_model.transform(views), refitted.transform(views))
    assert model.encoder == TINY["encoder"]
    assert not hasattr(model, "network_")


def test_tune_with_covariates_own_folds_and_score(views):
    covariates = {"age": np.linspace(20, 80, 120)}
    splits = [(np.arange(80), np.arange(80, 120))]
    grid = [{"learning_rate": [1e-3, 1e-2]}, {"beta": [2.0]}]
    model = mv.MVAE(random_state=0, **TINY)
    found = mv.tune(model, views, grid, cv=splits, covariates=covariates, refit=False)
    assert found.best_model is None
    assert found.results["se_score"].isna().all()
    assert found.results["sd_score"].isna().all()
    assert found.results["beta"].isna().tolist() == [True, True, False]
    seen = []

    def scoring(fitted, data):
        seen.append(len(data))
        return -fitted.beta

    found = mv.tune(mv.MVAE(random_state=0, **TINY), views, {"beta": [0.5, 2.0]}, cv=splits, scoring=scoring)
    assert seen == [40, 40]
    assert (found.best_score, found.best_model.beta) == (-0.5, 0.5)
    assert repr(found) == "Tuning(best_params={'beta': 0.5}, best_score=-0.5, of 2)"

    def by_age(fitted, data, covariates):
        return covariates["age"].sum() / fitted.beta

    found = mv.tune(model, views, {"beta": [1.0, 2.0]}, cv=splits, covariates=covariates, scoring=by_age, refit=False)
    assert found.results["mean_score"].tolist() == pytest.approx(
        [covariates["age"][80:].sum(), covariates["age"][80:].sum() / 2]
    )


@pytest.mark.parametrize("labelled", [False, True])
def test_tune_keeps_groups_together(labelled):
    rng = np.random.default_rng(0)
    persons = np.repeat(np.arange(12), 5)
    samples = pd.DataFrame(rng.standard_normal((60, 4)), index=[f"s{i}" for i in range(60)])
    views = mv.Views({"a": samples, "b": samples + 1})
    groups = pd.Series(persons, index=samples.index)[::-1] if labelled else persons
    seen = []

    def scoring(fitted, data):
        seen.append({persons[int(name[1:])] for name in data.index})
        assert len(data) == 5 * len(seen[-1])
        return 0.0

    mv.tune(mv.AE(random_state=0, **TINY), views, {"learning_rate": [1e-3]}, 4, groups=groups, scoring=scoring)
    assert sorted(person for fold in seen for person in fold) == list(range(12))
    with pytest.raises(ValueError, match=r"cv=13: .* from 2 to the number of groups, 12"):
        mv.tune(mv.AE(**TINY), views, {"learning_rate": [1e-3]}, 13, groups=groups)
    with pytest.raises(ValueError, match="fold 0 has samples of group 7 to train on and to score"):
        mv.tune(mv.AE(**TINY), views, {"learning_rate": [1e-3]}, [(range(38), range(38, 60))], groups=groups)
    with pytest.raises(ValueError, match="groups: 59 rows for 60 samples"):
        mv.tune(mv.AE(**TINY), views, {"learning_rate": [1e-3]}, groups=persons[:-1])
    unknown = [None if i in (3, 9) else f"p{person}" for i, person in enumerate(persons)]
    with pytest.raises(ValueError, match="groups: 2 of 60 samples have none, first sample 3;"):
        mv.tune(mv.AE(**TINY), views, {"learning_rate": [1e-3]}, groups=unknown)
    with pytest.raises(ValueError, match=r"n_samples=5 .*`scoring`"):
        mv.tune(mv.AE(**TINY), views, {"learning_rate": [1e-3]}, scoring=scoring, n_samples=5)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_combination_that_fails_ranks_last(views):
    model = mv.MVAE(random_state=0, **TINY)
    with pytest.warns(UserWarning, match=r"\{'learning_rate': 1e\+20\}: the training objective became non-finite"):
        found = mv.tune(model, views, {"learning_rate": [1e20, 1e-3]}, cv=2, refit=False)
    assert found.results["rank"].tolist() == [2, 1]
    assert found.best_params == {"learning_rate": 1e-3}
    with (
        pytest.warns(UserWarning, match="non-finite"),
        pytest.raises(mv.NonFiniteObjectiveError, match="every combination"),
    ):
        mv.tune(model, views, {"learning_rate": [1e20]}, cv=2)


@pytest.mark.parametrize(
    ("grid", "cv", "error", "message"),
    [
        ({"betta": [1.0]}, 3, TypeError, "no hyperparameter 'betta'; did you mean 'beta'"),
        ({"beta": [1.0, -1.0]}, 3, ValueError, "beta=-1.0"),
        ({"beta__x": [1.0]}, 3, ValueError, "only encoder, decoder, .* have settings"),
        ({"encoder__dropot": [0.1]}, 3, ValueError, "dropot"),
        ({"beta": [1.0]}, 1, ValueError, "cv=1: give a number of folds from 2"),
        ({"beta": [1.0]}, 500, ValueError, "cv=500.*number of samples, 120"),
    ],
)
def test_tune_refuses(views, grid, cv, error, message):
    with pytest.raises(error, match=message):
        mv.tune(mv.MVAE(**TINY), views, grid, cv=cv)


def test_tune_refuses_settings_of_modules(views):
    model = mv.MVAE(**{**TINY, "encoder": torch.nn.LazyLinear(20)})
    with pytest.raises(ValueError, match=r"'encoder__dropout': .* is a network already"):
        mv.tune(model, views, {"encoder__dropout": [0.1]})
    by_view = mv.MVAE(**{**TINY, "encoder": {"view_0": "mlp", "view_1": {"hidden": [4]}}})
    found = mv.tune(by_view, views, {"encoder__dropout": [0.1]}, cv=2)
    assert found.best_model.encoder["view_1"] == {"hidden": [4], "dropout": 0.1}


# ---- random numbers -------------------------------------------------------------------------------------------------

PROBS = torch.tensor([[0.1, 0.9], [0.5, 0.5], [1.0, 0.0]])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.empty(40, 3).normal_(),
        lambda: torch.empty(3).normal_(2.0, std=0.5),
        lambda: torch.empty(5).uniform_(-1, 1),
        lambda: torch.empty(5).exponential_(),
        lambda: torch.rand(4, 2),
        lambda: torch.randn((4, 2)),
        lambda: torch.rand_like(torch.zeros(3)),
        lambda: torch.randn_like(torch.zeros(20)),
        lambda: torch.normal(torch.arange(20.0), torch.full((20,), 2.0)),
        lambda: torch.multinomial(PROBS, 1),
        lambda: torch.distributions.Categorical(probs=PROBS).sample(),
        lambda: torch.distributions.Laplace(torch.zeros(8), 2.0).rsample((3,)),
        lambda: F.dropout(torch.ones(30), 0.3),
        lambda: F.dropout(torch.ones(30), 0.3, training=False),
        lambda: F.dropout2d(torch.ones(4, 3, 2, 2), 0.5),
    ],
)
def test_random_numbers_are_those_of_each_model_alone(draw):
    with Recorder() as recorder, torch.random.fork_rng():
        draw()
    numbers = draw_all([recorder.draws] * 2, [torch.Generator().manual_seed(seed) for seed in (3, 4)])
    for model, seed in enumerate((3, 4)):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            expected = draw()
        with Replay([own[model] for own in numbers]):
            torch.testing.assert_close(draw(), expected)


def test_in_double_precision_nothing_differs(views):
    """What differs in single precision is rounding, which an optimiser can amplify."""
    model = mv.MVAE(z_dim=2, random_state=0, **{**TINY, "max_epochs": 30})
    data = model.preparation(0)(views, None, (None, None), None)

    def runs():
        found = [model.run(data, seed) for seed in range(3)]
        for run in found:
            run.network.double()
        parts = {name: getattr(found[0], name)._map(lambda x: x.double()) for name in ("data", "validation")}
        return [replace(run, **parts) for run in found]

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        alone, together = runs(), runs()
        for run in alone:
            loop.train(run)
        assert len(many._alike(together)) == 1
        many.train_all(together)
    finally:
        torch.set_default_dtype(before)
    for one, other in zip(alone, together, strict=True):
        for parameter, same in zip(one.network.parameters(), other.network.parameters(), strict=True):
            torch.testing.assert_close(parameter, same, rtol=1e-9, atol=1e-9)


# ---- other tensors than its own -------------------------------------------------------------------------------------


def test_a_module_lends_itself_to_other_tensors():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.norm = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.norm(self.second(self.first(x)))

    torch.manual_seed(0)
    module, x = Tied(), torch.randn(5, 3)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    other = {name: torch.rand_like(value) for name, value in module.named_parameters()}
    buffers = {name: value + 1 for name, value in module.named_buffers()}
    twins = {name: value.clone() for name, value in buffers.items()}
    found = many.Lent(module)([*other.values(), *buffers.values()], x)
    torch.testing.assert_close(found, torch.func.functional_call(module, other | twins, (x,)))
    torch.testing.assert_close(buffers, twins)
    torch.testing.assert_close(dict(module.state_dict()), before)
    assert module.second.weight is module.first.weight
    with pytest.raises(RuntimeError):
        many.Lent(module)([*other.values(), *buffers.values()], x[:, :2])
    torch.testing.assert_close(dict(module.state_dict()), before)
