"""One training run: a LightningModule that optimises an objective, and what surrounds it."""

from __future__ import annotations

import inspect
import logging
import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor

from manyview.data.batch import Batch, BatchLoader
from manyview.messages import closest
from manyview.network import Network
from manyview.objectives import Terms
from manyview.seeding import seeded
from manyview.training.settings import NonFiniteObjectiveError, TrainingSettings

__all__ = ["train"]

logger = logging.getLogger("manyview")

# Mini-batches in one call of Lightning's training_step: its bookkeeping costs as much as a small step.
_STEPS_PER_CALL = 8

# What the model's own parameters say to optimisers, schedulers and Lightning's Trainer.
_OURS = ("params", "lr", "optimizer", "max_epochs")

Objective = Callable[[Network, Batch, float], Terms]


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

    def means(self) -> dict[str, float]:
        """Each part per sample, one entry a view where it has views."""
        return {name: total / self.n for name, total in self.by_view(self.sums).items()}

    def by_view(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Sums as numbers, those of views under names such as ``log_lik[image]``."""
        numbers: dict[str, float] = {}
        for name, total in sums.items():
            if total.ndim:
                names = (f"{name}[{view}]" for view in self.view_names)
                numbers |= dict(zip(names, total.tolist(), strict=True))
            else:
                numbers[name] = total.item()
        return numbers


class ObjectiveModule(pl.LightningModule):
    """Maximises an objective by stochastic gradient steps; keeps the history and the best weights.

    Optimisation is manual in Lightning's sense, so that one ``training_step`` takes several optimiser steps.
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        beta_at: Callable[[float], float],
        data: Batch,
        validation: Batch | None,
        view_names: tuple[str, ...],
        settings: TrainingSettings,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.objective, self.beta_at = objective, beta_at
        self.data, self.validation = data, validation
        self.view_names, self.settings = view_names, settings
        self.history: list[dict[str, float]] = []
        self.stop_requested = False
        self.best_epoch = 0
        self._best_loss = float("inf")
        self._keep_weights()

    # ---- data and optimiser -------------------------------------------------------------------------------------

    def train_dataloader(self) -> BatchLoader:
        self.loader = self._load(self.data, self.settings.batch_size, _STEPS_PER_CALL, shuffle=True)
        return self.loader

    def val_dataloader(self) -> list[BatchLoader]:
        if self.validation is None:
            return []
        return [self._load(self.validation, max(1024, self.settings.batch_size), 1, shuffle=False)]

    def _load(self, data: Batch, batch_size: int, steps: int, shuffle: bool) -> BatchLoader:
        fewest = max(2, self.settings.fewest_samples)  # batch normalisation needs two
        return BatchLoader(data.to(self.device), batch_size, steps, shuffle, fewest)

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
        sums = []
        for batch in batches:
            for other in adversarial:
                self._step_adversary(other, batch)
            terms = self.objective(self.network, batch, self.beta)
            optimizer.zero_grad()
            self.manual_backward(-terms.value.mean())
            if self.settings.gradient_clip is not None:
                self.clip_gradients(optimizer, self.settings.gradient_clip, "norm")
            optimizer.step()
            sums.append(self.train_totals.add(terms))
            self._steps += 1
            if self.stop_requested:
                self.trainer.should_stop = True
                break
        self._check_finite(self.train_totals, sums, "training")

    def _step_adversary(self, optimizer: Any, batch: Batch) -> None:
        """The adversary's turn: some steps on the codes as they are now."""
        adversary = self.network.adversary_
        for step in range(adversary.n_steps):
            value = self.network.adversarial(batch)
            optimizer.zero_grad()
            self.manual_backward(-value.mean())
            optimizer.step()
            adversary.after_step()
            if step == adversary.n_steps - 1:
                self.train_totals.note("adversary", value)

    def validation_step(self, batches: list[Batch], index: int) -> None:
        # The same draws of z in every epoch: the validation loss then changes with the weights alone.
        with seeded(self.settings.seed + index, self.device):
            sums = [self.val_totals.add(self.objective(self.network, batch, self.beta)) for batch in batches]
        self._check_finite(self.val_totals, sums, "validation")

    def on_train_epoch_end(self) -> None:
        row = self.train_totals.means()
        if self.validation is not None and self.val_totals.n:
            row |= {f"val_{name}": value for name, value in self.val_totals.means().items()}
        self.history.append({"epoch": self.current_epoch + 1, **row, "beta": self.beta})
        if self.trainer.loggers or self.settings.trainer.get("callbacks"):
            self.log_dict({name: value for name, value in row.items() if not name.startswith("epoch")})
        self._step_scheduler(row)
        if not all(torch.isfinite(weights).all() for weights in self.network.parameters()):
            raise NonFiniteObjectiveError(
                f"weights became non-finite in epoch {self.current_epoch + 1}. {self._advice}"
            )
        if self.validation is None or self.val_totals.n:
            self._select(row)

    def _step_scheduler(self, row: dict[str, float]) -> None:
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step(row.get("val_loss", row["loss"]))
        elif scheduler is not None:
            cast(torch.optim.lr_scheduler.LRScheduler, scheduler).step()

    # ---- the best weights ---------------------------------------------------------------------------------------

    def _select(self, row: dict[str, float]) -> None:
        """Keep the weights if they are the best so far, and stop when that has not happened for long."""
        epoch = self.current_epoch + 1
        loss = row.get("val_loss")
        # While beta grows, and against an adversary that changes, losses of different epochs cannot be compared.
        incomparable = self.network.adversary is not None or self.beta_at(epoch) > self.beta_at(epoch - 1)
        if loss is None or incomparable or loss < self._best_loss:
            self.best_epoch = epoch
            self._best_loss = float("inf") if loss is None or incomparable else loss
            self._keep_weights()
        elif self.settings.patience is not None and epoch - self.best_epoch >= self.settings.patience:
            self.trainer.should_stop = True

    def _keep_weights(self) -> None:
        self._best_weights = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def restore_best(self) -> None:
        """Put the best weights back."""
        self.network.load_state_dict(self._best_weights)

    def _check_finite(self, totals: Totals, sums: list[dict[str, Tensor]], phase: str) -> None:
        """Stop at the first of these mini-batches that was not finite: its successors only inherited that."""
        if torch.isfinite(totals.sums["loss"]):
            return
        numbers = next(totals.by_view(batch) for batch in sums if not torch.isfinite(batch["loss"]))
        terms = [f"{name} = {x}" for name, x in numbers.items() if name != "loss" and not math.isfinite(x)]
        raise NonFiniteObjectiveError(
            f"the {phase} objective became non-finite in epoch {self.current_epoch + 1}: "
            f"{', '.join(terms) or 'the sum of its terms overflowed'}. {self._advice}"
        )

    @property
    def _advice(self) -> str:
        return (
            f"The model keeps its weights of {f'epoch {self.best_epoch}' if self.best_epoch else 'the start'}. "
            "Lower learning_rate, set gradient_clip, or standardise the data (scale='standard')"
        )


def make_optimizer(
    parameters: list[torch.nn.Parameter], settings: TrainingSettings, learning_rate: float | None = None
) -> torch.optim.Optimizer:
    """The optimiser of ``torch.optim`` with that name, fused where it can be."""
    cls = _find(settings.optimizer, torch.optim, torch.optim.Optimizer, "optimizer")
    if inspect.signature(cls.step).parameters["closure"].default is inspect.Parameter.empty:
        raise ValueError(
            f"optimizer={settings.optimizer!r} evaluates the objective several times in a step; choose Adam"
        )
    known = _check_arguments(cls, settings.optimizer_args, "optimizer_args")
    step_size = settings.learning_rate if learning_rate is None else learning_rate
    args: dict[str, Any] = {"lr": step_size, **settings.optimizer_args}
    if "fused" in known and not {"foreach", "differentiable"} & set(args):
        args.setdefault("fused", True)
    return cast(torch.optim.Optimizer, cls(parameters, **args))


def make_scheduler(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> Any:
    """The scheduler of ``torch.optim.lr_scheduler`` with that name; it steps once an epoch."""
    schedulers = torch.optim.lr_scheduler
    cls = _find(str(settings.scheduler), schedulers, schedulers.LRScheduler, "scheduler")
    _check_arguments(cls, settings.scheduler_args, "scheduler_args")
    return cls(optimizer, **settings.scheduler_args)


def _find(name: str, module: ModuleType, base: type, argument: str) -> Any:
    """The class of a module with that name."""
    classes = {
        key: cls
        for key, cls in vars(module).items()
        if inspect.isclass(cls) and issubclass(cls, base) and cls is not base and not key.startswith("_")
    }
    if name not in classes:
        raise ValueError(f"{argument}={name!r} is not in {module.__name__}{closest(name, classes)}")
    return classes[name]


def _check_arguments(function: Callable[..., Any], given: Mapping[str, Any], argument: str) -> list[str]:
    """Refuse arguments that a function does not have, or that it lacks; some are not the user's to give here."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in _OURS]
    known = [parameter.name for parameter in parameters]
    for name in given:
        if name not in known:
            raise ValueError(f"{argument}: {function.__name__} has no argument {name!r}{closest(name, known)}")
    lacking = [p.name for p in parameters if p.default is inspect.Parameter.empty and p.name not in given]
    if lacking:
        raise ValueError(f"{argument}: {function.__name__} needs {', '.join(map(repr, lacking))} as well")
    return known


class ProgressBar(pl.Callback):
    """One line: the epoch, the loss, the time left."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        from tqdm.auto import tqdm

        layout = "{desc}: epoch {n:.0f}/{total} |{bar:20}| {elapsed} < {remaining}{postfix}"
        self.bar = tqdm(total=trainer.max_epochs, desc="training", bar_format=layout, dynamic_ncols=True)

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


@contextmanager
def stop_on_interrupt(module: ObjectiveModule) -> Iterator[None]:
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
    lightning = logging.getLogger("pytorch_lightning")
    level = lightning.level
    lightning.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            yield
    finally:
        lightning.setLevel(level)


def train(
    network: Network,
    objective: Objective,
    beta_at: Callable[[float], float],
    data: Batch,
    validation: Batch | None,
    view_names: tuple[str, ...],
    settings: TrainingSettings,
) -> tuple[list[dict[str, float]], int, Exception | None]:
    """Train a network in place.

    Returns
    -------
    history : list of dict
        One row an epoch.
    best_epoch : int
        The epoch whose weights the network has now.
    error : Exception or None
        What stopped the run, if something did once there were weights worth keeping; the network then has them.
    """
    if settings.scheduler_args and settings.scheduler is None:
        raise ValueError(f"scheduler_args={dict(settings.scheduler_args)}, but there is no scheduler: name one")
    _check_batch_norm(network, len(data), settings.batch_size)
    module = ObjectiveModule(network, objective, beta_at, data, validation, view_names, settings)
    options = _trainer_options(settings)
    error: Exception | None = None
    with quiet_lightning(), stop_on_interrupt(module):
        trainer = pl.Trainer(**options)
        try:
            trainer.fit(module)
        except Exception as caught:
            if not (module.history or isinstance(caught, NonFiniteObjectiveError)):
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
    if module.stop_requested:
        logger.warning("training was interrupted; the model has its weights of epoch %d", module.best_epoch)
    network.cpu()
    return module.history, module.best_epoch, error


def _check_batch_norm(network: Network, n_rows: int, batch_size: int) -> None:
    normalises = any(isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) for layer in network.modules())
    if normalises and min(n_rows, batch_size) == 1:
        raise ValueError(
            f"batch normalisation needs two samples in a batch, but there are {n_rows} training samples in batches of "
            f"batch_size={batch_size}; use norm='layer', a larger batch_size, or more samples"
        )


def _trainer_options(settings: TrainingSettings) -> dict[str, Any]:
    """The arguments of Lightning's Trainer: ours, and the user's in ``trainer``."""
    _check_arguments(pl.Trainer, settings.trainer, "trainer")
    theirs = settings.trainer.get("callbacks") or []
    callbacks = [*(theirs if isinstance(theirs, list | tuple) else [theirs])]
    return {
        "accelerator": settings.device,
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        **settings.trainer,
        "max_epochs": settings.max_epochs,
        "callbacks": [*([ProgressBar()] if settings.verbose else []), *callbacks],
    }
