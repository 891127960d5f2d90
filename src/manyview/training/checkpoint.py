"""A training run on disk: all that it needs to go on as if it had never been stopped.

There is one file, which each write replaces as a whole: tensors as safetensors, everything else as JSON in its header.
Nothing is pickled. A run restarts from the end of the last epoch that was written, so that how often that happens
decides how much is trained again, and never what comes out.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from manyview.atomic import leftovers, write_atomically
from manyview.likelihoods import Likelihood
from manyview.messages import warn

if TYPE_CHECKING:
    from manyview.training.loop import ObjectiveModule

__all__ = [
    "NOT_IDENTITY",
    "SECONDS",
    "CheckpointFile",
    "Checkpointing",
    "State",
    "describe",
    "digest",
    "stored_seed",
]

logger = logging.getLogger("manyview")

SECONDS = 10.0
"""Least time between two writes in the midst of training."""

_NAME = "checkpoint.safetensors"
_FORMAT = 1
_KEY = "manyview.checkpoint"

# What may change between a run and its continuation.
NOT_IDENTITY = ("max_epochs", "device", "trainer", "verbose", "random_state", "checkpoint", "resume", "model")

State = dict[str, Any]


@final
class CheckpointFile:
    """The file of a run in its folder, which is made if need be.

    Parameters
    ----------
    folder : path
        Where the file is.
    identity : dict
        What the run is: the continuation's must be the same. Plain values, see :func:`describe`.

    Raises
    ------
    OSError
        If there can be no such folder.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.path = Path(folder) / _NAME
        self.identity: State = json.loads(json.dumps(identity))  # as it will be read: no tuples
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for left_over in leftovers(self.path):
                left_over.unlink()
        except OSError as error:
            raise self.refusal(error) from error

    def refusal(self, error: OSError) -> OSError:
        """What to say where nothing can be written."""
        folder = os.fspath(self.path.parent)
        return OSError(
            error.errno, f"the checkpoint folder {folder!r} cannot be written; free it, or give another ({error})"
        )

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the file, or leave it as it was."""
        from safetensors.torch import save as to_bytes

        from manyview import __version__

        tensors: dict[str, Tensor] = {}
        plain = {"identity": self.identity, "state": _flatten(state, tensors, "")}
        header = json.dumps({"format": _FORMAT, "version": __version__, **plain})
        write_atomically(self.path, to_bytes(tensors, {_KEY: header, "digest": digest(tensors, header)}))

    def read(self, resume: bool) -> State | None:
        """The state to go on from; None if there is none yet.

        Parameters
        ----------
        resume : bool
            Whether the run is to go on at all.

        Raises
        ------
        ValueError
            If there is one although nothing is to be resumed, if it is damaged, or another run's.
        """
        path = os.fspath(self.path)
        if not self.path.exists():
            return None
        if not resume:
            raise ValueError(
                f"{path!r} holds a run, which would be lost; give resume=True to go on with it, or another folder"
            )
        header, tensors = _read(self.path)
        theirs = header["identity"]
        if theirs != self.identity:
            names = [name for name in {**theirs, **self.identity} if theirs.get(name) != self.identity.get(name)]
            shown = ", ".join(_difference(name, theirs.get(name), self.identity.get(name)) for name in names)
            raise ValueError(
                f"{path!r} is the checkpoint of another run, which differs in {shown}. Repeat that run's call to go "
                "on with it, or give another folder"
            )
        state: State = _unflatten(header["state"], tensors)
        return state


def stored_seed(folder: str | os.PathLike[str]) -> int | None:
    """The seed of the run in a folder, for models whose ``random_state`` is no integer; None if there is no run."""
    path = Path(folder) / _NAME
    return int(_read(path)[0]["identity"]["seed"]) if path.exists() else None


def _read(path: Path) -> tuple[State, dict[str, Tensor]]:
    """The header and the tensors of a file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        text = metadata[_KEY]
        header: State = json.loads(text)
        if header["format"] > _FORMAT:
            raise ValueError(f"it was written by manyview {header['version']}, which is newer; upgrade manyview")
        if metadata["digest"] != digest(tensors, text):
            raise ValueError("it is not what was written")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{os.fspath(path)!r} is no checkpoint that can be read, damaged or cut short ({error}); delete it to "
            "start anew, or give another folder"
        ) from None
    return header, tensors


def _difference(name: str, theirs: Any, ours: Any) -> str:
    """What differs, with the two values if they can be told apart at a glance."""
    pair = f"{theirs!r} there and {ours!r} here"
    return f"{name} ({pair})" if len(pair) < 100 else name


# ---- who a run is ---------------------------------------------------------------------------------------------------


def describe(model: Any) -> dict[str, Any]:
    """The class and the hyperparameters of a model as JSON, but for those that a continuation may change.

    Examples
    --------
    >>> import manyview as mv
    >>> describe(mv.MVAE(z_dim=3))["z_dim"]
    3
    """
    parameters = {
        name: _plain(value) for name, value in model.get_params(deep=False).items() if name not in NOT_IDENTITY
    }
    return {"model": _plain(type(model)), **parameters}


