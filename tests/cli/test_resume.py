"""`python train.py resume=RUN`: a run goes on as if it had never stopped."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from discrete_latents import load_run
from discrete_latents.summary.finished_runs import find
from tests.cli.conftest import SMALL, Run, beyond_progress, forked, same_bits, snapshot, weights

pytestmark = [  # both are Lightning's ModelCheckpoint's
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    """Four epochs without a stop."""
    cwd = tmp_path_factory.mktemp("straight")
    outcome = forked("train.py", *SMALL, "trainer.max_epochs=4", f"hydra.run.dir={cwd}/run", cwd=cwd)
    assert outcome.code == 0, outcome.err
    return cwd / "run"


@pytest.fixture(scope="module")
def resumed(finished, tmp_path_factory) -> Run:
    """The finished run of two epochs, moved to another folder and resumed to four."""
    cwd = tmp_path_factory.mktemp("resumed")
    folder = shutil.copytree(finished.folder, cwd / "a moved run")
    outcome = forked("train.py", "resume=a moved run", "trainer.max_epochs=4", cwd=cwd)
    assert outcome.code == 0, outcome.err
    return Run(folder, cwd, outcome)


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run that a test may write into."""
    return shutil.copytree(finished.folder, tmp_path / "a run")


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def cells(folder: Path) -> list[tuple[int, str, float]]:
    """Every filled cell of metrics.csv: step, column and value."""
    with (folder / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    return [(int(row["step"]), name, float(cell)) for row in table for name, cell in row.items() if cell]


def timeless(folder: Path) -> dict[tuple[int, str], float]:
    """The cells that training and validation determine: without speeds, and without tests, which come at the end
    of each part."""
    return {
        (step, name): value
        for step, name, value in cells(folder)
        if name not in ("step", "epoch", "images_per_second") and not name.startswith("test/")
    }


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(straight, resumed):
    for which in ("last", "best"):
        assert same_bits(*(weights(folder / "checkpoints" / f"{which}.ckpt") for folder in (straight, resumed.folder)))


def test_a_resumed_run_has_the_optimiser_state_of_an_uninterrupted_one(straight, resumed):
    first, second = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (straight, resumed.folder)
    )
    assert (first["epoch"], first["global_step"]) == (second["epoch"], second["global_step"])
    assert torch.equal(first["noise"], second["noise"])
    (one,), (other,) = first["optimizer_states"], second["optimizer_states"]
    assert one["state"].keys() == other["state"].keys()
    assert all(same_bits(one["state"][index], other["state"][index]) for index in one["state"])


def test_a_resumed_run_has_the_results_of_an_uninterrupted_one(straight, resumed):
    first, second = results(straight), results(resumed.folder)
    timed = ("seconds", "total_seconds", "train_images_per_second", "git", "command")
    assert {k: v for k, v in first.items() if k not in timed} == {k: v for k, v in second.items() if k not in timed}
    assert (second["epochs"], second["steps"]) == (4, 52)


def test_metrics_csv_goes_on_with_the_same_values(straight, resumed):
    assert timeless(resumed.folder) == timeless(straight)


def test_metrics_csv_neither_loses_nor_doubles_a_cell(finished, resumed):
    count = Counter((step, name) for step, name, _ in cells(resumed.folder) if name not in ("step", "epoch"))
    assert set(count.values()) == {1}
    earlier = {(step, name, value) for step, name, value in cells(finished.folder)}
    assert earlier <= set(cells(resumed.folder))


def test_a_resume_writes_into_the_run_alone(finished, resumed):
    assert [path.name for path in resumed.cwd.iterdir()] == ["a moved run"]
    for name in ("hydra.yaml", "overrides.yaml"):
        assert (resumed.folder / ".hydra" / name).read_bytes() == (finished.folder / ".hydra" / name).read_bytes()


def test_a_resume_does_not_warn(resumed):
    assert beyond_progress(resumed.outcome.err) == []


