"""The optimiser and its learning rate over training."""

from discrete_latents.optimization.fused_adam import FusedAdam
from discrete_latents.optimization.optimization import Optimization
from discrete_latents.optimization.rate_schedule import ConstantRate, CosineRate, LinearRate, RateSchedule, StepRate

__all__ = ["ConstantRate", "CosineRate", "FusedAdam", "LinearRate", "Optimization", "RateSchedule", "StepRate"]
