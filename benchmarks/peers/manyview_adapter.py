"""manyview on a task, as the adapters of the peers run theirs."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
from protocol import Clock, Peer, main

import manyview as mv

# As the peers: one draw of mixtures, normal posteriors.
OWN = {
    "MMVAE": {"n_importance_samples": 1, "posterior": "normal"},
    "MMVAEPlus": {"n_importance_samples": 1, "posterior": "normal"},
}


class EpochClock(pl.Callback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_start(self, *_: Any) -> None:
        self.clock.start()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.clock.stop()


class Manyview(Peer):
    library = "manyview"

    def build(self) -> None:
        task = self.task
        self.names = task["view_names"]
        cls = getattr(mv, task["model"])
        names = ("alpha", "h_dim", "beta")
        settings = {name: task[name] for name in names if name in task and name in cls().get_params()}
        self.model = cls(
            z_dim=task["z_dim"],
            encoder={"hidden": task["encoder_hidden"], "activation": task["activation"]},
            decoder={"hidden": task["decoder_hidden"], "activation": task["activation"]},
            likelihood=dict(zip(self.names, task["likelihoods"], strict=True)),
            scale=None,
            learning_rate=task["learning_rate"],
            batch_size=task["batch_size"],
            max_epochs=task["epochs"],
            validation_fraction=0,
            patience=None,
            random_state=task["seed"],
            verbose=False,
            trainer={"callbacks": [EpochClock(self.epochs)]},
            **{**OWN.get(task["model"], {}), **settings, **self.options()},
        )

    def _views(self, views: list[np.ndarray]) -> mv.Views:
        return mv.Views(dict(zip(self.names, views, strict=True)))

    def fit(self) -> None:
        self.model.fit(self._views(self.train))
        self.network = self.model.network_

    def latents(self, views: list[np.ndarray]) -> np.ndarray:
        return self.model.transform(self._views(views))

    def reconstructions(self) -> list[np.ndarray]:
        predicted = self.model.predict(self._views(self.test))
        return [predicted[name] for name in self.names]

    def log_likelihood(self, test: list[np.ndarray]) -> tuple[float, str] | None:
        if not self.model.has_likelihood:
            return None
        k = self.task["n_importance"]
        scores = self.model.score_samples(self._views(test), n_samples=k)
        return float(np.mean(scores)), f"score_samples, K = {k}"


if __name__ == "__main__":
    main(Manyview)
