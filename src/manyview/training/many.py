r"""Many networks of one architecture, trained as one computation.

Their parameters are stacked along a first axis, N; the objective, mapped over it by ``torch.func.vmap``, turns the
products of N small matrices into one batched product, and N times as many calls of PyTorch into one. Everything that
sets a network apart stays its own: the weights that it starts from, its samples and their order, the noise, dropout,
β, the optimiser, early stopping. Each network comes out as if it had been trained alone, up to rounding.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from manyview.data.batch import Batch, mini_batches
from manyview.objectives import Scalar, Terms
from manyview.seeding import seeded
from manyview.training.draws import Draw, Recorder, Replay, draw_all
from manyview.training.run import NonFiniteObjectiveError, Outcome, Progress, Run, by_view, finite, non_finite
from manyview.training.tape import Repeated

__all__ = ["train_all"]

logger = logging.getLogger("manyview")

# Optimisers that treat each number by itself: they make the same steps for weights in any layout.
_ELEMENTWISE = ("Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD")

# Parameters of all networks that are trained at once; more are slower, for they leave the processor's caches.
_PARAMETERS = 2**25

# Parameters of all networks up to which calls take longer than what they compute. Each network is then given to its
# optimiser as one vector, for copying the gradients there takes less time than the optimiser's calls for every tensor.
_SMALL = 2**20

# Mini-batches whose rows are selected at once.
_STEPS = 8

# How far the objective of stacked networks may be from that of each alone, relative to its size.
_TOLERANCE = 1e-3

Tensors = dict[str, Tensor]


def train_all(runs: Sequence[Run]) -> list[Outcome]:
    """Train several networks in place: those that are alike as one computation, the others one after another.

    Ctrl-C ends all of it; those that were not begun keep the weights that they start from.
    """
    from manyview.training.loop import train

    outcomes = [Outcome(Progress(), interrupted=True) for _ in runs]
    for group in _alike(runs):
        together = Together([runs[i] for i in group]) if len(group) > 1 else None
        if together is not None and together.agrees():
            for i, outcome in zip(group, together.train(), strict=True):
                outcomes[i] = outcome
            if together.stop_requested:
                break
            continue
        for i in group:
            outcomes[i] = train(runs[i])
            if outcomes[i].interrupted:
                return outcomes
    return outcomes


# ---- which networks are trained together ----------------------------------------------------------------------------


def _alike(runs: Sequence[Run]) -> list[list[int]]:
    """The positions of runs that can be one computation."""
    groups: list[list[int]] = []
    for i, run in enumerate(runs):
        for group in groups if _can_be_stacked(run) else []:
            first = runs[group[0]]
            if len(group) < _most(run) and _can_be_stacked(first) and _similar(first, run):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _most(run: Run) -> int:
    return max(1, _PARAMETERS // sum(parameter.numel() for parameter in run.network.parameters()))


def _can_be_stacked(run: Run) -> bool:
    settings = run.settings
    plain = settings.checkpoint is None and not (settings.trainer or settings.compile)
    here = settings.device in ("auto", "cpu", "gpu", "cuda")
    in_memory = isinstance(run.data, Batch) and isinstance(run.validation, Batch | None)
    return plain and here and in_memory and run.network.adversary is None and settings.optimizer in _ELEMENTWISE


def _similar(one: Run, other: Run) -> bool:
    try:
        return _signature(one) == _signature(other) and bool(one.kin == other.kin)
    except (RuntimeError, ValueError):  # arrays among the hyperparameters
        return False


def _signature(run: Run) -> tuple[Any, ...]:
    def shapes(data: Any) -> Any:
        return None if data is None else {name: tensor.shape for name, tensor in data.tensors().items()}

    settings = run.settings
    network = run.network
    state = {name: tensor.shape for name, tensor in [*network.named_parameters(), *network.named_buffers()]}
    same = (settings.batch_size, settings.fewest_samples, settings.optimizer, settings.device)
    return state, shapes(run.data), shapes(run.validation), same, run.view_names


def _parts(run: Run) -> list[Batch]:
    """What a run is trained on, and what it is watched on, if anything."""
    return [data for data in (run.data, run.validation) if isinstance(data, Batch)]


# ---- stacked networks -----------------------------------------------------------------------------------------------


@final
class Objective(nn.Module):
    """The sums over a mini-batch of the objective and its parts, as a module that torch.func can call."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.network = run.network
        self.of = run.objective
        self.n_views = len(run.view_names)

    def forward(self, data: Tensors, beta: Scalar) -> Tensors:
        x = tuple(data[f"x.{m}"] for m in range(self.n_views))
        observed = tuple(data.get(f"observed.{m}") for m in range(self.n_views))
        terms: Terms = self.of(self.network, Batch(x, observed, data.get("present"), data.get("covariates")), beta)
        return {"loss": -terms.value.sum(-1), **{name: part.sum(-1) for name, part in terms.parts.items()}}


