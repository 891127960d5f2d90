"""Training: what is recorded, what is kept, what stops it, and that nothing else is touched."""

import inspect
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

import manyview as mv
from manyview.data.batch import Batch, BatchLoader
from manyview.data.preprocessing import make_batch
from manyview.datasets import make_multiview
from manyview.models import MODELS
from manyview.seeding import as_seed
from manyview.training import NonFiniteObjectiveError, TrainingSettings
from manyview.training.loop import make_optimizer, make_scheduler
from manyview.training.run import Progress

TINY = {
    "z_dim": 2,
    "encoder": {"hidden": [8]},
    "decoder": {"hidden": [8]},
    "max_epochs": 3,
    "batch_size": 32,
    "random_state": 0,
    "verbose": False,
}


@pytest.fixture(scope="module")
def data():
    return make_multiview(90, (5, 4), random_state=0)


def new(cls=mv.MVAE, **parameters):
    return cls(**{**TINY, **parameters})


def weights(model):
    return model.network_.state_dict()


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Snapshots(pl.Callback):
    """The weights and the learning rate after each epoch; Lightning calls it before the module's own hook."""

    def __init__(self):
        self.weights, self.rates = [], []

    def on_train_epoch_end(self, trainer, pl_module):
        self.weights.append({k: v.detach().clone() for k, v in pl_module.network.state_dict().items()})
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.optimizer = trainer.optimizers[0]


class AtEpoch(pl.Callback):
    """Does something at the start of an epoch, counted from 1."""

    def __init__(self, epoch, action):
        self.epoch, self.action = epoch, action

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch + 1 == self.epoch:
            self.action()


def raising(error):
    def action():
        raise error

    return action


# ---- the history ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [mv.MCVAE, mv.MVAE, mv.MEMVAE, mv.WeightedMVAE], ids=lambda cls: cls.__name__)
def test_the_history_adds_up(cls, data):
    table = new(cls, beta=0.7).fit(data).history_
    parts = ["loss", "log_lik[view_0]", "log_lik[view_1]", "kl"]
    assert table.columns.tolist() == [*parts, *(f"val_{part}" for part in parts), "beta"]
    assert table.index.name == "epoch"
    assert table.index.tolist() == [1, 2, 3]
    assert (table["beta"] == 0.7).all()
    for prefix in ("", "val_"):
        log_lik = table[f"{prefix}log_lik[view_0]"] + table[f"{prefix}log_lik[view_1]"]
        np.testing.assert_allclose(table[f"{prefix}loss"], 0.7 * table[f"{prefix}kl"] - log_lik, rtol=1e-5)
    assert (table["kl"] > 0).all()


def test_the_history_of_models_without_divergences(data):
    table = new(mv.AE).fit(data).history_
    np.testing.assert_allclose(table["loss"], -(table["log_lik[view_0]"] + table["log_lik[view_1]"]), rtol=1e-5)
    table = new(mv.MMVAE, n_importance_samples=2).fit(data).history_
    assert {"log_lik[view_0]", "val_log_lik[view_1]"} < set(table.columns)


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_the_validation_loss_is_the_training_objective(cls, data):
    """Recomputed from the weights that were kept, with the draws that validation takes."""
    train, held_out = data[:60], data[60:]
    model = new(cls, learning_rate=0.01).fit(train, validation=held_out)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(as_seed(0))
        terms = model.objective(model.network_, make_batch(held_out, model.views_), 1.0)
    expected = -terms.value.mean().item()
    assert model.history_["val_loss"][model.best_epoch_] == pytest.approx(expected, rel=1e-5)


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_rows(data):
    """One batch, no held-out rows, a step too small to see: the loss of every epoch is that of all rows."""
    model = new(mv.AE, batch_size=90, validation_fraction=0, learning_rate=1e-12).fit(data)
    np.testing.assert_allclose(model.history_["loss"], -model.score(data), rtol=1e-5)
    uneven = new(mv.AE, batch_size=40, validation_fraction=0, learning_rate=1e-12).fit(data)
    np.testing.assert_allclose(uneven.history_["loss"], -uneven.score(data), rtol=1e-5)


def test_validation_draws_do_not_change_from_epoch_to_epoch(data):
    table = new(learning_rate=1e-12).fit(data).history_
    np.testing.assert_allclose(table["val_loss"], table["val_loss"][1], rtol=1e-6)
    assert table["loss"].nunique() == 3  # those of training do


