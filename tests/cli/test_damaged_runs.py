"""Whatever a file of a run has become, a command that needs it says so in one line, soon and in little memory; one that
does not need it does its work. Nothing is changed by a command that refuses."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from discrete_latents import load_run
from discrete_latents.config.compose import composed
from discrete_latents.errors import UserError
from discrete_latents.runs.checkpoints import read_checkpoint
from discrete_latents.summary.command import summarize_main
from discrete_latents.training.build import build_data, build_model, build_trainer
from discrete_latents.training.resumed_state import check_state
from tests.cli.conftest import SMALL, Outcome, beyond_progress, same_bits
from tests.helpers.damage import DAMAGES, listing, within

pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]

LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"
CONFIG, HYDRA, RESULTS, METRICS = ".hydra/config.yaml", ".hydra/hydra.yaml", "results.json", "metrics.csv"
FILES = [CONFIG, HYDRA, ".hydra/overrides.yaml", RESULTS, METRICS, LAST, BEST, "images/samples.png", "train.log"]

NEEDED = {
    "resume": {CONFIG, HYDRA, LAST, BEST, RESULTS, METRICS},
    "eval": {CONFIG, HYDRA, BEST, RESULTS},
    "load_run": {CONFIG, BEST, RESULTS},
    "summarize": {CONFIG, HYDRA, RESULTS},
}
"""The files without which a command cannot do its work, or would do another one."""

AS_BEFORE = {
    "a link to nothing": {RESULTS, METRICS, BEST},
    "empty": {METRICS},
    "a link to another file": {METRICS},
    "cut": {METRICS, CONFIG},
    "flipped": {CONFIG, HYDRA},
}
"""Damages that are as if there were no such file, or no row, yet, as a file of fewer settings, or that hit a word which
nothing reads."""


def refused(how: str, file: str, damage: str) -> bool:
    return file in NEEDED[how] and (file not in AS_BEFORE.get(damage, ()) or (how, file) == ("summarize", RESULTS))


@pytest.fixture
def give(command, finished, tmp_path, monkeypatch, capfd):
    """Gives a damaged copy of the run to a command."""

    def call(how: str, folder: Path) -> Outcome:
        if how == "load_run":
            try:
                load_run(folder)
            except UserError as error:
                return Outcome(1, "", f"error: {error}\n")
            return Outcome(0, "", "")
        if how == "summarize":
            monkeypatch.setattr(sys, "argv", ["summarize", str(folder), "--output", str(tmp_path / "out")])
            capfd.readouterr()
            try:
                summarize_main()
            except SystemExit as stop:
                return Outcome(int(stop.code or 0), *capfd.readouterr())
            return Outcome(0, *capfd.readouterr())
        if how == "eval":
            return command("eval", f"run={folder}")
        return command("train", f"resume={folder}", "trainer.max_epochs=3")

    return call


def check(give: Any, run: Path, folder: Path, how: str, damage: str, *files: str) -> None:
    """Gives a copy of a run to a command, with one file damaged that it needs, or several that it does not need."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run, folder)
    for file in files:
        DAMAGES[damage](folder / file)
    before, what = listing(folder), f"{how} with {files} {damage}"
    with within(10):
        outcome = give(how, folder)
    if outcome.code or refused(how, files[0], damage):
        assert (outcome.code, outcome.out) == (1, ""), f"{what}: {outcome}"
        assert outcome.err.startswith("error: "), f"{what}: {outcome.err}"
        assert outcome.err.count("\n") == 1, f"{what}: {outcome.err}"
        named = Path(files[0]).name in outcome.err or " is refused: in a saved configuration" in outcome.err
        assert damage == "cut" or named, f"{what}: {outcome.err}"
        assert files[0] in NEEDED[how], what
        assert listing(folder) == before, what
    else:
        assert not beyond_progress(outcome.err), f"{what}: {outcome.err}"


SOME = [
    ("resume", LAST, "flipped"),
    ("resume", METRICS, "a pipe"),
    ("resume", BEST, "a folder"),
    ("eval", CONFIG, "a pipe"),
    ("eval", RESULTS, "a link to itself"),
    ("load_run", BEST, "cut"),
    ("load_run", RESULTS, "deep objects"),
    ("summarize", RESULTS, "deep"),
    ("summarize", HYDRA, "huge"),
]


