"""The sampler: an objective calls it to draw latents."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.latent import counts, layout, masks
from discrete_latents.latent.noise import drawn_from, normal

Draw = Callable[[Tensor, Tensor | None, tuple[int, ...]], tuple[Tensor, Tensor | float]]
"""The type of a `Sampler`'s `draw(logits, prior, shape)`."""

DrawSubset = Callable[[Tensor, int, Tensor | None, tuple[int, ...]], tuple[Tensor, Tensor | float]]

SUBSETS = "allowed: latent=straight_through or exact"
"""Which estimators draw subsets."""


class NotDefined(ValueError):
    """The estimator is not defined for these latents, or there are too many of them to compute it."""


class Sampler:
    """Draws an objective's latents, `z = sample(logits, prior)`, and sums their KL terms in `kl`, (*S, B) nats.

    draw: `draw(logits, prior, shape)` returns z and its KL term. Its `shape` is the sample dimensions to prepend: () if
        the logits already have them because they depend on an earlier draw.
    shape: *S.
    generator: source of random numbers. None: that of `estimator(…, generator=…)`, else torch's global generator.
    subset: `subset(logits, size, prior, shape)` returns the k-hot z of a call of `subset`, and its KL term.
    """

    def __init__(
        self,
        draw: Draw | None = None,
        shape: tuple[int, ...] = (),
        generator: torch.Generator | None = None,
        subset: DrawSubset | None = None,
    ) -> None:
        self.drawn_by = draw
        self.subset_by = subset
        self.shape = shape
        self.generator = generator
        self.kl: Tensor | float = 0.0
        self.calls: list[tuple[Tensor, Tensor | None]] = []
        """The logits and the prior of each call."""
        self.drawn = False

    def normal(self, mean: Float[Tensor, "*_ D"], log_scale: Float[Tensor, "*_ D"]) -> Tensor:
        """Draws D reparameterised Gaussian latents, (*S, B, D), and adds their KL from N(0, I).

        The KL is in closed form for one sample, and that of the draw for a multi-sample bound.
        """
        with without_autocast(mean.device), drawn_from(self.generator):
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
        # Subclasses override this: storing a bound method as `drawn_by` would keep tensors alive until gc runs.
        assert self.drawn_by is not None
        return self.drawn_by(logits, prior, shape)

    def draw_vectors(
        self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...], codebook: Tensor
    ) -> tuple[Tensor, Tensor | float]:
        """`draw`, with the vector of each latent in place of z."""
        z, kl = self.draw(logits, prior, shape)
        return layout.vectors_of(z, codebook), kl

    def subset(
        self, logits: Float[Tensor, "*_ K"], size: int, prior: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "*_ K"]:
        """Draws N subsets of exactly `size` of K classes, k-hot, (*S, B, N, K); their law: `latent.subsets`.

        Shapes, masks, precision and the KL from a prior, of subsets of the same size, are those of a call. Raises
        NotDefined where the estimator draws no subsets, and ValueError where fewer than `size` classes are not masked.
        """
        self.check(logits, prior)
        with without_autocast(logits.device), drawn_from(self.generator):
            finite = masks.with_finite_logits(logits)
            if whole("size", size) > finite.shape[-1] or masks.refuses(finite, size):
                raise ValueError(f"size must be at most the number of classes that are not masked, got {size}")
            if prior is not None:
                prior = masks.with_finite_logits(prior).expand(*prior.shape[:-2], *logits.shape[-2:])
            z, kl = self.draw_subset(finite, size, prior, self.shape if logits.dim() == 3 else ())
        self.kl = self.kl + kl
        self.drawn = True
        return z.to(logits.dtype)

    def binomial(
        self, log_odds: Float[Tensor, "*_ N"], trials: int, prior: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "*_ N"]:
        """Draws N binomial counts of so many trials, (*S, B, N), by any estimator of `trials` + 1 classes.

        log_odds: (B, N), or (*S, B, N) if they depend on an earlier draw. prior: log-odds that broadcast to those, of
        the same number of trials; the KL is exact. Soft samples are numbers between the counts. Raises ValueError
        unless `trials` is a whole number of at least 1.
        """
        return drawn_count(self, counts.binomial_logits, log_odds, trials, prior)

    def poisson(
        self, log_rate: Float[Tensor, "*_ N"], largest: int, prior: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "*_ N"]:
        """Draws N Poisson counts, each given that it is at most `largest`, (*S, B, N). The rest is as in `binomial`.

        largest: of `counts.poisson_logits`; prior and posterior share it, and the KL is that between these laws.
        """
        return drawn_count(self, counts.poisson_logits, log_rate, largest, prior)

    def draw_subset(
        self, logits: Tensor, size: int, prior: Tensor | None, shape: tuple[int, ...]
    ) -> tuple[Tensor, Tensor | float]:
        """Handles one `subset` call, as `draw` does another."""
        if self.subset_by is None:
            raise NotDefined(f"this estimator draws no subsets; {SUBSETS}")
        return self.subset_by(logits, size, prior, shape)

    def known(self, codes: Int[Tensor, "B N"], kl: Float[Tensor, " B"]) -> None:
        """Takes note of latents that are a function of x, as a quantiser's, and of the KL of that certain code."""
        self.kl = self.kl + kl
        self.drawn = True

    def standard_normal(self, mean: Tensor) -> Tensor:
        """The noise of one `normal` call."""
        shape = (*(self.shape if mean.dim() == 2 else ()), *mean.shape)
        return normal(shape, mean.dtype, mean.device)

    def leading(self) -> tuple[int, ...]:
        """The dimensions before (B, N, K) in logits that depend on an earlier draw."""
        return self.shape if self.drawn else ()

    def check(self, logits: Tensor, prior: Tensor | None) -> None:
        """Raises ValueError unless logits are (B, N, K) or (*S, B, N, K) and the prior fits them."""
        check_prior(logits, prior)
        if logits.dim() == 3:
            return
        leading = self.leading()
        given = logits.shape[:-3]
        # Configurations of an enumerating estimator may broadcast.
        fits = len(given) <= len(leading) and all(
            size in (1, expected) for size, expected in zip(given[::-1], leading[::-1], strict=False)
        )
        if logits.dim() < 3 or not fits:
            samples = " or ".join(f"({', '.join([*map(str, front), 'B', 'N', 'K'])})" for front in {(), leading})
            raise ValueError(
                f"logits must have the shape {samples}, got {tuple(logits.shape)}; "
                "put further dimensions into the batch B or the latents N, and a single latent at N = 1"
            )

    def __call__(
        self,
        logits: Float[Tensor, "*_ K"],
        prior: Float[Tensor, "..."] | None = None,
        codebook: Float[Tensor, "K D"] | None = None,
    ) -> Tensor:
        """Draws N latents of K classes, (*S, B, N, K), in the dtype of the logits.

        logits: (B, N, K), or (*S, B, N, K) if they depend on an earlier draw of this sampler. A class whose logit is
            −inf, or the lowest number of its dtype, is masked: never drawn, without gradient, as if it did not exist.
        prior: logits that broadcast to those of z: (N, K), (K,) for all latents, (B, N, K), (*S, B, N, K). Its KL is
            added to `kl`; it is +inf if the prior masks a class that the logits do not.
        codebook: a vector for each class. If given, the result is the vector of each latent, (*S, B, N, D): the product
            of z with the codebook, or a look-up where no gradient is asked for.

        Noise, softmax and KL are computed in at least float32, even under autocast: half precision cuts the tail of
        Gumbel noise. Raises ValueError for other shapes, and if all classes of a latent are masked
        (`masks.with_finite_logits`). After the first draw, the leading dimensions of (*S, B, N, K) are always read as
        samples.
        """
        self.check(logits, prior)
        with without_autocast(logits.device), drawn_from(self.generator):
            shape = self.shape if logits.dim() == 3 else ()
            if prior is not None:
                prior = masks.float32_logits(prior)
                if prior.shape[-2:] != logits.shape[-2:]:
                    prior = prior.expand(*prior.shape[:-2], *logits.shape[-2:])
            finite = masks.with_finite_logits(logits)
            if codebook is None:
                z, kl = self.draw(finite, prior, shape)
            else:
                z, kl = self.draw_vectors(finite, prior, shape, codebook.to(finite.dtype))
        self.kl = self.kl + kl
        self.calls.append((logits, prior))
        self.drawn = True
        return z.to(logits.dtype)


