"""The optimiser and its learning rate over training."""

from discrete_latents.optimization.fused_adam import FusedAdam
from discrete_latents.optimization.optimization import Optimization

__all__ = ["FusedAdam", "Optimization"]
