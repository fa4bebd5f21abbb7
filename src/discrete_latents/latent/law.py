"""Laws of latents that are no product of softmaxes: a few joint states and their probabilities.

A law maps logits, (*S, B, N, K), to C states of the N latents, class indices (C, *S, B, N), and their
log-probabilities, (C, *S, B), which have the gradient. A state of probability 0, `masks.LOGIT`, repeats the likeliest.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from discrete_latents.latent import layout, masks
from discrete_latents.latent.distributions import draw_codes

Weighted = tuple[Int[Tensor, "C *S B N"], Float[Tensor, "C *S B"]]
Law = Callable[[Float[Tensor, "*S B N K"]], Weighted]


def class_log_prob(codes: Int[Tensor, "C *S B N"], logits: Float[Tensor, "..."]) -> Float[Tensor, "C *S B"]:
    """Σ_n log p of classes under independent softmaxes of logits that broadcast; −inf for a masked class."""
    total = layout.at(layout.log_softmax(logits), codes).sum(-1)
    return total.masked_fill(total < masks.LOWEST, -math.inf)


def kl_terms(
    codes: Int[Tensor, "C *S B N"], log_q: Float[Tensor, "C *S B"], prior: Tensor
) -> tuple[Float[Tensor, "C *S B"], Float[Tensor, "*S B"]]:
    """log q − log p of each state, and KL(q ‖ p), exact. States of probability 0 count as 0."""
    ratio = (log_q - class_log_prob(codes, prior)).masked_fill(log_q < masks.LOWEST, 0.0)
    return ratio, (log_q.exp() * ratio).sum(0)


def draw_by(
    law: Law, logits: Float[Tensor, "*S B N K"], prior: Tensor | None, shape: tuple[int, ...], sampled: bool
) -> tuple[Int[Tensor, "..."], Tensor | float]:
    """Class indices, (*shape, *S, B, N), drawn from a law, and their KL term: log q − log p of the draw if `sampled`,
    else the KL."""
    codes, log_q = law(logits)
    drawn = draw_codes(log_q.movedim(0, -1).unsqueeze(-2), shape).movedim(-1, 0)
    chosen = repeated(codes, shape).gather(0, drawn.unsqueeze(-1).expand(*drawn.shape, codes.shape[-1])).squeeze(0)
    if prior is None:
        return chosen, 0.0
    ratio, kl = kl_terms(codes, log_q, prior)
    return chosen, repeated(ratio, shape).gather(0, drawn).squeeze(0) if sampled else kl


def repeated(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Values of states, (C, …), repeated for each of `shape` draws, (C, *shape, …)."""
    return values[:, *(None,) * len(shape)].expand(-1, *shape, *values.shape[1:])


def marginal_logits(law: Law, logits: Float[Tensor, "*S B N K"]) -> Float[Tensor, "*S B N K"]:
    """The log-probability of each class of each latent alone; `masks.LOGIT` for one of probability 0."""
    logits = masks.with_finite_logits(logits)
    codes, log_q = law(logits)
    share = log_q.exp().movedim(0, -1).unsqueeze(-2).expand(*logits.shape[:-1], -1)
    p = torch.zeros_like(logits).scatter_add(-1, codes.movedim(0, -1), share)
    return logs(p)


def logs(p: Tensor) -> Tensor:
    """log p, and `masks.LOGIT` for 0, without gradient."""
    return p.clamp(min=torch.finfo(p.dtype).tiny).log().masked_fill(p == 0, masks.LOGIT)
