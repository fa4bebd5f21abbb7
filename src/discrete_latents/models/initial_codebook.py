"""A codebook that starts where the encoder's features are, so that no code is dead from the start."""

import torch
from jaxtyping import Float
from torch import Tensor

ROUNDS = 3
"""Of k-means: enough to spread the vectors. They are trained afterwards."""
COMPARED = 8
GAP = 2.0
AT_ONCE = 2**24
"""Distances computed at once; it bounds memory."""


def principal_map(features: Float[Tensor, "n F"], width: int) -> tuple[Float[Tensor, "D F"], Float[Tensor, " D"]]:
    """Weight and bias of the linear map to the first D = width principal components, the largest of variance 1."""
    mean = features.mean(0)
    _, scales, directions = torch.pca_lowrank(features - mean, q=min(width, *features.shape), center=False, niter=4)
    weight = features.new_zeros(width, features.shape[1])
    weight[: len(scales)] = directions.T * len(features) ** 0.5 / scales[0].clamp(min=1e-12)
    return weight, -weight @ mean


def spread_codebook(vectors: Float[Tensor, "n D"], count: int) -> Float[Tensor, "K D"]:
    """K = count vectors among those given, by k-means from a random choice of them. A vector to which none is nearest
    becomes a random one of them."""
    codebook = vectors[torch.randint(len(vectors), (count,))]
    if len(vectors) >= count:
        codebook = vectors[torch.randperm(len(vectors))[:count]]
    for _ in range(ROUNDS):
        nearest = torch.cat([torch.cdist(part, codebook).argmin(-1) for part in in_parts(vectors, count)])
        uses = nearest.bincount(minlength=count)
        total = torch.zeros_like(codebook).index_add_(0, nearest, vectors)
        unused = vectors[torch.randint(len(vectors), (count,))]
        codebook = torch.where((uses > 0).unsqueeze(-1), total / uses.clamp(min=1).unsqueeze(-1), unused)
    return codebook


def spread_precision(vectors: Float[Tensor, "n D"], codebook: Float[Tensor, "K D"]) -> Float[Tensor, ""]:
    """1 / σ² such that the logit −‖f − e‖² / 2σ² of the nearest vector is `GAP` nats above that of the one after the
    `COMPARED` nearest, on average: a draw is one of a few near codes."""
    rank = min(COMPARED, len(codebook) - 1)
    gaps = []
    for part in in_parts(vectors[:2000], len(codebook)):
        near = torch.cdist(part, codebook).square().topk(rank + 1, largest=False).values
        gaps.append(near[:, -1] - near[:, 0])
    return 2 * GAP / torch.cat(gaps).mean().clamp(min=1e-12)


def in_parts(vectors: Tensor, count: int) -> tuple[Tensor, ...]:
    return vectors.split(max(1, AT_ONCE // count))
