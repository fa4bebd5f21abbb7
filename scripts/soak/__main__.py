"""Kill and resume a run again and again, and compare it with an undisturbed one.

    python -m scripts.soak                                           # 50 kills of the default experiment, on digits
    python -m scripts.soak --kills 10 --seed 3 experiment=ssl_digits latent=rloo
    python -m scripts.soak --every-write trainer.max_epochs=2        # one kill at each write of a run
    python -m scripts.soak --every-write hydra.mode=MULTIRUN seed=0,1 trainer.max_epochs=2     # … of a sweep
    python -m scripts.soak --every-write --evaluation trainer.max_epochs=2                     # … of an evaluation

Signal (SIGKILL or SIGTERM) and moment of each kill are random: while the process starts or restores, during training,
or while a checkpoint is written, as its .partial file shows. The first kill comes while the process starts. The run is
then resumed with `resume=RUN`. At the end its weights, optimiser and noise must equal those of the undisturbed run bit
for bit; metrics.csv must have the same rows, each once; results.json must have the same metrics. The exit code is 1 if
anything differs.

With --every-write, a run of its own is stopped at each operation that writes into its folder: before, in the middle of
the file, and by a full disk. It goes on with `resume=RUN` if there is a `.hydra`, else with the first command again. At
the end it must also have the same files. After an evaluation that was stopped, the run must be as it was, and the next
evaluation must measure the same.
"""

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

from discrete_latents.config.command_parser import CommandParser, whole_number
from scripts.soak.comparison import differences
from scripts.soak.every_write import EveryWrite, EveryWriteOfAnEvaluation, moments
from scripts.soak.random_kills import RandomKills


def main() -> None:
    parser = CommandParser(__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of train.py, for both runs")
    parser.add_argument("--every-write", action="store_true", help="stop at each write, not at random moments")
    parser.add_argument("--evaluation", action="store_true", help="with --every-write: of eval.py of the run")
    parser.add_argument("--kills", type=whole_number(), default=50, help="number of kills at random moments")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the signals and their moments")
    parser.add_argument(
        "--step", type=whole_number(), default=1, help="with --every-write: every so many of the writes"
    )
    parser.add_argument("--folder", type=Path, help="keeps both runs here, instead of deleting them")
    arguments = parser.parse_intermixed_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.every_write:
            soak = EveryWriteOfAnEvaluation if arguments.evaluation else EveryWrite
            at_every_write(soak(folder.resolve(), arguments.overrides), arguments.step)
        else:
            at_random_moments(RandomKills(folder.absolute(), arguments.overrides, arguments.seed), arguments.kills)


def at_random_moments(soak: RandomKills, kills: int) -> None:
    undisturbed = soak.undisturbed()
    started = time.perf_counter()
    for _ in range(kills):
        soak.kill()
    process = soak.live()
    process.join()
    soak.report(time.perf_counter() - started)
    found = differences(undisturbed, soak.run) if process.exitcode == 0 else [f"exit code {process.exitcode}"]
    if found:
        sys.exit("error: the runs differ in " + "; ".join(found))
    print("weights, optimiser, noise, metrics.csv and results.json: as those of the undisturbed run, bit for bit")


def at_every_write(soak: EveryWrite, step: int) -> None:
    started = time.perf_counter()
    operations = soak.operations()
    kills = [(number, name, moment) for number, name in enumerate(operations, 1) for moment in moments(name)][::step]
    failed = 0
    for number, name, moment in kills:
        if found := soak.found(number, moment):
            failed += 1
            print(f"{moment} {name} (write {number}): {'; '.join(found)}", flush=True)
    print(f"{len(operations)} writes, {len(kills)} stops in {time.perf_counter() - started:.0f} s")
    if failed:
        sys.exit(f"error: after {failed} of them the run differs")
    print(
        "weights, optimiser, noise, metrics.csv, results.json and files: as those of the undisturbed run, bit for bit"
    )


if __name__ == "__main__":
    main()
