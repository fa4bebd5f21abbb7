"""Uniform numbers and Gumbel noise with accurate tails, and the generator they use.

`torch.rand` in float32 returns multiples of 2⁻²⁴. Gumbel noise from it ends at 16.6, and a class of probability 1e-8 is
sampled at 0.015 of its rate. Everything here starts from 53 bits.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from discrete_latents.latent.tape import taped

SMALLEST = torch.finfo(torch.float32).tiny
"""Replaces a uniform number of 0, once in 2⁵³ draws."""

IN_CACHE = 2**18
"""Float32 numbers: 1 MiB. More noise than this is computed in parts, each of which stays in the processor's cache."""

CURRENT: ContextVar[torch.Generator | None] = ContextVar("generator", default=None)


def drawn_from(generator: torch.Generator | None) -> AbstractContextManager[None]:
    """A context that draws from `generator`; None keeps the current generator."""
    return nullcontext() if generator is None else use(generator)


@contextmanager
def use(generator: torch.Generator) -> Iterator[None]:
    if torch.compiler.is_compiling():
        raise ValueError("generator must be None under torch.compile, which draws from torch's global generator")
    token = CURRENT.set(generator)
    try:
        yield
    finally:
        CURRENT.reset(token)


def current() -> torch.Generator | None:
    """The generator of the innermost `drawn_from`; None: torch's global generator."""
    return None if torch.compiler.is_compiling() else CURRENT.get()


def source() -> dict[str, Any]:
    """Keyword arguments that pass the current generator to torch's functions."""
    generator = current()
    return {} if generator is None else {"generator": generator}


def uniform(shape: Sequence[int], device: torch.device) -> Tensor:
    """Uniform numbers strictly between 0 and 1, in float64, with 52 bits. On a device without float64 they are
    float32, with this precision only near 0.

    On a CPU, numbers of one call with the same last two indices share their bits below 2⁻³². Each number is exactly
    uniform, and any two are independent up to 2⁻³². This halves the random bits, which take most of the time.
    """
    return taped(draw_uniform, tuple(shape), device)


def draw_uniform(shape: Sequence[int], device: torch.device) -> Tensor:
    compiling = torch.compiler.is_compiling()
    if device.type == "mps" or (compiling and device.type != "cpu"):
        coarse, fine = torch.rand((2, *shape), device=device, **source()).unbind()
        coarse = (coarse * 2.0**24).floor()  # compiled uniform numbers have 31 bits, even in float64
        if device.type != "mps":
            coarse, fine = coarse.double(), fine.double()
        return (coarse * 2.0**-24 + fine * 2.0**-24).clamp(min=SMALLEST)
    halves = random_halves(shape) if can_share(shape, device) else None
    if halves is None and compiling:  # as torch.rand, with all of its bits
        return ((random_words(shape) & (2**53 - 1)).double() * 2.0**-53).clamp(min=SMALLEST)
    if halves is None:
        return torch.rand(tuple(shape), dtype=torch.float64, device=device, **source()).clamp(min=SMALLEST)
    low = torch.rand(tuple(shape[-2:]), dtype=torch.float64, **source())
    low = low.mul_(2.0**-32 - 2.0**-51).add_(0.5 + 2.0**-52)
    return halves.double().mul_(2.0**-32).add_(low)


def random_words(shape: Sequence[int]) -> Tensor:
    """Integers of 64 random bits, on a CPU."""
    if torch.compiler.is_compiling():  # without random_; the same numbers, if the compiler leaves randomness to torch
        return torch.randint(-(2**63), 2**63 - 1, tuple(shape), dtype=torch.int64) ^ -(2**63)
    return torch.empty(tuple(shape), dtype=torch.int64).random_(-(2**63), None, generator=current())


def random_halves(shape: Sequence[int]) -> Tensor | None:
    """Integers of 32 random bits, at half the cost of a float32 uniform number.

    None under vmap with different randomness, which torch supports only for its own distributions.
    """
    *leading, last = shape
    if torch.compiler.is_compiling():
        words = random_words((*leading, (last + 1) // 2))
    else:
        try:
            words = random_words((*leading, (last + 1) // 2))
        except RuntimeError:
            return None
    halves = words.view(torch.int32)
    return halves if last % 2 == 0 else halves[..., :last]


def gumbel(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Standard Gumbel noise, −log(−log u). In float32 it is clamped at −2.8, once in 2²⁴ draws."""
    return taped(draw_gumbel, tuple(shape), dtype, device)


def draw_gumbel(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    halves = random_halves(shape) if dtype == torch.float32 and can_share(shape, device) else None
    if halves is not None:
        low = torch.rand(tuple(shape[-2:]), **source()).sub_(0.5).mul_(-(2.0**-31))
        whole = torch.compiler.is_compiling() or halves.numel() <= IN_CACHE
        parts = [halves] if whole else halves.split(max(1, IN_CACHE // halves[0].numel()))
        drawn = [gumbel_at(part, low) for part in parts]
        return drawn[0] if whole else torch.cat(drawn)
    if (u := draw_uniform(shape, device)).dtype == torch.float32:
        log_u = u.clamp_(max=1 - 2.0**-24).neg_().log1p_()
    else:
        log_u = u.log_().to(dtype)
    return log_u.neg_().log_().neg_()


def gumbel_at(halves: Tensor, low: Tensor) -> Tensor:
    """Gumbel noise from 32 random bits and a shift within the cell that they name.

    Few passes, all in float32: the midpoint i + ½ of one of 2³¹ cells, shifted within the cell. log1p keeps all bits of
    small numbers, which give large noise.
    """
    v = torch.sub(low, halves.float().add_(0.5).abs_(), alpha=2.0**-31)
    return v.clamp_(min=2.0**-24 - 1, max=-(2.0**-60)).log1p_().neg_().log_().neg_()


def normal(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Standard normal noise."""
    return taped(draw_normal, tuple(shape), dtype, device)


def draw_normal(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.randn(tuple(shape), dtype=dtype, device=device, generator=current())


def can_share(shape: Sequence[int], device: torch.device) -> bool:
    """Whether the low bits are shared over the first dimensions, as described in `uniform`."""
    return device.type == "cpu" and math.prod(shape[:-2]) > 1
