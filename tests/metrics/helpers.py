"""Models whose answers are known: linear decoders, normal noise and one latent dimension."""

import numpy as np
import torch
from torch import nn

import manyview as mv
from manyview.datasets import make_linear_gaussian


def set_linear(part, weight, bias):
    """Give the only linear layer of a network these weights."""
    (layer,) = (module for module in part.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(np.asarray(weight)))
        layer.bias.copy_(torch.as_tensor(np.asarray(bias)))


def exact_model(truth, *, sharpness=1.0, noise=1.0):
    """An MVAE whose decoders are those of a LinearGaussian with Z = 1, and whose posteriors are exact for every subset.

    With another sharpness than 1, the experts' precisions are off by that factor; with another noise, the likelihood's
    standard deviations are.
    """
    views, _ = truth.sample(20, random_state=0)
    model = mv.MVAE(
        z_dim=1,
        encoder={"hidden": []},
        decoder={"hidden": []},
        likelihood={"name": "normal", "learn_scale": False},
        scale=None,
        max_epochs=1,
        random_state=0,
        verbose=False,
    ).fit(views)
    network = model.network_
    for m, (w, b, sigma) in enumerate(zip(truth.loadings, truth.offsets, truth.noise, strict=True)):
        precision = (w[:, 0] ** 2 / sigma**2).sum()
        gain = w[:, 0] / sigma**2 / precision
        weight = np.stack([gain, np.zeros_like(gain)])
        set_linear(network.encoders[m], weight, [-gain @ b, -np.log(sharpness * precision)])
        set_linear(network.decoders[m], w, b)
        network.likelihood(m).fixed_sigma.copy_(torch.as_tensor(noise * sigma))
    return model


def one_dimension(n_features=(3, 2, 4), noise=1.0, random_state=0):
    """A LinearGaussian with a single latent dimension."""
    return make_linear_gaussian(n_features, 1, noise=noise, random_state=random_state)


def without(views, gaps):
    """The views without the rows of ``gaps``, a dict from view to rows."""
    views = mv.Views(views)
    present = {name: np.isin(np.arange(len(views)), rows, invert=True) for name, rows in gaps.items()}
    return mv.Views(views, present=present)
