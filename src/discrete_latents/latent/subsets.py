"""Subsets of exactly k of K classes: probabilities, exact samples, marginals and KL.

A subset has the probability ∏ exp(logit) of its classes, over the sum of that for all subsets of k: K Bernoulli units
given that k of them are on. A sample is k-hot, (…, K). Masked classes are never in a subset.

The sums over subsets are elementary symmetric polynomials, built class by class in log space: O(k K).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import masks
from discrete_latents.latent.noise import uniform


def log_sums(logits: Float[Tensor, "... K"], size: int) -> list[Float[Tensor, "... s"]]:
    """For each j = 0 … K, the logs of the sums over subsets of 0 … `size` of the first j classes, (…, size + 1)."""
    start = torch.full((*logits.shape[:-1], size + 1), masks.LOGIT, dtype=logits.dtype, device=logits.device)
    start[..., 0] = 0.0
    sums = [start]
    for logit in logits.split(1, -1):
        grown = torch.logaddexp(sums[-1][..., 1:], sums[-1][..., :-1] + logit)
        sums.append(torch.cat([sums[-1][..., :1], grown], -1))
    return sums


def log_normaliser(logits: Float[Tensor, "... K"], size: int) -> Float[Tensor, "..."]:
    """log Σ ∏ exp(logit) over all subsets of `size` classes."""
    return log_sums(logits, size)[-1][..., size]


def marginals(logits: Float[Tensor, "... K"], size: int) -> Float[Tensor, "... K"]:
    """The probability of each class to be in the subset, the gradient of the log-normaliser: that of the class times
    the subsets of size − 1 of those before and after it."""
    before, after = log_sums(logits, size), log_sums(logits.flip(-1), size)[::-1]
    others = [
        torch.logsumexp(left[..., :size] + right[..., :size].flip(-1), -1)
        for left, right in zip(before[:-1], after[1:], strict=True)
    ]
    return (logits + torch.stack(others, -1) - before[-1][..., size:]).exp()


def sample_subset(logits: Float[Tensor, "... K"], size: int) -> Float[Tensor, "... K"]:
    """Exact k-hot samples: from the last class to the first, each is in or out given the number that is left."""
    sums = log_sums(logits.detach().double(), size)
    left = torch.full(logits.shape[:-1], size, device=logits.device)
    chosen = []
    for k in reversed(range(logits.shape[-1])):
        at = left.unsqueeze(-1)
        log_with = sums[k].gather(-1, (at - 1).clamp(min=0)) + logits[..., k : k + 1].double()
        chance = (log_with - sums[k + 1].gather(-1, at)).squeeze(-1).exp()
        taken = (uniform(left.shape, logits.device) < chance) & (left > 0)
        left = left - taken.long()
        chosen.append(taken)
    return torch.stack(chosen[::-1], -1).to(logits.dtype)


def all_subsets(num_classes: int, size: int, like: Tensor) -> Float[Tensor, "C K"]:
    """Every k-hot vector of one latent, in the dtype and on the device of `like`."""
    classes = torch.combinations(torch.arange(num_classes, device=like.device), size)
    return torch.zeros(len(classes), num_classes, dtype=like.dtype, device=like.device).scatter(-1, classes, 1.0)


def subset_log_prob(
    z: Float[Tensor, "*#batch N K"], logits: Float[Tensor, "*#batch N K"], size: int
) -> Float[Tensor, "..."]:
    """Σ_n log p(z_n) for k-hot z; −inf if a class of z is masked."""
    total = ((z * logits).sum(-1) - log_normaliser(logits, size)).sum(-1)
    return total.masked_fill(total < masks.LOWEST, -math.inf)


def subset_kl(
    logits: Float[Tensor, "*batch N K"], prior: Float[Tensor, "*#batch N K"], size: int
) -> Float[Tensor, "*batch"]:
    """Σ_n KL(q_n ‖ p_n) of subsets of one size, exact: Σ μ (a − b) − log Z_a + log Z_b with the marginals μ of q.

    It is +inf if the prior masks a class that q does not.
    """
    shared = masks.allowed(logits) | masks.allowed(prior)
    means = (marginals(logits, size) * (logits - prior).masked_fill(~shared, 0.0)).sum(-1)
    total = (means - log_normaliser(logits, size) + log_normaliser(prior, size)).sum(-1)
    return total.masked_fill(total > -masks.LOWEST, math.inf)
