"""One line where threads contend with other work."""

import os

import lightning.pytorch as pl
import pytest
import torch

from discrete_latents.training.contention import contention, warn_of_contention


@pytest.mark.parametrize(
    ("threads", "load", "processors", "setting"),
    [
        (2, 0.5, 2, None),
        (1, 30.0, 2, None),
        (8, 6.0, 16, None),
        (2, 1.8, 2, 1),
        (8, 3.0, 8, 5),
        (8, 90.0, 8, 1),
        (16, 1.5, 16, 14),
        (16, 40.0, 64, None),
    ],
)
def test_threads_that_do_not_fit_are_told_how_many_would(threads, load, processors, setting):
    said = contention(threads, load, processors)
    assert (said is None) == (setting is None)
    assert said is None or said.endswith(f"set OMP_NUM_THREADS={setting}")


def test_it_is_said_by_the_load_of_the_machine(monkeypatch, caplog):
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    for load, lines in ((0.2, 0), (9.0, 1)):
        caplog.clear()
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        warn_of_contention(trainer)
        assert len(caplog.records) == lines

    def unknown():
        raise OSError

    monkeypatch.setattr(os, "getloadavg", unknown, raising=False)
    warn_of_contention(trainer)
    assert len(caplog.records) == 1