def test_missing_views_are_no_part_of_the_loss(data):
    a, b = data.array("view_0"), data.array("view_1").copy()
    b[20:] = np.nan
    table = new(mv.AE, batch_size=90, validation_fraction=0, learning_rate=1e-12).fit(a, b).history_
    assert table["loss"][1] == pytest.approx(-(table["log_lik[view_0]"] + table["log_lik[view_1]"])[1], rel=1e-6)
    assert -table["log_lik[view_1]"][1] < -table["log_lik[view_0]"][1]  # a mean over all rows, most of which lack it


# ---- reproducibility ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_the_same_seed_gives_the_same_weights_bit_for_bit(cls, data):
    dropout = {"hidden": [8], "dropout": 0.2}
    one, same, other = (new(cls, encoder=dropout, random_state=seed).fit(data) for seed in (0, 0, 1))
    assert equal(weights(one), weights(same))
    assert one.history_.equals(same.history_)
    assert not equal(weights(one), weights(other))


def test_without_a_seed_every_fit_differs(data):
    model = new(random_state=None)
    one = {k: v.clone() for k, v in weights(model.fit(data)).items()}
    assert not equal(one, weights(model.fit(data)))


def test_a_random_state_object_is_a_stream(data):
    stream = np.random.RandomState(5)
    one, two = (new(random_state=stream).fit(data) for _ in range(2))
    assert not equal(weights(one), weights(two))
    again = new(random_state=np.random.RandomState(5)).fit(data)
    assert equal(weights(one), weights(again))


@pytest.mark.parametrize("callback", [None, AtEpoch(2, raising(RuntimeError("stop")))], ids=["whole", "broken off"])
def test_global_random_numbers_are_left_alone(callback, data):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    model = new(trainer={"callbacks": [callback]} if callback else None)
    if callback:
        with pytest.raises(RuntimeError, match="stop"):
            model.fit(data)
    else:
        model.fit(data)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_none_follows_numpys_seed_as_everywhere_in_scikit_learn(data):
    state, torchs = np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    one = new(random_state=None).fit(data)
    np.random.set_state(state)  # noqa: NPY002
    assert equal(weights(one), weights(new(random_state=None).fit(data)))
    assert torch.equal(torch.random.get_rng_state(), torchs)


# ---- when to stop, and what to keep ---------------------------------------------------------------------------------


@pytest.mark.parametrize("learning_rate", [0.3, 0.03])
def test_early_stopping_keeps_the_best_epochs_weights(learning_rate, data):
    seen = Snapshots()
    model = new(learning_rate=learning_rate, max_epochs=60, patience=4, trainer={"callbacks": [seen]}).fit(data)
    table = model.history_
    assert model.best_epoch_ == table["val_loss"].idxmin()
    assert len(table) == model.best_epoch_ + 4 < 60
    assert equal(weights(model), seen.weights[model.best_epoch_ - 1])
    assert not equal(weights(model), seen.weights[-1])


def test_without_patience_training_goes_on_but_keeps_the_best(data):
    seen = Snapshots()
    model = new(learning_rate=0.3, max_epochs=12, patience=None, trainer={"callbacks": [seen]}).fit(data)
    assert len(model.history_) == 12
    assert model.best_epoch_ == model.history_["val_loss"].idxmin() < 12
    assert equal(weights(model), seen.weights[model.best_epoch_ - 1])


def test_without_validation_the_last_weights_are_kept(data):
    seen = Snapshots()
    model = new(validation_fraction=0, patience=1, max_epochs=6, trainer={"callbacks": [seen]}).fit(data)
    assert model.best_epoch_ == len(model.history_) == 6
    assert equal(weights(model), seen.weights[-1])


def test_batch_norm_statistics_are_those_of_the_best_epoch(data):
    seen = Snapshots()
    net = {"hidden": [8], "norm": "batch"}
    model = new(encoder=net, learning_rate=0.3, max_epochs=15, trainer={"callbacks": [seen]}).fit(data)
    assert any("running_mean" in name for name in weights(model))
    assert equal(weights(model), seen.weights[model.best_epoch_ - 1])


def test_validation_every_few_epochs(data):
    model = new(learning_rate=0.3, max_epochs=20, trainer={"check_val_every_n_epoch": 3}).fit(data)
    assert model.best_epoch_ == model.history_["val_loss"].idxmin()


