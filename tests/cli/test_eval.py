"""`python eval.py run=RUN`: a finished run's numbers again, with nothing of the run touched."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from discrete_latents.latent import HardBound
from tests.cli.conftest import Outcome, Run, beyond_progress, forked, shell, snapshot

pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")  # Lightning's ModelCheckpoint


@pytest.fixture(scope="module")
def evaluated(finished, tmp_path_factory) -> tuple[Run, dict[str, tuple[int, bytes]], Path]:
    """A copy of the finished run, as it was, evaluated from another folder; and where the results are."""
    cwd = tmp_path_factory.mktemp("eval")
    folder = cwd / "runs" / "a copy"
    shutil.copytree(finished.folder, folder)
    before = snapshot(folder)
    outcome = forked("eval.py", "run=runs/a copy", cwd=cwd)
    assert outcome.code == 0, outcome.err
    return Run(folder, cwd, outcome), before, one_evaluation(folder)


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run that a test may write into."""
    return shutil.copytree(finished.folder, tmp_path / "a copy")


def one_evaluation(folder: Path) -> Path:
    (only,) = (folder / "evaluations").iterdir()
    return only


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_evaluation_repeats_the_test_numbers_exactly(finished, evaluated):
    _, _, written = evaluated
    assert results(written)["metrics"] == results(finished.folder)["metrics"]


def test_evaluation_touches_nothing_of_the_run(evaluated):
    run, before, _ = evaluated
    after = snapshot(run.folder)
    assert {name: after[name] for name in after if not name.startswith("evaluations")} == before


def test_evaluation_writes_results_and_pictures_into_its_own_folder(evaluated):
    run, _, written = evaluated
    names = ("reconstructions", "samples", "classes", "code_use")
    assert {path.name for path in (written / "images").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "pdf")
    }
    assert {path.name for path in run.cwd.iterdir()} == {"runs"}
    assert not (written / "checkpoints").exists()


def test_results_of_an_evaluation_say_what_was_evaluated(finished, evaluated):
    _, _, written = evaluated
    found, trained = results(written), results(finished.folder)
    for key in ("experiment", "latent", "data", "seed", "eval_samples", "status", "versions"):
        assert found[key] == trained[key]
    assert Path(found["checkpoint"]).name == "best.ckpt"


def test_evaluation_prints_a_table_and_paths_that_exist(evaluated):
    run, _, _ = evaluated
    table, _, paths = run.outcome.out.rpartition("┘")
    assert "test/nll" in table
    named = [run.cwd / line for line in paths.split("\n") if line]
    assert all(path.exists() for path in named)
    assert "results.json" in {path.name for path in named}


def test_evaluation_does_not_warn(evaluated):
    run, _, _ = evaluated
    assert beyond_progress(run.outcome.err) == []


def test_more_samples_change_the_nll_alone(command, finished, copied):
    assert command("eval", f"run={copied}", "eval_samples=37").code == 0
    found, trained = (results(folder) for folder in (one_evaluation(copied), finished.folder))
    assert found["eval_samples"] == 37
    changed = {name for name, value in found["metrics"].items() if value != trained["metrics"][name]}
    assert changed == {"test/nll"}
    assert found["metrics"]["test/nll"] == pytest.approx(trained["metrics"]["test/nll"], abs=0.5)


def test_the_validation_split_of_the_last_checkpoint(command, copied):
    outcome = command("eval", f"run={copied}", "ckpt=last", "split=val", "eval_samples=1")
    assert outcome.code == 0, outcome.err
    found = results(one_evaluation(copied))
    assert Path(found["checkpoint"]).name == "last.ckpt"
    last = torch.load(copied / "checkpoints" / "last.ckpt", weights_only=True)
    callback = next(state for name, state in last["callbacks"].items() if name.startswith("Checkpoints"))
    assert found["metrics"]["val/nelbo"] == pytest.approx(callback["current_score"].item(), abs=0.05)
    assert all(name.startswith("val/") for name in found["metrics"])
    assert "val/nelbo" in outcome.out


def test_evaluations_of_one_run_do_not_overwrite_each_other(command, copied):
    for _ in range(2):
        assert command("eval", f"run={copied}", "eval_samples=1").code == 0
    assert len(list((copied / "evaluations").iterdir())) == 2


def test_help_says_how(command):
    outcome = command("eval", "--help")
    assert outcome.code == 0
    assert "python eval.py run=RUN_DIR" in outcome.out


def resized(folder: Path) -> None:
    """Gives the best checkpoint a prior of another shape, as another model's would be."""
    path = folder / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["prior_logits"] = torch.zeros(5, 7)
    torch.save(content, path)


