"""Baselines that a score-function estimator subtracts from its learning signal, and the scale it divides by.

Each `sample` call has its own baseline, built with the number of features N·K of the logits and called with the
detached logits: it must not depend on the draw.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from discrete_latents.checks import positive, share, whole
from discrete_latents.latent import masks
from discrete_latents.latent.noise import current
from discrete_latents.latent.sampler import without_autocast


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
        self.mean.copy_(self.mean.lerp(signal.mean().to(self.mean), 1 - self.decay))  # `lerp_` is slow under vmap
        self.steps += 1


class OneHidden(nn.Module):
    """One hidden layer and a scalar output, (…, F) to (…), in the dtype of the weights even under autocast."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, whole("hidden", hidden))
        self.last = nn.Linear(hidden, 1)

    def forward(self, inputs: Float[Tensor, "... F"]) -> Float[Tensor, "..."]:
        with without_autocast(inputs.device):
            return self.last(self.hidden(inputs.to(self.last.weight.dtype)).tanh()).squeeze(-1)


class InputNetwork(OneHidden):
    """Predicts the signal from the logits, a function of the layer's input, with one hidden layer; or from what else
    its estimator reads.

    Trained by squared error (the input-dependent baseline of NVIL: Mnih, Gregor 2014, section 2.3).

    hidden: width of the hidden layer. rate: multiplies the learning rate, in the models of this package; Tucker et al.
        (2017) take 10.
    """

    def __init__(self, features: int, hidden: int = 100, rate: float = 1.0) -> None:
        super().__init__(features, hidden)
        self.rate = positive("rate", rate)

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
    """One module per `sample` call, built by `make(features)` at the first such call, or when saved weights are loaded.

    features: N·K of the logits of each `sample` call, to build all modules now. Without them, an optimiser that is
    built before the first call would not train the modules: building it raises ValueError.
    """

    place: Tensor

    def __init__(self, make: Callable[[int], nn.Module], features: Sequence[int] | None = None) -> None:
        super().__init__()
        self.make = make
        self.register_buffer("place", torch.empty(0), persistent=False)  # on the device of the estimator
        for size in features or ():
            self.add(whole("features", size))
        if not features and any(True for _ in self.trial(1).parameters()):
            self.unmade: Any = Unmade()

    def add(self, features: int) -> None:
        self.append(self.make(features).to(self.place.device))
        if hasattr(self, "unmade"):
            del self.unmade

    def at(self, index: int, logits: Float[Tensor, "... N K"]) -> Any:
        if index == len(self):
            with first_weights_from(current()):
                self.add(logits.shape[-1] * logits.shape[-2])
            self[index].to(logits.device)
        return self[index]

    def trial(self, features: int) -> nn.Module:
        """A module that is thrown away, built without changing torch's noise."""
        with torch.random.fork_rng(devices=[]):
            return self.make(features)

    def saved_features(self, saved: Mapping[str, Tensor]) -> int:
        """The features of a module with these weights: their sizes grow linearly with them."""
        one, two = (self.trial(features).state_dict() for features in (1, 2))
        for name in one.keys() & saved.keys():
            for first, second, size in zip(one[name].shape, two[name].shape, saved[name].shape, strict=False):
                if first != second:
                    return max(1, 1 + (size - first) // (second - first))
        return 1

    def _save_to_state_dict(self, *_: Any) -> None:
        """Saves the modules alone, not that they are missing."""

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
        """Builds the modules that saved weights have and this estimator does not have yet; they load theirs next."""
        sites = {name.removeprefix(prefix).partition(".")[0] for name in state_dict if name.startswith(prefix)}
        for index in range(len(self), len({name for name in sites if name.isdecimal()})):
            own = f"{prefix}{index}."
            saved = {name.removeprefix(own): value for name, value in state_dict.items() if name.startswith(own)}
            with torch.random.fork_rng(devices=[]):
                self.add(self.saved_features(saved))


class Unmade(UninitializedParameter):
    """Stands for the parameters of modules that are not built yet. Whatever needs to know them raises ValueError, as
    building an optimiser does; moving, copying and saving their module works."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.requires_grad_:
            return args[0]
        try:
            if getattr(func, "__self__", None) is not torch.Tensor.is_leaf:  # which an optimiser asks
                return super().__torch_function__(func, types, args, kwargs)
        except ValueError:
            pass
        raise ValueError(
            "the baselines or critics of this estimator are made at its first call, and an optimiser that is built "
            "before it would not train them: call the estimator once first, or give it features=[N·K], one number for "
            "each draw of the objective"
        )