@contextmanager
def mode(module: nn.Module, training: bool) -> Iterator[None]:
    """To train, a module is as it was made, frozen parts and all; to be watched, it is in evaluation mode meanwhile."""
    before = [(part, part.training) for part in module.modules()]
    if not training:
        module.eval()
    try:
        yield
    finally:
        for part, was_training in before:
            part.training = was_training


@final
class Lent:
    """A module that computes with other tensors than its own, like ``torch.func.functional_call``.

    That one looks for the places of parameters and buffers, and for tied ones, in every call; here it is done once.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        tensors = [*module.parameters(), *module.buffers()]
        self.places: list[list[tuple[dict[str, Any], str]]] = [[] for _ in tensors]
        position = {id(tensor): i for i, tensor in enumerate(tensors)}
        for part in module.modules():
            for store in (part._parameters, part._buffers):
                for name, tensor in store.items():
                    if tensor is not None:
                        self.places[position[id(tensor)]].append((store, name))
        self.tensors = tensors

    def __call__(self, tensors: Sequence[Tensor], *args: Any) -> Any:
        """What the module answers with these parameters and buffers, in the order of its own."""
        try:
            self._put(tensors)
            return self.module(*args)
        finally:
            self._put(self.tensors)

    def _put(self, tensors: Sequence[Tensor]) -> None:
        for places, tensor in zip(self.places, tensors, strict=True):
            for store, name in places:
                store[name] = tensor


@final
class Together:
    """Several networks that are trained as one computation.

    Parameters
    ----------
    runs : sequence of Run
        The networks, their data and how each is to be trained.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        settings = runs[0].settings
        use_gpu = settings.device in ("gpu", "cuda") or (settings.device == "auto" and torch.cuda.is_available())
        self.device = torch.device("cuda" if use_gpu else "cpu")
        self.objectives = [Objective(run).to(self.device) for run in runs]
        self.ways = dict.fromkeys((True, False), Lent(self.objectives[0]))
        self.names = [name for name, _ in self.objectives[0].named_parameters()]
        stacked = [torch.stack([x.get_parameter(name).detach() for x in self.objectives]) for name in self.names]
        # Weights of linear maps lie as their gradients do, which batched products make transposed.
        self.leaves = [w.mT.contiguous() if w.ndim == 3 else w for w in stacked]
        self.buffers = {
            name: torch.stack([x.get_buffer(name) for x in self.objectives])
            for name, _ in self.objectives[0].named_buffers()
        }
        for leaf in self.leaves:
            leaf.requires_grad_()
        n, size = len(runs[0].data), settings.batch_size
        fewest = max(2, settings.fewest_samples)
        self.bounds = mini_batches(n, size, fewest)
        watched = 0 if runs[0].validation is None else len(runs[0].validation)
        self.watched = mini_batches(watched, max(1024, size), fewest) if watched else []
        self.stop_requested = False
        on_device = {id(data): data.to(self.device).tensors() for run in runs for data in _parts(run)}
        self.data = [[on_device[id(data)] for data in _parts(run)] for run in runs]
        self.draws: dict[tuple[bool, int], list[list[Draw]]] = {}
        self.small = sum(leaf.numel() for leaf in self.leaves) <= _SMALL
        self.train_with: Callable[..., tuple[Tensors, tuple[Tensor | None, ...]]] = self.differentiate
        self.watch_with: Callable[..., Tensors] = partial(self.evaluate, False)
        if self.small or self.device.type != "cpu":
            self.train_with, self.watch_with = Repeated(self.train_with), Repeated(self.watch_with)

    def _select(self, training: bool, networks: Iterable[int], rows: Tensor) -> Tensors:
        """Rows of the data of some networks, (N, B), by name: (N, B, ...)."""
        sources = [self.data[n][0 if training else 1] for n in networks]
        if all(source is sources[0] for source in sources):
            return {name: x.index_select(0, rows.flatten()).unflatten(0, rows.shape) for name, x in sources[0].items()}
        return {
            name: torch.stack([own[name].index_select(0, mine) for own, mine in zip(sources, rows, strict=True)])
            for name in sources[0]
        }

    def evaluate(
        self,
        training: bool,
        leaves: Sequence[Tensor],
        buffers: Tensors,
        data: Tensors,
        betas: Tensor,
        numbers: Sequence[Tensor],
    ) -> Tensors:
        """The sums over a mini-batch for each network."""
        call = self.ways[training]

        def one(leaves: list[Tensor], buffers: Tensors, data: Tensors, beta: Tensor, numbers: list[Tensor]) -> Tensors:
            weights = [w.mT if w.ndim == 2 else w for w in leaves]
            with Replay(numbers):
                sums: Tensors = call([*weights, *buffers.values()], data, beta)
            return sums

        return vmap(one)(list(leaves), buffers, data, betas, list(numbers))

    def differentiate(
        self, leaves: Sequence[Tensor], buffers: Tensors, data: Tensors, *others: Any
    ) -> tuple[Tensors, tuple[Tensor | None, ...]]:
        """The sums over a mini-batch that is trained on, and the derivatives of the mean loss, for each network."""
        sums = self.evaluate(True, leaves, buffers, data, *others)
        mean = sums["loss"].sum() / data["x.0"].shape[1]
        gradients = torch.autograd.grad(mean, leaves, allow_unused=True)
        return {name: total.detach() for name, total in sums.items()}, gradients

    def agrees(self) -> bool:
        """Whether all networks ask for the same random numbers, and are the same stacked as each is alone.

        Their objectives may be anything that Python can say; what cannot be mapped over, or comes out differently, is
        found here, on one mini-batch of each size.
        """
        try:
            return all([self._agrees(*case) for case in self._cases()])
        except Exception as error:
            logger.debug("not trained as one computation: %s: %s", type(error).__name__, error)
            return False

    def _cases(self) -> set[tuple[bool, int]]:
        """Every kind of mini-batch: whether it is trained on, and its size."""
        sizes = {(True, stop - start) for start, stop in itertools.pairwise(self.bounds)}
        return sizes | {(False, stop - start) for start, stop in itertools.pairwise(self.watched)}

    def _agrees(self, training: bool, size: int) -> bool:
        rows = torch.arange(size, device=self.device).expand(len(self.runs), -1)
        data = self._select(training, range(len(self.runs)), rows)
        betas = torch.ones(len(self.runs), device=self.device)
        alone, asked = [], []
        buffers = {name: value.clone() for name, value in self.buffers.items()}
        for n, objective in enumerate(self.objectives):
            with torch.no_grad(), seeded(n, self.device), mode(objective, training), Recorder() as recorder:
                own = {name: value.clone() for name, value in objective.named_buffers()}
                sums = functional_call(objective, own, ({k: x[n] for k, x in data.items()}, 1.0))
            alone.append(sums["loss"])
            asked.append(recorder.draws)
        generators = [torch.Generator(self.device).manual_seed(n) for n in range(len(self.runs))]
        self.draws[training, size] = asked
        inputs = self.leaves, self.buffers, data, betas, draw_all(asked, generators)
        with mode(self.objectives[0], training):
            if training:
                sums, gradients = self.differentiate(*inputs)
                self.flat = self.small and not any(gradient is None for gradient in gradients)
            else:
                sums = self.evaluate(False, *inputs)
        self.buffers = buffers
        together = sums["loss"].detach()
        scale = 1 + torch.stack(alone).abs()
        return bool(((together - torch.stack(alone)).abs() < _TOLERANCE * scale).all())

    # ---- training -------------------------------------------------------------------------------------------------

    def train(self) -> list[Outcome]:
        """Train the networks to the end of each."""
        from manyview.training.loop import make_optimizer, make_scheduler, progress_bar, stop_on_interrupt

        # A module of its own to watch with, so that none has to change its mode in every epoch.
        self.ways[False] = Lent(self.objectives[1].eval())
        self.reached = [Progress() for _ in self.runs]
        self.errors: list[NonFiniteObjectiveError | None] = [None for _ in self.runs]
        self.active = list(range(len(self.runs)))
        self.best = [leaf.detach().clone() for leaf in self.leaves]
        self.best_buffers = {name: value.clone() for name, value in self.buffers.items()}
        self.parameters = [[nn.Parameter(w) for w in own] for own in self._own()]
        pairs = list(zip(self.parameters, self.runs, strict=True))
        self.optimizers = [make_optimizer(own, run.settings) for own, run in pairs]
        self.schedulers = [
            None if run.settings.scheduler is None else make_scheduler(optimizer, run.settings)
            for optimizer, run in zip(self.optimizers, self.runs, strict=True)
        ]
        self.order = [torch.Generator() for _ in self.runs]
        for generator, run in zip(self.order, self.runs, strict=True):
            generator.set_state(run.random_numbers)
        self.noise = self.order
        if self.device.type != "cpu":
            self.noise = [torch.Generator(self.device).manual_seed(run.settings.seed) for run in self.runs]
        longest = max(run.settings.max_epochs for run in self.runs)
        hidden = not any(run.settings.verbose for run in self.runs)
        with stop_on_interrupt(self), progress_bar(longest, hidden) as bar:
            while self.active and not self.stop_requested:
                bar.set_description(f"training {len(self.active)} models as one", refresh=False)
                self._train_epoch()
                bar.update()
        return [self._finish(n) for n in range(len(self.runs))]

    def _own(self) -> list[list[Tensor]]:
        """What the optimiser of each active network changes: its part of the stacked parameters."""
        if not self.flat:
            return [list(own) for own in zip(*(leaf.detach().unbind() for leaf in self.leaves), strict=True)]
        vectors = torch.cat([leaf.detach().flatten(1) for leaf in self.leaves], dim=1)
        parts = vectors.split([leaf[0].numel() for leaf in self.leaves], dim=1)
        self.gradients = torch.empty_like(vectors)  # the same memory in every step: new memory takes longer to get
        pairs = zip(parts, self.leaves, strict=True)
        self.leaves = [part.unflatten(1, leaf.shape[1:]).requires_grad_() for part, leaf in pairs]
        return [[vector] for vector in vectors]

    def _train_epoch(self) -> None:
        totals: Tensors = {}
        n_steps = len(self.bounds) - 1
        orders = torch.stack([torch.randperm(len(run.data), generator=self.order[n]) for n, run in self._each()])
        orders = orders.to(self.device)
        for first in range(0, n_steps, _STEPS):
            bounds = self.bounds[first : first + _STEPS + 1]
            chunk = self._select(True, self.active, orders[:, bounds[0] : bounds[-1]])
            for step, (start, stop) in enumerate(itertools.pairwise(bounds)):
                data = {name: x[:, start - bounds[0] : stop - bounds[0]] for name, x in chunk.items()}
                sums = self._step(data, (first + step) / n_steps, stop - start)
                totals = {name: totals[name] + x if totals else x for name, x in sums.items()}
            if self.stop_requested:
                return
        row = {name: total / self.bounds[-1] for name, total in totals.items()}
        if self.watched:
            row |= {f"val_{name}": total / self.watched[-1] for name, total in self._validate().items()}
        self._end_epoch(row)

    def _each(self) -> list[tuple[int, Run]]:
        return [(n, self.runs[n]) for n in self.active]

    def _betas(self, share: float) -> Tensor:
        """Each network's β, a share of this epoch having passed."""
        betas = [run.beta_at(len(self.reached[n].history) + share) for n, run in self._each()]
        return torch.tensor(betas, device=self.device)

    def _step(self, data: Tensors, share: float, size: int) -> Tensors:
        asked = self.draws[True, size]
        numbers = draw_all([asked[n] for n in self.active], [self.noise[n] for n in self.active])
        sums, gradients = self.train_with(self.leaves, self.buffers, data, self._betas(share), numbers)
        for n, own in zip(self.active, self._of_each(gradients), strict=True):
            for parameter, gradient in zip(self.parameters[n], own, strict=True):
                parameter.grad = gradient
            clip = self.runs[n].settings.gradient_clip
            if clip is not None:
                nn.utils.clip_grad_norm_(self.parameters[n], clip)
            self.optimizers[n].step()
        return sums

    def _of_each(self, gradients: Sequence[Tensor | None]) -> Iterable[Sequence[Tensor | None]]:
        """The gradients of each active network, as :meth:`_own` has its parameters."""
        if self.flat:
            parts = [cast(Tensor, gradient).flatten(1) for gradient in gradients]
            return [[vector] for vector in torch.cat(parts, dim=1, out=self.gradients)]
        none = [None] * len(self.active)
        # Fused optimisers take the memory of a gradient as it lies.
        return zip(*(none if g is None else g.contiguous().unbind() for g in gradients), strict=True)

    @torch.no_grad()
    def _validate(self) -> Tensors:
        totals: Tensors = {}
        for index, (start, stop) in enumerate(itertools.pairwise(self.watched)):
            rows = torch.arange(start, stop, device=self.device).expand(len(self.active), -1)
            seeds = [run.settings.seed + index for _, run in self._each()]
            generators = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]
            asked = self.draws[False, stop - start]
            numbers = draw_all([asked[n] for n in self.active], generators)
            data = self._select(False, self.active, rows)
            sums = self.watch_with(self.leaves, self.buffers, data, self._betas(1.0), numbers)
            totals = {name: totals[name] + x if totals else x for name, x in sums.items()}
        return totals

    def _end_epoch(self, means: Tensors) -> None:
        """Note the epoch, keep the weights of networks that improved, and go on without those that are done."""
        from manyview.training.loop import step_scheduler

        table = {name: value.tolist() for name, value in means.items()}
        betas = self._betas(1.0).tolist()
        better, done = [], []
        for i, (n, run) in enumerate(self._each()):
            row = by_view({name: values[i] for name, values in table.items()}, run.view_names)
            reached = self.reached[n]
            if (error := self._wrong(row, self.parameters[n], reached)) is not None:
                self.errors[n] = error
                done.append(i)
                continue
            reached.add(row, betas[i])
            step_scheduler(self.schedulers[n], row)
            if reached.improve(run.beta_at):
                better.append(i)
            if reached.stalled(run.settings.patience) or len(reached.history) >= run.settings.max_epochs:
                done.append(i)
        self._keep(better)
        if done:
            self._narrow([i for i in range(len(self.active)) if i not in done])

    def _wrong(
        self, row: Mapping[str, float], weights: list[nn.Parameter], reached: Progress
    ) -> NonFiniteObjectiveError | None:
        """What stops a network whose objective or weights are not finite."""
        epoch = len(reached.history) + 1
        terms = [f"{name} = {x}" for name, x in row.items() if not math.isfinite(x)]
        if terms:
            phase = "validation" if all(term.startswith("val_") for term in terms) else "training"
            named = [term for term in terms if not term.startswith(("loss", "val_loss"))]
            told = ", ".join(named) or "the sum of its terms overflowed"
            return non_finite(f"the {phase} objective", epoch, reached.best_epoch, told)
        return None if finite(weights) else non_finite("weights", epoch, reached.best_epoch)

    @torch.no_grad()
    def _keep(self, better: list[int]) -> None:
        """Keep the weights of these active networks."""
        if not better:
            return
        here = torch.tensor(better, device=self.device)
        there = torch.tensor([self.active[i] for i in better], device=self.device)
        for best, leaf in zip(self.best, self.leaves, strict=True):
            best[there] = leaf[here]
        for name, buffer in self.buffers.items():
            self.best_buffers[name][there] = buffer[here]

    def _narrow(self, left: list[int]) -> None:
        """Go on with these active networks alone."""
        self.active = [self.active[i] for i in left]
        if not left:
            return
        here = torch.tensor(left, device=self.device)
        self.leaves = [leaf.detach()[here].requires_grad_() for leaf in self.leaves]
        self.buffers = {name: buffer[here] for name, buffer in self.buffers.items()}
        for n, own in zip(self.active, self._own(), strict=True):
            for parameter, weights in zip(self.parameters[n], own, strict=True):
                parameter.data = weights

    @torch.no_grad()
    def _finish(self, n: int) -> Outcome:
        """Give a network its best weights."""
        objective = self.objectives[n]
        for name, best in zip(self.names, self.best, strict=True):
            objective.get_parameter(name).copy_(best[n].mT if best[n].ndim == 2 else best[n])
        for name, buffer in self.best_buffers.items():
            objective.get_buffer(name).copy_(buffer[n])
        objective.cpu()
        interrupted = self.stop_requested and n in self.active
        return Outcome(self.reached[n], self.errors[n], interrupted)
