"""Runs killed and resumed, in short; in full: `python -m scripts.soak`."""

import shutil
from pathlib import Path

import pytest
import torch

from discrete_latents.runs.directory import RunDirectory
from scripts.soak import differences
from tests.cli.conftest import SMALL, shell
from tests.helpers.modules import run_module


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["experiment=vae_digits", "latent=rebar"], ["experiment=sbn_digits"], ["experiment=ssl_digits"]], ids=str
)
def test_a_run_killed_five_times_ends_as_one_that_was_not(tmp_path, words):
    done = run_module("scripts.soak", "--kills", 5, *words, "trainer.max_epochs=60", cwd=tmp_path, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 kills in" in done.stdout
    assert "bit for bit" in done.stdout


def damage_weight(run: Path) -> None:
    path = run / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    weight = content["state_dict"]["output_bias"]
    weight += 1e-6 * (torch.arange(weight.numel()) == 5).view_as(weight)
    torch.save(content, path)


def lose_row(run: Path) -> None:
    path = run / "metrics.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2] + lines[3:]))


def double_row(run: Path) -> None:
    path = run / "metrics.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2] + lines[1:]))


@pytest.mark.slow
def test_the_comparison_finds_a_bit_and_a_row(tmp_path):
    outcome = shell("train.py", *SMALL, "hydra.run.dir=run", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    run = tmp_path / "run"
    for number, (change, expected) in enumerate(
        [
            (lambda _: None, []),
            (damage_weight, ["last.ckpt: state_dict"]),
            (lose_row, ["metrics.csv: 1 rows missing, 0 more"]),
            (double_row, ["metrics.csv: 0 rows missing, 1 more"]),
        ]
    ):
        copy = shutil.copytree(run, tmp_path / f"copy {number}")
        change(copy)
        assert differences(RunDirectory(run), RunDirectory(copy)) == expected