def test_epochs_of_the_auto_setting(data):
    # ceil(81 / 32) = 3 steps an epoch would be 3,334 epochs: at most 1,000, and early stopping comes first
    model = new(max_epochs="auto", patience=2, learning_rate=0.3).fit(data)
    assert 2 < len(model.history_) < 1000
    assert model.max_epochs == "auto"
    assert len(new(max_epochs="auto").fit(data, max_epochs=1).history_) == 1


# ---- beta -----------------------------------------------------------------------------------------------------------


def test_beta_warms_up(data):
    seen = Snapshots()
    model = new(beta=2.0, beta_warmup=4, max_epochs=7, patience=1, learning_rate=0.01, trainer={"callbacks": [seen]})
    table = model.fit(data).history_
    np.testing.assert_allclose(table["beta"][:5], [0.5, 1.0, 1.5, 2.0, 2.0])
    log_lik = table["val_log_lik[view_0]"] + table["val_log_lik[view_1]"]
    np.testing.assert_allclose(table["val_loss"], table["beta"] * table["val_kl"] - log_lik, rtol=1e-5)
    # within an epoch beta grows from step to step: the recorded loss lies between those of both ends
    log_lik = table["log_lik[view_0]"] + table["log_lik[view_1]"]
    low, high = (table["kl"] * (table["beta"] - back) - log_lik for back in (0.5, 0.0))
    assert ((low < table["loss"]) & (table["loss"] < high))[:4].all()
    assert model.best_epoch_ >= 4  # losses under a smaller beta do not compete
    assert [model.beta_at(epoch) for epoch in (0, 1, 4, 100)] == [0.0, 0.5, 2.0, 2.0]


def test_beta_weighs_the_divergence(data):
    free, tight = (new(beta=beta, max_epochs=30, learning_rate=0.03).fit(data) for beta in (0.01, 20.0))
    assert tight.history_["kl"].iloc[-1] < 0.1 < free.history_["kl"].iloc[-1]


# ---- optimisers -----------------------------------------------------------------------------------------------------


def settings(**changes):
    base = {name: None for name in inspect.signature(TrainingSettings).parameters}
    base |= {"optimizer": "Adam", "optimizer_args": {}, "learning_rate": 0.1, "scheduler_args": {}}
    return TrainingSettings(**{**base, **changes})


def test_adam_is_fused_unless_asked_otherwise(data):
    net = nn.Linear(2, 1)
    assert make_optimizer(list(net.parameters()), settings()).defaults["fused"] is True
    assert make_optimizer(list(net.parameters()), settings(optimizer_args={"fused": False})).defaults["fused"] is False
    assert not make_optimizer(list(net.parameters()), settings(optimizer_args={"foreach": True})).defaults["fused"]
    seen = Snapshots()
    new(trainer={"callbacks": [seen]}).fit(data)
    assert type(seen.optimizer) is torch.optim.Adam
    assert seen.optimizer.defaults["fused"] is True


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("AdamW", {"weight_decay": 0.1, "betas": (0.8, 0.9)}),
        ("RMSprop", {}),
        ("Adagrad", {"eps": 1e-6}),
        ("Adam", {"amsgrad": True}),
    ],
)
def test_optimisers_by_name(name, args, data):
    seen = Snapshots()
    model = new(optimizer=name, optimizer_args=args, learning_rate=0.02, trainer={"callbacks": [seen]}).fit(data)
    assert type(seen.optimizer) is getattr(torch.optim, name)
    assert seen.optimizer.defaults.items() >= {"lr": 0.02, **args}.items()
    assert not equal(seen.weights[0], seen.weights[1])
    assert not equal(weights(model), weights(new(learning_rate=0.02).fit(data)))


