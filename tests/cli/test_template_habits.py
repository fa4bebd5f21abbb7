"""What users of other templates reach for, each through the command line."""

import csv
import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from rich.console import Console

from discrete_latents import cli, load_run
from discrete_latents.config.aliases import ALIASES
from discrete_latents.config.compose import composed, dotted, group_options
from discrete_latents.config.config_tree import config_tree
from discrete_latents.runs.directory import RunDirectory
from scripts.soak import differences
from tests.cli.conftest import SMALL, same_bits, weights
from tests.cli.test_exact_resume import KILLED, TRUST, killing, train
from tests.helpers.tables import one_in, rest_is_slow

QUICK = [word for word in SMALL if not word.startswith("lr_schedule.")]
QUICK += ["trainer.max_epochs=1", "eval_samples=5", "~callbacks.pictures"]
BARE = [word for word in QUICK if not word.startswith("~")]
"""The same, where there are no callbacks to leave out."""


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def lowest(folder: Path) -> float:
    """The lowest val/nelbo that a run has logged."""
    return min(row["val/nelbo"] for row in rows(folder) if "val/nelbo" in row)


@pytest.fixture
def trained(command, tmp_path):
    """Gives `trained(*words)`: the folder of a run of these words, which is to end well, and what it did."""

    def call(*words: str, name: str = "run", quick: list[str] = QUICK):
        outcome = command("train", *quick, *words, f"hydra.run.dir={tmp_path / name}")
        assert outcome.code == 0, outcome.err
        return tmp_path / name, outcome

    return call


# Parts of a run.


def test_test_false_leaves_the_test_images_alone_and_a_resume_tests(trained, command):
    run, _ = trained("test=false")
    assert results(run)["metrics"] == {}
    assert results(run)["status"] == "completed"
    assert not any(name.startswith("test/") for row in rows(run) for name in row)
    assert results(run)["optimized"] == {"val/nelbo": lowest(run)}
    assert command("train", f"resume={run}", "test=true").code == 0
    assert results(run)["metrics"]["test/nll"] > 0


def test_train_false_tests_weights_as_they_are(trained):
    former, _ = trained(name="former")
    run, _ = trained("train=false", f"weights={former}")
    assert results(run)["metrics"] == results(former)["metrics"]
    assert results(run)["steps"] == 0
    assert results(run)["weights"]["run"] == str(former)
    assert not (run / "checkpoints").exists()


