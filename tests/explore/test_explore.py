"""The explorer's page draws and encodes as the model does, by clicks in a browser; what it cannot show is one line."""

import json
import re
import sys
from html import unescape
from pathlib import Path

import pytest
import torch

from discrete_latents import load_run
from discrete_latents.api import Run
from discrete_latents.config.compose import composed
from discrete_latents.data import digits
from discrete_latents.errors import UserError
from discrete_latents.explore.command import explore_main
from discrete_latents.explore.page import write_explorer
from discrete_latents.training.build import make_model
from tests.helpers.browser import browse, measured, needs_browser


def untrained(*words: str, shape: tuple[int, ...] = (1, 8, 8)) -> Run:
    """A model of random weights, output biases included."""
    torch.manual_seed(0)
    config = composed(["experiment=vae_digits", "model.num_latents=6", "paths.output_dir=.", *words])
    model = make_model(config, shape).eval()
    model.mean_image.uniform_()
    model.output_bias.normal_(std=0.3)
    return Run(model, config)


MODELS = {
    "mlp": [],
    "two classes": ["model.num_classes=2", "model.network.activation=ELU"],
    "gaussian": ["model/likelihood=gaussian", "model.network.activation=Tanh"],
    "cnn, logistic": [
        *("model/likelihood=discretized_logistic", "model/network=cnn", "model.network.hidden=[8,16]"),
        "model.network.activation=SiLU",
    ],
}


