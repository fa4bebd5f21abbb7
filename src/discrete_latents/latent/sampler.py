"""The sampler: what a model's objective calls to draw its latents."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Draw = Callable[[Tensor, Tensor | None, tuple[int, ...]], tuple[Tensor, Tensor | float]]
"""`draw(logits, prior, shape)` of a `Sampler`."""


class Sampler:
    """What an objective calls to draw latents: `z = sample(logits, prior)`.

    `draw(logits, prior, shape)` does the drawing: it returns z and its KL term, with `shape`
    the sample dimensions to put in front where the logits have none yet, that is, where they do not depend on an
    earlier draw. The sampler adds up the KL terms of all calls in `kl`, (*S, B) nats.
    """

    def __init__(self, draw: Draw | None = None, shape: tuple[int, ...] = ()) -> None:
        self.drawn_by = draw
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
        # Subclasses override it: one that held its own method as `drawn_by` would keep its tensors until gc comes by.
        assert self.drawn_by is not None
        return self.drawn_by(logits, prior, shape)

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


def at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
