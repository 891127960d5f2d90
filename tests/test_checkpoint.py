"""A run that was stopped in any way goes on to the weights and the history of one that never was, bit for bit.

The file is also a script: it trains and kills itself (SIGKILL) at chosen moments, each time in a process of its own.
"""

import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save_file

import manyview as mv
from manyview.datasets import make_multiview
from manyview.models import MODELS
from manyview.training import checkpoint

NAME = "checkpoint.safetensors"

TINY = {
    "z_dim": 2,
    "encoder": {"hidden": [8]},
    "decoder": {"hidden": [8]},
    "max_epochs": 5,
    "batch_size": 8,  # more mini-batches than one call of training_step takes
    "learning_rate": 0.01,
    "random_state": 0,
    "verbose": False,
}
NORMALISED = {"hidden": [8], "norm": "batch", "dropout": 0.2}

# What has a state that must survive: each of these, killed somewhere.
CASES = {
    "plain": (mv.MVAE, {}),
    "warm-up": (mv.MVAE, {"beta_warmup": 4}),
    "batch norm and dropout": (mv.MVAE, {"encoder": NORMALISED, "decoder": NORMALISED}),
    "adversary": (mv.MAAE, {}),
    "critic": (mv.MWAE, {"n_critic_steps": 2}),
    "full batch": (mv.DCCA, {"batch_size": "full"}),
    "plateau": (
        mv.MVAE,
        {"scheduler": "ReduceLROnPlateau", "scheduler_args": {"patience": 0, "factor": 0.3}, "learning_rate": 0.3},
    ),
    "milestones": (
        mv.AE,
        {"scheduler": "MultiStepLR", "scheduler_args": {"milestones": [1, 2, 4]}, "optimizer": "RMSprop"},
    ),
    "momentum": (mv.JMVAE, {"optimizer": "SGD", "optimizer_args": {"momentum": 0.9}, "gradient_clip": 1.0}),
    "no validation": (mv.MoPoEVAE, {"validation_fraction": 0}),
}
# Lightning's hook, and the epoch, from 0, in which the process kills itself there.
MOMENTS = {
    "at once": ("on_train_epoch_start", 0),
    "in the first epoch": ("on_train_batch_end", 0),
    "amid an epoch": ("on_train_batch_end", 3),
    "in validation": ("on_validation_start", 2),
    "at an epoch's end": ("on_train_epoch_end", 2),
    "amid a write": (None, 2),
}
KILLS = [(case, "amid an epoch") for case in CASES] + [
    ("plain", moment) for moment in MOMENTS if moment != "amid an epoch"
]


def data():
    """Three views; some samples lack one."""
    views = make_multiview(60, (5, 4, 3), random_state=0)
    arrays = {name: views.array(name).copy() for name in views.names}
    arrays["view_1"][:7] = np.nan
    arrays["view_2"][3:5, 1] = np.nan
    return mv.Views(arrays)


def new(cls=mv.MVAE, **parameters):
    return cls(**{**TINY, **parameters})


def same(one, other):
    """The same weights, best epoch and history, bit for bit."""
    ours, theirs = one.network_.state_dict(), other.network_.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    pd.testing.assert_frame_equal(one.history_, other.history_, check_exact=True)
    assert one.best_epoch_ == other.best_epoch_


class Kill(pl.Callback):
    """Ends this process in one of Lightning's hooks, without a chance to tidy up."""

    def __init__(self, hook, epoch):
        if hook is not None:
            setattr(self, hook, lambda trainer, *_: self.kill(trainer, epoch))

    def kill(self, trainer, epoch):
        if trainer.current_epoch == epoch:
            os.kill(os.getpid(), signal.SIGKILL)


def die(folder, case, moment):
    """Train until killed."""
    checkpoint.SECONDS = 0
    cls, parameters = CASES[case]
    hook, epoch = MOMENTS[moment]
    if hook is None:
        replace, writes = os.replace, []

        def killing(*paths):
            writes.append(paths)
            if len(writes) == 1 + epoch:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(*paths)

        os.replace = killing
    new(cls, **parameters, trainer={"callbacks": [Kill(hook, epoch)]}).fit(data(), checkpoint=folder)


