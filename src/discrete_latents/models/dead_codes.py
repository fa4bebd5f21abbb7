"""Codes that no feature is near to, moved to where features are."""

import torch
from jaxtyping import Float
from torch import Tensor

DEAD = 0.02
"""Of an even share 1/K of the draws: a code below this is dead."""


def revived(
    codebook: Float[Tensor, "K D"], share: Float[Tensor, " K"], vectors: Float[Tensor, "n D"]
) -> Float[Tensor, "K D"]:
    """The codebook with its dead codes at random ones of the vectors, one each; where there are fewer vectors, the
    deadest codes alone (Dhariwal et al. 2020, section 3, for the codebook of a VQ-VAE).

    share: of each code in the draws.
    """
    dead = share.argsort()[: min(int((share < DEAD / len(share)).sum()), len(vectors))]
    return codebook.index_copy(0, dead, vectors[torch.randperm(len(vectors), device=vectors.device)[: len(dead)]])
