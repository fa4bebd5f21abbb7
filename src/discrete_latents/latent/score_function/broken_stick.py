"""A class by stick-breaking: is it this class, or a later one? Asked in the order of the classes."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def stop_chances(q: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
    """The probability of each class given that it is none before, π_k / Σ_{j ≥ k} π_j."""
    return (q / q.flip(-1).cumsum(-1).flip(-1)).clamp(max=1)


def first_stop(stops: Bool[Tensor, "*batch K"]) -> Int[Tensor, "*batch"]:
    """The first class at which it stops: at the last one for sure."""
    number = torch.arange(stops.shape[-1], device=stops.device)
    return (stops | (number == len(number) - 1)).to(torch.int8).argmax(-1)
