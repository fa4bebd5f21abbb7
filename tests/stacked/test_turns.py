"""Threads take turns, and each finds the process as it left it."""

import logging
import signal
import sys
import threading

import pytest
import torch

from discrete_latents.stacked.turns import pause, take_turns

KEEP_ON = {"between": lambda: None, "stopping": lambda: False}


def test_each_draws_from_its_own_generator_and_has_its_own_handlers_and_streams():
    seen: dict[int, list] = {0: [], 1: []}

    def work(number: int):
        torch.manual_seed(number)
        handler = logging.NullHandler()
        logging.getLogger().addHandler(handler)
        sys.argv = [str(number)]
        for _ in range(3):
            pause()
            assert handler in logging.getLogger().handlers
            assert sys.argv == [str(number)]
            seen[number].append(torch.rand(()).item())
        return number

    before, command, noise = logging.getLogger().handlers[:], sys.argv, torch.get_rng_state()
    assert take_turns([lambda: work(0), lambda: work(1)], **KEEP_ON) == [0, 1]
    assert (logging.getLogger().handlers, sys.argv) == (before, command)
    assert torch.equal(torch.get_rng_state(), noise)
    for number, values in seen.items():
        torch.manual_seed(number)
        assert values == [torch.rand(()).item() for _ in range(3)]


def test_turns_are_rounds_of_those_that_have_not_ended():
    order: list[str] = []

    def work(name: str, turns: int) -> None:
        for _ in range(turns):
            order.append(name)
            pause()

    take_turns([lambda: work("a", 1), lambda: work("b", 3)], lambda: order.append("|"), lambda: False)
    assert "".join(order) == "ab|b|b||"


def test_an_exception_ends_one_and_is_raised_once_the_others_have_ended():
    ended = []

    def fails() -> None:
        pause()
        raise SystemExit(3)

    def works() -> None:
        pause()
        pause()
        ended.append(True)

    with pytest.raises(SystemExit):
        take_turns([fails, works], **KEEP_ON)
    assert ended


def test_after_ctrl_c_none_goes_on_and_each_leaves_its_contexts():
    cleaned, passed = [], []

    def work(number: int) -> None:
        try:
            if number == 0:
                signal.raise_signal(signal.SIGINT)
            pause()
            passed.append(number)
        finally:
            cleaned.append(number)

    with pytest.raises(KeyboardInterrupt):
        take_turns([lambda: work(0), lambda: work(1)], **KEEP_ON)
    assert (cleaned, passed) == ([0], [])
    assert threading.active_count() == 1 or all(
        not thread.name.startswith("Thread-") for thread in threading.enumerate()
    )


def test_where_all_are_asked_to_stop_none_begins():
    stop: list[bool] = []
    assert take_turns([lambda: stop.append(True), lambda: 1 / 0], lambda: None, lambda: bool(stop)) == [None, None]
