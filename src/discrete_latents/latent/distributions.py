"""Log-densities, samples and KL divergences of the categorical and its continuous relaxation.

Logits are unnormalised log-probabilities of N independent latents, (…, N, K); densities and divergences
sum over the N latents and are in nats. Everything is computed in log space.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function

from discrete_latents.latent import layout, masks
from discrete_latents.latent.noise import drawn_from, gumbel, uniform
from discrete_latents.latent.tape import transforming

MANY_CLASSES = 1024
IN_CACHE = 2**18
"""Float64 numbers: 2 MiB."""


def gumbel_like(logits: Float[Tensor, "... K"], generator: torch.Generator | None = None) -> Float[Tensor, "... K"]:
    """Standard Gumbel noise, −log(−log u), in the shape, precision and device of `logits`.

    Classes are sampled at the right rate down to a probability of 1e-15: the noise reaches 36, where float32 uniform
    numbers would stop at 16.6. Use float32 or float64: half precision cuts the tail (`Sampler` casts).
    """
    with drawn_from(generator):
        return layout.classes_first(gumbel(layout.classes_first(logits).shape, logits.dtype, logits.device))


def sample_codes(
    logits: Float[Tensor, "*batch K"], *shape: int, generator: torch.Generator | None = None
) -> Int[Tensor, "..."]:
    """Exact class indices, `shape` draws per latent, by inverting the cumulative distribution in float64.

    It needs one uniform number per latent instead of K Gumbels; drawing dominates evaluation with many samples. A
    masked class is never drawn. On a CPU, raises ValueError if all classes of a latent are masked.
    """
    if not masks.none(logits):
        masks.refuse_impossible(logits)
    with drawn_from(generator):
        return draw_codes(logits.detach(), shape)


def draw_codes(logits: Float[Tensor, "*batch K"], shape: tuple[int, ...] = ()) -> Int[Tensor, "..."]:
    """`sample_codes` without checks: each latent must have an unmasked class."""
    if logits.dim() == 1:
        return draw_codes(logits.unsqueeze(0), shape).squeeze(-1)
    if logits.device.type == "mps":  # no float64
        logits = logits.expand(*shape, *logits.shape)
        return layout.classes_first(logits + gumbel_like(logits)).argmax(-2)
    logits = layout.classes_first(logits.detach())
    u = uniform((*shape, *logits.shape[:-2], logits.shape[-1]), logits.device)
    if logits.device.type != "cpu" or logits.shape[-2] < MANY_CLASSES:
        return codes_at(u, logits)
    # In float64 a large codebook's probabilities leave the cache: a few latents at a time.
    latents = max(1, IN_CACHE // (logits[..., 0].numel() or 1))
    parts = zip(u.split(latents, -1), logits.split(latents, -1), strict=True)
    return torch.cat([codes_at(*part) for part in parts], -1)


def codes_at(u: Float[Tensor, "*S N"], logits: Float[Tensor, "*batch K N"]) -> Int[Tensor, "*S N"]:
    """The classes at the shares u of the cumulative distributions."""
    top = logits.amax(-2, keepdim=True).double()
    cumulative = (logits.double() - top).exp_().cumsum(-2)
    return thresholds_below(u * cumulative[..., -1, :], cumulative[..., :-1, :])


def thresholds_below(u: Float[Tensor, "*S N"], thresholds: Float[Tensor, "*batch J N"]) -> Int[Tensor, "*S N"]:
    """The number of a latent's J ascending thresholds below u, by the fastest method for this J."""
    count = thresholds.shape[-2]
    if count == 1:
        return (u > thresholds.squeeze(-2)).long()
    if count >= 32:
        samples = u.shape[: u.dim() - thresholds.dim() + 1]  # a batch may be empty, so that −1 is no number of them
        values = u.reshape(math.prod(samples), *thresholds.shape[:-2], u.shape[-1]).movedim(0, -1)
        return torch.searchsorted(thresholds.mT.contiguous(), values.contiguous()).movedim(-1, 0).reshape(u.shape)
    if u.device.type != "cpu" or count == 0 or u.numel() * count < 2**16:
        return (u.unsqueeze(-2) > thresholds).sum(-2)
    below = torch.zeros((), dtype=torch.uint8)
    for threshold in thresholds.unbind(-2):
        below = below + (u > threshold).view(torch.uint8)
    return below.long()


