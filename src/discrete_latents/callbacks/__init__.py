"""Lightning callbacks: one option of the group `callbacks` a file."""

from discrete_latents.callbacks.checkpoint import Checkpoints
from discrete_latents.callbacks.code_histogram import CodeHistogram
from discrete_latents.callbacks.distance_to_exact import DistanceToExact
from discrete_latents.callbacks.gradient_statistics import GradientStatistics
from discrete_latents.callbacks.kl_weight_schedule import KLWeightSchedule
from discrete_latents.callbacks.learning_rate import LearningRate
from discrete_latents.callbacks.noise import Noise
from discrete_latents.callbacks.pictures import Pictures
from discrete_latents.callbacks.progress_bar import RunProgress
from discrete_latents.callbacks.run_report import RunReport
from discrete_latents.callbacks.temperature_schedule import TemperatureSchedule
from discrete_latents.callbacks.throughput import Throughput
from discrete_latents.callbacks.weight_average import WeightAverage

__all__ = [
    "Checkpoints",
    "CodeHistogram",
    "DistanceToExact",
    "GradientStatistics",
    "KLWeightSchedule",
    "LearningRate",
    "Noise",
    "Pictures",
    "RunProgress",
    "RunReport",
    "TemperatureSchedule",
    "Throughput",
    "WeightAverage",
]
