"""Gradient estimators for discrete latent variables, in pure PyTorch. Usable without the rest of the package:

from discrete_latents.latent import GumbelSoftmax

z = GumbelSoftmax(temperature=0.5)(logits)      # like torch.nn.functional.gumbel_softmax
bound = GumbelSoftmax(temperature=0.5)(objective)
"""

from discrete_latents.latent.estimator import Estimator, NotDefined, Objective, WithContext
from discrete_latents.latent.evaluation import HardBound, HardSampler
from discrete_latents.latent.exact import Exact
from discrete_latents.latent.kl_weight import CosineKL, KLSchedule, KLWeight, LinearKL
from discrete_latents.latent.pathwise.base import Pathwise, straight_through_argmax
from discrete_latents.latent.pathwise.concrete import Concrete
from discrete_latents.latent.pathwise.darn import Darn
from discrete_latents.latent.pathwise.gapped_straight_through import GappedStraightThrough
from discrete_latents.latent.pathwise.gumbel_rao import GumbelRao
from discrete_latents.latent.pathwise.gumbel_softmax import GumbelSoftmax
from discrete_latents.latent.pathwise.mve import MVE, IntegerMVE
from discrete_latents.latent.pathwise.redge import ReDGE
from discrete_latents.latent.pathwise.reinmax import ReinMax
from discrete_latents.latent.pathwise.reinmax_rao import ReinMaxCV, ReinMaxRao
from discrete_latents.latent.pathwise.st_gumbel import DecoupledSTGumbel, STGumbel
from discrete_latents.latent.pathwise.straight_through import StraightThrough
from discrete_latents.latent.pathwise.zgr import ZGR
from discrete_latents.latent.sampler import Sampler
from discrete_latents.latent.score_function.arsm import ARSM
from discrete_latents.latent.score_function.baselines import InputNetwork, MovingAverage
from discrete_latents.latent.score_function.carms import ARMS, CARMS
from discrete_latents.latent.score_function.disarm import ARM, DisARM
from discrete_latents.latent.score_function.double_cv import DoubleCV
from discrete_latents.latent.score_function.muprop import MuProp
from discrete_latents.latent.score_function.rebar import Rebar
from discrete_latents.latent.score_function.reinforce import Reinforce
from discrete_latents.latent.score_function.relax import Relax
from discrete_latents.latent.score_function.rloo import RLOO
from discrete_latents.latent.score_function.rodeo import RODEO
from discrete_latents.latent.score_function.sum_and_sample import SumAndSample
from discrete_latents.latent.score_function.tree_disarm import StickBreakingDisARM, TreeDisARM
from discrete_latents.latent.score_function.unordered_set import UnorderedSet
from discrete_latents.latent.score_function.vimco import VIMCO
from discrete_latents.latent.score_function.wake_wake import WakeWake
from discrete_latents.latent.sparsemax import Sparsemax, TopKSparsemax
from discrete_latents.latent.temperature import Constant, Cosine, Exponential, Learned, Linear, Temperature

__all__ = [
    "ARM",
    "ARMS",
    "ARSM",
    "CARMS",
    "MVE",
    "RLOO",
    "RODEO",
    "VIMCO",
    "ZGR",
    "Concrete",
    "Constant",
    "Cosine",
    "CosineKL",
    "Darn",
    "DecoupledSTGumbel",
    "DisARM",
    "DoubleCV",
    "Estimator",
    "Exact",
    "Exponential",
    "GappedStraightThrough",
    "GumbelRao",
    "GumbelSoftmax",
    "HardBound",
    "HardSampler",
    "InputNetwork",
    "IntegerMVE",
    "KLSchedule",
    "KLWeight",
    "Learned",
    "Linear",
    "LinearKL",
    "MovingAverage",
    "MuProp",
    "NotDefined",
    "Objective",
    "Pathwise",
    "ReDGE",
    "Rebar",
    "ReinMax",
    "ReinMaxCV",
    "ReinMaxRao",
    "Reinforce",
    "Relax",
    "STGumbel",
    "Sampler",
    "Sparsemax",
    "StickBreakingDisARM",
    "StraightThrough",
    "SumAndSample",
    "Temperature",
    "TopKSparsemax",
    "TreeDisARM",
    "UnorderedSet",
    "WakeWake",
    "WithContext",
    "straight_through_argmax",
]
