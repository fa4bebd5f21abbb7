"""Likelihoods p(x | z): one option of the group `model/likelihood` per file."""

from discrete_latents.likelihoods.base import KINDS, Likelihood
from discrete_latents.likelihoods.bernoulli import Bernoulli
from discrete_latents.likelihoods.categorical import Categorical
from discrete_latents.likelihoods.discretized_logistic import DiscretizedLogistic
from discrete_latents.likelihoods.gaussian import Gaussian
from discrete_latents.likelihoods.poisson import Poisson

__all__ = ["KINDS", "Bernoulli", "Categorical", "DiscretizedLogistic", "Gaussian", "Likelihood", "Poisson"]
