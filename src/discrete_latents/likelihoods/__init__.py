"""Likelihoods: one option of the group `model/likelihood` per file."""

from discrete_latents.likelihoods.base import Likelihood
from discrete_latents.likelihoods.bernoulli import Bernoulli
from discrete_latents.likelihoods.gaussian import Gaussian

__all__ = ["Bernoulli", "Gaussian", "Likelihood"]
