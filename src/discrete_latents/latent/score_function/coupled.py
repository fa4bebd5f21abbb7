"""Estimators from several dependent draws of each layer."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent.distributions import sample
from discrete_latents.latent.estimator import Estimator, NotDefined, Objective
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.trace import Recorder, Site


class Coupling(NamedTuple):
    """n draws of a site, z itself and n − 1 `others`.

    others: one-hot, (n − 1, B, N, K). weights: w, (n, B, N, K), z first. shares: of each draw in the value, (n, B);
    None: 1/n each.
    """

    others: Tensor
    weights: Tensor
    shares: Tensor | None = None


class Coupled(Estimator):
    """The gradient of the logits is Σ_i (f(z_i) − f̄) w_i over n dependent draws z_i.

    Subclasses define the draws, given the first, and the weights w (`coupling`). Each layer draws its own given the
    hard samples above it, and the layers below are drawn again: 1 + L (n − 1) runs. The bound is the mean over layers
    of each layer's (weighted) mean.
    """

    unbiased = True

    def __init__(self) -> None:
        super().__init__()

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        recorder = Recorder()
        first = log_weights(objective, recorder)
        values, surrogate = [], torch.zeros_like(first)
        for index, site in enumerate(recorder.sites):
            self.check_classes(site.logits.shape[-1])
            others, weights, shares = self.coupling(site)
            again = log_weights(objective, recorder.replay(index, others, below=sample))
            bounds = torch.cat([first.unsqueeze(0), again.expand(len(others), *first.shape)])
            values.append(bounds.mean(0) if shares is None else (shares * bounds).sum(0))
            centred = (bounds - bounds.mean(0)).detach()[..., None, None]
            surrogate = surrogate + site.with_gradient((centred * weights).sum(0))
        return (torch.stack(values).mean(0) if values else first) + surrogate

    def check_classes(self, classes: int) -> None:
        """Raises NotDefined if the estimator has no draws for so many classes."""
        if self.bernoulli and classes != 2:
            name = type(self).__name__.lower()
            raise NotDefined(f"{name} is defined for Bernoulli latents, num_classes = 2, got {classes}")

    def coupling(self, site: Site) -> Coupling:
        raise NotImplementedError