@pytest.mark.parametrize(("how", "file", "damage"), SOME)
def test_a_damaged_file_is_one_line(give, finished, tmp_path, how, file, damage):
    check(give, finished.folder, tmp_path / "run", how, damage, file)


@pytest.mark.slow
@pytest.mark.parametrize("how", NEEDED)
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damaged_file_is_one_line_or_not_needed(give, finished, tmp_path, how, damage):
    for file in sorted(NEEDED[how]):
        if refused(how, file, damage) or damage == "flipped":
            check(give, finished.folder, tmp_path / "run", how, damage, file)
    if how in ("load_run", "summarize"):
        check(
            give, finished.folder, tmp_path / "run", how, damage, *[file for file in FILES if file not in NEEDED[how]]
        )


IN_LITTLE_MEMORY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (2 * 2**30,) * 2)
sys.argv = ["eval.py", f"run={sys.argv[1]}"]
from discrete_latents.cli import eval_main
eval_main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("file", "damage"), [(BEST, "huge"), (RESULTS, "huge"), (BEST, "inflated")])
def test_no_damage_takes_more_than_two_gigabytes(finished, tmp_path, file, damage):
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    DAMAGES.get(damage, inflated)(folder / file)
    words = [sys.executable, "-c", IN_LITTLE_MEMORY, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert Path(file).name in done.stderr


# Checkpoints that are whole files, and are not what a run saves


def inflated(path: Path) -> None:
    """A few megabytes that are 2.4 gigabytes of zeros: `zip -9` of a checkpoint."""
    with zipfile.ZipFile(path) as former:
        records = {record.filename: former.read(record) for record in former.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
        with archive.open("archive/data/999", "w", force_zip64=True) as record:
            for _ in range(72):
                record.write(bytes(2**25))


class Bytes:
    """Unpickled by torch's own loader of plain values: fifty gigabytes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (50 * 10**9,)


class Floats(Bytes):
    def __reduce__(self) -> tuple[Any, ...]:
        return torch.Tensor, (10**11,)


FILLED = {
    "a number a trillion times": lambda: torch.zeros(1).expand(10**12),
    "strides of 0": lambda: torch.zeros(4).as_strided((10**6, 10**6), (0, 0)),
    "sparse": lambda: torch.sparse_coo_tensor(
        torch.zeros(1, 1).long(), torch.ones(1), (10**12,), check_invariants=True
    ),
    "meta": lambda: torch.empty(10**12, device="meta"),
    "bytes of a length": Bytes,
    "a tensor of a size": Floats,
}


@pytest.mark.parametrize("part", FILLED)
def test_a_checkpoint_that_stands_for_more_than_it_holds_is_refused(finished, tmp_path, part):
    path = tmp_path / "last.ckpt"
    content = torch.load(finished.folder / LAST, weights_only=True)
    torch.save(content | {"extra": FILLED[part]()}, path)
    with pytest.raises(UserError, match=r"last\.ckpt is (refused|not a checkpoint)") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_compressed_checkpoint_is_refused(finished, tmp_path):
    path = shutil.copy(finished.folder / LAST, tmp_path)
    with zipfile.ZipFile(finished.folder / LAST) as former, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for record in former.infolist():
            archive.writestr(record.filename, former.read(record))
    with pytest.raises(UserError, match="it is compressed"):
        read_checkpoint(Path(path))


@pytest.mark.parametrize("place", range(40))
def test_a_flipped_bit_is_refused_or_changes_nothing(finished, tmp_path, place):
    """Between the records torch leaves room."""
    path = tmp_path / "last.ckpt"
    whole = bytearray((finished.folder / LAST).read_bytes())
    at = len(whole) * place // 40
    whole[at] ^= 0x10
    path.write_bytes(whole)
    try:
        found = read_checkpoint(path)
    except UserError:
        return
    expected = read_checkpoint(finished.folder / LAST)
    assert repr(found) == repr(expected)
    assert same_bits(found["state_dict"], expected["state_dict"])


def put(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """Puts a value, or what a function makes of the former one, into a part of a checkpoint."""

    def change(content: dict[str, Any]) -> None:
        node: Any = content
        for key in keys[:-1]:
            node = node[next(name for name in node if key in name) if isinstance(key, str) and key not in node else key]
        node[keys[-1]] = value(node[keys[-1]]) if callable(value) else value

    return change


PROGRESS = ("loops", "fit_loop", "epoch_loop.batch_progress")
PARTS = {
    "global_step": [put("global_step", value=value) for value in (-1, "3", 2.5, None, True, 10**30, 7)],
    "epoch": [put("epoch", value=value) for value in ("one", -1, [1])],
    "metrics_rows": [put("metrics_rows", value=value) for value in (-1, "six", 2.0)],
    "callbacks": [
        put("callbacks", value=[1]),
        put("callbacks", "Checkpoints", "best_k_models", value=["best"]),
        put("callbacks", "Checkpoints", "best_k_models", value={}),
        put("callbacks", "Checkpoints", "kth_best_model_path", value=3),
        put("callbacks", "Checkpoints", "dirpath", value=[]),
    ],
    "loops": [
        put("loops", value=3),
        put("loops", value={}),
        put("loops", "fit_loop", value=[]),
        put(*PROGRESS, value="half"),
        put(*PROGRESS, "total", value={}),
        put(*PROGRESS, "current", "ready", value="ready"),
        put(*PROGRESS, "current", "completed", value=-4),
        put(*PROGRESS, "is_last_batch", value=1),
    ],
    "optimizer_states": [
        put("optimizer_states", value={}),
        put("optimizer_states", value=[]),
        put("optimizer_states", 0, "state", value={}),
        put("optimizer_states", 0, "state", value=[1]),
        put("optimizer_states", 0, "state", 1, value={}),
        put("optimizer_states", 0, "state", 1, "exp_avg", value=lambda old: old[:1]),
        put("optimizer_states", 0, "state", 1, "exp_avg_sq", value=lambda old: old.flatten()),
        put("optimizer_states", 0, "state", 1, "exp_avg", value=lambda old: old.double()),
        put("optimizer_states", 0, "state", 1, "step", value="twelve"),
        put("optimizer_states", 0, "param_groups", 0, "betas", value=0.9),
        put("optimizer_states", 0, "param_groups", 0, "lr", value="fast"),
    ],
    "noise": [put("noise", value=value) for value in (3, torch.zeros(5056), torch.zeros(7, dtype=torch.uint8))],
    "other_processes": [put("other_processes", value=value) for value in (3, [3])],
    "threads": [put("threads", value=value) for value in (-1, "two")],
    "trained_bounds": [put("trained_bounds", value=value) for value in (3, [1.0], [torch.zeros(2)])],
    "lr_schedulers": [put("lr_schedulers", value=value) for value in (None, [3])],
    "pytorch-lightning_version": [put("pytorch-lightning_version", value=value) for value in (None, 2)],
}


@pytest.fixture(scope="module")
def ready(finished) -> tuple[Any, Any]:
    """The trainer and the model that the finished run would be resumed with."""
    config = composed([*SMALL, f"paths.output_dir='{finished.folder}'"])
    data = build_data(config)
    return build_trainer(config), build_model(config, data)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_another_type_or_shape_is_refused_by_its_name(finished, ready, tmp_path, part):
    path = tmp_path / "last.ckpt"
    check_state(finished.folder / LAST, *ready)
    for number, change in enumerate(PARTS[part]):
        content = torch.load(finished.folder / LAST, weights_only=True)
        change(content)
        torch.save(content, path)
        with pytest.raises(UserError) as caught:
            check_state(path, *ready)
        said = str(caught.value)
        assert part in said, f"{number}: {said}"
        assert str(path) in said
        assert "\n" not in said


def test_data_of_no_known_kind_is_refused(finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    content = torch.load(folder / BEST, weights_only=True)
    for kind in ("colours", ["grey"], None):
        torch.save(content | {"kind": kind}, folder / BEST)
        with pytest.raises(UserError, match="its kind must be one of binary, levels, grey, real, whole"):
            load_run(folder)


@pytest.mark.parametrize("change", [Tensor.double, Tensor.half, Tensor.int, Tensor.bool])
@pytest.mark.parametrize("how", ["load_run", pytest.param("eval", marks=pytest.mark.slow), "resume"])
def test_weights_of_another_type_are_refused(give, finished, tmp_path, how, change):
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    for path in (folder / LAST, folder / BEST):
        content = torch.load(path, weights_only=True)
        content["state_dict"] = {name: change(value) for name, value in content["state_dict"].items()}
        torch.save(content, path)
    before = listing(folder)
    outcome = give(how, folder)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
    assert "float32" in outcome.err
    assert listing(folder) == before
