"""Step times of estimators, one thread, interleaved."""

from collections.abc import Sequence
from statistics import median

import torch
from omegaconf import DictConfig

from discrete_latents.config.compose import composed
from discrete_latents.models.latent_model import Batch, LatentModel
from discrete_latents.training.build import build_data, build_model
from scripts.common.step_time import timed_step
from scripts.compare_estimators.comparison import Budget, Pair

REFERENCE = "gumbel_softmax"


class RepeatedStep:
    """A training step of a model, repeated on one batch. Each call returns its seconds."""

    def __init__(self, model: LatentModel, batch: Batch) -> None:
        self.model = model
        self.batch = batch
        self.optimizer = model.optimization.optimizer(model.parameters())

    def __call__(self) -> float:
        return timed_step(lambda: self.model.training_loss(self.batch)[0], self.optimizer)


def step_times(pairs: Sequence[Pair], budget: Budget, repeats: int) -> dict[Pair, tuple[float, float]]:
    """The median seconds of a step, untrained, and their ratio to gumbel_softmax on the same model."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)

    def config(pair: Pair) -> DictConfig:
        return composed([*budget.overrides_of(pair), "paths.output_dir=."])

    data = build_data(config(pairs[0]))
    batch = next(iter(data.train_dataloader()))
    timed = {*pairs, *((model, REFERENCE) for model, _ in pairs)}

    def model(pair: Pair) -> LatentModel:
        built = build_model(config(pair), data)
        assert isinstance(built, LatentModel)
        return built

    steps = {pair: RepeatedStep(model(pair), batch) for pair in timed}
    times: dict[Pair, list[float]] = {pair: [] for pair in steps}
    for _ in range(repeats + 3):
        for pair, step in steps.items():
            times[pair].append(step())
    medians = {pair: median(values[3:]) for pair, values in times.items()}  # the first steps allocate
    return {pair: (medians[pair], medians[pair] / medians[pair[0], REFERENCE]) for pair in pairs}
