"""The benchmark of large codebooks, tiny."""

import json

import pytest

from scripts import codebook_scale

pytestmark = pytest.mark.slow


def test_each_contender_is_measured_and_held_against_what_is_by_hand(monkeypatch, tmp_path):
    monkeypatch.setattr(codebook_scale, "CONTENDERS", ("by hand", "st_gumbel", "by hand, evaluation", "evaluation"))
    words = ["codebook_scale", "--classes", "16", "--positions", "8", "--rounds", "1", "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    codebook_scale.main()
    rows = json.loads((tmp_path / "codebook_scale.json").read_text())
    assert [row["contender"] for row in rows] == [*codebook_scale.CONTENDERS]
    assert all(row["milliseconds"] > 0 for row in rows)
    shown = (tmp_path / "codebook_scale.md").read_text().splitlines()
    assert all("(1.00)" in line for line in shown if line.startswith("| by hand"))
    assert len(shown) == 4 + len(rows)


def test_the_steps_have_the_losses_of_one_another():
    """By hand and in the library: the gradient for the features is the same where the noise is small."""
    torch = pytest.importorskip("torch")
    found = []
    for name in ("by hand", "gumbel_softmax"):
        torch.manual_seed(0)
        codebook = torch.randn(6, codebook_scale.WIDTH, requires_grad=True)
        features = (3 * codebook.detach()[:4]).requires_grad_()  # certain of their codes
        codebook_scale.step_of(name, features, codebook, torch.zeros(4, codebook_scale.WIDTH))()
        found.append((features.grad, codebook.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
