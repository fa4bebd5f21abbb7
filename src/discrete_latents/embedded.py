"""Runs a command of this package within somebody else's Python process, and leaves that process as it was."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from discrete_latents.config.overrides import key, multirun
from discrete_latents.errors import Failure, UserError
from discrete_latents.process import embedded


def run_command(name: str, main: Callable[[], Path | None], overrides: Sequence[str]) -> Path:
    """Runs `python NAME.py OVERRIDES` in this process. Returns the folder that it wrote into.

    Raises UserError with the line that the command ends with, where it refuses its settings.
    """
    if isinstance(overrides, str) or not all(isinstance(word, str) for word in overrides):
        raise UserError(f"overrides must be a list of settings, as ['seed=1', 'latent=rloo'], got {overrides!r}")
    if multirun(overrides) or any(key(word) == "sweep.resume" for word in overrides):
        raise UserError("a sweep is started on the command line: python train.py -m …; from Python, train run by run")
    flags = [word for word in overrides if word.startswith("-") and not word.startswith("--config-dir")]
    if flags:
        raise UserError(f"overrides must be settings as name=value, got {flags[0]!r}")
    with as_it_was():
        sys.argv = [f"{name}.py", *overrides]
        token = embedded.set(True)
        try:
            folder = main()
            assert folder is not None
            return folder
        except Failure as failure:
            if isinstance(failure.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt(failure.message) from failure
            raise UserError(failure.message) from None
        finally:
            embedded.reset(token)


@contextmanager
def as_it_was() -> Iterator[None]:
    """Puts back what a command changes in its process: arguments, streams, variables, logging, warnings, Hydra."""
    root, hydra, config = logging.getLogger(), GlobalHydra.instance(), HydraConfig.instance()
    arguments, streams, variables = getattr(sys, "argv", None), (sys.stdout, sys.stderr), dict(os.environ)
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    former: Any = hydra.hydra, config.cfg
    hydra.clear()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        hydra.hydra, config.cfg = former
        for handler in {*root.handlers} - {*handlers}:
            handler.close()
        root.handlers[:], logging.raiseExceptions = handlers, raising
        root.setLevel(level)
        torch.set_flush_denormal(False)
        os.environ.clear()
        os.environ.update(variables)
        sys.stdout, sys.stderr = streams
        if arguments is None:
            del sys.argv
        else:
            sys.argv = arguments