def sample(logits: Float[Tensor, "... K"], generator: torch.Generator | None = None) -> Float[Tensor, "... K"]:
    """Exact one-hot samples, one per latent, in the dtype of the logits. Each latent must have an unmasked class."""
    with drawn_from(generator):
        codes = draw_codes(logits)
    return layout.one_hot(codes, logits.shape[-1], logits.dtype)


def conditional_gumbels(
    logits: Float[Tensor, "*S K"],
    z: Float[Tensor, "*#S K"],
    *shape: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*_ K"]:
    """`shape` reparameterised draws of log p + Gumbel noise, conditioned on the argmax being the class of one-hot z.

    With G standard Gumbels and b the class of z, a draw is G_b for class b and −log(exp(−G_k) / p_k + exp(−G_b)) for
    the others (Maddison et al. 2014; Tucker et al. 2017, appendix; Grathwohl et al. 2018, appendix B). The largest
    entry has no gradient. A masked class gets −1e20.
    """
    noise = gumbel_like(logits.expand(*shape, *logits.shape), generator)
    largest = (z * noise).sum(-1, keepdim=True)
    others = -torch.logaddexp(-noise - layout.log_softmax(masks.with_finite_logits(logits)), -largest)
    return torch.where(z > 0.5, largest, others)


def mixed_with_uniform(logits: Float[Tensor, "... K"], share: float) -> Float[Tensor, "... K"]:
    """log((1 − share) π + share / K) of the probabilities π: no class is less likely than share / K ("unimix" of Hafner
    et al. 2023). A masked class stays masked, and is none of the K."""
    if share == 0:
        return logits
    finite = masks.with_finite_logits(logits)
    there = masks.allowed(finite)
    least = math.log(share) - there.sum(-1, keepdim=True).to(finite.dtype).log()
    mixed = torch.logaddexp(layout.log_softmax(finite) + math.log1p(-share), least)
    return mixed.masked_fill(~there, -math.inf).to(logits.dtype)


def categorical_log_prob(z: Float[Tensor, "*#batch N K"], logits: Float[Tensor, "*#batch N K"]) -> Float[Tensor, "..."]:
    """Σ_n log p(z_n) for one-hot z; −inf if a class of z is masked."""
    if masks.none(logits):
        return (z * layout.log_softmax(logits)).sum((-1, -2))
    total = (z * layout.log_softmax(masks.with_finite_logits(logits))).sum((-1, -2))
    return total.masked_fill(total < masks.LOWEST, -math.inf)


def categorical_kl(logits: Float[Tensor, "*batch N K"], prior: Float[Tensor, "*#batch N K"]) -> Float[Tensor, "*batch"]:
    """Σ_n KL(q_n ‖ p_n) = Σ_n Σ_k q_nk (log q_nk − log p_nk), exact.

    It is 0 if q = p, log K for a one-hot q under a uniform prior, and +inf if the prior masks a class that q does not.
    """
    if masks.visible(logits):
        kl = divergence(logits, prior)
        if (total := masks.seen(masks.untransformed(kl).sum())) is not None and abs(total) < -masks.LOWEST:
            return kl  # no mask, or the same in both
        masks.refuse_impossible(logits)
    return divergence(logits, masks.with_finite_logits(prior), masked=True)


def divergence(
    logits: Float[Tensor, "*batch N K"], prior: Float[Tensor, "*#batch N K"], masked: bool = False
) -> Float[Tensor, "*batch"]:
    """`categorical_kl` of finite logits. masked: whether some are of masked classes."""
    parts = layout.classes_first(logits), layout.classes_first(prior)
    if transforming():
        return terms(*parts, masked)[0].sum((-1, -2))
    return Divergence.apply(*parts, masked)  # type: ignore[return-value]


def terms(logits: Tensor, prior: Tensor, masked: bool) -> tuple[Tensor, Tensor, Tensor]:
    """q (log q − log p) of each class, q, and log p; all with classes first."""
    log_q, log_p = torch.log_softmax(logits, -2), torch.log_softmax(prior, -2)
    q = log_q.exp()
    if not masked:
        return q * (log_q - log_p), q, log_p
    log_ratio = log_q - log_p.masked_fill(log_p < masks.LOWEST, -math.inf)
    return q * log_ratio.masked_fill(q == 0, 0.0), q, log_p


class Divergence(Function):
    """`divergence`, with its gradient in closed form: of the logits q (log q − log p − KL), of the prior's p − q."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, prior: Tensor, masked: bool) -> Tensor:
        ctx.masked = masked
        of_classes, q, log_p = terms(logits, prior, masked)
        of_latents = of_classes.sum(-2, keepdim=True)
        ctx.save_for_backward(logits, prior, of_classes, of_latents, q, log_p)
        return of_latents.sum((-1, -2))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        logits, prior, of_classes, of_latents, q, log_p = ctx.saved_tensors
        slope = slopes[0].unsqueeze(-1).unsqueeze(-1)
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # differentiated again
            with torch.enable_grad():
                kl = terms(logits, prior, ctx.masked)[0].sum((-1, -2))
            needed = ctx.needs_input_grad[:2]
            wanted = [part for part, asked in zip((logits, prior), needed, strict=True) if asked]
            found = iter(torch.autograd.grad(kl, wanted, slopes[0], create_graph=True))
            return *(next(found) if asked else None for asked in needed), None
        to_logits = to_prior = None
        if ctx.needs_input_grad[0]:
            to_logits = ((of_classes - q * of_latents) * slope).sum_to_size(logits.shape)
        if ctx.needs_input_grad[1]:
            to_prior = ((log_p.exp() - q) * slope).sum_to_size(prior.shape)
        return to_logits, to_prior, None


def exp_concrete(
    logits: Float[Tensor, "... K"], temperature: float | Tensor, generator: torch.Generator | None = None
) -> Float[Tensor, "... K"]:
    """A reparameterised ExpConcrete sample, y = log z with z a Concrete (Gumbel-Softmax) sample:
    y = log_softmax((logits + Gumbel) / τ) (Maddison et al. 2017, equation 10 and appendix C.3)."""
    return layout.log_softmax((logits + gumbel_like(logits, generator)) / temperature)


def exp_concrete_log_prob(
    y: Float[Tensor, "*batch N K"], logits: Float[Tensor, "*#batch N K"], temperature: float | Tensor
) -> Float[Tensor, "*batch"]:
    """Σ_n log κ(y_n), the ExpConcrete density at y = log z (Maddison et al. 2017, equation 23):

        log κ(y) = log (K−1)! + (K−1) log τ + Σ_k (a_k − τ y_k) − K log Σ_k exp(a_k − τ y_k)

    with a the logits. It stays finite at temperatures at which the density of z overflows: z underflows to zero,
    y = log z does not. It is a density, so it may be positive. If y masks classes, K counts only the unmasked ones. It
    is −inf if the logits mask a class that y does not.
    """
    # A float stays a float: copying it to a GPU as a tensor would block the host.
    log = temperature.to(y.dtype).log() if isinstance(temperature, Tensor) else math.log(temperature)
    if masks.none(y):
        count = y.shape[-1]
        score = layout.log_softmax(logits) - temperature * y
        normaliser = math.lgamma(count) + (count - 1) * log
        total = (normaliser + score.sum(-1) - count * layout.logsumexp(score)).sum(-1)
        return total if masks.none(total) else total.masked_fill(total < masks.LOWEST, -math.inf)
    there = masks.allowed(y)
    score = layout.log_softmax(masks.with_finite_logits(logits)) - temperature * y
    counts = there.sum(-1).to(y.dtype)
    normaliser = torch.lgamma(counts) + (counts - 1) * log
    total = torch.where(there, score, 0.0).sum(-1) - counts * layout.logsumexp(torch.where(there, score, masks.LOGIT))
    total = (normaliser + total).sum(-1)
    return total.masked_fill(total < masks.LOWEST, -math.inf)
