"""Files of a run that may not be read or written: one line. Each command is a child process, of another user where the
tests are root's, whom no permission stops."""

import codecs
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

from discrete_latents import cli, load_run
from discrete_latents.errors import UserError
from discrete_latents.summary.command import summarize_main

NOBODY = 65534


def give(how: str, run: Path, home: Path) -> tuple[int, str]:
    """The exit code of a command that is given a run, and what it says on stderr."""
    log = home / "log"
    log.write_bytes(b"")
    log.chmod(0o666)
    pid = os.fork()
    if pid == 0:
        jaxtyping.config.update("jaxtyping_disable", True)
        code = 70
        try:
            file = log.open("w")
            os.dup2(file.fileno(), 2)
            sys.stderr = file
            os.chdir(home)
            codecs.lookup("cp437")  # zipfile's: another user may not be allowed to import from Python's own folder
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            words = {"resume": [f"resume={run}", "trainer.max_epochs=3"], "eval": [f"run={run}"]}
            sys.argv = [how, *words.get(how, [str(run), "--output", str(home / "out")])]
            if how == "load_run":
                load_run(run)
            else:
                {"resume": cli.train_main, "eval": cli.eval_main, "summarize": summarize_main}[how]()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except UserError as error:
            file.write(f"error: {error}\n")
            code = 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), log.read_text()


@pytest.fixture
def home(finished) -> Iterator[Path]:
    """A folder that anybody may enter and write, with a run of which anybody owns the files."""
    folder = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(finished.folder, folder / "run")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        yield folder
    finally:
        for path in (path for path in folder.rglob("*") if path.is_dir()):
            path.chmod(0o777)
        shutil.rmtree(folder)


LAST, BEST, CONFIG, RESULTS = "checkpoints/last.ckpt", "checkpoints/best.ckpt", ".hydra/config.yaml", "results.json"
NEEDED = {
    "resume": [CONFIG, ".hydra/hydra.yaml", LAST, BEST, RESULTS, "metrics.csv", "checkpoints", "."],
    "eval": [CONFIG, ".hydra/hydra.yaml", BEST, RESULTS, "checkpoints", "."],
    "load_run": [CONFIG, BEST, RESULTS, "checkpoints", "."],
    "summarize": [CONFIG, ".hydra/hydra.yaml", RESULTS, "."],
}


@pytest.mark.parametrize("how", NEEDED)
def test_what_may_not_be_read_is_one_line(home, how):
    for name in NEEDED[how]:
        path = home / "run" / name
        mode = path.stat().st_mode
        path.chmod(0)
        code, said = give(how, home / "run", home)
        path.chmod(mode)
        assert (code, said.count("\n")) == (1, 1), f"{name}: {said}"
        assert said.startswith("error: "), f"{name}: {said}"


@pytest.mark.parametrize("name", [".", "checkpoints"])
def test_a_folder_that_may_not_be_written_is_one_line(home, name):
    (home / "run" / name).chmod(0o555)
    code, said = give("resume", home / "run", home)
    assert code == 1
    assert said.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in said
