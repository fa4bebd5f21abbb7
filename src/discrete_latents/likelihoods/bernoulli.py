"""Independent Bernoulli pixels."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from discrete_latents.latent.sampler import at_least_float32
from discrete_latents.latent.tape import transforming
from discrete_latents.likelihoods.base import Likelihood

IN_CACHE = 2**16
"""Pixels summed at once: a few tensors of 256 kB."""


class Bernoulli(Likelihood):
    """Pixels in [0, 1], independent given z; the output is their log-odds.

    For grey pixels this is the usual cross-entropy, not a density.
    """

    takes = ("grey",)
    masses = ("binary",)

    def log_prob(self, x: Float[Tensor, "B ..."], output: Float[Tensor, "..."]) -> Tensor:
        compiling = torch.compiler.is_compiling()
        if output.device.type != "cpu" or (compiling and x.requires_grad) or transforming():
            return super().log_prob(x, output)  # on a GPU one kernel instead of nine
        x, output = x.flatten(1), at_least_float32(output).flatten(1 - x.dim())
        if compiling:
            return compiled_sum(x, output)
        if torch.is_grad_enabled():
            return Summed.apply(x, output)  # type: ignore[return-value]
        samples = output.reshape(math.prod(output.shape[:-2]), *x.shape)
        return summed_in_cache(x, samples).view(output.shape[:-1])

    def pixel_nll(self, x: Tensor, output: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, x.expand_as(output), reduction="none")

    def mean(self, output: Tensor) -> Tensor:
        return output.sigmoid()

    def output_for_mean(self, mean: Tensor) -> Tensor:
        return torch.logit(mean)


def summed(x: Float[Tensor, "B P"], logits: Float[Tensor, "*S B P"]) -> Float[Tensor, "*S B"]:
    """Σ (x l − max(l, 0) − log(1 + e^−|l|)) over the pixels.

    Of all functions that come to it, exponential and logarithm are the fast ones on a CPU: a sigmoid or log(1 + x)
    takes 5 to 9 times as long. An e^−|l| that 1 + e^−|l| loses is below 6e-8 nats.
    """
    nll = logits.abs().neg_().exp_().add_(1).log_()
    return nll.add_(logits.clamp(min=0)).addcmul_(x, logits, value=-1).sum(-1).neg_()


def summed_in_cache(x: Float[Tensor, "B P"], logits: Float[Tensor, "S B P"]) -> Float[Tensor, "S B"]:
    """`summed`, in parts that fit into the cache of a core. Besides the networks, this dominates a bound of many
    samples; the value of a row does not depend on the part it is in."""
    rows = max(1, IN_CACHE // max(1, x.shape[-1]))
    samples = max(1, rows // max(1, len(x)))
    parts = zip(x.split(rows), logits.split(rows, 1), strict=True)
    return torch.cat([torch.cat([summed(own, some) for some in drawn.split(samples)]) for own, drawn in parts], 1)


class Summed(Function):
    """`summed`, with the gradient x − σ(l) of torch's cross-entropy, in a third of its time.

    Not for the transforms of `torch.func`, whose form of a Function costs a tenth of a millisecond a call.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, logits: Tensor) -> Tensor:
        ctx.save_for_backward(x, logits)
        return summed(x, logits)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor]:
        (slope,), (x, logits) = slopes, ctx.saved_tensors
        slope = slope.unsqueeze(-1)
        to_x = (slope * logits).sum_to_size(x.shape) if ctx.needs_input_grad[0] else None
        if torch.is_grad_enabled():  # differentiated again
            return to_x, slope * (x - logits.sigmoid())
        return to_x, (-logits).exp_().add_(1).reciprocal_().sub_(x).mul_(-slope)


def compiled_sum(x: Float[Tensor, "B P"], logits: Float[Tensor, "*S B P"]) -> Float[Tensor, "*S B"]:
    """`summed` and its gradient for a compiler, which makes few passes over the pixels of this. One exponential of a
    pixel serves both: with e = e^−|l|, the sigmoid is e / (1 + e) below 0 and 1 / (1 + e) above."""
    fixed = logits.detach()
    small = (-fixed.abs()).exp()
    sums = 1 + small
    slope = ((x - torch.where(fixed < 0, small, 1.0) / sums) * logits).sum(-1)
    products = sums
    while products.shape[-1] % 2 == 0 and products.shape[-1] * 16 > x.shape[-1]:
        first, second = products.chunk(2, -1)
        products = first * second
    value = (x * fixed - fixed.clamp(min=0)).sum(-1) - products.log().sum(-1)
    return value + (slope - slope.detach())
