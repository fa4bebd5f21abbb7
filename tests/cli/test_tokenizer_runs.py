"""Runs of tokenisers: in other precisions, of two processes, stopped and resumed."""

import json
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import shell, weights
from tests.helpers.tables import rest_is_slow
from tests.helpers.witness import TESTS

WORDS = [
    *("experiment=null", "model=image_tokenizer", "model.num_classes=4", "model.network.hidden=[4,8]", "model.width=6"),
    *("data.binarization=grey", "lr_schedule=constant", "eval_samples=2", "callbacks.pictures.every_n_epochs=0"),
]


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("latent", rest_is_slow(["vq", "st_gumbel", "fsq", "lfq"], 1))
def test_a_resumed_tokenizer_has_the_bits_of_one_that_was_not_stopped(command, tmp_path, latent):
    """A codebook of moving averages too, which is no parameter."""
    if latent in ("vq", "fsq", "lfq"):
        pytest.importorskip("vector_quantize_pytorch", reason="needs the extra tokenizer")
    words = [*WORDS, f"latent={latent}", *(["model.revive_every=5"] if latent == "st_gumbel" else [])]
    assert command("train", *words, "trainer.max_epochs=2", "hydra.run.dir=whole").code == 0
    assert command("train", *words, "trainer.max_epochs=1", "hydra.run.dir=halves").code == 0
    assert command("train", "resume=halves", "trainer.max_epochs=2").code == 0
    one, other = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "halves"))
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert results(tmp_path / "whole")["metrics"] == results(tmp_path / "halves")["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("latent", ["reinmax", "vq", "fsq", "lfq"])
def test_a_tokenizer_trains_in_bfloat16(command, tmp_path, latent):
    found = []
    for precision in ("32-true", "bf16-mixed"):
        words = [f"latent={latent}", "trainer.max_epochs=3", f"trainer.precision={precision}"]
        assert command("train", *WORDS, *words, f"hydra.run.dir={precision}").code == 0
        found.append(results(tmp_path / precision)["metrics"]["test/nelbo"])
    assert found[0] != found[1]
    assert found[1] == pytest.approx(found[0], rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["latent=vq"], ["latent=gumbel_softmax", "model.revive_every=3"]], ids=["vq", "revived"]
)
def test_two_processes_have_one_codebook(tmp_path, words):
    """Of moving averages over the images of both, or trained, with dead codes replaced by the same vectors."""
    pytest.importorskip("vector_quantize_pytorch", reason="needs the extra tokenizer")
    words = [*WORDS, *words, "trainer=ddp_sim", "trainer.max_epochs=1", "model.num_classes=64"]
    words.append("+callbacks.same._target_=tests.helpers.witness.SameWeights")
    done = shell("train.py", *words, "hydra.run.dir=both", cwd=tmp_path, **TESTS)
    assert done.code == 0, done.err
    metrics = results(tmp_path / "both")["metrics"]
    assert metrics["test/code_usage"] > 0.2