@pytest.mark.slow
def test_train_false_of_a_new_model_says_so(trained):
    run, outcome = trained("train=false")
    assert "the model is tested as it was made" in outcome.out + outcome.err
    assert results(run)["metrics"]["test/nelbo"] > 0
    assert results(run)["steps"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    rest_is_slow(
        [
            (["train=false", "test=false"], "train and test must not both be false: nothing would be done"),
            (["train=3"], "train must be true or false, got 3"),
            (["test=maybe"], "test must be true or false, got 'maybe'"),
            (["tags=paper"], "tags must be a list of words, as [paper,first], got 'paper'"),
            (["tags=[1]"], "tags must be a list of words"),
            (
                ["optimized_metric=val/nelb"],
                "must be a metric that validation logs, got 'val/nelb'; did you mean val/nelbo",
            ),
            (
                ["optimized_metric=test/nll", "test=false"],
                "optimized_metric must be a metric of validation where test is",
            ),
            (["weights=nowhere"], "weights = nowhere must be the directory of a run, which is missing"),
            (["print_config=1"], "print_config must be true or false, got 1"),
        ],
        2,
    ),
    ids=str,
)
def test_what_makes_no_run_is_one_line(command, tmp_path, words, said):
    outcome = command("train", *QUICK, *words, f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 1
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert said in line
    assert "Traceback" not in outcome.err


# Loggers and callbacks, by name.


@pytest.mark.parametrize("word", rest_is_slow(["logger=null", "logger=none"], 1))
def test_logger_null_logs_nothing(trained, word):
    run, _ = trained(word)
    assert not (run / "metrics.csv").exists()
    assert results(run)["metrics"]["test/nll"] > 0


@pytest.mark.slow
def test_many_loggers_are_several(trained):
    run, _ = trained("logger=many_loggers")
    assert rows(run)
    assert list((run / "tensorboard").glob("events.*"))


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="mlflow is installed")
def test_logger_mlflow_that_is_not_installed_is_one_line(command, tmp_path):
    outcome = command("train", *QUICK, "logger=[csv,mlflow]", f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 1
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert "mlflow" in line
    assert "pip install" in line


@pytest.mark.parametrize("word", rest_is_slow(["callbacks=none", "callbacks=null"], 1))
def test_callbacks_none_trains_with_a_temperature_that_moves_and_tests_the_last_weights(trained, word):
    run, _ = trained(word, "trainer.log_every_n_steps=1", "temperature.period=1", quick=BARE)
    assert {path.name for path in run.iterdir()} - {"train.log", ".lock"} == {".hydra", "metrics.csv", "results.json"}
    assert [row["temperature"] for row in rows(run) if "temperature" in row] == pytest.approx([0.9881], abs=1e-4)
    assert results(run)["checkpoint"] is None


KEPT = set(composed().callbacks)
"""The default callbacks."""


@pytest.mark.parametrize("name", rest_is_slow([name for name in group_options()["callbacks"] if name != "none"]))
@pytest.mark.parametrize("form", rest_is_slow(["{}", "[default,{}]", "[{},default]"], 2))
def test_a_callback_by_name_keeps_the_defaults(name, form):
    one, default = composed([f"callbacks={form.format(name)}"]), composed()
    assert {"temperature", "checkpoint", "progress"} <= KEPT <= set(one.callbacks)
    assert all(one.callbacks[key] == default.callbacks[key] for key in KEPT)
    assert (set(one.callbacks) == KEPT) == (name == "default")


@pytest.mark.slow
def test_callbacks_are_chosen_together(trained):
    run, _ = trained("callbacks=[early_stopping,ema,lr_monitor]", "logger=csv", "trainer.log_every_n_steps=1")
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert "averaging_state" in kept
    assert any(name.startswith("EarlyStopping") for name in kept["callbacks"])
    assert any(name.startswith("lr-") for row in rows(run) for name in row)


@pytest.mark.slow
def test_early_stopping_stops(trained):
    words = ["callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=1000"]
    run, _ = trained("callbacks=early_stopping", *words, "trainer.max_epochs=9")
    assert results(run)["epochs"] == 2


@pytest.mark.slow
def test_lr_monitor_logs_the_rate_of_the_schedule(trained):
    run, _ = trained("callbacks=lr_monitor", "lr_schedule=cosine", "trainer.log_every_n_steps=1")
    logged = [value for row in rows(run) for name, value in row.items() if name.startswith("lr-")]
    assert len(logged) == 13
    assert logged == sorted(logged, reverse=True)
    assert logged[0] == 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("word", ["callbacks=model_summary", "trainer.enable_model_summary=true"])
def test_model_summary_lists_the_parts(trained, word):
    _, outcome = trained(word)
    assert "encoder" in outcome.out + outcome.err
    assert "Trainable params" in outcome.out + outcome.err


# The average of the weights: what is validated, saved, tested and loaded.


@pytest.mark.parametrize("name", rest_is_slow(["ema", *sorted({*group_options()["callbacks"]} - {"none", "ema"})], 1))
def test_what_was_tested_is_what_eval_measures_under_every_callback(trained, command, name):
    few = ["callbacks.exactness.repeats=2"] if name == "distance_to_exact" else []
    run, _ = trained(f"callbacks={name}", *few, "trainer.max_epochs=3", "optimizer.lr=0.01")
    assert command("eval", f"run={run}").code == 0
    (evaluation,) = (run / "evaluations").iterdir()
    assert results(evaluation)["metrics"] == results(run)["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ema", "swa"])
def test_an_average_is_what_is_validated_saved_tested_and_loaded(trained, command, name):
    run, _ = trained(f"callbacks={name}", "optimizer.lr=0.01", "trainer.max_epochs=4")
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    average, current = best["state_dict"], best["current_model_state"]
    assert not torch.equal(average["prior_logits"], current["prior_logits"])
    loaded = load_run(run).model.state_dict()
    assert same_bits(loaded, average)
    validated = lowest(run)
    assert command("eval", f"run={run}", "split=val").code == 0
    (evaluation,) = (run / "evaluations").iterdir()
    assert results(evaluation)["metrics"]["val/nelbo"] == pytest.approx(validated, rel=1e-6)


@pytest.mark.slow
def test_an_average_cannot_be_left_out_or_added_on_resume(trained, command):
    run, _ = trained("callbacks=ema")
    plain, _ = trained(name="plain")
    added = "+callbacks.mine._target_=discrete_latents.callbacks.WeightAverage"
    for folder, word in ((run, "~callbacks.ema"), (run, "callbacks.ema.decay=0.5"), (plain, added)):
        outcome = command("train", f"resume={folder}", "trainer.max_epochs=2", word)
        assert outcome.code == 1
        assert re.search(r"^error: .*(callbacks.ema|WeightAverage)", outcome.err, re.MULTILINE)


