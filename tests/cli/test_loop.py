"""A run under this package's loop over batches, whatever `steps_per_loop` is, against one under Lightning's own."""

import pytest
import torch

from discrete_latents.lightning_internals import FastEpochLoop
from tests.cli.test_interruptions import MODELS
from tests.cli.test_resume import results, timeless
from tests.helpers.tables import rest_is_slow

SETTINGS = {
    "as it is": [],
    "validation within epochs": ["+trainer.val_check_interval=4"],
    "max_steps": ["trainer.max_steps=20"],
    "accumulation": ["+trainer.accumulate_grad_batches=2"],
    "clipping": ["trainer.gradient_clip_val=1.0"],
}

OTHERS_ARE_SLOW = [pytest.param(name, marks=[pytest.mark.slow] if name != "vae_digits" else []) for name in MODELS]


def same(one, other):
    """Whether two values of checkpoints are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("settings", rest_is_slow(list(SETTINGS), 2))
@pytest.mark.parametrize("experiment", OTHERS_ARE_SLOW)
def test_steps_per_loop_changes_nothing_that_a_run_leaves(command, tmp_path, monkeypatch, experiment, settings):
    taken = []
    optimize = FastEpochLoop.optimize
    monkeypatch.setattr(FastEpochLoop, "optimize", lambda self, *batch: taken.append(1) or optimize(self, *batch))
    words = [f"experiment={experiment}", *MODELS[experiment], "trainer.log_every_n_steps=5", "lr_schedule.hold=0.5"]
    words += ["callbacks.checkpoint.every_n_steps=3", *SETTINGS[settings]]
    counts = {}
    for number in (1, 7, 25):
        outcome = command("train", *words, f"steps_per_loop={number}", f"hydra.run.dir={number}")
        assert outcome.code == 0, outcome.err
        counts[number] = len(taken)
    leaves_it = settings in ("accumulation", "clipping")
    assert counts[1] == 0
    assert (counts[7] == 0) == leaves_it
    assert counts[25] == 2 * counts[7]
    for number in (7, 25):
        assert timeless(tmp_path / str(number)) == timeless(tmp_path / "1")
        assert results(tmp_path / str(number))["metrics"] == results(tmp_path / "1")["metrics"]
        for which in ("last", "best"):
            one, other = (
                torch.load(tmp_path / str(run) / "checkpoints" / f"{which}.ckpt", weights_only=True)
                for run in (1, number)
            )
            one.pop("callbacks"), other.pop("callbacks")  # which name their folders
            assert [key for key in one if not same(one[key], other[key])] == []
