"""Several processes train as one does: the same mini-batches, shared out; the same loss, choice of weights and model.

Where the objective has no noise (AE), all numbers are those of a single process up to rounding. The file is also the
script that Lightning starts once for each process ("ddp"), and that starts processes itself ("ddp_fork").
"""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

import manyview as mv
from manyview.data.preprocessing import make_batch
from manyview.datasets import make_multiview
from manyview.training import checkpoint, loop

TINY = {
    "z_dim": 2,
    "encoder": {"hidden": [8]},
    "decoder": {"hidden": [8]},
    "max_epochs": 4,
    "batch_size": 7,  # an odd number, and more mini-batches than one call of training_step takes
    "learning_rate": 0.01,
    "random_state": 0,
    "device": "cpu",
    "verbose": False,
}
NORMALISED = {"hidden": [8], "norm": "batch"}
EARLY = {"max_epochs": 60, "patience": 2, "learning_rate": 0.3}


def data():
    views = make_multiview(90, (5, 4), random_state=0)
    arrays = {name: views.array(name).copy() for name in views.names}
    arrays["view_1"][:12] = np.nan
    return mv.Views(arrays)


def new(cls=mv.AE, **parameters):
    return cls(**{**TINY, **parameters})


class Recorder(pl.Callback):
    """Notes the rows that the objective sees in each process, by a value of each, and writes them to a file."""

    def __init__(self, folder):
        self.folder, self.seen = folder, []

    def on_fit_start(self, trainer, module):
        objective = module.objective

        def recording(network, batch, beta):
            if torch.is_grad_enabled():
                self.seen.append((trainer.current_epoch, batch.x[0][:, 0].tolist()))
            return objective(network, batch, beta)

        module.objective = recording

    def on_train_end(self, trainer, module):
        Path(self.folder, f"seen-{trainer.strategy.launcher.__class__.__name__}-{trainer.global_rank}").write_bytes(
            pickle.dumps(self.seen)
        )


class OnlyIn(pl.Callback):
    """Does something in one process alone, in the third epoch."""

    def __init__(self, rank, action):
        self.rank, self.action = rank, action

    def on_train_batch_start(self, trainer, module, *_):
        if trainer.global_rank == self.rank and trainer.current_epoch == 2:
            self.action(module)


def break_weights(module):
    """A mini-batch that is not finite in this process alone."""
    objective = module.objective

    def broken(network, batch, beta):
        terms = objective(network, batch, beta)
        return type(terms)(terms.value * float("nan"), terms.parts)

    module.objective = broken


def interrupt(module):
    signal.raise_signal(signal.SIGINT)


def result(model):
    """What a fitted model has to show."""
    return {
        "weights": {name: x.numpy() for name, x in model.network_.state_dict().items()},
        "history": model.history_,
        "best_epoch": model.best_epoch_,
        "z": model.transform(data()),
    }


def all_fits(strategy, folder):
    """Every fit of this module, by name."""

    def run(cls=mv.AE, callbacks=(), fit=None, **parameters):
        trainer = {"strategy": strategy, "devices": 2, "callbacks": list(callbacks)}
        return result(new(cls, trainer=trainer, **parameters).fit(data(), **(fit or {})))

    checkpoint.SECONDS = 0
    kept = os.path.join(folder, f"checkpoint-{strategy}")
    yield "plain", lambda: run(callbacks=[Recorder(folder)])
    yield "noise", lambda: run(mv.MVAE)
    if strategy != "ddp":
        return
    yield "batch norm", lambda: run(encoder=NORMALISED, decoder=NORMALISED)
    yield "early", lambda: run(**EARLY)
    yield "unwatched", lambda: run(validation_fraction=0, gradient_clip=0.5)
    yield "half", lambda: run(mv.MVAE, max_epochs=2, fit={"checkpoint": kept})
    yield "resumed", lambda: run(mv.MVAE, fit={"checkpoint": kept, "resume": True})
    yield "interrupted", lambda: run(callbacks=[OnlyIn(1, interrupt)])
    yield "unseeded", lambda: run(random_state=None)
    yield "not finite", lambda: run(callbacks=[OnlyIn(1, break_weights)])