def test_a_resume_in_place_has_the_weights_of_an_uninterrupted_run(command, straight, tmp_path):
    run = tmp_path / "run"
    assert command("train", *SMALL, f"hydra.run.dir={run}").code == 0
    outcome = command("train", f"resume={run}", "trainer.max_epochs=4")
    assert outcome.code == 0, outcome.err
    assert timeless(run) == timeless(straight)
    for which in ("last", "best"):
        assert same_bits(*(weights(folder / "checkpoints" / f"{which}.ckpt") for folder in (straight, run)))


@pytest.mark.parametrize("latent", ["nvil", "relax"])
def test_what_an_estimator_learns_and_remembers_goes_on_too(command, tmp_path, latent):
    words = [*SMALL, f"latent={latent}"]
    for run, epochs in (("straight", 4), ("stopped", 2)):
        assert command("train", *words, f"trainer.max_epochs={epochs}", f"hydra.run.dir={tmp_path}/{run}").code == 0
    outcome = command("train", f"resume={tmp_path}/stopped", "trainer.max_epochs=4")
    assert outcome.code == 0, outcome.err
    straight, resumed = (weights(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("straight", "stopped"))
    assert any(name.startswith("estimator.") for name in straight)
    assert same_bits(straight, resumed)
    assert load_run(tmp_path / "stopped").sample(3).shape == (3, 1, 8, 8)


def test_a_finished_run_resumed_is_tested_again_and_stays_as_it_was(command, finished, copied):
    before = snapshot(copied)
    outcome = command("train", f"resume={copied}")
    assert outcome.code == 0, outcome.err
    assert results(copied)["metrics"] == results(finished.folder)["metrics"]
    assert cells(copied) == cells(finished.folder)
    after = snapshot(copied)
    kept = [name for name in before if name.startswith((".hydra", "checkpoints"))]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_a_moved_run_is_tested_by_its_own_best_checkpoint(command, finished, copied):
    best = copied / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    content["state_dict"]["output_bias"] += 1.0  # so that it is seen which file was read
    torch.save(content, best)
    assert command("train", f"resume={copied}").code == 0
    assert results(copied)["metrics"]["test/nelbo"] > results(finished.folder)["metrics"]["test/nelbo"] + 0.1


def test_a_moved_run_keeps_a_best_checkpoint_that_is_better_than_what_follows(command, copied):
    last = copied / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    (callback,) = (state for name, state in content["callbacks"].items() if name.startswith("Checkpoints"))
    best = torch.tensor(-1000.0)
    callback["best_model_score"] = callback["kth_value"] = best
    callback["best_k_models"] = dict.fromkeys(callback["best_k_models"], best)
    torch.save(content, last)
    before = weights(copied / "checkpoints" / "best.ckpt")
    assert command("train", f"resume={copied}", "trainer.max_epochs=3").code == 0
    assert same_bits(weights(copied / "checkpoints" / "best.ckpt"), before)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model=categorical_vae", "model = categorical_vae"),
        ("model/network=cnn", "model/network = cnn"),
        ("model/likelihood=gaussian", "model/likelihood = gaussian"),
        ("latent=exact", "latent = exact"),
        ("experiment=vae_mnist", "experiment = vae_mnist"),
        ("+experiment=vae_mnist", "experiment"),
        ("~latent", "latent"),
        ("temperature=constant", "temperature = constant"),
        ("data=mnist", "data = mnist"),
        ("model.network.hidden=[8]", "model.network.hidden = [8], where the run has [16]"),
        ("model.num_latents=5", "model.num_latents = 5, where the run has 3"),
        (
            "optimizer.lr=0.3",
            "optimizer.lr = 0.3, where the run has 0.001: a run keeps its settings, except",
        ),
        ("data.batch_size=7", "data.batch_size = 7, where the run has 100"),
        ("+trainer.limit_val_batches=0", "trainer.limit_val_batches = 0, where the run has nothing"),
        ("~callbacks.temperature", "callbacks.temperature = nothing, where the run has {"),
        ("trainer.max_epoch=4", "did you mean trainer.max_epochs"),
        ("trainer.max_epochs=abc", "trainer.max_epochs must be a whole number"),
        ("temperature.start=-1", "temperature.start = -1, where the run has 1.0"),
    ],
)
def test_what_cannot_change_is_refused_in_one_line_and_nothing_is_touched(command, copied, word, said):
    before = snapshot(copied)
    outcome = command("train", "resume=a run", word, cwd=copied.parent)
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("error: ")
    assert said in outcome.err
    assert snapshot(copied) == before
    assert [path.name for path in copied.parent.iterdir()] == ["a run"]


