"""One training run: a LightningModule that optimises an objective, and what surrounds it."""

from __future__ import annotations

import inspect
import logging
import math
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields
from typing import Any, Protocol, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor

from manyview.data.batch import Batch, Loader, TrainingData
from manyview.imports import resolve_class
from manyview.network import Network
from manyview.objectives import Scalar, Terms
from manyview.seeding import seeded
from manyview.training.checkpoint import NOT_IDENTITY, CheckpointFile, Checkpointing, State, digest
from manyview.training.run import (
    NonFiniteObjectiveError,
    Objective,
    Outcome,
    Progress,
    Run,
    TrainingSettings,
    by_view,
    finite,
    non_finite,
)
from manyview.validation import check_arguments, find_trainer

__all__ = ["train"]

logger = logging.getLogger("manyview")

# Mini-batches in one call of Lightning's training_step: its bookkeeping costs as much as a small step.
_STEPS_PER_CALL = 8


class Totals:
    """Sums of an objective and its parts over an epoch, kept as tensors and read once."""

    def __init__(self, view_names: tuple[str, ...]) -> None:
        self.view_names = view_names
        self.n = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, terms: Terms) -> dict[str, Tensor]:
        """Count one mini-batch, and return its sums."""
        self.n += len(terms.value)
        sums = {name: part.detach().sum(-1) for name, part in {"loss": -terms.value, **terms.parts}.items()}
        for name, total in sums.items():
            self.sums[name] = self.sums[name] + total if name in self.sums else total
        return sums

    def note(self, name: str, values: Tensor) -> None:
        """Count what another objective has for the samples of the next mini-batch."""
        total = values.detach().sum()
        self.sums[name] = self.sums[name] + total if name in self.sums else total

    def gather(self, strategy: pl.strategies.Strategy) -> None:
        """Add up what the processes of a run have counted."""
        self.sums = {name: cast(Tensor, strategy.reduce(total, reduce_op="sum")) for name, total in self.sums.items()}
        device = self.sums["loss"].device
        self.n = int(cast(Tensor, strategy.reduce(torch.tensor(self.n, device=device), reduce_op="sum")))

    def means(self) -> dict[str, float]:
        """Each part per sample, one entry a view where it has views."""
        return {name: total / self.n for name, total in self.by_view(self.sums).items()}

    def by_view(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Sums as numbers."""
        return by_view({name: total.tolist() for name, total in sums.items()}, self.view_names)


class ObjectiveModule(pl.LightningModule):
    """Maximises an objective by stochastic gradient steps; keeps the history and the best weights.

    Optimisation is manual in Lightning's sense, so that one ``training_step`` takes several optimiser steps.

    Where several processes train together, all of them draw the same mini-batches, and each takes its share of the
    rows. Other random numbers are each process's own.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = run.network
        compile_as = run.settings.compile
        self.objective = compiled(run.objective, compile_as) if compile_as else run.objective
        self.beta_at = run.beta_at
        self.data, self.validation = run.data, run.validation
        self.view_names, self.settings = run.view_names, run.settings
        self.reached = Progress()
        self.stop_requested = False
        self._best_weights: dict[str, Tensor] = {}
        self._keep_weights()

    # ---- what a run consists of ---------------------------------------------------------------------------------

    def progress(self) -> dict[str, Any]:
        """What was reached so far: the weights and the history."""
        return {
            "network": self.network.state_dict(),
            "best_weights": self._best_weights,
            "best_epoch": self.reached.best_epoch,
            "best_loss": self.reached.best_loss,
            "history": self.reached.history,
        }

    def load_progress(self, progress: Mapping[str, Any]) -> None:
        """Put back what :meth:`progress` returned."""
        self.network.load_state_dict(progress["network"])
        self._best_weights = dict(progress["best_weights"])
        self.reached = Progress(list(progress["history"]), progress["best_epoch"], progress["best_loss"])

    # Where Lightning starts the processes, this is how the calling one gets what they have reached.
    get_extra_state = progress

    def set_extra_state(self, state: Any) -> None:
        self.load_progress(state)

    @property
    def epoch_is_complete(self) -> bool:
        """Whether the last epoch went through all of its mini-batches."""
        return self.trainer.fit_loop.epoch_loop.batch_progress.is_last_batch and not self.stop_requested

    # ---- the part of one process among several ------------------------------------------------------------------

    def _share(self, batch: Batch) -> Batch:
        """The rows of a mini-batch that are this process's."""
        n = self.trainer.world_size
        return batch if n == 1 else batch[self.global_rank :: n]

    def _draws(self) -> AbstractContextManager[None]:
        """Random numbers of this process's own, if there are others; the order of the rows is common to all."""
        n = self.trainer.world_size
        if n == 1:
            return nullcontext()
        return seeded(self.settings.seed + self.global_step * n + self.global_rank, self.device)

    def _agree(self, sums: list[dict[str, Tensor]]) -> Tensor:
        """The sum of the losses of all processes; if one of them was asked to stop, all of them are from now on."""
        total = torch.stack([batch["loss"] for batch in sums]).sum()
        if self.trainer.world_size > 1:
            both = torch.stack([total, total.new_tensor(self.stop_requested)])
            total, stops = cast(Tensor, self.trainer.strategy.reduce(both, reduce_op="sum"))
            self.stop_requested = bool(stops > 0)
        return total

    def _average_buffers(self) -> None:
        """Give all processes the same statistics of batch normalisation."""
        if self.trainer.world_size > 1:
            for buffer in self.network.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(cast(Tensor, self.trainer.strategy.reduce(buffer.clone(), reduce_op="mean")))

    def on_fit_start(self) -> None:
        if self.trainer.world_size > 1:
            mine = digest({**self.data.tensors(), "random numbers": torch.get_rng_state()})
            strategy = self.trainer.strategy
            if not strategy.reduce_boolean_decision(strategy.broadcast(mine) == mine):
                raise ValueError(
                    "the processes that train together have different samples or random numbers; give all of them the "
                    "same data, and random_state an integer"
                )

    # ---- data and optimiser -------------------------------------------------------------------------------------

    def train_dataloader(self) -> Loader:
        self.loader = self._load(self.data, self.settings.batch_size, _STEPS_PER_CALL, shuffle=True)
        return self.loader

    def val_dataloader(self) -> list[Loader]:
        if self.validation is None:
            return []
        return [self._load(self.validation, max(1024, self.settings.batch_size), 1, shuffle=False)]

    def _load(self, data: TrainingData, batch_size: int, steps: int, shuffle: bool) -> Loader:
        fewest = max(2, self.settings.fewest_samples) * self.trainer.world_size  # batch normalisation needs two
        return data.loader(batch_size, steps, shuffle, self.device, fewest)

    def configure_optimizers(self) -> Any:
        adversary = self.network.adversary
        theirs = [] if adversary is None else list(adversary.parameters())
        apart = {id(parameter) for parameter in theirs}
        ours = [parameter for parameter in self.network.parameters() if id(parameter) not in apart]
        optimizers = [make_optimizer(ours, self.settings)]
        if adversary is not None:
            optimizers.append(make_optimizer(theirs, self.settings, adversary.learning_rate))
        schedulers = [] if self.settings.scheduler is None else [make_scheduler(optimizers[0], self.settings)]
        return optimizers, schedulers

    # ---- one epoch ----------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        self.train_totals, self.val_totals = Totals(self.view_names), Totals(self.view_names)
        self._steps = 0

    @property
    def beta(self) -> float:
        """The weight of the divergences now; it grows from step to step while it warms up."""
        return self.beta_at(self.current_epoch + self._steps / self.loader.n_batches)

    def training_step(self, batches: list[Batch], _: int) -> None:
        optimizers: Any = self.optimizers()
        optimizer, *adversarial = optimizers if isinstance(optimizers, list) else [optimizers]
        together = self.trainer.world_size > 1
        sums = []
        with self._draws():
            for batch in batches:
                share = self._share(batch)
                for other in adversarial:
                    self._step_adversary(other, share)
                terms = self._evaluate(share)
                optimizer.zero_grad()
                # The mean over the mini-batch, once the gradients of the processes are averaged.
                self.manual_backward(-terms.value.sum() / (len(batch) / self.trainer.world_size))
                if self.settings.gradient_clip is not None:
                    self.clip_gradients(optimizer, self.settings.gradient_clip, "norm")
                optimizer.step()
                sums.append(self.train_totals.add(terms))
                self._steps += 1
                if self.stop_requested and not together:
                    break
        self._check_finite(sums, "training")
        if self.stop_requested:
            self.trainer.should_stop = True

    def _evaluate(self, batch: Batch) -> Terms:
        """The objective; where precision is mixed, with the lower one in the networks alone."""
        plugin = self.trainer.precision_plugin
        if not isinstance(plugin, MixedPrecision):
            return self.objective(self.network, batch, self.beta)
        self.network.passes = plugin.autocast_context_manager
        try:
            with torch.autocast(self.device.type, enabled=False):
                return self.objective(self.network, batch, self.beta)
        finally:
            del self.network.passes

    def _step_adversary(self, optimizer: Any, batch: Batch) -> None:
        """The adversary's turn: some steps on the codes as they are now."""
        adversary = self.network.adversary_
        with torch.no_grad():
            codes = self.network.experts(batch).mean
        for step in range(adversary.n_steps):
            value = self.network.adversarial(codes, batch.present)
            optimizer.zero_grad()
            self.manual_backward(-value.mean())
            optimizer.step()
            adversary.after_step()
            if step == adversary.n_steps - 1:
                self.train_totals.note("adversary", value)

    def on_validation_start(self) -> None:
        self._average_buffers()

    def validation_step(self, batches: list[Batch], index: int) -> None:
        # The same draws of z in every epoch: the validation loss then changes with the weights alone.
        with seeded(self.settings.seed + index * self.trainer.world_size + self.global_rank, self.device):
            shares = [self._share(batch) for batch in batches]
            sums = [self.val_totals.add(self._evaluate(share)) for share in shares]
        self._check_finite(sums, "validation")

    def on_train_epoch_end(self) -> None:
        self._average_buffers()
        self.train_totals.gather(self.trainer.strategy)
        row = self.train_totals.means()
        if self.validation is not None and self.val_totals.n:
            self.val_totals.gather(self.trainer.strategy)
            row |= {f"val_{name}": value for name, value in self.val_totals.means().items()}
        self.reached.add(row, self.beta)
        if self.trainer.loggers or self.settings.trainer.get("callbacks"):
            self.log_dict({**row, "beta": self.beta})
        step_scheduler(self.lr_schedulers(), row)
        if not finite(self.network.parameters()):
            raise non_finite("weights", self.current_epoch + 1, self.reached.best_epoch)
        if self.validation is None or self.val_totals.n:
            self._select()

    # ---- the best weights ---------------------------------------------------------------------------------------

    def _select(self) -> None:
        """Keep the weights if they are the best so far, and stop when that has not happened for long."""
        # Against an adversary that changes, losses of different epochs cannot be compared.
        if self.reached.improve(self.beta_at, comparable=self.network.adversary is None):
            self._keep_weights()
        elif self.reached.stalled(self.settings.patience):
            self.trainer.should_stop = True

    @torch.no_grad()
    def _keep_weights(self) -> None:
        for name, value in self.network.state_dict().items():
            kept = self._best_weights.get(name, value.new_empty(0))
            fits = (kept.device, kept.shape) == (value.device, value.shape)  # new memory takes longer to get
            self._best_weights[name] = kept.copy_(value) if fits else value.clone()

    def restore_best(self) -> None:
        """Put the best weights back."""
        self.network.load_state_dict(self._best_weights)

    def _check_finite(self, sums: list[dict[str, Tensor]], phase: str) -> None:
        """Stop at the first of these mini-batches that was not finite: its successors only inherited that."""
        if torch.isfinite(self._agree(sums)):
            return
        totals = Totals(self.view_names)
        found = (totals.by_view(batch) for batch in sums if not torch.isfinite(batch["loss"]))
        terms = [f"{name} = {x}" for name, x in next(found, {}).items() if name != "loss" and not math.isfinite(x)]
        named = ", ".join(terms) or "the sum of its terms overflowed"
        raise non_finite(f"the {phase} objective", self.current_epoch + 1, self.reached.best_epoch, named)


def compiled(objective: Objective, mode: bool | str) -> Objective:
    """An objective translated by torch.compile, when it is first evaluated."""
    fast = torch.compile(objective, mode=mode if isinstance(mode, str) else None)

    def evaluate(network: Network, batch: Batch, beta: Scalar) -> Terms:
        # As a tensor: it would be translated anew for every number.
        weight = torch.as_tensor(beta, dtype=torch.float32, device=batch.x[0].device)
        terms: Terms = fast(network, batch, weight)
        return terms

    return evaluate


def make_optimizer(
    parameters: list[torch.nn.Parameter], settings: TrainingSettings, learning_rate: float | None = None
) -> torch.optim.Optimizer:
    """The optimiser of ``torch.optim`` with that name, fused where it can be."""
    cls = resolve_class(settings.optimizer, torch.optim, torch.optim.Optimizer, "optimizer")
    if inspect.signature(cls.step).parameters["closure"].default is inspect.Parameter.empty:
        raise ValueError(
            f"optimizer={settings.optimizer!r} evaluates the objective several times in a step; choose Adam"
        )
    known = check_arguments(cls, settings.optimizer_args, "optimizer_args")
    step_size = settings.learning_rate if learning_rate is None else learning_rate
    args: dict[str, Any] = {"lr": step_size, **settings.optimizer_args}
    if "fused" in known and not {"foreach", "differentiable"} & set(args):
        args.setdefault("fused", True)
    return cast(torch.optim.Optimizer, cls(parameters, **args))


def make_scheduler(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> Any:
    """The scheduler of ``torch.optim.lr_scheduler`` with that name; it steps once an epoch."""
    schedulers = torch.optim.lr_scheduler
    cls = resolve_class(str(settings.scheduler), schedulers, schedulers.LRScheduler, "scheduler")
    check_arguments(cls, settings.scheduler_args, "scheduler_args")
    return cls(optimizer, **settings.scheduler_args)


def step_scheduler(scheduler: Any, row: Mapping[str, float]) -> None:
    """The end of an epoch, for a scheduler if there is one."""
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        scheduler.step(row.get("val_loss", row["loss"]))
    elif scheduler is not None:
        scheduler.step()


def progress_bar(n_epochs: int | None, hidden: bool) -> Any:
    """One line: the epoch, the loss, the time left."""
    from tqdm.auto import tqdm

    layout = "{desc}: epoch {n:.0f}/{total} |{bar:20}| {elapsed} < {remaining}{postfix}"
    return tqdm(total=n_epochs, desc="training", bar_format=layout, dynamic_ncols=True, disable=hidden)


class ProgressBar(pl.Callback):
    """Shows :func:`progress_bar`."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar = progress_bar(trainer.max_epochs, hidden=not trainer.is_global_zero)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Set rather than added up: a sum of fractions would overshoot the total by a rounding error.
        self.bar.n = trainer.current_epoch + (batch_idx + 1) / int(trainer.num_training_batches)
        self.bar.update(0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast(ObjectiveModule, pl_module)
        shown = {"loss": module.train_totals}
        if module.val_totals.n:
            shown["val_loss"] = module.val_totals
        self.bar.set_postfix({name: f"{totals.means()['loss']:.5g}" for name, totals in shown.items()}, refresh=False)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if hasattr(self, "bar"):
            self.bar.close()


class Stoppable(Protocol):
    """What is asked to stop by setting this."""

    stop_requested: bool


@contextmanager
def stop_on_interrupt(module: Stoppable) -> Iterator[None]:
    """Ctrl-C asks for a stop after the running step; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request(signum: int, frame: Any) -> None:
        if module.stop_requested:
            raise KeyboardInterrupt
        module.stop_requested = True

    previous = signal.signal(signal.SIGINT, request)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning's remarks about hardware, tips and its own deprecations, silenced for as long as a run takes."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [lightning.level for lightning in loggers]
    try:
        for lightning in loggers:
            lightning.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
            yield
    finally:
        for lightning, level in zip(loggers, levels, strict=True):
            lightning.setLevel(level)


def train(run: Run) -> Outcome:
    """Train a network in place."""
    network, settings = run.network, run.settings
    with seeded(settings.seed):
        torch.set_rng_state(run.random_numbers)
        return _train(ObjectiveModule(run), network, settings)


def _train(module: ObjectiveModule, network: Network, settings: TrainingSettings) -> Outcome:
    file, state = _open_checkpoint(module)
    error: Exception | None = None
    if state is not None and (state["stopped"] or len(state["run"]["history"]) >= settings.max_epochs):
        module.load_progress(state["run"])
        module.restore_best()
        return Outcome(module.reached)
    options = _trainer_options(settings)
    checkpointing = None if file is None else Checkpointing(file, state, options["callbacks"])
    if checkpointing is not None:
        options["callbacks"] = [checkpointing, *options["callbacks"]]
    with quiet_lightning(), stop_on_interrupt(module):
        trainer = find_trainer(settings.trainer)(**options)
        _check_processes(trainer, module)
        try:
            trainer.fit(module)
        except Exception as caught:
            if not (module.reached.history or isinstance(caught, NonFiniteObjectiveError)):
                raise
            error = caught
        except SystemExit as caught:
            # What Lightning makes of a KeyboardInterrupt; it makes one of SIGTERM too, which is to end the process.
            if isinstance(caught, SIGTERMException):
                raise SystemExit(128 + signal.SIGTERM) from None
            if trainer.state.status != "interrupted":
                raise
            module.stop_requested = True
    module.restore_best()
    if checkpointing is not None:
        checkpointing.report()
    if module.stop_requested:
        logger.warning("training was interrupted; the model has its weights of epoch %d", module.reached.best_epoch)
    network.cpu()
    return Outcome(module.reached, error, module.stop_requested)


def _open_checkpoint(module: ObjectiveModule) -> tuple[CheckpointFile | None, State | None]:
    """The file to write to, and the state in it to go on from."""
    settings = module.settings
    if settings.checkpoint is None:
        if settings.resume:
            raise ValueError("resume=True, but no folder to go on from: give checkpoint='folder' as well")
        return None, None
    parts = {"training": module.data, "validation": module.validation}
    ours = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name not in NOT_IDENTITY}
    identity = {
        **settings.model,
        **{name: dict(value) if isinstance(value, Mapping) else value for name, value in ours.items()},
        "views": list(module.view_names),
        "networks": repr(module.network),
        **{f"{name} samples": None if part is None else len(part) for name, part in parts.items()},
        **{f"{name} data": None if part is None else digest(part.tensors()) for name, part in parts.items()},
    }
    file = CheckpointFile(settings.checkpoint, identity)
    return file, file.read(settings.resume)


def _check_processes(trainer: pl.Trainer, module: ObjectiveModule) -> None:
    """Refuse what cannot be trained, or not as it is meant to be, by the processes that were asked for."""
    n, settings = trainer.world_size, module.settings
    _check_batch_norm(module.network, len(module.data), settings.batch_size, n)
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        raise ValueError(
            f"trainer: strategy {settings.trainer.get('strategy')!r} divides the networks; choose 'ddp', where every "
            "process has all of them, or leave it out"
        )
    if n == 1:
        return
    why = None
    if module.network.adversary is not None:
        why = "its adversary is trained in turn with the encoders, which distributed gradients do not provide for"
    elif settings.fewest_samples:
        why = "its objective is one of a whole mini-batch, which processes would see a part of only"
    if why is not None:
        raise ValueError(f"trainer: this model cannot be trained on {n} devices: {why}; give devices=1")
    if settings.batch_size < n:
        raise ValueError(f"trainer: batch_size={settings.batch_size} leaves nothing to some of {n} devices; enlarge it")
    few = min(len(part) for part in (module.data, module.validation) if part is not None)
    if few < n:
        raise ValueError(f"trainer: {few} samples cannot be shared by {n} devices; use fewer devices, or more samples")


def _check_batch_norm(network: Network, n_rows: int, batch_size: int, n_processes: int) -> None:
    normalises = any(isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) for layer in network.modules())
    if normalises and min(n_rows, batch_size) < 2 * n_processes:
        shared = f", shared by {n_processes} devices" if n_processes > 1 else ""
        raise ValueError(
            f"batch normalisation needs two samples in a batch, but there are {n_rows} training samples in batches of "
            f"batch_size={batch_size}{shared}; use norm='layer', a larger batch_size, or more samples"
        )


def _trainer_options(settings: TrainingSettings) -> dict[str, Any]:
    """The arguments of Lightning's Trainer: ours, and the user's in ``trainer``."""
    given = {name: value for name, value in settings.trainer.items() if name != "_target_"}
    check_arguments(find_trainer(settings.trainer), given, "trainer")
    theirs = given.get("callbacks") or []
    callbacks = [*(theirs if isinstance(theirs, list | tuple) else [theirs])]
    return {
        "accelerator": settings.device,
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        **given,
        "max_epochs": settings.max_epochs,
        "callbacks": [*([ProgressBar()] if settings.verbose else []), *callbacks],
    }
