"""The sampler: what a model's objective calls to draw its latents."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import masks
from discrete_latents.latent.noise import current, drawn_from

Draw = Callable[[Tensor, Tensor | None, tuple[int, ...]], tuple[Tensor, Tensor | float]]
"""`draw(logits, prior, shape)` of a `Sampler`."""


class Sampler:
    """What an objective calls to draw latents: `z = sample(logits, prior)`.

    `draw(logits, prior, shape)` does the drawing: it returns z and its KL term, with `shape`
    the sample dimensions to put in front where the logits have none yet, that is, where they do not depend on an
    earlier draw. The sampler adds up the KL terms of all calls in `kl`, (*S, B) nats.

    shape: *S. generator: where random numbers come from; None: where the caller's `estimator(…, generator=…)` says, and
        else torch's global generator.
    """

    def __init__(
        self, draw: Draw | None = None, shape: tuple[int, ...] = (), generator: torch.Generator | None = None
    ) -> None:
        self.drawn_by = draw
        self.shape = shape
        self.generator = generator
        self.kl: Tensor | float = 0.0
        self.drawn = False

    def normal(self, mean: Float[Tensor, "*_ D"], log_scale: Float[Tensor, "*_ D"]) -> Tensor:
        """Draws D Gaussian latents beside the discrete ones, (*S, B, D), reparameterised, and accounts for
        their KL from N(0, I): in closed form, or, where several samples share a bound, of the draw."""
        with torch.autocast(mean.device.type, enabled=False), drawn_from(self.generator):
            dtype, mean, log_scale = mean.dtype, at_least_float32(mean), at_least_float32(log_scale)
            noise = self.standard_normal(mean)
            z = mean + log_scale.exp() * noise
            if self.shape:
                kl = 0.5 * (z.square() - noise.square()) - log_scale
            else:
                kl = 0.5 * (mean.square() + (2 * log_scale).exp() - 1) - log_scale
        self.kl = self.kl + kl.sum(-1)
        self.drawn = True
        return z.to(dtype)

    def draw(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        # Subclasses override it: one that held its own method as `drawn_by` would keep its tensors until gc comes by.
        assert self.drawn_by is not None
        return self.drawn_by(logits, prior, shape)

    def standard_normal(self, mean: Tensor) -> Tensor:
        """The noise of one `normal` call."""
        shape = (*(self.shape if mean.dim() == 2 else ()), *mean.shape)
        return torch.randn(shape, dtype=mean.dtype, device=mean.device, generator=current())

    def leading(self) -> tuple[int, ...]:
        """The dimensions before (B, N, K) that logits which depend on an earlier draw have."""
        return self.shape if self.drawn else ()

    def check(self, logits: Tensor, prior: Tensor | None) -> None:
        """Raises ValueError for logits neither (B, N, K) nor (*S, B, N, K), and for a prior of other latents or
        classes."""
        check_prior(logits, prior)
        if logits.dim() == 3:
            return
        leading = self.leading()
        given = logits.shape[:-3]
        # An estimator that enumerates lets configurations broadcast.
        fits = len(given) <= len(leading) and all(
            size in (1, expected) for size, expected in zip(given[::-1], leading[::-1], strict=False)
        )
        if logits.dim() < 3 or not fits:
            samples = " or ".join(f"({', '.join([*map(str, front), 'B', 'N', 'K'])})" for front in {(), leading})
            raise ValueError(
                f"logits must have the shape {samples}, got {tuple(logits.shape)}; "
                "put further dimensions into the batch B or the latents N, and a single latent at N = 1"
            )

    def __call__(self, logits: Float[Tensor, "*_ K"], prior: Float[Tensor, "..."] | None = None) -> Tensor:
        """Draws N latents of K classes, (*S, B, N, K), in the dtype of the logits.

        logits: (B, N, K), or (*S, B, N, K) where they depend on an earlier draw of this sampler. A class whose logit is
            −inf, or the lowest number of its dtype, is masked: never drawn, without gradient, as if it was not there.
        prior: logits that broadcast to those of z: (N, K), (K,) for all latents, (B, N, K), (*S, B, N, K). The KL from
            it is accounted for; it is +inf where the prior masks a class that the logits do not.

        Noise, softmax and KL are computed in float32 at least, autocast or not: in half precision Gumbel noise loses
        its tail. Raises ValueError for other shapes, and where all classes of a latent are masked (`masks.with_finite_logits`).
        Logits of the shape (*S, B, N, K) are taken for samples after the first draw, whatever their first dimensions
        mean.
        """
        self.check(logits, prior)
        with torch.autocast(logits.device.type, enabled=False), drawn_from(self.generator):
            shape = self.shape if logits.dim() == 3 else ()
            if prior is not None:
                prior = masks.float32_logits(prior)
                if prior.shape[-2:] != logits.shape[-2:]:
                    prior = prior.expand(*prior.shape[:-2], *logits.shape[-2:])
            z, kl = self.draw(masks.with_finite_logits(logits), prior, shape)
        self.kl = self.kl + kl
        self.drawn = True
        return z.to(logits.dtype)


class AnyShape(Sampler):
    """A sampler of logits of any shape (…, K), such as those of a layer."""

    def check(self, logits: Tensor, prior: Tensor | None) -> None:
        """Nothing: what calls it knows the shape."""


def check_prior(logits: Tensor, prior: Tensor | None) -> None:
    """Raises ValueError for a prior of other latents or classes, or of another batch."""
    if prior is None:
        return
    own, theirs = logits.shape[-3:], prior.shape[-3:]
    if theirs == own[1:]:
        return
    fits = prior.dim() > 0 and theirs[-1] == own[-1]
    fits = fits and all(
        size in (1, expected) for size, expected in zip(theirs[:-1][::-1], own[:-1][::-1], strict=False)
    )
    if not fits:
        raise ValueError(
            f"prior must have the shape (N, K) = ({own[-2]}, {own[-1]}), (K,), or that of the logits, "
            f"{tuple(logits.shape)}; got {tuple(prior.shape)}"
        )


def log_weights(objective: Callable[[Sampler], Tensor], sampler: Sampler) -> Float[Tensor, "*S B"]:
    """The objective less the KL, of each sample and image."""
    value = objective(sampler)
    if value.dim() == 0:
        raise ValueError("an objective must return a value for each image, (*S, B), got a single number")
    return value - sampler.kl


def at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