def test_what_changes_is_written_down_and_holds_for_what_follows(command, copied):
    words = [
        f"resume={copied}",
        "trainer.max_epochs=3",
        "eval_samples=7",
        "+trainer.min_epochs=1",
        "~callbacks.pictures",
    ]
    for _ in range(2):  # the second time, nothing changes
        outcome = command("train", *words)
        assert outcome.code == 0, outcome.err
        config = load_run(copied).config
        assert (config.trainer.max_epochs, config.trainer.min_epochs, config.eval_samples) == (3, 1, 7)
        assert "pictures" not in config.callbacks
        (record,) = config.resumed
        assert record.step == 26
        assert dict(record.changes["trainer.max_epochs"]) == {"from": 2, "to": 3}
        assert set(record.changes) == {"trainer.max_epochs", "eval_samples", "trainer.min_epochs", "callbacks.pictures"}
        assert results(copied)["epochs"] == 3
    assert command("eval", f"run={copied}").code == 0
    (evaluated,) = (copied / "evaluations").iterdir()
    assert results(evaluated)["eval_samples"] == 7
    (run,), _ = find([copied / "results.json"])
    assert (run.settings["eval_samples"], run.settings["trainer.max_epochs"]) == (7, 3)
    assert "trainer.max_epochs" in run.given


@pytest.mark.parametrize("left", ["best.ckpt", "a failed job's results", "half of a checkpoint", "a row"])
def test_what_is_left_before_the_first_last_checkpoint_has_no_influence(command, straight, tmp_path, left):
    run = shutil.copytree(straight, tmp_path / "run")
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    for path in (run / "results.json", *(run / "checkpoints").iterdir()):
        path.unlink()
    (run / "metrics.csv").write_text("step,train/relaxed_nelbo\n13,3")
    if left == "best.ckpt":
        (state,) = (state for name, state in best["callbacks"].items() if name.startswith("Checkpoints"))
        state |= {"last_model_path": "", "best_model_score": torch.tensor(-1e9)}
        torch.save(best, run / "checkpoints" / "best.ckpt")
        torch.save(best, run / "checkpoints" / "older.ckpt")
    if left == "a failed job's results":
        (run / "results.json").write_text('{"status": "failed", "error": "a full disk"}')
    if left == "half of a checkpoint":
        (run / "checkpoints" / "best.ckpt.partial").write_bytes(b"PK")
    outcome = command("train", f"resume={run}")
    assert outcome.code == 0, outcome.err
    assert f"{run} was stopped before its first checkpoint: it starts again" in outcome.err.splitlines()
    assert timeless(run) == timeless(straight)
    assert results(run)["metrics"] == results(straight)["metrics"]
    for which in ("last", "best"):
        assert same_bits(*(weights(folder / "checkpoints" / f"{which}.ckpt") for folder in (straight, run)))
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}


@pytest.mark.parametrize("cut", ["hydra.yaml missing", "hydra.yaml empty", "hydra.yaml cut", "overrides.yaml missing"])
def test_a_configuration_that_is_whole_is_gone_on_with_whatever_came_after_it(command, straight, tmp_path, cut):
    """As Hydra wrote it in earlier versions: config.yaml first."""
    run = tmp_path / "run"
    saved = shutil.copytree(straight / ".hydra", run / ".hydra")
    (saved / "overrides.yaml").unlink()
    file = saved / "hydra.yaml"
    if cut.startswith("hydra"):
        text = file.read_text()
        file.unlink()
        if not cut.endswith("missing"):
            file.write_text("" if cut.endswith("empty") else text[:300])
    outcome = command("train", f"resume={run}")
    assert outcome.code == 0, outcome.err
    assert results(run)["metrics"] == results(straight)["metrics"]


