"""`compile`: when a step is compiled, and that a run is the same with it."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch

from discrete_latents.lightning_internals import take_known_gradients
from discrete_latents.models import CategoricalVAE, compiled_loss
from discrete_latents.training import compile_choice, compile_costs
from discrete_latents.training.compile_costs import Costs
from tests.cli.conftest import ROOT, SMALL, same_bits, weights

TRAINED = [*SMALL, "trainer.max_steps=25", "+trainer.enable_progress_bar=false"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_a_short_run_is_not_compiled_and_its_log_says_why(finished):
    assert results(finished.folder)["compiled"] is False
    (line,) = [line for line in (finished.folder / "train.log").read_text().splitlines() if "compile" in line]
    assert line.startswith("compile = auto: not compiled, ")
    assert "it pays from about 40,000 on" in line
    assert "compile" not in finished.outcome.out + finished.outcome.err


def test_a_model_that_the_compiler_refuses_trains_as_it_is(command, tmp_path, monkeypatch):
    def refuses(*_, **__):
        def called(batch):
            torch.rand(7)  # which must not count
            raise RuntimeError("no such kernel\nand more")

        return called

    assert command("train", *TRAINED, "compile=false", "hydra.run.dir=plain").code == 0
    monkeypatch.setattr(torch, "compile", refuses)
    monkeypatch.setitem(compile_costs.UNMEASURED, "cpu", 1)
    monkeypatch.setattr(compile_choice, "no_compiler", lambda device: None)
    outcome = command("train", *TRAINED, "hydra.run.dir=auto")
    assert outcome.code == 0, outcome.err
    (said,) = [line for line in outcome.err.splitlines() if "cannot be compiled" in line]
    assert said == (
        "compile = auto: not compiled, CategoricalVAE with GumbelSoftmax cannot be compiled here: no such kernel"
    )
    first, second = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("plain", "auto"))
    assert same_bits(first, second)
    assert results(tmp_path / "auto")["compiled"] is False
    assert not compile_costs.stored()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["latent=relax"], "Relax differentiates within a step"),
        ([], "there is no C++ compiler (/nonexistent)"),
    ],
)
def test_where_a_long_run_is_not_compiled_one_line_says_why(command, tmp_path, monkeypatch, words, why):
    monkeypatch.setitem(compile_costs.UNMEASURED, "cpu", 1)
    monkeypatch.setenv("CXX", "/nonexistent")
    outcome = command("train", *TRAINED, *words, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert [line for line in outcome.err.splitlines() if "compile" in line] == [f"compile = auto: not compiled, {why}"]
    assert results(tmp_path / "run")["compiled"] is False


@pytest.mark.parametrize("setting", ["false", "auto"])
def test_an_error_of_torch_in_a_step_as_it_is_is_not_the_compilers(command, monkeypatch, setting):
    def singular(*_):
        raise torch.linalg.LinAlgError("singular")  # of torch._C

    monkeypatch.setattr(CategoricalVAE, "training_loss", singular)
    with pytest.raises(torch.linalg.LinAlgError, match="singular"):
        command("train", *TRAINED, f"compile={setting}", "hydra.run.dir=run")


def test_costs_are_kept_with_the_least_compilation():
    assert compile_costs.read("a") is None
    compile_costs.write("a", Costs(30.0, 0.004, 0.003))
    compile_costs.write("b", Costs(30.0, 0.004, 0.004))
    compile_costs.write("a", Costs(40.0, 0.004, 0.002))
    assert compile_costs.read("a") == Costs(30.0, 0.004, 0.002)
    assert compile_costs.read("a").pay_from() == pytest.approx(1.5 * 30 / 0.002)
    assert compile_costs.read("b").pay_from() == float("inf")


@pytest.mark.parametrize("content", ["", "[]", '{"a": 3}', '{"a": {"compiling": NaN, "before": 1.0, "after": 1.0}}'])
def test_damaged_costs_are_none(content):
    compile_costs.path().parent.mkdir(parents=True)
    compile_costs.path().write_text(content)
    assert compile_costs.read("a") is None
    compile_costs.write("a", Costs(1.0, 2.0, 1.0))
    assert compile_costs.read("a") == Costs(1.0, 2.0, 1.0)


def test_a_given_gradient_is_handed_on_and_scaled():
    weight, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    for slope in (1.0, 0.5):
        weight.grad = None
        loss = compiled_loss.Given.apply(torch.tensor(3.0), [torch.tensor([1.0, 2.0]), None], weight, unused)
        (loss * slope).backward()
        assert weight.grad.tolist() == [slope, 2 * slope]
        assert unused.grad is None


@pytest.mark.parametrize(("capability", "width"), [("AVX2", 256), ("AVX512", 512), ("DEFAULT", None)])
def test_kernels_have_the_width_of_torchs_own(monkeypatch, capability, width):
    """The compiler's cache distinguishes options, and not processors."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    options = compiled_loss.inductor_options()
    assert options.get("cpp.simdlen") == width
    assert options["fallback_random"]


