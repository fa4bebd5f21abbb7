"""Classes that are masked out: logits of −inf, or of the lowest number of their precision.

Inside the latent layer a masked class has the logit −1e20, whose exponential is 0 at any temperature while its products
with 0 are 0, where −inf gives NaN.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LOGIT = -1e20
"""The logit of a masked class."""

LOWEST = -1e15
"""A logit or log-probability below it is that of a masked class."""


def with_finite_logits(logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """The logits, in float32 at least, with `LOGIT` for masked classes, which then pass no gradient.

    Raises ValueError where all classes of a latent are masked, if that can be seen without waiting: on a CPU, outside
    torch.compile and vmap. Elsewhere that latent's logits are NaN.
    """
    logits = float32_logits(logits)
    if none(logits):
        return logits
    logits = logits.clamp(min=LOGIT)
    refuse_impossible(logits)
    impossible = ~allowed(logits).any(-1, keepdim=True)
    return logits.masked_fill(impossible, torch.nan)


def float32_logits(x: Tensor) -> Tensor:
    """Half precisions in float32, with `LOGIT` for float16's lowest number."""
    if x.dtype == torch.float16:
        return x.float().masked_fill(x <= torch.finfo(x.dtype).min, LOGIT)
    return x.float() if x.dtype == torch.bfloat16 else x


def allowed(logits: Float[Tensor, "... K"]) -> Bool[Tensor, "... K"]:
    """Which classes are not masked; NaN is not a mask."""
    return ~(logits.detach() < LOWEST)


def none(logits: Float[Tensor, "... K"]) -> bool:
    """Whether no class is masked, as far as it can be seen without waiting: what logits without masks pay for them."""
    if not visible(logits):
        return False
    total = seen(logits.detach().sum())
    return total is not None and total > LOWEST


def visible(x: Tensor) -> bool:
    """Whether values can be looked at without waiting for a device and without breaking a graph."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def seen(value: Tensor) -> float | None:
    """The value of a number in a CPU's memory; None where vmap or a tensor without data hides it."""
    try:
        return float(value.detach().numpy())
    except RuntimeError:
        return None


def refuse_impossible(logits: Float[Tensor, "... K"]) -> None:
    """Raises ValueError where all classes of a latent are masked, if that can be seen without waiting."""
    if visible(logits) and seen((~allowed(logits).any(-1)).any()):
        raise ValueError(
            f"all {logits.shape[-1]} classes of a latent are masked; each latent needs at least one that is not"
        )
