"""Evaluation with hard samples, independent of the estimator used in training."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.checks import whole
from discrete_latents.latent import layout, masks
from discrete_latents.latent.distributions import categorical_kl, draw_codes
from discrete_latents.latent.estimator import Estimator, Objective
from discrete_latents.latent.law import Law, draw_by
from discrete_latents.latent.sampler import Sampler, log_weights
from discrete_latents.latent.subsets import sample_subset, subset_kl, subset_log_prob


class HardSampler(Sampler):
    """Draws exact one-hot samples without gradients and records them.

    `codes` holds the class indices of each `sample` call, (*S, B, N). `kl` sums the analytic KL or, if `sampled`,
    log q(z) − log p(z) of the draws, which a multi-sample bound needs. law: that of an estimator.
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        sampled: bool = False,
        generator: torch.Generator | None = None,
        law: Law | None = None,
    ) -> None:
        super().__init__(shape=shape, generator=generator)
        self.law = law
        self.sampled = sampled
        self.codes: list[Int[Tensor, "*S B N"]] = []

    def leading(self) -> tuple[int, ...]:
        # Outside a bound, each layer may use a new sampler, whose logits already have sample dimensions.
        return super().leading() if self.sampled else self.shape

    def draw(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        codes, kl = self.draw_recorded(logits, prior, shape)
        if logits.shape[-1] == 2:
            return layout.one_hot_pairs(codes, logits.dtype), kl
        return layout.one_hot(codes, logits.shape[-1], logits.dtype), kl

    def draw_vectors(
        self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...], codebook: Tensor
    ) -> tuple[Tensor, Tensor | float]:
        codes, kl = self.draw_recorded(logits, prior, shape)
        return F.embedding(codes, codebook), kl

    def draw_recorded(
        self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]
    ) -> tuple[Tensor, Tensor | float]:
        """Class indices, (*S, B, N), and their KL term."""
        if self.law is not None:
            codes, kl = draw_by(self.law, logits, prior, shape, self.sampled)
            self.codes.append(codes)
            return codes, kl
        codes = draw_codes(logits, shape)
        self.codes.append(codes)
        if prior is None:
            return codes, 0.0
        if not self.sampled:
            return codes, categorical_kl(logits, prior)
        log_p = layout.log_softmax(prior)
        log_ratio = layout.log_softmax(logits) - log_p.masked_fill(log_p < masks.LOWEST, -math.inf)
        return codes, layout.at(log_ratio, codes).sum(-1)

    def draw_subset(
        self, logits: Tensor, size: int, prior: Tensor | None, shape: tuple[int, ...]
    ) -> tuple[Tensor, Tensor | float]:
        expanded = logits.expand(*shape, *logits.shape)
        z = sample_subset(expanded, size)
        if prior is None:
            return z, 0.0
        if not self.sampled:
            return z, subset_kl(logits, prior, size)
        return z, subset_log_prob(z, expanded, size) - subset_log_prob(z, prior, size)

    def known(self, codes: Int[Tensor, "B N"], kl: Float[Tensor, " B"]) -> None:
        super().known(codes, kl)
        self.codes.append(codes)


class HardBound(Estimator):
    """The m-sample bound log (1/m) Σ p(x, z_i) / q(z_i | x) with hard samples. It has no gradient.

    m = 1 gives minus the nelbo; a large m approaches log p(x) from below (Burda et al. 2016, equation 8).

    samples: m. chunk: samples run at once; it bounds memory and does not change the value. law: that of the estimator
    which the model was trained by.
    """

    def __init__(self, samples: int = 1000, chunk: int = 10, law: Law | None = None) -> None:
        super().__init__(samples)
        self.law = law
        self.chunk = whole("chunk", chunk)

    @torch.no_grad()
    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        sums = None
        for index, start in enumerate(range(0, self.samples, self.chunk)):
            sampler = HardSampler((min(self.chunk, self.samples - start),), sampled=True, law=self.law)
            weights = log_weights(objective, sampler)
            # Preallocated: small tensors between a chunk's large ones would fragment memory.
            if sums is None:
                sums = weights.new_empty(math.ceil(self.samples / self.chunk), weights.shape[-1])
            sums[index] = torch.logsumexp(weights, 0)
        assert sums is not None
        return torch.logsumexp(sums, 0) - math.log(self.samples)
