"""Baselines that a score-function estimator subtracts from its learning signal, and the scale it divides by.

Each `sample` call has its own baseline, built with the number of features N·K of the logits and called with the
detached logits: it must not depend on the draw.
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

    decay: of the average. Raises ValueError outside [0, 1).
    """

    mean: Tensor
    steps: Tensor

    def __init__(self, features: int, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = share("decay", decay)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, logits: Tensor) -> Tensor:
        """The average of the previous signals, (); initially 0."""
        return self.mean / (1 - self.decay**self.steps).clamp(min=1e-8)

    def observe(self, signal: Tensor) -> None:
        self.mean.lerp_(signal.mean().to(self.mean), 1 - self.decay)
        self.steps += 1


class OneHidden(nn.Module):
    """One hidden layer and a scalar output, (…, F) to (…), in the dtype of the weights even under autocast."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, whole("hidden", hidden))
        self.last = nn.Linear(hidden, 1)

    def forward(self, inputs: Float[Tensor, "... F"]) -> Float[Tensor, "..."]:
        with torch.autocast(inputs.device.type, enabled=False):
            return self.last(self.hidden(inputs.to(self.last.weight.dtype)).tanh()).squeeze(-1)


class InputNetwork(OneHidden):
    """Predicts the signal from the logits, a function of the layer's input, with one hidden layer.

    Trained by squared error (the input-dependent baseline of NVIL: Mnih, Gregor 2014, section 2.3).

    hidden: width of the hidden layer.
    """

    def __init__(self, features: int, hidden: int = 100) -> None:
        super().__init__(features, hidden)

    def forward(self, logits: Float[Tensor, "*S B N K"]) -> Float[Tensor, "*S B"]:
        return super().forward(torch.where(masks.allowed(logits), logits, 0.0).flatten(-2))

    def observe(self, signal: Tensor) -> None:
        """Does nothing: the optimiser trains the network."""


class Scale(nn.Module):
    """Variance normalisation: max(1, running standard deviation of the centred signal).

    From Mnih, Gregor 2014, section 2.3. It scales the gradient of the logits; the direction stays unbiased.
    """

    variance: Tensor

    def __init__(self, features: int, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = share("decay", decay)
        self.register_buffer("variance", torch.ones(()))

    def forward(self) -> Tensor:
        return self.variance.sqrt().clamp(min=1.0)

    def observe(self, centred: Tensor) -> None:
        # Not in place: a compiled backward pass may recompute the scale from this buffer.
        self.variance = self.variance.lerp(centred.square().mean().to(self.variance), 1 - self.decay)


@contextmanager
def first_weights_from(generator: torch.Generator | None) -> Iterator[None]:
    """Initialises modules from `generator`, if given, and restores torch's global random state."""
    if generator is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
        yield


class PerSite(nn.ModuleList):
    """One module per `sample` call, built by `make(features)` at the first such call."""

    def __init__(self, make: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.make = make

    def at(self, index: int, logits: Float[Tensor, "... N K"]) -> Any:
        if index == len(self):
            with first_weights_from(current()):
                self.append(self.make(logits.shape[-1] * logits.shape[-2]).to(logits.device))
        return self[index]
