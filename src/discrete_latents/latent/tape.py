"""The random draws of a computation: listed, and given from outside.

A program for several runs at once (`torch.func.vmap`) cannot draw from the generator of each run. So the draws of one
computation are listed, made for each run by its own generator, and given to the program:

    with listed_draws() as calls:
        loss(batch)
    noise = draws(calls)            # as often as there are runs, each with its own generator
    with given(calls, noise):
        loss(batch)                 # as if it had drawn them
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

Call = tuple[Callable[..., Tensor], tuple[Any, ...]]
"""A function that draws from the current generator, and its arguments."""

TAPE: ContextVar[Callable[[Call], Tensor] | None] = ContextVar("tape", default=None)


def taped(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """`function(*arguments)`, unless a tape lists the call or has its result."""
    tape = None if torch.compiler.is_compiling() else TAPE.get()
    return function(*arguments) if tape is None else tape((function, arguments))


@contextmanager
def listed_draws() -> Iterator[list[Call]]:
    """Lists what is drawn within."""
    calls: list[Call] = []

    def tape(call: Call) -> Tensor:
        calls.append(call)
        return call[0](*call[1])

    with on_tape(tape):
        yield calls


def draws(calls: Sequence[Call]) -> list[Tensor]:
    """The results of calls, drawn now."""
    return [function(*arguments) for function, arguments in calls]


@contextmanager
def given(calls: Sequence[Call], noise: Sequence[Tensor]) -> Iterator[None]:
    """Gives `noise` for the same calls in the same order. Raises RuntimeError within for any others, and for fewer."""
    left = iter(zip(calls, noise, strict=True))

    def tape(call: Call) -> Tensor:
        expected, value = next(left, (None, None))
        if expected != call or value is None:
            raise RuntimeError("its draws are not the same in every step")
        return value

    with on_tape(tape):
        yield
    if next(left, None) is not None:
        raise RuntimeError("its draws are not the same in every step")


@contextmanager
def on_tape(tape: Callable[[Call], Tensor]) -> Iterator[None]:
    token = TAPE.set(tape)
    try:
        yield
    finally:
        TAPE.reset(token)


def transforming() -> bool:
    """Whether this is within a transform of `torch.func`, which no `autograd.Function` of here is made for."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()