def tripled(parameter):
    parameter.grad.mul_(3)


PARAMETERS = {
    "ordinary": lambda weight: None,
    "with a hook": lambda weight: weight.register_hook(lambda gradient: 2 * gradient),
    "with a hook after it": lambda weight: weight.register_post_accumulate_grad_hook(tripled),
    "with a gradient": lambda weight: setattr(weight, "grad", torch.ones_like(weight)),
    "fixed": lambda weight: weight.requires_grad_(False),
}
"""What a parameter can be when its gradient comes."""


@pytest.mark.parametrize("parameter", PARAMETERS)
@pytest.mark.parametrize("kind", ["given", "transposed", "scaled"])
def test_known_gradients_are_taken_as_backward_gives_them(parameter, kind):
    def computed(known):
        made = torch.arange(6.0)
        gradient = made.view(3, 2).t() if kind == "transposed" else made.view(2, 3)
        weight, unused = torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(2))
        PARAMETERS[parameter](weight)
        loss = (weight * gradient).sum() + 0 * unused.sum()
        if known:
            loss = compiled_loss.Given.apply(loss.detach(), [gradient, torch.zeros(2)], weight, unused)
        return (2 * loss if kind == "scaled" else loss), weight, unused

    ordinary, *one = computed(known=False)
    ordinary.backward()
    known, *other = computed(known=True)
    taken = take_known_gradients(known)
    assert taken == (kind != "scaled" and "hook" not in parameter)
    if not taken:
        known.backward()
    for first, second in zip(one, other, strict=True):
        assert (first.grad is None) == (second.grad is None)
        if first.grad is not None:
            assert torch.equal(first.grad, second.grad)
            assert first.grad.stride() == second.grad.stride()


def test_known_gradients_are_left_to_autograd_where_it_looks_for_anomalies():
    weight = torch.nn.Parameter(torch.ones(1))
    with torch.autograd.set_detect_anomaly(True):
        known = compiled_loss.Given.apply(torch.tensor(3.0), [torch.tensor([math.nan])], weight)
        assert not take_known_gradients(known)
        with pytest.raises(RuntimeError, match="nan"):
            known.backward()


@pytest.mark.slow
def test_compiled_runs_are_the_same_as_plain_ones_and_go_on_bit_for_bit(tmp_path):
    script = ROOT / "tests" / "helpers" / "compiled_runs.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["compiled"] == ["compiled", "auto", "parts"]
    assert max(found["from eager"]) < 1e-5
    assert found["same"] == [True, True]
    assert found["changed"]  # it was compiled
    assert found["costs"] == 1
    # An epoch has 12 batches and a smaller one, which is not compiled. The compiler itself calls the first of an epoch,
    # and two in all. Of 57 steps the first 20 are not compiled.
    assert found["replayed"] == [100 - 7 - 8 - 1, 0, 57 - 20 - 3 - 3 - 2]
    assert found["losses"] == [[0, 6, 12, 18, 48, 60]] * 2