def _plain(value: Any) -> Any:
    """A value as JSON; objects by what they are, which need not be enough to make them again."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Likelihood):
        return {"likelihood": _plain(type(value)), **_plain(value.settings())}
    if isinstance(value, torch.nn.Module):
        return repr(value)
    named = value if inspect.isclass(value) or inspect.isroutine(value) else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """A checksum (SHA-256) of named tensors, and of a text.

    Examples
    --------
    >>> digest({"x": torch.zeros(2)}) == digest({"x": torch.zeros(2)}) != digest({"x": torch.ones(2)})
    True
    """
    checksum = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        checksum.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        checksum.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return checksum.hexdigest()


# ---- trees of tensors and plain values ------------------------------------------------------------------------------


def _flatten(tree: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """A tree as JSON, its tensors apart under their paths."""
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if isinstance(tree, Tensor):
        tensors[name] = tree.detach().cpu().contiguous().clone()  # which may share its memory with another
        return {"tensor": name}
    if isinstance(tree, np.generic):
        return tree.item()
    if isinstance(tree, Mapping):
        return {"items": [[key, _flatten(item, tensors, f"{name}/{key}")] for key, item in tree.items()]}
    if isinstance(tree, list | tuple):
        items = [_flatten(item, tensors, f"{name}/{i}") for i, item in enumerate(tree)]
        return {"tuple": items} if isinstance(tree, tuple) else items
    raise TypeError(f"a checkpoint holds tensors, numbers, strings and lists and dicts of them, but {name} is {tree!r}")


def _unflatten(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_unflatten(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "tensor" in tree:
        return tensors[tree["tensor"]]
    if "tuple" in tree:
        return tuple(_unflatten(tree["tuple"], tensors))
    return {key: _unflatten(item, tensors) for key, item in tree["items"]}


# ---- in the training loop -------------------------------------------------------------------------------------------


@final
class Checkpointing(pl.Callback):
    """Puts a run back where it was, and writes where it is.

    Parameters
    ----------
    file : CheckpointFile
        Where to.
    state : dict, optional
        Where to go on from.
    callbacks : iterable of Callback
        The user's own, whose state belongs to the run.
    """

    def __init__(self, file: CheckpointFile, state: State | None, callbacks: Iterable[pl.Callback]) -> None:
        self.file, self.state = file, state
        self.callbacks = list(callbacks)
        self.failure: OSError | None = None
        self._written: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put everything back but the random numbers, which Lightning may draw from until the epoch starts."""
        if self.state is not None:
            restore(self.state, trainer, cast("ObjectiveModule", pl_module), self.callbacks)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Here, all is done of one epoch, and nothing is drawn for the next."""
        if self.state is not None:
            set_rng_state(self.state["rng"], pl_module.device)
            self.state = None
        if self._written is None or time.monotonic() - self._written >= SECONDS:
            self._write(trainer, pl_module, stopped=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the end, unless in the midst of an epoch (Ctrl-C, max_time): that one is trained again as a whole."""
        if cast("ObjectiveModule", pl_module).epoch_is_complete:
            timers = [callback for callback in cast(Any, trainer).callbacks if isinstance(callback, pl.callbacks.Timer)]
            late = any(left is not None and left <= 0 for left in (timer.time_remaining() for timer in timers))
            self._write(trainer, pl_module, stopped=trainer.should_stop and not late)

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stopped: bool) -> None:
        if not trainer.is_global_zero:
            return
        module = cast("ObjectiveModule", pl_module)
        try:
            self.file.write(snapshot(trainer, module, self.callbacks) | {"stopped": stopped})
        except OSError as error:
            if self._written is None:
                raise self.file.refusal(error) from error
            if self.failure is None:
                logger.warning("%s; training goes on, and tries again after each epoch", self.file.refusal(error))
            self.failure = error
        else:
            self._written, self.failure = time.monotonic(), None

    def report(self) -> None:
        """Warn if the run's end is not on disk."""
        if self.failure is not None:
            warn(f"{self.file.refusal(self.failure)}; the checkpoint there is that of an earlier epoch")


def snapshot(trainer: pl.Trainer, module: ObjectiveModule, callbacks: Iterable[pl.Callback]) -> State:
    """All that changes from epoch to epoch."""
    loop = trainer.fit_loop.epoch_loop
    return {
        "run": module.progress(),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "precision": trainer.precision_plugin.state_dict(),
        "callbacks": {callback.state_key: callback.state_dict() for callback in callbacks},
        "steps": loop.manual_optimization.optim_step_progress.state_dict(),
        "logged_steps": loop._batches_that_stepped,
        "rng": get_rng_state(module.device),
    }


def restore(state: State, trainer: pl.Trainer, module: ObjectiveModule, callbacks: Iterable[pl.Callback]) -> None:
    """Put back what :func:`snapshot` took, but for the random numbers."""
    module.load_progress(state["run"])
    for optimizer, saved in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    for config, saved in zip(trainer.lr_scheduler_configs, state["schedulers"], strict=True):
        now = config.scheduler.state_dict()  # mappings as the scheduler has them: MultiStepLR counts with a Counter
        config.scheduler.load_state_dict(
            {key: type(now[key])(value) if isinstance(value, dict) else value for key, value in saved.items()}
        )
    trainer.precision_plugin.load_state_dict(state["precision"])
    for callback in callbacks:
        if state["callbacks"].get(callback.state_key):
            callback.load_state_dict(state["callbacks"][callback.state_key])
    loop, epoch = trainer.fit_loop, len(module.reached.history)
    loop.epoch_loop.manual_optimization.optim_step_progress.load_state_dict(state["steps"])
    loop.epoch_loop._batches_that_stepped = state["logged_steps"]
    current: Any = loop.epoch_progress.current
    current.ready = current.started = current.processed = current.completed = epoch
    logger.info("training goes on after epoch %d", epoch)


def get_rng_state(device: torch.device) -> dict[str, Tensor]:
    """Where torch's random numbers are, on the CPU and on a device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = getattr(torch, device.type).get_rng_state()
    return states


def set_rng_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put torch's random numbers back there."""
    torch.set_rng_state(states["cpu"])
    if device.type in states and device.type != "cpu":
        getattr(torch, device.type).set_rng_state(states[device.type])
