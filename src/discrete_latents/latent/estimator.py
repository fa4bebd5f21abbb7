"""The one idea: a model states its objective as a function of a sampler, an estimator interprets it.

    def objective(sample):
        z = sample(encoder(x), prior=prior_logits)      # (*S, B, N, K), one-hot or on the simplex
        return likelihood.log_prob(x, decoder(z))       # (*S, B), nats

    bound = estimator(objective)                        # (B,), nats

The *value* of `bound` is the lower bound on log p(x); its *gradient* is the estimator's, for logits, prior
and networks alike. An estimator gets there by running the objective under samplers of its choice; a model
never knows which.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.checks import whole
from discrete_latents.latent import layout
from discrete_latents.latent.noise import drawn_from
from discrete_latents.latent.sampler import Sampler, log_weights
from discrete_latents.latent.temperature import Temperature


class NotDefined(ValueError):
    """The estimator is not defined for these latents, or cannot be computed for so many."""


class Estimator(nn.Module):
    """Called with an objective, gives its lower bound with this estimator's gradient.

    Subclasses define `draw`; those that need more than one run, or a surrogate, define `forward`.

    samples: m, the number of samples of the multi-sample bound log (1/m) Σ w that training maximises
        (Burda et al. 2016). Raises ValueError unless it is a whole number of at least 1.
    """

    relaxed: ClassVar[bool] = False
    """Whether the objective sees soft samples, so that the value is a relaxed bound."""

    unbiased: ClassVar[bool] = False
    """Whether the gradient's expectation is the gradient of the bound's."""

    bernoulli: ClassVar[bool] = False
    """Whether the estimator is only defined for K = 2."""

    differentiates: ClassVar[bool] = False
    """Whether it takes gradients within a step, which torch.compile cannot follow."""

    replaces_buffers = False
    """Whether a step puts new tensors where its buffers were, so that a GPU cannot record it and replay it in place."""

    temperature: Temperature | None

    def __init__(self, samples: int = 1) -> None:
        super().__init__()
        self.temperature = None
        self.samples = whole("samples", samples)

    def __call__(self, objective: Any, *, generator: torch.Generator | None = None) -> Tensor:
        """The bound of an objective, (B,) nats, with the random numbers of `generator`; None: of torch's global one."""
        if generator is None:
            return super().__call__(objective)
        with drawn_from(generator):
            return super().__call__(objective)

    def draw(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        """Draws at one `sample` call: z, (*S, B, N, K), and its KL term, broadcastable to (*S, B)."""
        raise NotImplementedError

    def forward(self, objective: Callable[[Sampler], Tensor]) -> Float[Tensor, " B"]:
        sampler = Sampler(self.draw, () if self.samples == 1 else (self.samples,))
        return layout.log_mean_exp(log_weights(objective, sampler))


Objective = Callable[[Sampler], Tensor]
