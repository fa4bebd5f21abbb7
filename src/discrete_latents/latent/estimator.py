"""The central idea: a model writes its objective as a function of a sampler, and an estimator runs that objective.

    def objective(sample):
        z = sample(encoder(x), prior=prior_logits)      # (*S, B, N, K), one-hot or on the simplex
        return likelihood.log_prob(x, decoder(z))       # (*S, B), nats

    bound = estimator(objective)                        # (B,), nats

The *value* of `bound` is the lower bound on log p(x). Its *gradient*, for logits, prior and networks, is the
estimator's. The estimator chooses the samplers that it passes to the objective; the model does not know which.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from discrete_latents.checks import whole
from discrete_latents.latent import layout
from discrete_latents.latent.law import Law
from discrete_latents.latent.noise import drawn_from
from discrete_latents.latent.sampler import SUBSETS, Sampler, log_weights
from discrete_latents.latent.sampler import NotDefined as NotDefined
from discrete_latents.latent.temperature import Temperature


class Estimator(nn.Module):
    """Maps an objective to its lower bound, with this estimator's gradient.

    Subclasses define `draw`. Those that run the objective several times or add a surrogate loss define `forward`.

    samples: m, the number of samples in the training bound log (1/m) Σ w (Burda et al. 2016). Raises ValueError unless
        it is a whole number of at least 1.
    """

    relaxed: ClassVar[bool] = False
    """Whether the objective gets soft samples, so that the value is a relaxed bound."""

    unbiased: ClassVar[bool] = False
    """Whether the expected gradient is the gradient of the expected bound."""

    bernoulli: ClassVar[bool] = False
    """Whether the estimator is only defined for K = 2."""

    differentiates: ClassVar[bool] = False
    """Whether it calls autograd inside a step, which torch.compile cannot trace."""

    replaces_buffers = False
    """Whether a step replaces its buffers by new tensors, which rules out CUDA graphs."""

    law: Law | None = None
    """The law of the latents given their logits; None: independent, each the softmax of its own."""

    temperature: Temperature | None

    def __init__(self, samples: int = 1) -> None:
        super().__init__()
        self.temperature = None
        self.samples = whole("samples", samples)

    def __call__(self, objective: Any, *, generator: torch.Generator | None = None) -> Tensor:
        """The bound of an objective, (B,) nats. generator: source of random numbers; None: torch's global generator."""
        if self.temperature is not None:
            self.temperature.count_call()
        if generator is None:
            return super().__call__(objective)
        with drawn_from(generator):
            return super().__call__(objective)

    def draw(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        """Handles one `sample` call: returns z, (*S, B, N, K), and its KL term, broadcastable to (*S, B)."""
        raise NotImplementedError

    def draw_subset(
        self, logits: Tensor, size: int, prior: Tensor | None, shape: tuple[int, ...]
    ) -> tuple[Tensor, Tensor | float]:
        """Handles one `sample.subset` call, as `draw` does another; few estimators can."""
        raise NotDefined(f"{type(self).__name__} draws no subsets; {SUBSETS}")

    def forward(self, objective: Callable[[Sampler], Tensor]) -> Float[Tensor, " B"]:
        sampler = Sampler(self.draw, () if self.samples == 1 else (self.samples,), subset=self.draw_subset)
        return layout.log_mean_exp(log_weights(objective, sampler))

    def marginals(self, logits: Float[Tensor, "*S B N K"]) -> Float[Tensor, "*S B N K"]:
        """Logits whose softmax is the distribution of each latent alone."""
        return logits

    def classification_loss(self, logits: Float[Tensor, "B K"], labels: Int[Tensor, " B"]) -> Tensor:
        """What trains the logits of one latent to known classes, (): −log q of them, where that is finite."""
        return F.cross_entropy(logits, labels)


Objective = Callable[[Sampler], Tensor]


class WithContext:
    """An objective that offers what its values depend on besides the draws, for baselines that read it.

    context: by name, functions of no arguments that return (B, F) tensors, called only where they are read: "input" is
    what the first logits are a function of, "output" what is predicted, where that is another.
    """

    def __init__(self, objective: Objective, context: Mapping[str, Callable[[], Tensor]]) -> None:
        self.objective = objective
        self.context = context

    def __call__(self, sampler: Callable[..., Tensor]) -> Tensor:
        return self.objective(sampler)  # type: ignore[arg-type]


def context_of(objective: Objective) -> Mapping[str, Callable[[], Tensor]]:
    """The context of an objective; empty for one that offers none."""
    return objective.context if isinstance(objective, WithContext) else {}
