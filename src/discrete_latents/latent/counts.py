"""Latents that are counts: binomial, and Poisson up to a largest count, as classes 0, 1, 2, …

Each count is a class, with the log-probability of the law as its logit. So every estimator of classes draws them, their
KL is exact, and sums over classes are sums over counts.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import whole


def binomial_logits(log_odds: Float[Tensor, "*batch"], trials: int) -> Float[Tensor, "*batch K"]:
    """log (n choose k) + k · log-odds for k = 0 … n, the binomial's log-probabilities but for a constant.

    trials: n. Raises ValueError unless it is a whole number of at least 1.
    """
    count = numbers(whole("trials", trials), log_odds)
    return times(count, log_odds) - torch.lgamma(count + 1) - torch.lgamma(trials - count + 1)


def poisson_logits(log_rate: Float[Tensor, "*batch"], largest: int) -> Float[Tensor, "*batch K"]:
    """k · log λ − log k! for k = 0 … largest: the Poisson law given that the count is not above `largest`.

    Choose it so far above the rates that the law loses nothing: at λ + 6 √λ + 6 it is less than 1e-6. Raises ValueError
    unless it is a whole number of at least 1.
    """
    count = numbers(whole("largest", largest), log_rate)
    return times(count, log_rate) - torch.lgamma(count + 1)


def numbers(most: int, like: Tensor) -> Float[Tensor, " K"]:
    """0 … most, in the dtype and on the device of `like`."""
    return torch.arange(most + 1, dtype=like.dtype, device=like.device)


def times(count: Float[Tensor, " K"], log: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch K"]:
    """count · log, and 0 for no count, also where the log is −inf."""
    product = count * log.unsqueeze(-1)
    return product.masked_fill(count == 0, 0.0)
