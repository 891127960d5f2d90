"""manyview on a task, as the adapters of the peers run theirs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from protocol import Clock, Peer, main
from torch import nn

import manyview as mv

LIKELIHOODS = {"laplace": mv.likelihoods.Laplace(scale=0.75, learn_scale=False)}  # README.md

# As the peers: one draw of mixtures, normal posteriors.
OWN = {
    "MMVAE": {"n_importance_samples": 1, "posterior": "normal"},
    "MMVAEPlus": {"n_importance_samples": 1, "posterior": "normal"},
}


class EpochClock(pl.Callback):
    """From the start of each epoch to that of the next: the model does something after the callbacks have ended one."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.running = clock, False

    def on_train_epoch_start(self, *_: Any) -> None:
        self.on_train_end()
        self.clock.start()
        self.running = True

    def on_train_end(self, *_: Any) -> None:
        if self.running:
            self.clock.stop()


class Manyview(Peer):
    library = "manyview"

    def build(self) -> None:
        task = self.task
        self.names = task["view_names"]
        cls = getattr(mv, task["model"])
        names = ("alpha", "h_dim", "beta")
        known = cls().get_params()
        settings = {name: task[name] for name in names if name in task and name in known}
        if task.get("compile"):
            settings["compile"] = task["compile"]
        self.model = cls(
            z_dim=task["z_dim"],
            encoder=self._networks("encoder"),
            decoder=self._networks("decoder"),
            likelihood=dict(zip(self.names, (LIKELIHOODS.get(x, x) for x in task["likelihoods"]), strict=True)),
            scale=None,
            learning_rate=task["learning_rate"],
            batch_size=task["batch_size"],
            max_epochs=task["epochs"],
            validation_fraction=0,
            patience=None,
            random_state=task["seed"],
            verbose=False,
            device="gpu" if task.get("device") == "cuda" else "cpu",
            trainer={"callbacks": [EpochClock(self.epochs)], "precision": task.get("precision", "32-true")},
            **{**OWN.get(task["model"], {}), **settings, **self.options()},
        )

    def _networks(self, kind: str) -> dict[str, Any] | Callable[..., nn.Module]:
        task = self.task
        if "channels" not in task:
            return {"hidden": task[f"{kind}_hidden"], "activation": task["activation"]}
        channels = task["channels"] if kind == "encoder" else task["channels"][::-1]
        if not task.get("channels_last"):
            return {"name": "cnn", "channels": channels}
        cls = mv.nn.CNNEncoder if kind == "encoder" else mv.nn.CNNDecoder
        return lambda *shapes: cls(*shapes, channels=channels).to(memory_format=torch.channels_last)

    def _views(self, views: list[np.ndarray], part: str) -> mv.Views | mv.MVDataset:
        """The arrays, or files that the task has in their place."""
        stored = self.task.get("stored", {}).get(part)
        if stored is not None:
            return mv.MVDataset(dict(zip(self.names, stored, strict=True)))
        return mv.Views(dict(zip(self.names, views, strict=True)))

    def fit(self) -> None:
        self.model.fit(self._views(self.train, "train"))
        self.network = self.model.network_

    def latents(self, views: list[np.ndarray]) -> np.ndarray:
        return self.model.transform(self._views(views, "train" if views is self.train else "test"))

    def reconstructions(self) -> list[np.ndarray]:
        predicted = self.model.predict(self._views(self.test, "test"))
        return [predicted[name] for name in self.names]

    def log_likelihood(self, test: list[np.ndarray]) -> tuple[float, str] | None:
        if not self.model.has_likelihood:
            return None
        k = self.task["n_importance"]
        scores = self.model.score_samples(self._views(test, "likelihood"), n_samples=k)
        return float(np.mean(scores)), f"score_samples, K = {k}"


if __name__ == "__main__":
    main(Manyview)
