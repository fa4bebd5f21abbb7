"""Estimators of the gradient through discrete latent variables. Pure PyTorch, usable alone:

from discrete_latents.latent import GumbelSoftmax

z = GumbelSoftmax(temperature=0.5)(logits)      # as torch.nn.functional.gumbel_softmax
bound = GumbelSoftmax(temperature=0.5)(objective)
"""

from discrete_latents.latent.estimator import Estimator, Objective, Sampler
from discrete_latents.latent.evaluation import HardBound, HardSampler
from discrete_latents.latent.exact import Exact
from discrete_latents.latent.pathwise import Concrete, GumbelSoftmax, Pathwise, STGumbel, straight_through
from discrete_latents.latent.temperature import Constant, Cosine, Exponential, Learned, Linear, Temperature

__all__ = [
    "Concrete",
    "Constant",
    "Cosine",
    "Estimator",
    "Exact",
    "Exponential",
    "GumbelSoftmax",
    "HardBound",
    "HardSampler",
    "Learned",
    "Linear",
    "Objective",
    "Pathwise",
    "STGumbel",
    "Sampler",
    "Temperature",
    "straight_through",
]
