"""The optimiser and its learning rate over training."""

from discrete_latents.optimization.optimization import Optimization

__all__ = ["Optimization"]