def test_one_epoch_of_sgd_is_the_gradient_step_by_hand(data):
    """Full batch, no noise: the weights move by -lr times the gradient of the mean objective."""
    still = new(mv.AE, validation_fraction=0, batch_size=90, max_epochs=1, optimizer="SGD", learning_rate=1e-30)
    moved = new(mv.AE, validation_fraction=0, batch_size=90, max_epochs=1, optimizer="SGD", learning_rate=0.5)
    start, end = still.fit(data), moved.fit(data)
    net = start.network_
    (-start.objective(net, make_batch(data, start.views_), 1.0).value.mean()).backward()
    expected = {name: p.detach() - 0.5 * p.grad for name, p in net.named_parameters()}
    for name, p in end.network_.named_parameters():
        np.testing.assert_allclose(p.detach(), expected[name], rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped(data):
    # one step of plain SGD moves the weights by lr times the clipped norm
    sgd = {"optimizer": "SGD", "learning_rate": 1.0, "max_epochs": 1, "batch_size": 90, "validation_fraction": 0}
    start = weights(new(**{**sgd, "learning_rate": 1e-30}).fit(data))
    end = weights(new(**sgd, gradient_clip=0.01).fit(data))
    moved = torch.sqrt(sum((end[name] - start[name]).square().sum() for name in start))
    assert moved.item() == pytest.approx(0.01, rel=1e-3)


def test_schedulers_step_once_an_epoch(data):
    seen = Snapshots()
    step = {"scheduler": "StepLR", "scheduler_args": {"step_size": 2, "gamma": 0.1}}
    new(**step, max_epochs=6, learning_rate=0.1, trainer={"callbacks": [seen]}).fit(data)
    np.testing.assert_allclose(seen.rates, [0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_reduce_on_plateau_watches_the_validation_loss(data):
    seen = Snapshots()
    plateau = {"scheduler": "ReduceLROnPlateau", "scheduler_args": {"patience": 0, "factor": 0.5}}
    model = new(**plateau, max_epochs=12, learning_rate=0.3, trainer={"callbacks": [seen]}).fit(data)
    rate, best, expected = 0.3, np.inf, []
    for loss in model.history_["val_loss"]:
        expected.append(rate)  # the callback sees the rate before the epoch's step
        if loss < best * (1 - 1e-4 * np.sign(best) if np.isfinite(best) else 1):
            best = loss
        else:
            rate *= 0.5
    assert seen.rates[-1] < 0.3
    np.testing.assert_allclose(seen.rates, expected)


def test_a_scheduler_is_made_for_the_optimiser():
    optimizer = make_optimizer(list(nn.Linear(2, 1).parameters()), settings())
    made = make_scheduler(optimizer, settings(scheduler="CosineAnnealingLR", scheduler_args={"T_max": 5}))
    assert type(made) is torch.optim.lr_scheduler.CosineAnnealingLR
    assert made.optimizer is optimizer


# ---- interruptions --------------------------------------------------------------------------------------------------


def send_interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("how", [send_interrupt, raising(KeyboardInterrupt)], ids=["Ctrl-C", "KeyboardInterrupt"])
def test_an_interrupt_keeps_the_model_trained_so_far(how, data):
    seen, handler = Snapshots(), signal.getsignal(signal.SIGINT)
    model = new(max_epochs=50, validation_fraction=0, trainer={"callbacks": [seen, AtEpoch(4, how)]})
    assert model.fit(data) is model
    assert signal.getsignal(signal.SIGINT) is handler
    assert 3 <= len(model.history_) <= 4
    assert model.interrupted_
    assert not new(max_epochs=1).fit(data).interrupted_
    assert equal(weights(model), seen.weights[model.best_epoch_ - 1])
    assert not model.network_.training
    assert model.transform(data).shape == (90, 2)


@pytest.mark.parametrize("how", [send_interrupt, raising(KeyboardInterrupt)], ids=["Ctrl-C", "exception"])
def test_an_interrupt_is_logged_with_its_epoch(how, data, caplog):
    with caplog.at_level(logging.WARNING, logger="manyview"):
        new(max_epochs=50, trainer={"callbacks": [AtEpoch(4, how)]}).fit(data)
    (message,) = [r.getMessage() for r in caplog.records if r.name == "manyview"]
    assert message.startswith("training was interrupted; the model has its weights of epoch ")


def test_an_interrupt_from_outside_while_it_trains(data):
    handler = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(0.5, send_interrupt)
    timer.start()
    model = new(max_epochs=100_000, patience=None).fit(data)
    timer.join()
    assert 1 <= len(model.history_) < 100_000
    assert model.best_epoch_ == model.history_["val_loss"].idxmin()
    assert signal.getsignal(signal.SIGINT) is handler
    assert np.isfinite(model.score(data))


def test_an_interrupt_in_the_first_epoch(data):
    model = new(max_epochs=50, trainer={"callbacks": [AtEpoch(1, send_interrupt)]}).fit(data)
    assert len(model.history_) <= 1
    assert model.transform(data).shape == (90, 2)
    assert model.history_.index.name == "epoch"


def test_two_interrupts_stop_at_once(data):
    def twice():
        send_interrupt()
        send_interrupt()

    model = new(max_epochs=50, trainer={"callbacks": [AtEpoch(3, twice)]})
    started = time.monotonic()
    try:
        model.fit(data)
    except KeyboardInterrupt:
        return
    assert time.monotonic() - started < 5
    assert len(model.history_) <= 3


def test_an_error_after_some_epochs_is_raised_but_the_model_is_kept(data):
    seen, handler = Snapshots(), signal.getsignal(signal.SIGINT)
    model = new(validation_fraction=0, trainer={"callbacks": [seen, AtEpoch(3, raising(RuntimeError("disk on fire")))]})
    with pytest.raises(RuntimeError, match="disk on fire"):
        model.fit(data)
    assert len(model.history_) == 2
    assert equal(weights(model), seen.weights[1])
    assert model.transform(data).shape == (90, 2)
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_error_before_any_epoch_leaves_no_model(data):
    model = new(trainer={"callbacks": [AtEpoch(1, raising(RuntimeError("too early")))]})
    with pytest.raises(RuntimeError, match="too early"):
        model.fit(data)
    assert not hasattr(model, "network_")


# ---- a non-finite objective -----------------------------------------------------------------------------------------


class Breaks(nn.Module):
    """A decoder that returns NaN from some call on, in training only."""

    def __init__(self, in_dim, out_shape, after=0):
        super().__init__()
        self.layer, self.after, self.calls = nn.Linear(in_dim, out_shape[0]), after, 0

    def forward(self, z):
        self.calls += self.training
        return self.layer(z) + (float("nan") if self.calls > self.after else 0.0)


def test_a_loss_that_breaks_names_the_term_the_view_and_the_epoch(data):
    seen = Snapshots()
    # 81 rows in batches of 32: three steps an epoch, so the seventh call is in epoch 3
    decoder = {"view_1": {"_target_": f"{__name__}.Breaks", "after": 7}}
    model = new(decoder=decoder, max_epochs=20, trainer={"callbacks": [seen]})
    with pytest.raises(NonFiniteObjectiveError) as caught:
        model.fit(data)
    message = str(caught.value)
    assert message.startswith("the training objective became non-finite in epoch 3: log_lik[view_1] = nan")
    assert "view_0" not in message
    assert "kl" not in message
    assert "learning_rate" in message
    assert f"its weights of epoch {model.best_epoch_}" in message
    assert len(model.history_) == 2
    assert equal(weights(model), seen.weights[model.best_epoch_ - 1])
    assert np.isfinite(model.transform(data)).all()


def test_a_step_size_beyond_reason(data):
    model = new(learning_rate=1e30)
    with pytest.raises(NonFiniteObjectiveError, match="epoch 1"):
        model.fit(data)
    assert np.isfinite(model.score(data))
    assert all(torch.isfinite(x).all() for x in weights(model).values())


def test_a_last_step_that_breaks_is_seen_without_validation(data):
    model = new(learning_rate=float("inf"), max_epochs=1, batch_size=90, validation_fraction=0)
    with pytest.raises(NonFiniteObjectiveError):
        model.fit(data)
    assert np.isfinite(model.transform(data)).all()


def test_validation_that_breaks_is_said_to_be_so(data):
    far = data.array("view_0").astype(float)[:5] * 1e30
    model = new()
    message = r"the validation objective became non-finite in epoch 1: log_lik\[view_0\]"
    with pytest.raises(NonFiniteObjectiveError, match=message):
        model.fit(data, validation={"view_0": far, "view_1": data.array("view_1")[:5]})
    assert np.isfinite(model.score(data))


# ---- what is shown, written and left behind -------------------------------------------------------------------------


def test_a_progress_bar_on_one_line(data, capfd):
    new(verbose=True, max_epochs=4).fit(data)
    out, err = capfd.readouterr()
    assert out == ""
    assert "\n" not in err.rstrip("\n")
    last = err.split("\r")[-1]
    assert "epoch 4/4" in last
    assert "loss=" in last
    assert "val_loss=" in last
    assert "<" in last  # time gone < time left


@pytest.mark.parametrize("verbose", [False, 0])
def test_silence(verbose, data, capfd):
    new(verbose=verbose).fit(data)
    assert capfd.readouterr() == ("", "")


def test_an_interrupted_bar_is_closed(data, capfd):
    new(verbose=True, max_epochs=50, trainer={"callbacks": [AtEpoch(3, send_interrupt)]}).fit(data)
    assert capfd.readouterr().err.endswith("\n")


def test_nothing_is_written_to_disk(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = new().fit(data)
    model.score(data)
    model.sample(2)
    assert list(tmp_path.iterdir()) == []


def test_lightning_is_left_as_it_was(data):
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level, list(logger.handlers), logger.propagate
    new().fit(data)
    with pytest.raises(RuntimeError):
        new(trainer={"callbacks": [AtEpoch(1, raising(RuntimeError))]}).fit(data)
    assert (logger.level, list(logger.handlers), logger.propagate) == before


def test_lightnings_own_options_and_loggers(data, tmp_path):
    from pytorch_lightning.loggers import CSVLogger

    logger = CSVLogger(tmp_path, name="run", version=0)
    model = new(trainer={"logger": logger, "log_every_n_steps": 1, "enable_model_summary": False}).fit(data)
    text = (tmp_path / "run" / "version_0" / "metrics.csv").read_text()
    assert "val_loss" in text.splitlines()[0]
    assert len(text.splitlines()) == 1 + len(model.history_)


def test_lightnings_callbacks_can_watch_the_losses(data):
    stopping = pl.callbacks.EarlyStopping("val_loss", patience=1, mode="min")
    model = new(max_epochs=40, learning_rate=0.3, patience=None, trainer={"callbacks": [stopping]}).fit(data)
    assert len(model.history_) < 40


@pytest.mark.parametrize("callbacks", [None, pl.Callback()], ids=["none", "one"])
def test_callbacks_in_lightnings_other_forms(callbacks, data):
    assert len(new(trainer={"callbacks": callbacks}).fit(data).history_) == 3


def test_callbacks_are_not_kept_by_the_model(data):
    callbacks = [Snapshots()]
    given = {"callbacks": callbacks}
    model = new(trainer=given).fit(data)
    assert model.trainer is given
    assert given == {"callbacks": callbacks}
    assert len(callbacks) == 1


def test_the_number_of_threads_is_left_alone(data):
    before = torch.get_num_threads()
    new().fit(data)
    assert torch.get_num_threads() == before


# ---- batches --------------------------------------------------------------------------------------------------------


def numbered(n):
    rows = torch.arange(float(n)).unsqueeze(1)
    present = torch.stack([torch.ones(n, dtype=torch.bool), torch.arange(n) % 2 == 0], 1)
    return Batch((rows, rows + 100), (None, torch.ones(n, 1, dtype=torch.bool)), present)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 8])
@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        (10, 3, [3, 3, 4]),
        (11, 3, [3, 3, 3, 2]),
        (12, 3, [3, 3, 3, 3]),
        (1, 3, [1]),
        (2, 3, [2]),
        (4, 3, [4]),
        (3, 1, [1, 2]),
        (5, 100, [5]),
        (41, 4, [4] * 9 + [5]),
    ],
)
def test_batches_cover_every_row_once(n, batch_size, sizes, steps, shuffle):
    loader = BatchLoader(numbered(n), batch_size, steps, shuffle)
    items = list(loader)
    batches = [batch for item in items for batch in item]
    assert len(items) == len(loader) == -(-len(sizes) // steps)
    assert [len(batch) for batch in batches] == sizes
    assert loader.n_batches == len(sizes)
    rows = torch.cat([batch.x[0] for batch in batches]).flatten().int().tolist()
    assert sorted(rows) == list(range(n))
    assert rows == list(range(n)) or shuffle
    for batch in batches:  # everything of a row stays together
        assert torch.equal(batch.x[1], batch.x[0] + 100)
        assert torch.equal(batch.present[:, 1], batch.x[0][:, 0] % 2 == 0)
        assert batch.observed[0] is None
        assert batch.observed[1].shape == batch.x[1].shape


def test_every_epoch_has_an_order_of_its_own_from_torchs_generator():
    loader = BatchLoader(numbered(50), 7, 2, shuffle=True)

    def order():
        return torch.cat([batch.x[0] for item in loader for batch in item]).flatten().tolist()

    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, two = order(), order()
        torch.manual_seed(0)
        assert order() == one
    assert one != two != sorted(two)


@pytest.mark.parametrize("n", [33, 65, 32, 31])
def test_batch_norm_never_meets_a_single_row(n, data):
    net = {"hidden": [8], "norm": "batch"}
    model = new(encoder=net, decoder=net, validation_fraction=0).fit(data[:n])
    assert np.isfinite(model.score(data))


def test_a_termination_ends_the_process():
    code = (
        "import os, signal, manyview as mv, pytorch_lightning as pl\n"
        "class Kill(pl.Callback):\n"
        "    def on_train_epoch_end(self, *_): os.kill(os.getpid(), signal.SIGTERM)\n"
        "views = mv.datasets.make_multiview(40, (4, 3), random_state=0)\n"
        "mv.MVAE(z_dim=2, max_epochs=50, verbose=False, trainer={'callbacks': [Kill()]}).fit(views)\n"
        "print('still alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 128 + signal.SIGTERM
    assert "still alive" not in done.stdout


COMPILED = """
import numpy as np, torch, manyview as mv

modes, translate = [], torch.compile

def without_machine_code(function, mode):
    modes.append(mode)
    return translate(function, backend="aot_eager")

torch.compile = without_machine_code
data = mv.datasets.make_multiview(n_samples=90, n_features=(6, 5), n_shared=2, random_state=0)
settings = {"z_dim": 2, "max_epochs": 3, "batch_size": 32, "beta_warmup": 2, "random_state": 0, "verbose": False}
plain = mv.MVAE(**settings).fit(data)
compiled = mv.MVAE(compile="reduce-overhead", **settings).fit(data)
assert modes == ["reduce-overhead"]
np.testing.assert_allclose(compiled.history_, plain.history_, rtol=1e-4)
np.testing.assert_allclose(compiled.transform(data), plain.transform(data), atol=1e-4)
assert mv.MVAE(compile=True, n_init=2, **settings).fit(data).init_losses_.shape == (2,)
assert modes[1:] == [None, None]
"""


def test_a_compiled_objective_trains_the_same_weights():
    """The translation is torch's affair: here it stops short of machine code, and knows no checks of shapes."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True, timeout=300)


class KeepTotals(pl.Callback):
    """Keeps what an epoch's sums are made of."""

    def __init__(self):
        self.totals = []

    def on_train_batch_end(self, trainer, module, *_):
        self.totals.extend(module.train_totals.sums.values())


@pytest.mark.parametrize("cls", [mv.MVAE, mv.MEMVAE, mv.JMVAE, mv.MMVAE])
def test_half_precision_is_for_the_networks_alone(cls, data):
    """Densities and products of experts in half precision would have two or three digits."""
    settings = {"z_dim": 3, "max_epochs": 3, "batch_size": 32, "random_state": 0, "verbose": False}
    plain, kept = cls(**settings).fit(data), KeepTotals()
    half = cls(trainer={"precision": "bf16-mixed", "callbacks": [kept]}, **settings).fit(data)
    assert {total.dtype for total in kept.totals} == {torch.float32}
    assert {weights.dtype for weights in half.network_.parameters()} == {torch.float32}
    assert not np.array_equal(half.history_["loss"], plain.history_["loss"])
    np.testing.assert_allclose(half.history_["loss"], plain.history_["loss"], rtol=0.02)


def test_latents_that_hold_nothing_are_warned_of(recwarn):
    settings = {"z_dim": 2, "max_epochs": 60, "random_state": 0, "verbose": False}
    mv.MVAE(**settings).fit(mv.datasets.make_multiview(100, (6, 4), random_state=0))
    assert not [str(w.message) for w in recwarn if "collapse" in str(w.message)]
    noise = np.random.RandomState(0).standard_normal((2, 100, 4))
    with pytest.warns(UserWarning, match=r"posterior collapse: the latents hold 0\.\d+ nats a sample.*beta \(10\)"):
        mv.MVAE(beta=10.0, **settings).fit(list(noise))


@pytest.mark.parametrize("start", [120.0, -3.0])
def test_a_loss_that_explodes_is_warned_of_once(start):
    reached = Progress()
    for loss in (start, start + 5, start - 1):
        reached.add({"loss": loss}, 1.0)
    message = r"the loss grew from .* in epoch 1 to 1e\+12 in epoch 4: training diverges"
    with pytest.warns(UserWarning, match=message) as seen:
        reached.add({"loss": 1e12}, 1.0)
    reached.add({"loss": 1e13}, 1.0)
    assert len(seen) == 1
