"""Masked classes: logits of −inf, or of the lowest number of their dtype.

Inside the latent layer a masked class has the logit −1e20. Its exponential is 0 at any temperature, and its product
with 0 is 0, where that of −inf is NaN.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LOGIT = -1e20
"""The logit of a masked class."""

LOWEST = -1e15
"""A logit or log-probability below this belongs to a masked class."""


def with_finite_logits(logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """The logits in at least float32, with `LOGIT` for masked classes, which get no gradient.

    If all classes of a latent are masked, raises ValueError where checking needs no synchronisation (on a CPU, outside
    torch.compile and vmap) and sets that latent's logits to NaN elsewhere.
    """
    logits = float32_logits(logits)
    if none(logits):
        return logits
    refuse_impossible(logits)
    logits = logits.clamp(min=LOGIT)
    return logits.masked_fill(logits.detach().amax(-1, keepdim=True) < LOWEST, torch.nan)


def float32_logits(x: Tensor) -> Tensor:
    """Half precision converted to float32, with `LOGIT` for float16's lowest number."""
    if x.dtype == torch.float16:
        return x.float().masked_fill(x <= torch.finfo(x.dtype).min, LOGIT)
    return x.float() if x.dtype == torch.bfloat16 else x


def allowed(logits: Float[Tensor, "... K"]) -> Bool[Tensor, "... K"]:
    """Which classes are not masked; NaN is not a mask."""
    return ~(logits.detach() < LOWEST)


def none(logits: Float[Tensor, "... K"]) -> bool:
    """Whether no class is masked; False if that cannot be checked without synchronising. Fast path for plain logits."""
    if not visible(logits):
        return False
    total = seen(untransformed(logits).sum())
    return total is not None and total > LOWEST


def visible(x: Tensor) -> bool:
    """Whether values can be read without synchronising a device or breaking a graph."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def untransformed(x: Tensor) -> Tensor:
    """The values of a tensor, of all examples within `torch.func.vmap`."""
    return torch.func.debug_unwrap(x.detach())


def seen(value: Tensor) -> float | None:
    """The value of a CPU scalar; None under vmap or for a tensor without data."""
    try:
        return float(value.detach().float().numpy() if value.dtype == torch.bfloat16 else value.detach().numpy())
    except RuntimeError:
        return None


def refuse_impossible(logits: Float[Tensor, "... K"]) -> None:
    """Raises ValueError if all classes of a latent are masked and that can be checked without synchronising."""
    if refuses(logits, 1):
        raise ValueError(
            f"all {logits.shape[-1]} classes of a latent are masked; each latent needs at least one that is not"
        )


def refuses(logits: Float[Tensor, "... K"], size: int) -> bool:
    """Whether a latent has fewer than `size` unmasked classes, where that can be checked without synchronising."""
    return visible(logits) and bool(seen((allowed(logits).sum(-1) < size).any()))
