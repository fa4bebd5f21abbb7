"""Estimators of the gradient through discrete latent variables. Pure PyTorch, usable alone:

from discrete_latents.latent import GumbelSoftmax

z = GumbelSoftmax(temperature=0.5)(logits)      # as torch.nn.functional.gumbel_softmax
bound = GumbelSoftmax(temperature=0.5)(objective)
"""

from discrete_latents.latent.baselines import InputNetwork, MovingAverage
from discrete_latents.latent.darn import Darn
from discrete_latents.latent.disarm import DisARM
from discrete_latents.latent.estimator import Estimator, Objective, Sampler
from discrete_latents.latent.evaluation import HardBound, HardSampler
from discrete_latents.latent.exact import Exact
from discrete_latents.latent.gapped_straight_through import GappedStraightThrough
from discrete_latents.latent.gumbel_rao import GumbelRao
from discrete_latents.latent.muprop import MuProp
from discrete_latents.latent.pathwise import Concrete, GumbelSoftmax, Pathwise
from discrete_latents.latent.rebar import Rebar
from discrete_latents.latent.reinforce import Reinforce
from discrete_latents.latent.reinmax import ReinMax
from discrete_latents.latent.relax import Relax
from discrete_latents.latent.rloo import RLOO
from discrete_latents.latent.straight_through import DecoupledSTGumbel, STGumbel, StraightThrough, straight_through
from discrete_latents.latent.temperature import Constant, Cosine, Exponential, Learned, Linear, Temperature
from discrete_latents.latent.vimco import VIMCO

__all__ = [
    "RLOO",
    "VIMCO",
    "Concrete",
    "Constant",
    "Cosine",
    "Darn",
    "DecoupledSTGumbel",
    "DisARM",
    "Estimator",
    "Exact",
    "Exponential",
    "GappedStraightThrough",
    "GumbelRao",
    "GumbelSoftmax",
    "HardBound",
    "HardSampler",
    "InputNetwork",
    "Learned",
    "Linear",
    "MovingAverage",
    "MuProp",
    "Objective",
    "Pathwise",
    "Rebar",
    "ReinMax",
    "Reinforce",
    "Relax",
    "STGumbel",
    "Sampler",
    "StraightThrough",
    "Temperature",
    "straight_through",
]