class AnyShape(Sampler):
    """A sampler for logits of any shape (…, K), for use as a layer."""

    def check(self, logits: Tensor, prior: Tensor | None) -> None:
        """Does nothing: the caller knows the shape."""


def drawn_count(
    sample: Callable[..., Tensor],
    logits_of: Callable[[Tensor, int], Tensor],
    parameter: Tensor,
    most: int,
    prior: Tensor | None,
) -> Tensor:
    """Counts from a sampler of classes. Half precision would merge the logits of large counts."""
    wide = at_least_float32(parameter)
    given = None if prior is None else logits_of(at_least_float32(prior), most)
    codebook = counts.numbers(most, wide).unsqueeze(-1)
    z = sample(logits_of(wide, most), prior=given, codebook=codebook)
    return z.squeeze(-1).to(parameter.dtype)


def check_prior(logits: Tensor, prior: Tensor | None) -> None:
    """Raises ValueError unless the prior matches the logits' latents, classes and batch."""
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
    """The objective minus the KL, per sample and image."""
    value = objective(sampler)
    if value.dim() == 0:
        raise ValueError("an objective must return a value for each image, (*S, B), got a single number")
    return value - sampler.kl


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """A context without autocast. To enter torch's takes as long as a softmax, so only where there is one to leave."""
    enabled = torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if enabled else nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
