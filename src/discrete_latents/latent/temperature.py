"""Temperatures τ: pure functions of the global step, or learned.

A temperature belongs to the estimator that divides by it. `at(step)` computes it from the step alone, so a resume, a
validation pass or a new epoch cannot change it. `update(step)` sets it: with Lightning, the callback
`TemperatureSchedule` does so before each step; in a training loop of your own, you do:

    for step, x in enumerate(batches):
        estimator.temperature.update(step)

Nothing else can know what a step is: an estimator may be called several times in one, or once in several. A schedule
that is trained with and never updated says so.
"""

import math
import warnings

import torch
from torch import Tensor, nn

from discrete_latents.checks import positive, whole

UNNOTICED = 100
"""Calls at a schedule's start that are no training yet: draws that are compared, a batch to see that all fits."""


class Temperature(nn.Module):
    """A temperature that starts at `start`. Subclasses define `at`.

    Raises ValueError unless `start` is positive and finite.
    """

    value: Tensor

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start = positive("start", start)
        self.register_buffer("value", torch.tensor(self.start))
        self.step: int | None = None
        """Of the last update."""
        self.calls = 0

    def at(self, step: int) -> float:
        """τ at an optimiser step, counted from 0 over all of training."""
        raise NotImplementedError

    def update(self, step: int) -> None:
        """Sets τ to `at(step)`, in place and without synchronising."""
        self.value.fill_(self.at(step))
        self.step = step

    def count_call(self) -> None:
        """Warns, once, where an estimator is called `UNNOTICED` times in training without any update of a schedule that
        moves."""
        if torch.compiler.is_compiling() or self.step is not None or not (self.training and torch.is_grad_enabled()):
            return
        self.calls += 1
        if self.calls == UNNOTICED and self.moves():
            warnings.warn(
                f"{type(self).__name__} stays at its start, τ = {self.value.item():g}: in a training loop of your own, "
                "call estimator.temperature.update(step) before each step; with Lightning, the callback "
                "TemperatureSchedule does",
                stacklevel=3,
            )

    def moves(self) -> bool:
        """Whether τ is another one later on."""
        return self.at(10**9) != self.at(0)

    def forward(self) -> Tensor:
        return self.value

    def extra_repr(self) -> str:
        """The value now and the step of the last update, as "τ = 0.9512 at step 500"."""
        when = f"at step {self.step}" if self.step is not None else "not updated yet"
        return f"τ = {self().item():.4g}, {when if self.moves() else 'constant'}"


class Constant(Temperature):
    """τ = start (Maddison et al. 2017 train with constant temperatures)."""

    def at(self, step: int) -> float:
        return self.start


class Exponential(Temperature):
    """τ = max(minimum, start · exp(−rate · t)), updated every `period` steps (Jang et al. 2017, section 4).

    Raises ValueError unless 0 < minimum < start, rate > 0 and period ≥ 1.
    """

    def __init__(self, start: float = 1.0, minimum: float = 0.5, rate: float = 1e-4, period: int = 1) -> None:
        super().__init__(start)
        self.minimum = below_start(minimum, start)
        self.rate = positive("rate", rate)
        self.period = whole("period", period)

    def at(self, step: int) -> float:
        updated = step - step % self.period
        return max(self.minimum, self.start * math.exp(-self.rate * updated))


class Linear(Temperature):
    """Linear from start to minimum over `steps` steps, then constant.

    Raises ValueError unless 0 < minimum < start and steps ≥ 1.
    """

    def __init__(self, start: float = 1.0, minimum: float = 0.5, steps: int = 10_000) -> None:
        super().__init__(start)
        self.minimum = below_start(minimum, start)
        self.steps = whole("steps", steps)

    def at(self, step: int) -> float:
        return self.start + (self.minimum - self.start) * self.shape(min(step / self.steps, 1.0))

    def shape(self, progress: float) -> float:
        """The fraction of the way from start to minimum, 0 to 1, after a fraction `progress` of the steps."""
        return progress


class Cosine(Linear):
    """Half a cosine from start to minimum over `steps` steps, then constant. Raises like `Linear`."""

    def shape(self, progress: float) -> float:
        return (1 - math.cos(math.pi * progress)) / 2


class Learned(Temperature):
    """τ = minimum + exp(ρ), with ρ a parameter trained with the model; initially τ = start.

    Only for estimators whose bound depends smoothly on τ. Raises ValueError unless 0 < minimum < start.
    """

    def __init__(self, start: float = 1.0, minimum: float = 0.1) -> None:
        super().__init__(start)
        self.minimum = below_start(minimum, start)
        self.log_excess = nn.Parameter(torch.tensor(math.log(self.start - self.minimum)))

    def at(self, step: int) -> float:
        return self().item()

    def update(self, step: int) -> None:
        """Does nothing: the optimiser updates it."""

    def moves(self) -> bool:
        return False

    def forward(self) -> Tensor:
        return self.minimum + self.log_excess.exp()

    def extra_repr(self) -> str:
        return f"τ = {self().item():.4g}, learned"


def as_temperature(temperature: float | Temperature) -> Temperature:
    """A number as a constant temperature; a `Temperature` unchanged."""
    return temperature if isinstance(temperature, Temperature) else Constant(positive("temperature", temperature))


def below_start(minimum: float, start: float) -> float:
    minimum = positive("minimum", minimum)
    if minimum >= start:
        raise ValueError(f"minimum must be below start = {start}, got {minimum}")
    return minimum
