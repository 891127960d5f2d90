"""How long an epoch takes: each model, and a bare PyTorch loop of the same MVAE, side by side on one thread.

Four tables of 2,000 samples with 500, 2,000, 300 and 50 features; MLPs of one layer of 256; 16 latent dimensions;
batches of 64. Rounds are interleaved, the first of each is not counted, and the table gives medians of CPU time.
Results go to benchmarks/results.jsonl as well, a line each.
"""

import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

import manyview as mv

WIDTHS, N, HIDDEN, Z, BATCH = (500, 2000, 300, 50), 2000, 256, 16, 64
EPOCHS, ROUNDS = 3, 3
SETTINGS = dict(
    z_dim=Z,
    encoder={"hidden": [HIDDEN]},
    decoder={"hidden": [HIDDEN]},
    batch_size=BATCH,
    max_epochs=EPOCHS,
    validation_fraction=0,
    random_state=0,
    verbose=False,
)


class Clock(pl.Callback):
    """CPU time of an epoch, without what surrounds training."""

    def on_train_start(self, *_):
        self.start = time.process_time()

    def on_train_end(self, *_):
        self.seconds = (time.process_time() - self.start) / EPOCHS


def model_epoch(cls, data, **parameters):
    clock = Clock()
    trainer = {"callbacks": [clock]}
    cls(**SETTINGS, **parameters, trainer=trainer).fit(data)
    return clock.seconds


def bare_epoch(data):
    """MVAE with normal likelihoods of learned variance, as short as one can write it well."""
    x = [torch.from_numpy(view) for view in data.values()]
    encoders = [nn.Sequential(nn.Linear(d, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * Z)) for d in WIDTHS]
    decoders = [nn.Sequential(nn.Linear(Z, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, d)) for d in WIDTHS]
    rho = [nn.Parameter(torch.zeros(d)) for d in WIDTHS]
    parameters = [p for net in (*encoders, *decoders) for p in net.parameters()] + rho
    adam = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    start = time.process_time()
    for _ in range(EPOCHS):
        for rows in torch.randperm(N).split(BATCH):
            batch = [view[rows] for view in x]
            mean, log_variance = torch.stack([f(v) for f, v in zip(encoders, batch, strict=True)]).chunk(2, -1)
            precision = (-log_variance).exp()
            total = 1 + precision.sum(0)
            loc, scale = (precision * mean).sum(0) / total, total.rsqrt()
            z = loc + scale * torch.randn_like(loc)
            loss = (0.5 * (scale.square() + loc.square() - 1) - scale.log()).sum(-1)
            for decoder, view, r in zip(decoders, batch, rho, strict=True):
                sigma = 0.01 + r.exp()
                loss = loss + 0.5 * ((view - decoder(z)) / sigma).square().sum(-1) + sigma.log().sum()
            adam.zero_grad()
            loss.mean().backward()
            adam.step()
    return (time.process_time() - start) / EPOCHS


def import_seconds(*statements):
    """Median CPU time of a fresh Python with each of the statements, which take turns."""
    runs = {statement: [] for statement in statements}
    for statement in statements * 5:
        code = f"{statement}\nimport time; print(time.process_time())"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        runs[statement].append(float(run.stdout))
    return [statistics.median(seconds) for seconds in runs.values()]


def main():
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    data = {f"view_{m}": rng.normal(size=(N, width)).astype(np.float32) for m, width in enumerate(WIDTHS)}
    contestants = {"bare loop, MVAE": lambda: bare_epoch(data)}
    contestants |= {
        cls.__name__: lambda cls=cls: model_epoch(cls, data) for cls in mv.models.MODELS if cls is not mv.MMVAE
    }
    contestants["MMVAE, K = 1"] = lambda: model_epoch(mv.MMVAE, data, n_importance_samples=1)
    times = {name: [] for name in contestants}
    for turn in range(ROUNDS + 1):
        for name, run in contestants.items():
            seconds = run()
            if turn:
                times[name].append(seconds)

    bare = statistics.median(times["bare loop, MVAE"])
    results = []
    print(f"{'CPU time of an epoch':24}{'seconds':>9}{'spread':>16}{'to the bare loop':>18}")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"{name:24}{middle:9.3f}{f'{min(seconds):.3f} - {max(seconds):.3f}':>16}{middle / bare:18.2f}")
        results.append({"what": name, "seconds": seconds, "ratio": middle / bare})
    base, ours = import_seconds("import torch, sklearn.base", "import manyview")
    print(f"\nimport manyview: {ours:.2f} s of CPU time, {ours / base:.2f} times that of torch and sklearn.base")
    results.append({"what": "import", "seconds": [ours], "ratio": ours / base})
    machine = {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()}
    lines = "".join(json.dumps(row | machine) + "\n" for row in results)
    Path(__file__).with_name("results.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