def renamed(folder: Path) -> None:
    """Gives the best checkpoint parameters that the model does not have."""
    path = folder / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"] = {f"other.{name}": value for name, value in content["state_dict"].items()}
    torch.save(content, path)


def deleted(folder: Path) -> None:
    (folder / "checkpoints" / "best.ckpt").unlink()


def truncated(folder: Path) -> None:
    path = folder / "checkpoints" / "best.ckpt"
    path.write_bytes(path.read_bytes()[:1000])


def left_alone(folder: Path) -> None:
    pass


def case(words: list[str], damage: Callable[[Path], None], *said: str) -> Any:
    """A command line, what is done to the run before, and what the error says."""
    return pytest.param(words, damage, said, id=f"{damage.__name__} {' '.join(words)}")


MISTAKES = [
    case([], left_alone, "run", "RUN_DIR"),
    case(["ckpt=best"], left_alone, "run", "RUN_DIR"),
    case(["run=nowhere"], left_alone, "nowhere", ".hydra/config.yaml"),
    case(["run=."], left_alone, ".hydra/config.yaml"),
    case(["run=a copy"], deleted, "best.ckpt", "a copy"),
    case(["run=a copy"], resized, "best.ckpt", "another model", "prior_logits"),
    case(["run=a copy"], renamed, "best.ckpt", "another model"),
    case(["run=a copy"], truncated, "best.ckpt"),
    case(["run=a copy", "ckpt=first"], left_alone, "ckpt", "best or last", "first"),
    case(["run=a copy", "split=train"], left_alone, "split", "val or test", "train"),
    case(["run=a copy", "eval_samples=0"], left_alone, "eval_samples", "at least 1", "0"),
    case(
        ["run=a copy", "eval_sample=9"],
        left_alone,
        "eval_sample",
        "did you mean eval_samples",
    ),
    case(["run=a copy", "model.num_latents=5"], left_alone, "another model"),
    case(["run=a copy", "latent=exact"], left_alone, "latent", "a run keeps its own latent"),
    case(["run=a copy", "model/network=cnn"], left_alone, "model/network", "a run keeps its own"),
]


@pytest.mark.parametrize(("words", "damage", "said"), MISTAKES)
def test_a_mistake_is_one_line_and_touches_nothing(command, copied, words, damage, said):
    damage(copied)
    before = snapshot(copied)
    outcome = command("eval", *words, cwd=copied.parent)
    one_line_error(outcome, said)
    after = snapshot(copied)
    assert {name: after[name] for name in after if not name.startswith("evaluations")} == before


def one_line_error(outcome: Outcome, said: Sequence[str]) -> None:
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("error: ")
    for words in said:
        assert words in outcome.err


def test_a_mistake_in_a_shell_is_one_line_too(tmp_path):
    outcome = shell("eval.py", "run=nowhere", cwd=tmp_path)
    one_line_error(outcome, ["nowhere"])
    assert outcome.out == ""
    assert list(tmp_path.iterdir()) == []


def bounds_computed(monkeypatch, stop: int | None = None) -> list[int]:
    """The size of each batch whose bound is computed, as it is; KeyboardInterrupt in place of number `stop`."""
    sizes: list[int] = []
    forward = HardBound.forward

    def counted(self, objective):
        if len(sizes) == stop:
            raise KeyboardInterrupt
        values = forward(self, objective)
        sizes.append(len(values))
        return values

    monkeypatch.setattr(HardBound, "forward", counted)
    return sizes


def test_an_evaluation_that_was_stopped_goes_on(command, copied, monkeypatch):
    """By the same command: with the bounds that it had, to the same numbers, and leaves no file of them."""
    words = (f"run={copied}", "data.eval_batch_size=50")
    with monkeypatch.context() as patch:
        whole = bounds_computed(patch)
        assert command("eval", *words).code == 0
    undisturbed = one_evaluation(copied)
    with monkeypatch.context() as patch:
        bounds_computed(patch, stop=3)
        assert command("eval", *words).code == 1
    assert [path.stat().st_size for path in (copied / "evaluations").glob(".nll-*")] == [8 * 150]
    with monkeypatch.context() as patch:
        other = bounds_computed(patch)
        assert command("eval", *words, "eval_samples=2").code == 0  # another evaluation
        assert other == whole
    with monkeypatch.context() as patch:
        rest = bounds_computed(patch)
        outcome = command("eval", *words)
    assert outcome.code == 0
    assert f"goes on: the nll of 150 of {sum(whole)} images is known" in outcome.out + outcome.err
    assert rest == whole[3:]
    latest = max((copied / "evaluations").iterdir(), key=lambda path: path.name)
    assert results(latest)["metrics"] == results(undisturbed)["metrics"]
    assert not list((copied / "evaluations").glob(".nll-*"))