def outcomes(page: Path, script: str, *options: str) -> dict:
    """What a script leaves in `said`, run in the page."""
    copy = page.with_name("measured.html")
    saved = f"const said = {{}}; {script}; document.body.dataset.said = JSON.stringify(said);"
    copy.write_text(measured(page.read_text(), saved))
    return json.loads(unescape(re.search(r'data-said="([^"]*)"', browse(copy, "--dump-dom", *options))[1]))  # type: ignore[index]


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("name", MODELS)
def test_the_page_computes_what_the_model_computes(tmp_path: Path, name: str):
    run = untrained(*MODELS[name])
    x = digits().test.grey[3:4] / 255
    codes = torch.tensor([[3, 1, 4, 1, 5, 9]]) % run.model.num_classes
    page = tmp_path / "explorer.html"
    write_explorer(run, page)
    found = outcomes(
        page,
        f"said.mean = Array.from(decode({codes[0].tolist()})); "
        f"said.shares = encode(Float32Array.from({x.flatten().tolist()}))",
    )
    with torch.no_grad():
        shares = run.model.encode(x).softmax(-1)[0]
        mean = run.model.decode_codes(codes).flatten()
    assert len({round(value, 3) for value in found["mean"]}) > 10
    torch.testing.assert_close(torch.tensor(found["mean"]), mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.tensor(found["shares"]), shares, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@needs_browser
def test_it_is_used_by_clicks_and_by_drawing(vae_run: Path, tmp_path: Path):
    page = tmp_path / "explorer.html"
    write_explorer(load_run(vae_run), page)
    script = """
      const by = (id) => document.getElementById(id), code = () => JSON.parse(by("code").textContent);
      const look = () => by("picture").toDataURL();
      const first = document.querySelector(".latent");
      const latent = Number(first.querySelector(".name").textContent.slice(1));
      const before = code(), seen = look(), other = (before[latent] + 3) % 10;
      said.pressed = document.querySelectorAll(".classes [aria-pressed=true]").length;
      first.querySelectorAll("button")[other].click();
      said.changed = code().flatMap((value, n) => (value === before[n] ? [] : [[n, value]]));
      said.wanted = [[latent, other]];
      said.drawn = look() !== seen;
      said.heading = by("chosen").textContent;
      by("thumbnails").querySelectorAll("button")[before[latent]].click();
      said.back = look() === seen && String(code()) === String(before);
      by("sample").click();
      said.sampled = String(code()) !== String(before);
      const box = by("sketch").getBoundingClientRect();
      const pen = (kind, x, y) => by("sketch").dispatchEvent(new PointerEvent(kind, {buttons: 1,
        clientX: box.left + x * box.width, clientY: box.top + y * box.height}));
      pen("pointerdown", 0.55, 0.05);
      for (let y = 0.1; y < 1; y += 0.05) pen("pointermove", 0.55, y);
      said.ink = Array.from(sketch);
      said.encoded = code();
      said.shades = document.querySelectorAll(".classes button[title]:not([title=''])").length;
      by("clear").click();
      said.cleared = sketch.every((value) => value === 0);
      by("edit").click();
      said.edited = sketch.some((value) => value > 0);
      said.wide = document.documentElement.scrollWidth > innerWidth;
    """
    for width in (1200, 390):
        said = outcomes(page, script, f"--window-size={width},1000")
        assert said["pressed"] == 20
        assert said["changed"] == said["wanted"]
        assert said["heading"] == f"Classes of z{said['wanted'][0][0]}"
        assert (said["drawn"], said["back"], said["sampled"], said["cleared"], said["edited"]) == (True,) * 5
        stroke = torch.zeros(1, 8, 8)
        stroke[0, :, 4] = 1
        assert said["ink"] == stroke.flatten().tolist()
        assert said["encoded"] == load_run(vae_run).encode(stroke.unsqueeze(0))[0].tolist()
        assert said["shades"] == 200
        assert not said["wide"]
    drawn = browse(page, "--dump-dom")  # as written: its own script runs, and no other
    assert drawn.count('class="latent') == 20
    foreign = tmp_path / "foreign.html"
    foreign.write_text(page.read_text().replace("</body>", '<script>document.body.dataset.ran = "yes"</script></body>'))
    assert "data-ran" not in browse(foreign, "--dump-dom")


IMAGES = "the explorer shows images of grey values or colours, got grey x of shape"
REFUSED = {
    "vectors": ([], (64,), f"{IMAGES} (64,)"),
    "two channels": ([], (2, 8, 8), f"{IMAGES} (2, 8, 8)"),
    "counts": (["model/likelihood=poisson"], (1, 8, 8), "the explorer shows the means of Bernoulli, Gaussian, "),
    "an activation": (["model.network.activation=GELU"], (1, 8, 8), "the explorer runs linear layers, "),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_explored_is_one_line(tmp_path: Path, what: str):
    words, shape, said = REFUSED[what]
    with pytest.raises(UserError) as refused:
        write_explorer(untrained(*words, shape=shape), tmp_path / "explorer.html")
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["sbn_run", "ssl_run", "vectors_run"])
def test_nor_can_other_models(request, monkeypatch, capsys, tmp_path: Path, name: str):
    path = request.getfixturevalue(name)
    monkeypatch.setattr(sys, "argv", ["discrete-latents-explore", str(path), "--output", str(tmp_path / "a.html")])
    capsys.readouterr()  # of training the run
    with pytest.raises(SystemExit) as ended:
        explore_main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: the explorer shows ")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_into_the_run_or_here(monkeypatch, capsys, vae_run: Path, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    for given, path in (("vae_digits", Path("explorer.html")), (str(vae_run), vae_run / "explorer.html")):
        monkeypatch.setattr(sys, "argv", ["discrete-latents-explore", given])
        explore_main()
        assert capsys.readouterr().out == f"{path}\n"
        text = path.read_text()
        assert text.count("<script") == 2
        assert not re.search(r'(src|href)="http', text)
    path.unlink()


def test_latents_that_change_nothing_have_no_effect():
    from discrete_latents.explore.page import effects

    run = untrained("model/network=linear")
    layer = run.model.decoder[0]
    with torch.no_grad():
        layer.weight[:, 2::6] = 0  # classes outermost
        layer.weight[:, 4::6] *= 10
    found = effects(run.model)
    assert found[2] < 1e-6 < found[0] < found[4]
