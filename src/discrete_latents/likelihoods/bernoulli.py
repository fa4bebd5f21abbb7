"""Independent Bernoulli pixels."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from discrete_latents.latent.sampler import at_least_float32
from discrete_latents.likelihoods.base import Likelihood


class Bernoulli(Likelihood):
    """Pixels in [0, 1], independent given z; the output is their log-odds.

    For grey pixels this is the usual cross-entropy, not a density.
    """

    takes = ("grey",)

    def log_prob(self, x: Float[Tensor, "B ..."], output: Float[Tensor, "..."]) -> Tensor:
        if output.device.type != "cpu" or torch.compiler.is_compiling() or transformed(x) or transformed(output):
            return super().log_prob(x, output)  # on a GPU one kernel instead of nine
        x, output = x.flatten(1), at_least_float32(output).flatten(1 - x.dim())
        if torch.is_grad_enabled():
            return Summed.apply(x, output)  # type: ignore[return-value]
        # Besides the networks, this dominates a bound of many samples. One sample at a time fits into the cache.
        samples = output.reshape(math.prod(output.shape[:-2]), *x.shape)
        return torch.stack([summed(x, sample) for sample in samples]).view(output.shape[:-1])

    def pixel_nll(self, x: Tensor, output: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, x.expand_as(output), reduction="none")

    def mean(self, output: Tensor) -> Tensor:
        return output.sigmoid()

    def output_for_mean(self, mean: Tensor) -> Tensor:
        return torch.logit(mean)


def transformed(x: Tensor) -> bool:
    """Whether a tensor is within a transform of `torch.func`."""
    return torch.func.debug_unwrap(x, recurse=False) is not x


def summed(x: Float[Tensor, "B P"], logits: Float[Tensor, "*S B P"]) -> Float[Tensor, "*S B"]:
    """Σ (x l − max(l, 0) + log σ(|l|)) over the pixels, with one logarithm per 16 of them.

    σ(|l|) ≥ 1/2, so the product of 16 is a normal number.
    """
    products = logits.abs().sigmoid_().unflatten(-1, (math.gcd(x.shape[-1], 16), -1)).prod(-2)
    return products.log_().sum(-1) - torch.addcmul(logits.clamp(min=0), x, logits, value=-1).sum(-1)


class Summed(Function):
    """`summed`, with the gradient x − σ(l) of torch's cross-entropy; without AVX-512 in half of its time.

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
        return to_x, slope * (x - logits.sigmoid())
