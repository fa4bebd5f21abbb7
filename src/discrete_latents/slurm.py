"""Another turn for a SLURM job whose time is up."""

import os
import signal
import subprocess
import sys
from typing import Any

WARNING = "SIGUSR1"
"""The signal that a job asks SLURM for before its time limit, by --signal=SIGUSR1@90, as Lightning has it."""


def requeue() -> None:
    """Puts this job, or this task of its array, in the queue again; SLURM then ends it with SIGTERM."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    subprocess.run(["scontrol", "requeue", job])


def requeue_when_warned() -> None:
    """Requeues on SLURM's warning, which ends a process that does not handle it. While a run trains, it saves first:
    `callbacks.stop_signals`. Before and after that, in a test for example, all is saved that another turn needs."""
    number = getattr(signal, WARNING, None)  # none on Windows
    if number is None or "SLURM_JOB_ID" not in os.environ or signal.getsignal(number) is not signal.SIG_DFL:
        return
    signal.signal(number, warned)


def warned(*_: Any) -> None:
    """The handler outside training: the job's first process asks, and the others go on."""
    if os.environ.get("SLURM_PROCID", "0") == "0":
        print("SLURM's time is nearly up: this job asks for another turn", file=sys.stderr, flush=True)
        requeue()
