"""The commands as they are installed: each says at once that it starts, since loading its libraries takes seconds."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from discrete_latents.slurm import requeue_when_warned
from discrete_latents.torchmetrics_import import import_torchmetrics

HIDDEN = "DISCRETE_LATENTS_COMMAND"
"""Names the command of `python -m discrete_latents` to the processes that Lightning starts, which have its settings
alone."""


def start_train() -> None:
    """`python train.py`, `discrete-latents-train`, `python -m discrete_latents train`."""
    say_starting()
    requeue_when_warned()
    import_torchmetrics()
    from discrete_latents.cli import train_main

    train_main()


def start_eval() -> None:
    """`python eval.py`, `discrete-latents-eval`, `python -m discrete_latents eval`."""
    say_starting()
    import_torchmetrics()
    from discrete_latents.cli import eval_main

    eval_main()


def start_search() -> None:
    from discrete_latents.search.command import search_main

    search_main()


def start_summarize() -> None:
    from discrete_latents.summary.command import summarize_main

    summarize_main()


def start_export() -> None:
    from discrete_latents.export.command import export_main

    export_main()


def start_explore() -> None:
    from discrete_latents.explore.command import explore_main

    explore_main()


COMMANDS: dict[str, Callable[[], None]] = {
    "train": start_train,
    "eval": start_eval,
    "search": start_search,
    "summarize": start_summarize,
    "export": start_export,
    "explore": start_explore,
}


def start_named() -> None:
    """`python -m discrete_latents [NAME] …`, a name of `COMMANDS`; train where none is named."""
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        os.environ[HIDDEN] = sys.argv.pop(1)
    elif "LOCAL_RANK" not in os.environ:
        os.environ[HIDDEN] = "train"
    COMMANDS[os.environ.get(HIDDEN, "train")]()


def say_starting() -> None:
    """Prints a line on a terminal, unless the output is asked for by itself (--help, --cfg), or this is not the first
    process."""
    flags = {word for word in sys.argv[1:] if word.startswith("-")} - {"-m", "--multirun", "--config-dir", "-cd"}
    terminals = [stream for stream in (sys.stderr, sys.stdout) if stream is not None and stream.isatty()]
    if flags or not terminals or os.environ.get("LOCAL_RANK", "0") != "0":
        return
    with suppress(OSError, ValueError):  # nobody reads it
        print(
            "starting: torch, lightning and hydra are loaded, which takes some seconds", file=terminals[0], flush=True
        )
