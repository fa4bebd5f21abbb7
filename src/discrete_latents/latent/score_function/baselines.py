"""What a score-function estimator subtracts from its learning signal, and what it divides it by.

A baseline is made once for each `sample` call, with the number of features N·K of its logits, and called with those
logits, detached: it must not depend on what is drawn from them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.checks import share, whole
from discrete_latents.latent import masks
from discrete_latents.latent.noise import current


class MovingAverage(nn.Module):
    """An exponential moving average of the signal over steps and images (Mnih, Gregor 2014, section 2.3).

    decay: of the average, in [0, 1). Raises ValueError outside it.
    """

    mean: Tensor
    steps: Tensor

    def __init__(self, features: int, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = share("decay", decay)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, logits: Tensor) -> Tensor:
        """The average of the signals before this one, (), 0 at first."""
        return self.mean / (1 - self.decay**self.steps).clamp(min=1e-8)

    def observe(self, signal: Tensor) -> None:
        self.mean.lerp_(signal.mean().to(self.mean), 1 - self.decay)
        self.steps += 1


class OneHidden(nn.Module):
    """A number from features, (…, F) to (…), through one hidden layer, in its own precision whatever the autocast."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, whole("hidden", hidden))
        self.last = nn.Linear(hidden, 1)

    def forward(self, inputs: Float[Tensor, "... F"]) -> Float[Tensor, "..."]:
        with torch.autocast(inputs.device.type, enabled=False):
            return self.last(self.hidden(inputs.to(self.last.weight.dtype)).tanh()).squeeze(-1)


class InputNetwork(OneHidden):
    """A network of one hidden layer that predicts the signal from the logits, which are a function of what the layer's
    encoder reads; trained by squared error (the input-dependent baseline of NVIL: Mnih, Gregor 2014, section 2.3).

    hidden: the width of its hidden layer.
    """

    def __init__(self, features: int, hidden: int = 100) -> None:
        super().__init__(features, hidden)

    def forward(self, logits: Float[Tensor, "*S B N K"]) -> Float[Tensor, "*S B"]:
        return super().forward(torch.where(masks.allowed(logits), logits, 0.0).flatten(-2))

    def observe(self, signal: Tensor) -> None:
        """Nothing: the optimiser moves it."""


class Scale(nn.Module):
    """Variance normalisation: max(1, the running standard deviation of the centred signal) (Mnih, Gregor 2014,
    section 2.3). It scales the gradient of the logits, whose direction stays unbiased."""

    variance: Tensor

    def __init__(self, features: int, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = share("decay", decay)
        self.register_buffer("variance", torch.ones(()))

    def forward(self) -> Tensor:
        return self.variance.sqrt().clamp(min=1.0)

    def observe(self, centred: Tensor) -> None:
        # Not in place: the backward pass, when compiled, may compute the scale again from what it finds here.
        self.variance = self.variance.lerp(centred.square().mean().to(self.variance), 1 - self.decay)


@contextmanager
def first_weights_from(generator: torch.Generator | None) -> Iterator[None]:
    """Initialises modules from a generator, where there is one, and leaves torch's global state as it was."""
    if generator is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
        yield


class PerSite(nn.ModuleList):
    """A learning part for each `sample` call, made by `make(features)` when the call is first seen."""

    def __init__(self, make: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.make = make

    def at(self, index: int, logits: Float[Tensor, "... N K"]) -> Any:
        if index == len(self):
            with first_weights_from(current()):
                self.append(self.make(logits.shape[-1] * logits.shape[-2]).to(logits.device))
        return self[index]