def main(root):
    """Each kill in a fork of this process, which imports all but trains nothing."""
    signals = []
    for i, (case, moment) in enumerate(KILLS):
        child = os.fork()
        if child == 0:
            try:
                die(os.path.join(root, str(i)), case, moment)
            finally:
                os._exit(0)
        signals.append(os.WTERMSIG(os.waitpid(child, 0)[1]))
    print(json.dumps(signals))


if __name__ == "__main__":
    main(sys.argv[1])
    sys.exit()


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS", 0)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    root = tmp_path_factory.mktemp("killed")
    run = [sys.executable, __file__, str(root)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(run, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [signal.SIGKILL] * len(KILLS), done.stderr
    return root


@pytest.fixture(scope="module")
def whole():
    """The same runs, never stopped."""
    fitted = {}

    def run(case):
        if case not in fitted:
            cls, parameters = CASES[case]
            fitted[case] = new(cls, **parameters).fit(data())
        return fitted[case]

    return run


@pytest.mark.parametrize("i", range(len(KILLS)), ids=[f"{case}, {moment}" for case, moment in KILLS])
def test_a_killed_run_goes_on_bit_for_bit(i, killed, whole):
    case, moment = KILLS[i]
    folder = killed / str(i)
    left_over = [path.name for path in folder.iterdir() if path.name != NAME]
    assert bool(left_over) == (moment == "amid a write")
    cls, parameters = CASES[case]
    same(new(cls, **parameters).fit(data(), checkpoint=folder, resume=True), whole(case))
    assert [path.name for path in folder.iterdir()] == [NAME]


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_a_larger_number_of_epochs_prolongs_a_run(cls, tmp_path):
    new(cls, max_epochs=2).fit(data(), checkpoint=tmp_path / "new" / "folder")
    longer = new(cls, max_epochs=4).fit(data(), checkpoint=tmp_path / "new" / "folder", resume=True)
    same(longer, new(cls, max_epochs=4).fit(data()))


def test_a_run_without_checkpoints_is_the_same(tmp_path):
    same(new().fit(data(), checkpoint=tmp_path), new().fit(data()))


def test_writes_are_rare_while_epochs_are_short(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS", 1000)
    times, write = [], checkpoint.CheckpointFile.write
    monkeypatch.setattr(
        checkpoint.CheckpointFile,
        "write",
        lambda self, state: (times.append(len(state["run"]["history"])), write(self, state)),
    )
    new().fit(data(), checkpoint=tmp_path)
    assert times == [0, 5]


def test_an_unseeded_run_goes_on_with_its_own_seed(tmp_path):
    """Also the samples that are held out, and the weights at the start, were drawn from it."""
    before = np.random.get_state()  # noqa: NPY002 (what random_state=None draws from)
    try:
        np.random.seed(5)  # noqa: NPY002
        whole = new(random_state=None).fit(data())
        np.random.seed(5)  # noqa: NPY002
        new(random_state=None, max_epochs=2).fit(data(), checkpoint=tmp_path)
        np.random.seed(6)  # noqa: NPY002
        same(new(random_state=None).fit(data(), checkpoint=tmp_path, resume=True), whole)
    finally:
        np.random.set_state(before)  # noqa: NPY002


# ---- other ways to stop ---------------------------------------------------------------------------------------------


class At(pl.Callback):
    """Does something at the end of the first call of training_step in an epoch, counted from 0."""

    def __init__(self, epoch, action):
        self.epoch, self.action = epoch, action

    def on_train_batch_end(self, trainer, module, outputs, batches, index):
        if trainer.current_epoch == self.epoch and index == 0:
            self.action(trainer)


def fail(trainer):
    raise RuntimeError("a user's callback")


def test_after_ctrl_c_the_epoch_is_trained_again_as_a_whole(tmp_path):
    interrupt = At(2, lambda trainer: signal.raise_signal(signal.SIGINT))
    stopped = new(batch_size=4, trainer={"callbacks": [interrupt]}).fit(data(), checkpoint=tmp_path)
    assert len(stopped.history_) == 3
    same(new(batch_size=4).fit(data(), checkpoint=tmp_path, resume=True), new(batch_size=4).fit(data()))


def test_after_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="a user's callback"):
        new(trainer={"callbacks": [At(2, fail)]}).fit(data(), checkpoint=tmp_path)
    same(new().fit(data(), checkpoint=tmp_path, resume=True), new().fit(data()))


def test_after_lightnings_limits(tmp_path):
    """max_steps cuts an epoch short; limit_train_batches makes epochs what they are."""
    cut = new(batch_size=4, trainer={"max_steps": 20}).fit(data(), checkpoint=tmp_path / "steps")
    assert len(cut.history_) < 5
    same(new(batch_size=4).fit(data(), checkpoint=tmp_path / "steps", resume=True), new(batch_size=4).fit(data()))
    limited = {"batch_size": 4, "trainer": {"limit_train_batches": 1}}
    new(**limited, max_epochs=3).fit(data(), checkpoint=tmp_path / "few")
    again = new(**limited).fit(data(), checkpoint=tmp_path / "few", resume=True)
    same(again, new(**limited).fit(data()))


def test_time_that_is_up_does_not_end_a_run_for_good(tmp_path):
    late = {"max_time": {"seconds": 0}}
    assert len(new(trainer=late).fit(data(), checkpoint=tmp_path).history_) < 5
    same(new().fit(data(), checkpoint=tmp_path, resume=True), new().fit(data()))


class Never(pl.Callback):
    def on_train_start(self, *_):
        raise AssertionError("trained again")


@pytest.mark.parametrize("max_epochs", [5, 3])
def test_a_finished_run_returns_at_once(max_epochs, tmp_path):
    finished = new().fit(data(), checkpoint=tmp_path)
    again = new(max_epochs=max_epochs, trainer={"callbacks": Never()})
    same(again.fit(data(), checkpoint=tmp_path, resume=True), finished)


def test_a_run_that_stopped_early_has_finished(tmp_path):
    early = {"max_epochs": 100, "patience": 2, "learning_rate": 0.3}
    finished = new(**early).fit(data(), checkpoint=tmp_path / "ours")
    assert len(finished.history_) < 100
    again = new(**early | {"max_epochs": 200, "trainer": {"callbacks": Never()}})
    same(again.fit(data(), checkpoint=tmp_path / "ours", resume=True), finished)


def stopping():
    return pl.callbacks.EarlyStopping("val_loss", patience=6, mode="min", min_delta=100)


def test_callbacks_keep_their_state(tmp_path, monkeypatch):
    """Lightning's early stopping remembers what was best, and how long it has waited."""
    monkeypatch.setattr(checkpoint, "SECONDS", 1000)
    parameters = {"max_epochs": 60}
    whole = new(**parameters, trainer={"callbacks": [stopping()]}).fit(data())
    n = len(whole.history_)
    assert n == 7
    for stop in range(n - 3, n):
        folder = tmp_path / str(stop)
        new(**parameters | {"max_epochs": stop}, trainer={"callbacks": [stopping()]}).fit(data(), checkpoint=folder)
        again = new(**parameters, trainer={"callbacks": [stopping()]})
        same(again.fit(data(), checkpoint=folder, resume=True), whole)
    same(new(**parameters, trainer={"callbacks": [Never()]}).fit(data(), checkpoint=folder, resume=True), whole)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    new(max_epochs=2).fit(data(), checkpoint=folder)
    return folder


def test_a_run_is_not_overwritten_unasked(written):
    before = (written / NAME).read_bytes()
    with pytest.raises(ValueError, match=r"holds a run, which would be lost; give resume=True .* or another folder"):
        new().fit(data(), checkpoint=written)
    assert (written / NAME).read_bytes() == before


@pytest.mark.parametrize(
    ("cls", "parameters", "rows", "message"),
    [
        (mv.MVAE, {"z_dim": 3}, slice(None), r"differs in z_dim \(2 there and 3 here\), networks\. Repeat"),
        (mv.MVAE, {"learning_rate": 0.02}, slice(None), r"in learning_rate \(0.01 there and 0.02 here\)\."),
        (mv.MVAE, {"batch_size": 7}, slice(None), r"in batch_size \(8 there and 7 here\)\."),
        (mv.MVAE, {"beta": 0.5}, slice(None), r"in beta \(1.0 there and 0.5 here\)\."),
        (mv.MVAE, {"likelihood": mv.likelihoods.Laplace()}, slice(None), "in likelihood"),
        (mv.MVAE, {"encoder": {"hidden": [8], "activation": "tanh"}}, slice(None), "in encoder"),
        (mv.MVAE, {"random_state": 1}, slice(None), r"in seed \(.*, training data, validation data\."),
        (mv.MEMVAE, {}, slice(None), r"in model \('manyview.models.mvae.MVAE' there and .*MEMVAE' here\)"),
        (mv.MVAE, {}, slice(50), r"in training samples \(54 there and 45 here\), validation samples"),
        (mv.MVAE, {}, slice(None, None, -1), r"in training data, validation data\."),
    ],
)
def test_another_run_is_refused(cls, parameters, rows, message, written):
    with pytest.raises(ValueError, match=message):
        new(cls, **parameters).fit(data()[rows], checkpoint=written, resume=True)


def test_other_views_are_refused(written):
    views = data()
    renamed = {name.replace("_0", "_a"): views.array(name) for name in views.names}
    with pytest.raises(ValueError, match=r"differs in views \(\['view_0', .* there and \['view_a', .* here\)\."):
        new().fit(renamed, checkpoint=written, resume=True)
    changed = {name: views.array(name).copy() for name in views.names}
    changed["view_0"][11, 2] += 1e-3
    with pytest.raises(ValueError, match=r"differs in (training data|validation data)"):
        new().fit(changed, checkpoint=written, resume=True)


def test_what_may_change(written, tmp_path):
    """Where it is trained and shown, and for how long; a callable is known by its name."""
    shutil.copy(written / NAME, tmp_path / NAME)
    model = new(device="cpu", trainer={"enable_model_summary": False}, max_epochs=3)
    assert len(model.fit(data(), checkpoint=tmp_path, resume=True).history_) == 3
    assert checkpoint.describe(new(encoder=torch.nn.Linear))["encoder"] == "torch.nn.modules.linear.Linear"


@pytest.mark.parametrize("seeded", [True, False])
@pytest.mark.parametrize("how", ["empty", "short", "other", "flipped", "header", "foreign", "newer"])
def test_a_corrupt_file_is_refused(how, seeded, written, tmp_path):
    path = tmp_path / NAME
    content = bytearray((written / NAME).read_bytes())
    if how == "empty":
        content = b""
    elif how == "short":
        content = content[: len(content) // 2]
    elif how == "other":
        content = b"epoch,loss\n1,2\n" * 20
    elif how == "flipped":
        content[-1000] ^= 1
    elif how == "header":
        content = content.replace(b"best_epoch", b"best_epocH")
    elif how == "newer":
        content = content.replace(b'\\"format\\": 1', b'\\"format\\": 9')
    path.write_bytes(content)
    if how == "foreign":
        save_file({"x": torch.zeros(3)}, path)
    reason = "which is newer; upgrade manyview" if how == "newer" else "damaged or cut short"
    with pytest.raises(ValueError, match=rf"no checkpoint that can be read.*{reason}.*; delete it to start anew"):
        new(random_state=0 if seeded else None).fit(data(), checkpoint=tmp_path, resume=True)


def test_there_must_be_a_folder_to_go_on_from():
    with pytest.raises(ValueError, match=r"resume=True, but no folder to go on from: give checkpoint="):
        new().fit(data(), resume=True)


def test_an_empty_folder_starts_anew(tmp_path):
    same(new().fit(data(), checkpoint=tmp_path, resume=True), new().fit(data()))


class Stateful(pl.Callback):
    def state_dict(self):
        return {"thing": object()}


def test_a_callbacks_state_must_have_a_form(tmp_path):
    with pytest.raises(TypeError, match=r"a checkpoint holds tensors.*/callbacks/Stateful/thing is <object"):
        new(trainer={"callbacks": [Stateful()]}).fit(data(), checkpoint=tmp_path)


# ---- disks ----------------------------------------------------------------------------------------------------------


@contextmanager
def full_disk(n_bytes=2000):
    """No file can grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_cannot_be_written_is_refused_before_training(resume, tmp_path):
    (tmp_path / "file").write_text("no folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"the checkpoint folder '.*file.*' cannot be written; free it, or give"):
            new(trainer={"callbacks": [Never()]}).fit(data(), checkpoint=folder, resume=resume)


def test_a_disk_that_is_full_at_the_start_is_an_error(tmp_path):
    model = new()
    with full_disk(), pytest.raises(OSError, match=r"checkpoint folder .* cannot be written") as caught:
        model.fit(data(), checkpoint=tmp_path)
    assert caught.value.errno is not None
    assert not hasattr(model, "network_")
    assert list(tmp_path.iterdir()) == []


class FullFrom(pl.Callback):
    """A disk that is full from one epoch, counted from 0, to another."""

    def __init__(self, start, stop=100):
        self.start, self.stop = start, stop

    def on_train_batch_start(self, trainer, *_):
        if trainer.current_epoch == self.start:
            self.limit = full_disk()
            self.limit.__enter__()

    def on_train_batch_end(self, trainer, *_):
        if trainer.current_epoch == self.stop:
            self.free()

    def free(self):
        self.limit.__exit__(None, None, None)


def test_a_disk_that_fills_up_loses_nothing(tmp_path, caplog):
    full = FullFrom(2)
    try:
        with (
            caplog.at_level(logging.WARNING, "manyview"),
            pytest.warns(UserWarning, match="checkpoint folder .* cannot be written.* that of an earlier epoch"),
        ):
            model = new(trainer={"callbacks": [full]}).fit(data(), checkpoint=tmp_path)
    finally:
        full.free()
    assert len([record for record in caplog.records if "tries again after each epoch" in record.message]) == 1
    same(model, new().fit(data()))
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    same(new().fit(data(), checkpoint=tmp_path, resume=True), model)


def test_a_disk_that_has_room_again_is_used(tmp_path, recwarn):
    new(trainer={"callbacks": [FullFrom(2, 3)]}).fit(data(), checkpoint=tmp_path)
    assert not [warning for warning in recwarn if "checkpoint" in str(warning.message)]
    again = new(trainer={"callbacks": [Never()]}).fit(data(), checkpoint=tmp_path, resume=True)
    same(again, new().fit(data()))


# ---- loggers --------------------------------------------------------------------------------------------------------


def test_lightnings_csv_logger_gets_the_whole_history(tmp_path):
    logger = pl.loggers.CSVLogger(tmp_path, name="run", version=0)
    history = new(trainer={"logger": logger}, beta_warmup=3).fit(data()).history_
    logged = pd.read_csv(tmp_path / "run" / "version_0" / "metrics.csv")
    assert set(logged) == {*history.columns, "epoch", "step"}
    assert logged["epoch"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(logged[history.columns], history, rtol=1e-6)


def test_tensorboard_gets_the_whole_history(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = pl.loggers.TensorBoardLogger(tmp_path, name="run", version=0)
    history = new(trainer={"logger": logger}).fit(data()).history_
    events = accumulators.EventAccumulator(str(tmp_path / "run" / "version_0")).Reload()
    assert {*history.columns} <= set(events.Tags()["scalars"])
    for name in history:
        np.testing.assert_allclose([event.value for event in events.Scalars(name)], history[name], rtol=1e-6)


def test_steps_that_are_logged_go_on_where_they_were(tmp_path):
    def run(folder, **parameters):
        logger = pl.loggers.CSVLogger(tmp_path, name=folder, version=0)
        new(trainer={"logger": logger}, **parameters).fit(data(), checkpoint=tmp_path / "checkpoint", resume=True)
        return pd.read_csv(tmp_path / folder / "version_0" / "metrics.csv")["step"].tolist()

    first, second = run("first", max_epochs=2), run("second", max_epochs=4)
    shutil.rmtree(tmp_path / "checkpoint")
    assert first + second == run("whole", max_epochs=4)
