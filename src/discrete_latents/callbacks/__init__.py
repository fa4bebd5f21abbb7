"""Lightning callbacks."""

from discrete_latents.callbacks.checkpoint import Checkpoints
from discrete_latents.callbacks.code_usage import CodeHistogram
from discrete_latents.callbacks.exactness import DistanceToExact
from discrete_latents.callbacks.gradient_statistics import GradientStatistics
from discrete_latents.callbacks.learning_rate import LearningRate
from discrete_latents.callbacks.pictures import Pictures
from discrete_latents.callbacks.progress import RunProgress
from discrete_latents.callbacks.temperature import TemperatureSchedule
from discrete_latents.callbacks.throughput import Throughput
from discrete_latents.callbacks.trial_report import TrialReport

__all__ = [
    "Checkpoints",
    "CodeHistogram",
    "DistanceToExact",
    "GradientStatistics",
    "LearningRate",
    "Pictures",
    "RunProgress",
    "TemperatureSchedule",
    "Throughput",
    "TrialReport",
]
