"""Lightning callbacks."""

from discrete_latents.callbacks.checkpoints import Checkpoints
from discrete_latents.callbacks.exactness import DistanceToExact
from discrete_latents.callbacks.gradient_statistics import GradientStatistics
from discrete_latents.callbacks.pictures import Pictures
from discrete_latents.callbacks.progress import RunProgress
from discrete_latents.callbacks.temperature import TemperatureSchedule
from discrete_latents.callbacks.throughput import Throughput

__all__ = [
    "Checkpoints",
    "DistanceToExact",
    "GradientStatistics",
    "Pictures",
    "RunProgress",
    "TemperatureSchedule",
    "Throughput",
]
