"""Memory layout of latents: shape (…, N, K), classes outermost.

On a CPU, a softmax over a short last dimension is by far the slowest part of a latent layer; over an outer dimension
it vectorises. So the K classes of N latents are stored as (…, K, N) and *shown* as a transposed view, (…, N, K): users
index classes last, kernels run over contiguous memory. Every function here accepts any strides and is fast on that
layout.
"""

import math

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


def width(num_latents: int, num_classes: int) -> int:
    """The number of features for N latents of K classes: N·K, or N if K = 2, one per Bernoulli unit."""
    return num_latents if num_classes == 2 else num_latents * num_classes


def to_logits(features: Float[Tensor, "*batch F"], num_classes: int) -> Float[Tensor, "*batch N K"]:
    """The logits of N latents from a network's `width(N, K)` output features.

    With K = 2, a feature is the log-odds of class 1 against class 0.
    """
    if num_classes == 2:
        return torch.stack([torch.zeros_like(features), features], -2).transpose(-1, -2)
    return features.unflatten(-1, (num_classes, -1)).transpose(-1, -2)


def to_units(z: Float[Tensor, "*batch N K"]) -> Float[Tensor, "*batch F"]:
    """Latents as a network's `width(N, K)` input units; in layout, the inverse of `to_logits`.

    With K = 2, a latent is one unit, -1 for class 0 and +1 for class 1 (Maddison et al. 2017, section 5).
    """
    if z.shape[-1] == 2:
        return z[..., 1] - z[..., 0]
    return z.transpose(-1, -2).flatten(-2)


def vectors_of(z: Float[Tensor, "*batch N K"], codebook: Float[Tensor, "K D"]) -> Float[Tensor, "*batch N D"]:
    """z @ codebook, in which each z is read in its layout: a product by torch.matmul would copy all of z first."""
    return (codebook.T.expand(*z.shape[:-2], -1, -1) @ z.mT).mT


def at(values: Shaped[Tensor, "*#S N K"], codes: Int[Tensor, "*S N"]) -> Shaped[Tensor, "*S N"]:
    """Of values of all classes, those of one class each."""
    return values.expand(*codes.shape, -1).gather(-1, codes.unsqueeze(-1)).squeeze(-1)


def classes_first(x: Float[Tensor, "... K"]) -> Float[Tensor, "..."]:
    """A view of (…, N, K) as (…, K, N); a vector of K classes is returned unchanged. Its own inverse."""
    return x.transpose(-1, -2) if x.dim() > 1 else x


def class_dim(x: Tensor) -> int:
    """The dimension of the classes in `classes_first(x)`."""
    return -2 if x.dim() > 1 else -1


def softmax(x: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """Softmax over the classes."""
    return classes_first(torch.softmax(classes_first(x), class_dim(x)))


def log_softmax(x: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """Log-softmax over the classes."""
    return classes_first(torch.log_softmax(classes_first(x), class_dim(x)))


def logsumexp(x: Float[Tensor, "... K"]) -> Float[Tensor, "..."]:
    """Log-sum-exp over the classes; their dimension is dropped."""
    return torch.logsumexp(classes_first(x), class_dim(x))


def one_hot(codes: Int[Tensor, "..."], num_classes: int, dtype: torch.dtype) -> Float[Tensor, "... K"]:
    """One-hot vectors of class indices, classes outermost in memory."""
    shape = (*codes.shape[:-1], num_classes, *codes.shape[-1:])
    dim = -2 if codes.dim() else -1
    hot = torch.zeros(shape, dtype=dtype, device=codes.device)
    return classes_first(hot.scatter(dim, codes.unsqueeze(dim), 1.0))


def one_hot_pairs(codes: Int[Tensor, "*batch N"], dtype: torch.dtype) -> Float[Tensor, "*batch N 2"]:
    """`one_hot` of two classes in a third of its time, for codes that are known to be 0 or 1."""
    second = codes.to(dtype)
    return classes_first(torch.stack([1 - second, second], -2))


def argmax_one_hot(x: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """One-hot of the largest class."""
    codes = classes_first(x).argmax(class_dim(x))
    return one_hot(codes, x.shape[-1], x.dtype)


def log_mean_exp(log_weights: Float[Tensor, "*S B"]) -> Float[Tensor, " B"]:
    """log (1/m) Σ exp(log w) over the m = ΠS samples: the log of the mean, not the mean of the logs."""
    if log_weights.dim() == 1:
        return log_weights
    log_weights = log_weights.flatten(0, -2)
    return torch.logsumexp(log_weights, 0) - math.log(log_weights.shape[0])
