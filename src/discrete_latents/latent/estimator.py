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
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.latent import layout
from discrete_latents.latent.checks import whole
from discrete_latents.latent.temperature import Temperature

Site = Callable[[Tensor, Tensor | None, tuple[int, ...]], tuple[Tensor, Tensor | float]]


class Sampler:
    """What an objective calls to draw latents: `z = sample(logits, prior)`.

    `site(logits, prior, shape)` does the drawing, or a subclass's `draw`: it returns z and its KL term, with `shape`
    the sample dimensions to put in front where the logits have none yet, that is, where they do not depend on an
    earlier draw. The sampler adds up the KL terms of all calls in `kl`, (*S, B) nats.
    """

    def __init__(self, site: Site | None = None, shape: tuple[int, ...] = ()) -> None:
        self.site = site
        self.shape = shape
        self.kl: Tensor | float = 0.0

    def normal(self, mean: Float[Tensor, "*_ D"], log_scale: Float[Tensor, "*_ D"]) -> Tensor:
        """Draws D Gaussian latents beside the discrete ones, (*S, B, D), reparameterised, and accounts for
        their KL from N(0, I): in closed form, or, where several samples share a bound, of the draw."""
        with torch.autocast(mean.device.type, enabled=False):
            dtype, mean, log_scale = mean.dtype, at_least_float32(mean), at_least_float32(log_scale)
            noise = self.standard_normal(mean)
            z = mean + log_scale.exp() * noise
            if self.shape:
                kl = 0.5 * (z.square() - noise.square()) - log_scale
            else:
                kl = 0.5 * (mean.square() + (2 * log_scale).exp() - 1) - log_scale
        self.kl = self.kl + kl.sum(-1)
        return z.to(dtype)

    def draw(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        # Subclasses override it: one that held its own method as `site` would keep its tensors until gc comes by.
        assert self.site is not None
        return self.site(logits, prior, shape)

    def standard_normal(self, mean: Tensor) -> Tensor:
        """The noise of one `normal` call."""
        shape = (*(self.shape if mean.dim() == 2 else ()), *mean.shape)
        return torch.randn(shape, dtype=mean.dtype, device=mean.device)

    def __call__(self, logits: Float[Tensor, "*_ K"], prior: Float[Tensor, "N K"] | None = None) -> Tensor:
        """Draws N latents of K classes, (*S, B, N, K), in the dtype of the logits, (*S, B, N, K) or (B, N, K).

        The KL from the prior is accounted for where a prior is given. Noise, softmax and KL are computed
        in float32 at least, autocast or not: in half precision Gumbel noise loses its tail.
        """
        with torch.autocast(logits.device.type, enabled=False):
            shape = self.shape if logits.dim() == 3 else ()
            z, kl = self.draw(at_least_float32(logits), None if prior is None else at_least_float32(prior), shape)
        self.kl = self.kl + kl
        return z.to(logits.dtype)


class Estimator(nn.Module):
    """Called with an objective, gives its lower bound with this estimator's gradient.

    Subclasses define `site`; those that need more than one run, or a surrogate, define `forward`.

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

    def site(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        """Draws at one `sample` call: z, (*S, B, N, K), and its KL term, broadcastable to (*S, B)."""
        raise NotImplementedError

    def forward(self, objective: Callable[[Sampler], Tensor]) -> Float[Tensor, " B"]:
        sampler = Sampler(self.site, () if self.samples == 1 else (self.samples,))
        return layout.log_mean_exp(objective(sampler) - sampler.kl)


Objective = Callable[[Sampler], Tensor]


def at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