def test_a_configuration_that_is_cut_is_refused_and_not_taken_for_another(command, straight, tmp_path):
    for share in (0.1, 0.5, 0.9, 0.999):
        run = shutil.copytree(straight, tmp_path / f"run {share}")
        config = run / ".hydra" / "config.yaml"
        config.write_text(config.read_text()[: int(share * config.stat().st_size)])
        outcome = command("train", f"resume={run}")
        assert (outcome.code, outcome.err.count("\n")) == (1, 1)
        assert "is not the directory of a run: its .hydra/config.yaml" in outcome.err


@pytest.mark.parametrize(
    "left", [[], ["hydra.yaml"], ["hydra.yaml.partial"], ["hydra.yaml", "overrides.yaml"]], ids=str
)
def test_a_start_that_was_stopped_before_it_saved_its_configuration_is_started_again(command, straight, tmp_path, left):
    partial = tmp_path / "run" / ".hydra.partial"
    partial.mkdir(parents=True)
    for name in left:
        (partial / name).write_text("something else")
    outcome = command("train", *SMALL, f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 0, outcome.err
    saved = {path.name for path in (tmp_path / "run" / ".hydra").iterdir()}
    assert saved == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert not partial.exists()


def test_a_run_stopped_before_its_first_checkpoint_starts_again_in_place(command, straight, tmp_path):
    run = shutil.copytree(straight, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    (run / "results.json").unlink()
    rows = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join(rows[:2]))
    outcome = command("train", f"resume={run}")
    assert outcome.code == 0, outcome.err
    assert f"{run} was stopped before its first checkpoint: it starts again" in outcome.err.splitlines()
    assert len(cells(run)) == len(cells(straight))
    assert timeless(run) == timeless(straight)
    assert results(run)["metrics"] == results(straight)["metrics"]
    for which in ("last", "best"):
        assert same_bits(*(weights(folder / "checkpoints" / f"{which}.ckpt") for folder in (straight, run)))


def test_a_checkpoint_of_before_bounds_and_rows_were_kept_goes_on_too(command, straight, copied):
    last = copied / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    del content["trained_bounds"], content["metrics_rows"]
    torch.save(content, last)
    assert command("train", f"resume={copied}", "trainer.max_epochs=4").code == 0
    assert same_bits(*(weights(folder / "checkpoints" / "last.ckpt") for folder in (straight, copied)))


def test_checkpoints_in_another_folder_are_tested_and_gone_on_from(command, straight, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    words = [*SMALL, f"callbacks.checkpoint.dirpath={other}"]
    assert command("train", *words, f"hydra.run.dir={run}").code == 0
    outcome = command("train", f"resume={run}", "trainer.max_epochs=4")
    assert outcome.code == 0, outcome.err
    assert not (run / "checkpoints").exists()
    assert results(run)["metrics"] == results(straight)["metrics"]
    assert same_bits(*(weights(folder / "last.ckpt") for folder in (straight / "checkpoints", other)))
    before = snapshot(other)
    outcome = command("train", *words)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
    assert f"callbacks.checkpoint.dirpath = {other} holds checkpoints already" in outcome.err
    assert snapshot(other) == before


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_resume_without_a_good_last_checkpoint_is_refused_in_one_line(command, copied, damage):
    last = copied / "checkpoints" / "last.ckpt"
    if damage == "missing":
        last.unlink()
    else:
        last.write_bytes(last.read_bytes()[:1000])
    before = snapshot(copied)
    outcome = command("train", f"resume={copied}", "trainer.max_epochs=4")
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert "last.ckpt" in outcome.err
    assert snapshot(copied) == before
