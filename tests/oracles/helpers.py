"""Networks whose weights are stated, batches made by hand, and what tests of expectations share."""

import numpy as np
import torch
from torch import nn
from torch.distributions import Independent, Laplace, Normal

from manyview.data import Views
from manyview.data.batch import Batch
from manyview.likelihoods import Normal as NormalLikelihood
from manyview.network import Network

FILLER = 0.7  # what stands in place of unobserved entries: any finite number


def double(x):
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def normal_experts(loc, scale):
    return Independent(Normal(double(loc), double(scale), validate_args=False), 1, validate_args=False)


def laplace_experts(loc, scale):
    return Independent(Laplace(double(loc), double(scale), validate_args=False), 1, validate_args=False)


def linear(weight, bias):
    """A linear layer with these weights (out, in) and this bias."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(double(weight))
        layer.bias.copy_(double(bias))
    return layer


def fixed_normal(sigma):
    """The likelihood with these standard deviations."""
    likelihood = NormalLikelihood(learn_scale=False).build((len(sigma),)).double()
    likelihood.fixed_sigma.copy_(double(sigma))
    return likelihood


def linear_network(truth, latent, fusion, encoders):
    """A network whose decoders and noise are those of a LinearGaussian; encoders are (weight, bias) of each view."""
    return Network(
        latent,
        fusion,
        [linear(*encoder) for encoder in encoders],
        [linear(w, b) for w, b in zip(truth.loadings, truth.offsets, strict=True)],
        [fixed_normal(sigma) for sigma in truth.noise],
        [torch.zeros(len(b), dtype=torch.float64) for b in truth.offsets],
    ).double()


def as_batch(views, dtype=torch.float64):
    """The views as they are, not standardised: NaN becomes a filler and two masks."""
    arrays = [views.array(name) for name in views.names]
    masks = [~np.isnan(x) for x in arrays]
    x = tuple(torch.from_numpy(np.where(mask, x, FILLER)).to(dtype) for x, mask in zip(arrays, masks, strict=True))
    present = np.stack([mask.any(1) for mask in masks], axis=1)
    whole = all(mask.all() for mask in masks)
    return Batch(
        x,
        tuple(None if mask.all() else torch.from_numpy(mask) for mask in masks),
        None if whole else torch.from_numpy(present),
    )


def repeat(views, times):
    """Each row so many times, one after the other."""
    return views[np.repeat(np.arange(len(views)), times)]


def replicates(values, times):
    """The mean and its standard error of each row, from values of rows that ``repeat`` made."""
    values = np.asarray(values).reshape(-1, times)
    return values.mean(1), values.std(1, ddof=1) / np.sqrt(times)


def gaussian_kl(mean_q, cov_q, mean_p, cov_p):
    """KL(q ‖ p) of normal distributions with full covariances, by the textbook formula."""
    difference = mean_p - mean_q
    inverse = np.linalg.inv(cov_p)
    log_dets = np.linalg.slogdet(cov_p)[1] - np.linalg.slogdet(cov_q)[1]
    return 0.5 * (np.trace(inverse @ cov_q) + difference @ inverse @ difference - len(mean_q) + log_dets)


def with_gaps(views, rows):
    """A copy in which ``rows``, (row, view, features), are NaN; features None takes the whole view."""
    arrays = {name: views.array(name).copy() for name in views.names}
    for row, name, features in rows:
        arrays[name][row, slice(None) if features is None else features] = np.nan
    return Views(arrays)