def main(strategy, folder):
    results = {}
    for name, fit in all_fits(strategy, folder):
        try:
            results[name] = fit()
        except (ValueError, ArithmeticError) as error:
            results[name] = f"{type(error).__name__}: {error}"
    Path(folder, f"{strategy}-{os.environ.get('LOCAL_RANK', 0)}").write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.exit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def launched(folder):
    """The results of both processes of "ddp", and of the one that started "ddp_fork"."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    for strategy in ("ddp", "ddp_fork"):
        run = [sys.executable, __file__, strategy, str(folder)]
        done = subprocess.run(run, capture_output=True, text=True, timeout=300, env=environment, check=False)
        assert done.returncode == 0, done.stderr
    return [pickle.loads((folder / name).read_bytes()) for name in ("ddp-0", "ddp-1", "ddp_fork-0")]


def same(one, other):
    """Bit for bit."""
    assert one["weights"].keys() == other["weights"].keys()
    for name, weights in one["weights"].items():
        np.testing.assert_array_equal(weights, other["weights"][name], name)
    pd.testing.assert_frame_equal(one["history"], other["history"], check_exact=True)
    assert one["best_epoch"] == other["best_epoch"]
    np.testing.assert_array_equal(one["z"], other["z"])


def close(one, other):
    """Up to rounding."""
    for name, weights in one["weights"].items():
        np.testing.assert_allclose(weights, other["weights"][name], rtol=0, atol=1e-5, err_msg=name)
    pd.testing.assert_frame_equal(one["history"], other["history"], check_exact=False, rtol=1e-5, atol=1e-5)
    assert one["best_epoch"] == other["best_epoch"]
    np.testing.assert_allclose(one["z"], other["z"], rtol=0, atol=1e-5)


def test_two_processes_train_as_one_does(launched):
    """Weights, every column of the history, the best epoch, and predictions in the order of the samples."""
    one = result(new().fit(data()))
    for results in launched:
        close(results["plain"], one)


def test_also_without_validation_and_with_clipped_gradients(launched):
    one = result(new(validation_fraction=0, gradient_clip=0.5).fit(data()))
    for results in launched[:2]:
        close(results["unwatched"], one)


@pytest.mark.parametrize("name", ["plain", "noise", "batch norm", "early", "unwatched", "resumed"])
def test_all_processes_end_with_the_same_model(name, launched):
    same(launched[0][name], launched[1][name])


@pytest.mark.parametrize("name", ["plain", "noise"])
def test_it_does_not_matter_who_starts_the_processes(name, launched):
    same(launched[0][name], launched[2][name])


def test_every_row_is_seen_once_an_epoch_by_one_process(launched, folder):
    model = new().fit(data())
    rows = np.delete(np.arange(90), model.held_out_)
    expected = np.sort(make_batch(data()[rows], model.views_).x[0][:, 0].numpy())
    for launcher in ("_SubprocessScriptLauncher", "_MultiProcessingLauncher"):
        seen = [pickle.loads((folder / f"seen-{launcher}-{rank}").read_bytes()) for rank in (0, 1)]
        assert len(seen[0]) == len(seen[1]) == 4 * 12  # 81 rows: eleven mini-batches of 7, and one of 4
        assert [len(row) for _, row in seen[0][:12]] == [4] * 11 + [2]
        assert [len(row) for _, row in seen[1][:12]] == [3] * 11 + [2]
        for epoch in range(4):
            values = np.concatenate([row for part in seen for e, row in part if e == epoch])
            np.testing.assert_array_equal(np.sort(values).astype(np.float32), expected)


def test_early_stopping_is_that_of_one_process(launched):
    one = new(**EARLY).fit(data())
    for results in launched[:2]:
        assert len(results["early"]["history"]) == len(one.history_) < 60
        assert results["early"]["best_epoch"] == one.best_epoch_


def test_processes_draw_noise_of_their_own(launched):
    """The loss is an estimate of the same number, from other draws."""
    one = new(mv.MVAE).fit(data()).history_["loss"]
    two = launched[0]["noise"]["history"]["loss"]
    assert not np.allclose(one, two, rtol=1e-6)
    np.testing.assert_allclose(one, two, rtol=0.1)


def test_checkpoints_of_two_processes(launched):
    for results in launched[:2]:
        assert len(results["half"]["history"]) == 2
        same(results["resumed"], results["noise"])


def test_an_interrupt_of_one_process_stops_all(launched):
    for results in launched[:2]:
        assert len(results["interrupted"]["history"]) == 3
    same(launched[0]["interrupted"], launched[1]["interrupted"])


def test_processes_with_different_samples_are_refused(launched):
    """Without a seed, each of them would hold out samples of its own."""
    for results in launched[:2]:
        assert results["unseeded"].startswith("ValueError: the processes that train together have different samples")
        assert "random_state an integer" in results["unseeded"]


def test_an_objective_that_is_not_finite_in_one_process_stops_all(launched):
    for results in launched[:2]:
        assert results["not finite"].startswith("NonFiniteObjectiveError: the training objective became non-finite in")
        assert "epoch 3" in results["not finite"]


@pytest.mark.parametrize(
    ("cls", "parameters", "message"),
    [
        (mv.DCCA, {"batch_size": "full"}, r"on 2 devices: its objective is one of a whole mini-batch.*devices=1"),
        (mv.DCCAE, {"batch_size": "full"}, r"on 2 devices: its objective is one of a whole mini-batch.*devices=1"),
        (mv.MAAE, {}, r"on 2 devices: its adversary is trained in turn .*; give devices=1"),
        (mv.MWAE, {}, r"on 2 devices: its adversary is trained in turn .*; give devices=1"),
        (mv.AE, {"batch_size": 1}, r"batch_size=1 leaves nothing to some of 2 devices; enlarge it"),
        (mv.AE, {"batch_size": 3, "encoder": NORMALISED}, r"batch normalisation .* batch_size=3, shared by 2 devices"),
    ],
)
def test_what_cannot_be_shared_is_refused(cls, parameters, message):
    with pytest.raises(ValueError, match=message):
        new(cls, **parameters, trainer={"strategy": "ddp_fork", "devices": 2}).fit(data())


def test_fewer_samples_than_devices_are_refused():
    with pytest.raises(ValueError, match=r"2 samples cannot be shared by 3 devices; use fewer devices, or more"):
        new(trainer={"strategy": "ddp_fork", "devices": 3}).fit(data(), validation=data()[20:22])


def test_strategies_that_divide_the_networks_are_refused():
    settings = SimpleNamespace(trainer={"strategy": "fsdp"}, batch_size=7)
    module = SimpleNamespace(settings=settings, network=torch.nn.Linear(1, 1), data=range(9), validation=None)
    with pytest.raises(ValueError, match=r"trainer: strategy 'fsdp' divides the networks; choose 'ddp'"):
        loop._check_processes(SimpleNamespace(world_size=2, strategy=object()), module)