# Weights of a former run.


def test_weights_of_a_soft_run_are_finished_with_rloo(trained, command, tmp_path):
    soft, _ = trained("latent=gumbel_softmax", name="soft")
    run, _ = trained("latent=rloo", f"weights={soft}", "optimizer.lr=1e-9")
    first, second = weights(soft / "checkpoints" / "best.ckpt"), weights(run / "checkpoints" / "best.ckpt")
    assert torch.allclose(first["encoder.1.weight"], second["encoder.1.weight"], atol=1e-6)
    assert results(run)["weights"]["left"] == results(run)["weights"]["new"] == []
    shutil.rmtree(soft)  # a resumed run does not need it
    assert command("train", f"resume={run}", "trainer.max_epochs=2").code == 0
    assert results(run)["weights"]["run"] == str(soft)


@pytest.mark.slow
def test_weights_that_do_not_fit_are_listed_and_taken_in_part_on_demand(trained, command, tmp_path):
    former, _ = trained(name="former")
    words = [f"weights={former}", "model.num_classes=5"]
    outcome = command("train", *QUICK, *words, f"hydra.run.dir={tmp_path}/strict")
    assert outcome.code == 1
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert "prior_logits, float32 (3, 4)" in line
    assert "prior_logits, float32 (3, 5)" in line
    assert "weights_strict=false takes what fits" in line
    run, outcome = trained(*words, "weights_strict=false", "train=false")
    taken = results(run)["weights"]
    assert "encoder.1.weight" in taken["taken"]
    assert "prior_logits" in taken["left"]
    assert "prior_logits" in taken["new"]
    assert "left there: " in outcome.err + outcome.out


