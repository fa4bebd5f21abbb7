"""Estimators from several dependent draws of each layer."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import layout
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

    samples: m. Of the m-sample bound, each sample has draws of its own, and f is the bound with this sample replaced:
    m times the runs. For DisARM this is the local form of its paper, section 3.3.
    """

    unbiased = True

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        if self.samples > 1:
            return self.several(objective)
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

    def several(self, objective: Objective) -> Float[Tensor, " B"]:
        """The m-sample bound."""
        recorder = Recorder((self.samples,), sampled=True)
        weights = log_weights(objective, recorder)
        bound = layout.log_mean_exp(weights)
        for index, site in enumerate(recorder.sites):
            self.check_classes(site.logits.shape[-1])
            with torch.no_grad():
                gradient = self.gradient_of_each(objective, recorder, index, weights)
            bound = bound + site.with_gradient(gradient).sum(0)
        return bound

    def gradient_of_each(
        self, objective: Objective, recorder: Recorder, index: int, weights: Float[Tensor, "m B"]
    ) -> Float[Tensor, "m B N K"]:
        """The gradient of a site's logits by each sample, the others held. weights: log w of the samples."""
        site = recorder.sites[index]
        own = Site(site.logits.expand_as(site.z).flatten(0, 1), site.z.flatten(0, 1), 0.0)
        others, factors = (part.unflatten(1, site.z.shape[:2]) for part in self.coupling(own)[:2])
        again = log_weights(objective, recorder.replay(index, others, below=sample))
        draws = torch.cat([weights.unsqueeze(0), again.expand(len(others), *weights.shape)])
        same = torch.eye(self.samples, dtype=torch.bool, device=weights.device).unsqueeze(-1)
        rest = weights.unsqueeze(0).masked_fill(same, -math.inf).logsumexp(1)
        bounds = torch.logaddexp(draws, rest) - math.log(self.samples)
        return ((bounds - bounds.mean(0))[..., None, None] * factors).sum(0)

    def check_classes(self, classes: int) -> None:
        """Raises NotDefined if the estimator has no draws for so many classes."""
        if self.bernoulli and classes != 2:
            name = type(self).__name__.lower()
            raise NotDefined(f"{name} is defined for Bernoulli latents, num_classes = 2, got {classes}")

    def coupling(self, site: Site) -> Coupling:
        raise NotImplementedError
