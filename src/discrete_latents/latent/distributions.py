"""Log-densities, samples and KL divergences of the categorical and its continuous relaxation.

Logits are unnormalised log-probabilities of N independent latents, (…, N, K); densities and divergences
sum over the N latents and are in nats. Everything is computed in log space.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from discrete_latents.latent import layout


def gumbel_like(logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """Standard Gumbel noise, -log(-log u), in the shape, precision and device of `logits`.

    `u` is zero once in some ten million draws; it is clamped at the smallest normal number, which leaves
    every other draw untouched, where the usual `+ eps` would shift the tails. Meant for float32 or float64:
    in half precision u is 0 or the tail is cut (see `Sampler`, which casts).
    """
    u = torch.rand(layout.classes_first(logits).shape, dtype=logits.dtype, device=logits.device)
    u = u.clamp_(min=torch.finfo(u.dtype).tiny)
    return layout.classes_first(u.log_().neg_().log_().neg_())


def sample_codes(logits: Float[Tensor, "*batch N K"], *shape: int) -> Int[Tensor, "... N"]:
    """Exact class indices, `shape` draws of each latent, by inverting the cumulative distribution.

    One uniform number a latent instead of K Gumbels: what evaluation with many samples spends its time on.
    """
    cumulative = layout.classes_first(layout.softmax(logits)).cumsum(-2)
    total = cumulative[..., -1, :]
    u = torch.rand(*shape, *total.shape, dtype=total.dtype, device=total.device) * total
    # At most K - 1 of the first K - 1 thresholds are passed, so rounding cannot give an index out of range.
    return (u.unsqueeze(-2) >= cumulative[..., :-1, :]).sum(-2)


def sample(logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """Exact one-hot samples, one of each latent."""
    codes = sample_codes(logits.unsqueeze(0)).squeeze(0) if logits.dim() == 1 else sample_codes(logits)
    return layout.one_hot(codes, logits.shape[-1], logits.dtype)


def conditional_gumbels(logits: Float[Tensor, "*S N K"], z: Float[Tensor, "*#S N K"]) -> Float[Tensor, "*S N K"]:
    """log p + Gumbel noise given that its largest class is that of the one-hot z, reparameterised: with G standard
    Gumbels and b the class of z, G_b for class b and −log(exp(−G_k) / p_k + exp(−G_b)) for the others (Maddison et al.
    2014; Tucker et al. 2017, appendix; Grathwohl et al. 2018, appendix B). The largest has no gradient."""
    noise = gumbel_like(logits)
    largest = (z * noise).sum(-1, keepdim=True)
    others = -torch.logaddexp(-noise - layout.log_softmax(logits), -largest)
    return torch.where(z > 0.5, largest, others)


def categorical_log_prob(z: Float[Tensor, "*#batch N K"], logits: Float[Tensor, "*#batch N K"]) -> Float[Tensor, "..."]:
    """Σ_n log p(z_n) of one-hot z."""
    return (z * layout.log_softmax(logits)).sum((-1, -2))


def categorical_kl(logits: Float[Tensor, "*batch N K"], prior: Float[Tensor, "*#batch N K"]) -> Float[Tensor, "*batch"]:
    """Σ_n KL(q_n ‖ p_n) = Σ_n Σ_k q_nk (log q_nk − log p_nk), exact; 0 where q = p, log K for a one-hot q
    under a uniform prior."""
    log_q = layout.log_softmax(logits)
    return (log_q.exp() * (log_q - layout.log_softmax(prior))).sum((-1, -2))


def exp_concrete(logits: Float[Tensor, "... K"], temperature: float | Tensor) -> Float[Tensor, "... K"]:
    """A reparameterised ExpConcrete sample, y = log z with z a Concrete (Gumbel-Softmax) sample:
    y = log_softmax((logits + Gumbel) / τ) (Maddison et al. 2017, equation 10 and appendix C.3)."""
    return layout.log_softmax((logits + gumbel_like(logits)) / temperature)


def exp_concrete_log_prob(
    y: Float[Tensor, "*batch N K"], logits: Float[Tensor, "*#batch N K"], temperature: float | Tensor
) -> Float[Tensor, "*batch"]:
    """Σ_n log κ(y_n), the ExpConcrete density at y = log z (Maddison et al. 2017, equation 23):

        log κ(y) = log (K−1)! + (K−1) log τ + Σ_k (a_k − τ y_k) − K log Σ_k exp(a_k − τ y_k)

    with a the logits. It stays finite at temperatures where the density of z itself overflows, since z
    underflows to zero while y = log z does not. May be positive: it is a density.
    """
    num_classes = y.shape[-1]
    # A number stays one: made a tensor, it would have a GPU's host wait for the copy.
    log = temperature.to(y.dtype).log() if isinstance(temperature, Tensor) else math.log(temperature)
    score = layout.log_softmax(logits) - temperature * y
    normaliser = math.lgamma(num_classes) + (num_classes - 1) * log
    return (normaliser + score.sum(-1) - num_classes * layout.logsumexp(score)).sum(-1)
