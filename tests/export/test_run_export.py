"""An export is a run of a few files, which every reader of runs reads; what only this machine knows is not in it."""

import json
import shutil
import sys
import types
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from discrete_latents import load_run
from discrete_latents.data import digits
from discrete_latents.errors import UserError
from discrete_latents.export import command as export_command
from discrete_latents.export.run_export import export_run
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.shared import SHIPPED
from tests.cli.conftest import command, finished, snapshot

__all__ = ["command", "finished"]


@pytest.fixture(scope="module")
def exported(vae_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "an export"
    export_run(load_run(vae_run), folder)
    return folder


@pytest.fixture
def theirs(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "theirs")


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, output and errors of `discrete-latents-export …`."""
    monkeypatch.setattr(sys, "argv", ["discrete-latents-export", *map(str, words)])
    code = 0
    try:
        export_command.export_main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def test_an_export_does_what_its_run_does(vae_run: Path, exported: Path):
    run, export, grey = load_run(vae_run), load_run(exported), digits().test.grey[:30]
    weights = run.model.state_dict()
    assert weights.keys() == export.model.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in export.model.state_dict().items())
    assert torch.equal(run.encode(grey), export.encode(grey))
    assert torch.equal(run.decode(run.encode(grey)), export.decode(export.encode(grey)))
    assert export.results["metrics"] == run.results["metrics"]
    assert repr(export).partition("; in")[0] == repr(run).partition("; in")[0]
    assert export.model.kind == run.model.kind


@pytest.mark.parametrize("name", ["sbn_run", "ssl_run", "vectors_run"])
def test_every_model_is_exported(request: pytest.FixtureRequest, tmp_path: Path, name: str):
    run = load_run(request.getfixturevalue(name))
    export_run(run, tmp_path / "export")
    weights, again = run.model.state_dict(), load_run(tmp_path / "export").model.state_dict()
    assert weights.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in weights.items())


@pytest.mark.slow
def test_an_export_is_tested_summarized_and_started_from(command, finished, tmp_path: Path):
    export = tmp_path / "export"
    export_run(load_run(finished.folder), export)
    metrics = load_run(finished.folder).results["metrics"]
    assert load_run(export).evaluate() == pytest.approx(metrics, rel=1e-6)
    assert command("eval", f"run={export}", "eval_samples=2").code == 0
    resumed = command("train", f"resume={export}", "trainer.max_epochs=3")
    assert (resumed.code, resumed.err.count("\n")) == (1, 1)
    assert "is an export, with which no run goes on; weights=" in resumed.err
    into = command("train", f"hydra.run.dir={export}")
    assert (into.code, into.err.count("\n")) == (1, 1)
    assert "export" in into.err
    words = ["model.num_latents=3", "model.num_classes=4", "model.network.hidden=[16]", "debug=one_batch"]
    started = command("train", *words, f"weights={export}", "hydra.run.dir=new")
    assert started.code == 0, started.err
    with pytest.raises(UserError, match="has its best weights alone"):
        load_run(export, ckpt="last")


def test_what_only_this_machine_knows_is_left_out(command, tmp_path: Path):
    words = ["debug=one_batch", f"hydra.run.dir={tmp_path}/my/run", f"paths.data_dir={tmp_path}/data"]
    assert command("train", *words).code == 0
    config = RunDirectory(tmp_path / "my" / "run").config
    config.write_text(config.read_text().replace("seed: 0", "seed: 0\nextra: {api_key: hunter22222}", 1))
    export_run(load_run(tmp_path / "my" / "run"), tmp_path / "export")
    for path in (tmp_path / "export").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert str(tmp_path).encode() not in content, path
        assert b"hunter22222" not in content, path
    names = {str(path.relative_to(tmp_path / "export")) for path in (tmp_path / "export").rglob("*") if path.is_file()}
    parts = {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"}
    assert names == {"README.md", "model.safetensors", "results.json", *parts}


def test_the_command_says_what_it_wrote_and_overwrites_nothing(monkeypatch, capsys, vae_run: Path, tmp_path: Path):
    code, out, _ = said(monkeypatch, capsys, vae_run, tmp_path / "new")
    assert code == 0
    written = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert len(written) >= 4
    assert {*map(Path, out.splitlines())} == {*written}
    before = snapshot(tmp_path / "new")
    for words in ((vae_run, tmp_path / "new"), (vae_run, __file__), (tmp_path, tmp_path / "x"), ("nowhere",)):
        code, out, err = said(monkeypatch, capsys, *words)
        assert (code, out, err.count("\n")) == (1, "", 1), err
    assert snapshot(tmp_path / "new") == before
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob("*.partial"))


DAMAGE = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "text": lambda content: b"not weights",
    "a header without an end": lambda content: (2**60).to_bytes(8, "little") + content[8:],
    "a header of megabytes": lambda content: (2**23).to_bytes(8, "little") + b" " * 2**23 + content[8:],
    "more than there is": lambda content: content.replace(b"[20,10]", b"[99,99]"),
    "a pickle": lambda content: b"\x80\x02cos\nsystem\n",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_weights_that_are_damaged_are_one_line(theirs: Path, damage: str):
    path = RunDirectory(theirs).exported
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(UserError, match=r"model\.safetensors is not a file of weights that can be read: ") as refused:
        load_run(theirs)
    assert "\n" not in str(refused.value)


CHANGES = {
    "one missing": (lambda weights: weights.pop("prior_logits"), "of another model or architecture"),
    "of another shape": (lambda weights: weights.update(prior_logits=torch.zeros(2, 2)), "of another model"),
    "of another type": (lambda weights: weights.update(prior_logits=weights["prior_logits"].half()), "of another"),
    "no shape of x": (lambda weights: weights.pop("mean_image"), "do not tell the shape of x"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_of_another_model_are_refused(theirs: Path, change: str):
    path = RunDirectory(theirs).exported
    weights = safetensors.torch.load_file(path)
    CHANGES[change][0](weights)
    safetensors.torch.save_file(weights, path, {"kind": "grey"})
    with pytest.raises(UserError, match=CHANGES[change][1]):
        load_run(theirs)
    safetensors.torch.save_file(weights, path, {"kind": "evil"})
    with pytest.raises(UserError):
        load_run(theirs)


def test_what_an_exports_configuration_names_is_not_called(theirs: Path, tmp_path: Path):
    config = RunDirectory(theirs).config
    settings = yaml.safe_load(config.read_text())
    settings["model"]["network"] = {"_target_": "os.system", "command": f"touch '{tmp_path}/called'"}
    config.write_text(yaml.safe_dump(settings))
    with pytest.raises(UserError, match=r"os\.system"):
        load_run(theirs)
    assert not (tmp_path / "called").exists()


class Hub(types.ModuleType):
    """Stands for huggingface_hub, of which one function is used."""

    def __init__(self, folder: Path) -> None:
        super().__init__("huggingface_hub")
        self.folder = folder
        self.asked: list[tuple] = []

    def snapshot_download(self, repo_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked.append((repo_id, revision, allow_patterns))
        if repo_id.startswith("nobody"):
            raise OSError("404 Client Error\nRepository Not Found")
        return str(self.folder)


def test_a_run_on_the_hub_is_loaded_and_nothing_is_written_beside_it(command, monkeypatch, exported, vae_run):
    hub = Hub(exported)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    grey = digits().test.grey[:30]
    assert torch.equal(load_run("hf://owner/name").encode(grey), load_run(vae_run).encode(grey))
    load_run("hf://owner/name@v1.0")
    assert [asked[:2] for asked in hub.asked] == [("owner/name", None), ("owner/name", "v1.0")]
    assert hub.asked[0][2][0] == "model.safetensors"
    hub.folder = SHIPPED / "vae_digits"
    before = snapshot(hub.folder)
    run = load_run("hf://owner/name")
    assert run.evaluate(m=2).keys() == run.results["metrics"].keys()
    assert snapshot(hub.folder) == before


ADDRESSES = {
    "hf://nobody/name": "hf://nobody/name cannot be downloaded: 404 Client Error",
    "hf://name": "a run on the Hugging Face Hub is hf://OWNER/NAME or hf://OWNER/NAME@REVISION, got hf://name",
    "hf://owner/name/file": "a run on the Hugging Face Hub is",
    "hf:owner/name": "a run on the Hugging Face Hub is",
    "no_such_run": "no_such_run is not the directory of a run: there is none, nor does a run of that name ship with",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_of_nothing_is_one_line(monkeypatch, exported: Path, address: str):
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(exported))
    with pytest.raises(UserError) as refused:
        load_run(address)
    assert str(refused.value).startswith(ADDRESSES[address])
    assert "\n" not in str(refused.value)


def test_without_the_hubs_package_it_says_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"not installed: pip install 'discrete-latents\[hub\]'$"):
        load_run("hf://owner/name")


def test_the_run_that_ships_with_the_package_is_what_its_results_say(command, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = SHIPPED / "vae_digits"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 300_000
    before = snapshot(folder)
    run = load_run("vae_digits")
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    assert run.evaluate() == pytest.approx(metrics, rel=1e-4)
    assert snapshot(folder) == before
    assert not list(tmp_path.iterdir())


def test_a_folder_of_that_name_comes_first(vae_run: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(vae_run, "vae_digits")
    assert load_run("vae_digits").directory == tmp_path / "vae_digits"