@pytest.mark.slow
def test_weights_of_nothing_that_fits_are_refused_even_in_part(command, trained, tmp_path):
    former, _ = trained(name="former")
    words = ["experiment=sbn_digits", "trainer.max_epochs=1", f"weights={former}", "weights_strict=false"]
    kept = torch.load(former / "checkpoints" / "best.ckpt", weights_only=True)
    kept["state_dict"] = {f"other.{name}": value for name, value in kept["state_dict"].items()}
    torch.save(kept, former / "checkpoints" / "best.ckpt")
    outcome = command("train", *words, f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 1
    assert "none of its weights fits this model" in outcome.err


@pytest.mark.slow
def test_weights_of_a_stranger_are_read_without_running_anything(command, trained, tmp_path):
    former, _ = trained(name="former")

    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": Trap()}, former / "checkpoints" / "best.ckpt")
    outcome = command("train", *QUICK, f"weights={former}", f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 1
    assert "is refused: it holds other things than tensors" in outcome.err
    assert not (tmp_path / "sprung").exists()


# What a run is called, where it goes, what it says.


@pytest.mark.slow
def test_tags_are_in_the_results(trained):
    run, _ = trained("tags=[paper,first]", "test=false")
    assert results(run)["tags"] == ["paper", "first"]


@pytest.mark.slow
def test_log_dir_is_where_folders_of_runs_are_made(command, tmp_path):
    assert command("train", *QUICK, "paths.log_dir=elsewhere", "test=false").code == 0
    (run,) = (tmp_path / "elsewhere" / "vae_digits" / "runs").iterdir()
    assert results(run)["status"] == "completed"
    assert not (tmp_path / "logs").exists()


def test_debug_runs_are_in_a_folder_of_their_own(command, tmp_path):
    assert command("train", *QUICK, "debug=one_batch").code == 0
    assert [path.name for path in (tmp_path / "logs" / "vae_digits").iterdir()] == ["debug"]
    (run,) = (tmp_path / "logs" / "vae_digits" / "debug").iterdir()
    assert results(run)["steps"] == 1


@pytest.mark.parametrize("option", group_options()["debug"])
def test_every_debug_option_has_the_folder(option):
    config = composed([f"debug={option}"], return_hydra_config=True)
    raw = OmegaConf.to_container(config.hydra, resolve=False)
    assert "/debug/" in raw["run"]["dir"]
    assert "/debug/" in raw["sweep"]["dir"]


@pytest.mark.slow
def test_print_config_prints_a_tree(trained, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    _, outcome = trained("print_config=true", "test=false")
    for word in ("configuration", "├── model", "num_latents: 3", "seed: 0", "temperature: ${temperature}"):
        assert word in outcome.out, word


def test_a_printed_configuration_has_no_secrets(capsys):
    Console().print(config_tree(OmegaConf.create({"logger": {"mine": {"api_key": "xyzzy"}}, "my_token": "xyzzy"})))
    out = capsys.readouterr().out
    assert "api_key" in out
    assert "my_token" in out
    assert "xyzzy" not in out


@pytest.fixture
def returned(command, monkeypatch):
    """Gives `returned(*words)`, what Hydra's job returns to a sweeper."""
    kept = []
    former = cli.train_task
    monkeypatch.setattr(cli, "train_task", lambda config: kept.append(former(config)) or kept[-1])

    def call(*words: str) -> list[float]:
        kept.clear()
        outcome = command("train", *words)
        assert outcome.code == 0, outcome.err
        return kept

    return call


def test_the_monitored_metric_is_what_a_sweeper_gets(returned, tmp_path):
    (value,) = returned(*QUICK, "trainer.max_epochs=3", f"hydra.run.dir={tmp_path}/run")
    assert value == lowest(tmp_path / "run")
    assert results(tmp_path / "run")["optimized"] == {"val/nelbo": value}


@pytest.mark.slow
def test_another_metric_can_be_optimized(returned, tmp_path):
    (value,) = returned(*QUICK, "optimized_metric=test/nll", f"hydra.run.dir={tmp_path}/run")
    assert value == results(tmp_path / "run")["metrics"]["test/nll"]
    words = ["optimized_metric=val/relaxed_nelbo", "callbacks.checkpoint.monitor=val/kl", "trainer.max_epochs=4"]
    (value,) = returned(*QUICK, *words, f"hydra.run.dir={tmp_path}/other")
    assert value == min(row.get("val/relaxed_nelbo", 99) for row in rows(tmp_path / "other"))


@pytest.mark.slow
def test_the_jobs_of_a_sweep_return_theirs_and_a_job_that_is_done_its_own(returned, tmp_path):
    values = returned("-m", *QUICK, "test=false", "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep")
    assert values == [results(tmp_path / "sweep" / str(seed))["optimized"]["val/nelbo"] for seed in (0, 1)]
    assert len(set(values)) == 2
    assert returned(f"sweep.resume={tmp_path}/sweep") == values


# Schedules and averages, by name and exact on resume.


@pytest.fixture
def killed_and_resumed(trained, tmp_path):
    """Gives `killed_and_resumed(*words)`: a run of two epochs that is killed within the second and resumed has the bits
    of one that was not, which is returned."""

    def check(*words: str) -> Path:
        words = (*words, "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "callbacks.checkpoint.every_n_steps=1")
        run, _ = trained(*words)
        folder, log = tmp_path / "killed", tmp_path / "log"
        kill = killing("on_before_optimizer_step", 18)
        assert train(*QUICK, *words, *kill, f"hydra.run.dir={folder}", log=log) == KILLED, log.read_text()
        assert train(f"resume={folder}", TRUST, "callbacks.kill.hook=''", log=log) == 0, log.read_text()
        assert differences(RunDirectory(run), RunDirectory(folder)) == []
        return run

    return check


@pytest.mark.parametrize("name", rest_is_slow(["cosine", "warmup", "step", "linear", "constant"], 1))
def test_a_learning_rate_schedule_is_exact_on_resume(killed_and_resumed, name):
    moving = {"warmup": ["lr_schedule.warmup=20"], "step": ["lr_schedule.every=5"]}.get(name, [])
    killed_and_resumed(f"lr_schedule={name}", *moving)


@pytest.mark.parametrize("name", rest_is_slow(["linear", "cosine", "cyclic", "constant"], 0))
def test_a_schedule_of_beta_is_logged_and_exact_on_resume(killed_and_resumed, name):
    moving = {"constant": [], "cyclic": ["beta.steps=10", "beta.period=20"]}.get(name, ["beta.steps=20"])
    run = killed_and_resumed(f"beta={name}", "beta.start=0.25", *moving)
    logged = [row["beta"] for row in rows(run) if "beta" in row]
    expected = {"linear": [0.25 + 0.75 * 12 / 20, 1.0], "cyclic": [1.0, 0.25 + 0.75 * 5 / 10], "constant": [0.25] * 2}
    assert name not in expected or logged == pytest.approx(expected[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "constant", "cosine"])
def test_a_schedule_of_free_bits_is_logged_and_exact_on_resume(killed_and_resumed, name):
    run = killed_and_resumed(f"free_bits={name}")
    assert all(row["free_bits"] > 0 for row in rows(run) if "free_bits" in row)


@pytest.mark.parametrize("name", rest_is_slow(["ema", "swa"], 1))
def test_an_average_is_exact_on_resume(killed_and_resumed, name):
    run = killed_and_resumed(f"callbacks={name}", "optimizer.lr=0.01")
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert not same_bits(last["state_dict"], last["current_model_state"])


@pytest.mark.slow
def test_a_reported_bound_is_that_of_beta_1(trained):
    former, _ = trained(name="former")
    run, _ = trained(f"weights={former}", "train=false", "beta.start=9", "free_bits.start=1")
    assert results(run)["metrics"] == results(former)["metrics"]


@pytest.mark.slow
def test_beta_and_free_bits_change_what_is_trained(trained):
    kl = []
    for index, words in enumerate(
        ([], ["beta.start=0"], ["beta.start=20"], ["free_bits=constant", "free_bits.start=0.7"])
    ):
        run, _ = trained(*words, "trainer.max_epochs=6", "optimizer.lr=0.02", name=str(index))
        metrics = results(run)["metrics"]
        assert metrics["test/nelbo"] == pytest.approx(metrics["test/reconstruction"] + metrics["test/kl"], rel=1e-4)
        assert any(("train/objective" if words else "train/relaxed_nelbo") in row for row in rows(run))
        kl.append(metrics["test/kl"])
    assert kl[2] < kl[0] < kl[1]
    assert kl[0] < kl[3]


# Names of other templates.


HABITS = {
    "ckpt_path=last.ckpt": "weights=RUN_DIR",
    "hparams_search=mnist_optuna": "discrete_latents.search",
    "hydra/sweeper=optuna": "discrete_latents.search",
    "model.optimizer.lr=0.1": "optimizer.lr",
    "trainer.fast_dev_run=true": "add it with a plus, as +trainer.fast_dev_run=true",
    "trainer.overfit_batches=3": "add it with a plus",
    "data.num_workers=4": "OMP_NUM_THREADS",
    "trainer.gpus=1": "trainer=gpu",
    "model.lr=0.1": "optimizer.lr",
    "lr=0.1": "optimizer.lr",
    "batch_size=32": "data.batch_size",
    "max_epochs=3": "trainer.max_epochs",
    "epochs=3": "trainer.max_epochs",
    "data_dir=/data": "paths.data_dir",
    "wandb=true": "logger=[csv,wandb]",
    "wandb.project=mine": "logger.wandb.project",
    "experiment_name=mine": "hydra.run.dir",
    "task_name=mine": "hydra.run.dir",
    "seed_everything=1": "it is seed",
    "devices=2": "trainer.devices",
    "extras.print_config=true": "print_config=true",
    "model.scheduler.T_max=3": "lr_schedule",
    "tau=0.5": "temperature.start",
    "hidden_dim=32": "model.network.hidden",
    "model.net.lin1_size=3": "model/network",
    "patience=3": "callbacks=early_stopping",
    "+ckpt_path=last.ckpt": "weights=RUN_DIR",
    "+lr=0.1": "optimizer.lr",
    "++batch_size=3": "data.batch_size",
    "~wandb": "logger=[csv,wandb]",
}


@pytest.mark.parametrize("word", one_in(8, list(HABITS)))
def test_a_name_of_another_template_leads_to_what_does_it_here(command, tmp_path, word):
    outcome = command("train", word, f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 1
    (line,) = outcome.err.splitlines()
    assert HABITS[word] in line
    assert not (tmp_path / "run" / "results.json").exists()


def test_what_an_alias_leads_to_exists():
    """Every setting that a hint names is one, and every option of a group."""
    groups = group_options()
    wide = ["callbacks=[early_stopping,ema]", "logger=[csv,wandb]", "beta=linear", "optimizer=sgd"]
    configs = [composed(wide), composed(["optimizer=adamw"])]
    known = {name for config in configs for name in dotted(OmegaConf.to_container(config))} | {"hydra.run.dir"}
    added = {"optimizer.algorithm.betas", "callbacks.progress.refresh_rate", "trainer"}
    for hint in ALIASES.values():
        for name in re.findall(r"(?<![\w./-])(?:[a-z_]+\.)+[a-z_]+(?![\w(])", hint):
            if name not in ("eval.py", "discrete_latents.search"):
                assert name in known | added, (name, hint)
        for group, option in re.findall(r"(?<![\w.])([a-z_]+(?:/[a-z_]+)?)=([a-z_0-9]+)\b", hint):
            if group in groups and option != "null":
                assert option in groups[group], hint


def test_no_alias_is_a_setting_of_the_default_configuration():
    known = {*dotted(OmegaConf.to_container(composed())), *group_options()}
    names = {name for names in ALIASES for name in names.split("|")}
    assert not names & known
    assert sum(len(names.split("|")) for names in ALIASES) == len(names)
