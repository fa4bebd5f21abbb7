"""The allow list of what a saved configuration may name."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import yaml
from omegaconf import OmegaConf

from discrete_latents.config.allowed_references import refused_reference, without_refused
from discrete_latents.config.allowed_targets import UNTRUSTED, check_saved, check_trust
from discrete_latents.config.compose import CONFIGS, composed, configurations
from discrete_latents.config.migration import upgraded
from discrete_latents.config.saved import given_again
from discrete_latents.errors import UserError, one_line
from discrete_latents.secrecy import MASK
from tests.helpers.hostile import GROUPS, TARGETS

RUNS = Path(__file__).parents[1] / "data" / "runs_before"


@pytest.fixture(scope="module")
def saved() -> dict[str, Any]:
    return OmegaConf.to_container(composed())  # type: ignore[return-value]


def with_node(settings: dict[str, Any], place: str, node: Any) -> dict[str, Any]:
    """A configuration with something else at a place."""
    settings = copy.deepcopy(settings)
    *parents, last = place.split(".")
    inner = settings
    for name in parents:
        inner = inner[name]
    inner[last] = node
    return settings


SHAPES = {
    "plain": lambda target: {"_target_": target, "f": "x"},
    "nested": lambda target: {"of": {"its": [{"_target_": target}]}},
    "inside an allowed one": lambda target: {
        "_target_": "discrete_latents.likelihoods.Gaussian",
        "scale": {"_target_": target},
    },
    "partial": lambda target: {"_target_": target, "_partial_": True},
    "not recursive": lambda target: {"_target_": target, "_recursive_": False, "_convert_": "all"},
    "by _args_": lambda target: {
        "_target_": "discrete_latents.likelihoods.Gaussian",
        "_args_": [{"_target_": target, "_args_": ["x"]}],
    },
}


@pytest.mark.parametrize("place", GROUPS)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_target_that_acts_is_allowed(saved, place, shape, monkeypatch):
    monkeypatch.setattr("builtins.__import__", forbid_foreign_imports(__import__))
    assert len(TARGETS) > 100
    for target in TARGETS:
        with pytest.raises(UserError, match=r"refused|names nothing") as caught:
            check_saved(with_node(saved, place, SHAPES[shape](target)))
        assert "\n" not in one_line(str(caught.value))
        assert "_target_" in str(caught.value)


def forbid_foreign_imports(imports: Any) -> Any:
    def guarded(name: str, *rest: Any, **more: Any) -> Any:
        assert name.partition(".")[0] not in ("nowhere", "pty", "smtplib", "ftplib", "webbrowser"), name
        return imports(name, *rest, **more)

    return guarded


@pytest.mark.parametrize("place", GROUPS)
@pytest.mark.parametrize(
    "reference", ["${x}", "${a}.${b}", "${a.b}", "${oc.env:X}", "${oc.decode:x}", "os.${x}", ["os.system"], {}, 3, None]
)
def test_a_target_is_literal_text(saved, place, reference):
    settings = with_node(saved, place, {"_target_": reference}) | {"x": "os.system", "a": "os", "b": "system"}
    with pytest.raises(UserError, match=r"_target_ = .* is refused"):
        check_saved(settings)


def test_a_node_elsewhere_cannot_be_referred_to(saved):
    for settings in (
        with_node(saved, "model.likelihood", "${x}") | {"x": {"_target_": "os.system"}},
        with_node(saved, "model", "${x}") | {"x": {"_target_": "discrete_latents.cli.train_main"}},
        with_node(saved, "model.likelihood", "${oc.create:{_target_:os.system}}"),
        with_node(saved, "model.likelihood", "${oc.decode:'{_target_: os.system}'}"),
    ):
        with pytest.raises(UserError, match="is refused"):
            check_saved(settings)


@pytest.mark.parametrize("name", ["hydra", "defaults"])
def test_hydras_own_settings_are_refused(saved, name):
    with pytest.raises(UserError, match=f"^{name} is refused"):
        check_saved(saved | {name: {"job": {"env_set": {"PATH": "x"}}}})


WRONG_KIND = [
    ("model", "discrete_latents.networks.MLP"),
    ("model.network", "discrete_latents.likelihoods.Bernoulli"),
    ("model.likelihood", "discrete_latents.networks.MLP"),
    ("latent", "discrete_latents.latent.Constant"),
    ("temperature", "discrete_latents.latent.Exact"),
    ("optimizer", "torch.optim.Adam"),
    ("optimizer.algorithm", "torch.nn.Linear"),
    ("data", "discrete_latents.data.digits"),
    ("data.source", "discrete_latents.data.ImageData"),
    ("trainer", "lightning.pytorch.callbacks.Timer"),
    ("callbacks.x", "discrete_latents.loggers.MetricsCSV"),
    ("logger.x", "lightning.pytorch.callbacks.Timer"),
    ("logger", "discrete_latents.loggers.MetricsCSV"),
    ("callbacks", "discrete_latents.callbacks.Throughput"),
    ("elsewhere", "torch.nn.Linear"),
    ("paths", "torch.nn.Linear"),
]


@pytest.mark.parametrize(("place", "target"), WRONG_KIND)
def test_a_class_of_another_kind_is_refused(saved, place, target):
    with pytest.raises(UserError, match="is refused"):
        check_saved(with_node(saved, place, {"_target_": target}))


RIGHT_KIND = [
    ("model", "discrete_latents.models.categorical_vae.CategoricalVAE"),
    ("model.classifier", "discrete_latents.networks.CNN"),
    ("model.mine", "torch.nn.Linear"),
    ("latent.temperature", "discrete_latents.latent.Learned"),
    ("optimizer.algorithm", "torch.optim.lbfgs.LBFGS"),
    ("data.source", "discrete_latents.data.sources.arrays"),
    ("data.augmentation", "discrete_latents.data.Augmentation"),
    ("trainer", "lightning.pytorch.trainer.Trainer"),
    ("trainer.strategy", "lightning.pytorch.strategies.DDPStrategy"),
    ("trainer.profiler", "lightning.pytorch.profilers.SimpleProfiler"),
    ("trainer.plugins", "lightning.pytorch.plugins.MixedPrecision"),
    ("callbacks.x", "lightning.pytorch.callbacks.EarlyStopping"),
    ("logger.x", "lightning.pytorch.loggers.CSVLogger"),
]


@pytest.mark.parametrize(("place", "target"), RIGHT_KIND)
def test_a_class_of_its_kind_is_allowed(saved, place, target):
    check_saved(with_node(saved, place, {"_target_": target}))


def options() -> list[list[str]]:
    """Overrides that choose every option of the project's own configurations at least once."""
    folders = ("model", "latent", "temperature", "data", "optimizer", "trainer", "callbacks", "logger", "debug")
    chosen = {folder: sorted(path.stem for path in (CONFIGS / folder).glob("*.yaml")) for folder in folders}
    chosen |= {f"model/{part}": [path.stem for path in (CONFIGS / "model" / part).glob("*.yaml")] for part in PARTS}
    chosen["logger"] = [f"[{name}]" for name in chosen["logger"]]
    rows = [
        [f"{group}={names[row % len(names)]}" for group, names in chosen.items()]
        for row in range(max(map(len, chosen.values())))
    ]
    for row in rows:
        if "model=code_prior" in row:  # which has neither
            row[:] = [word for word in row if not word.startswith("model/")]
    experiments = [str(path.relative_to(CONFIGS / "experiment").with_suffix("")) for path in EXPERIMENTS]
    return [*rows, *([f"experiment={name}"] for name in experiments)]


PARTS = ("network", "likelihood")
EXPERIMENTS = sorted((CONFIGS / "experiment").rglob("*.yaml"))


@pytest.mark.slow
def test_every_configuration_of_the_projects_own_is_allowed():
    with configurations():
        for overrides in options():
            check_saved(OmegaConf.to_container(composed(overrides)))


@pytest.mark.parametrize("name", ["vae_digits", "sbn_digits", "ssl_digits"])
def test_a_configuration_of_the_layout_before_is_allowed(name):
    check_saved(OmegaConf.to_container(upgraded(OmegaConf.load(RUNS / name / ".hydra" / "config.yaml"))))  # type: ignore[arg-type]


def test_an_upgrade_imports_nothing_foreign():
    code = (
        "import sys\nfrom omegaconf import OmegaConf\nfrom discrete_latents.config.migration import upgraded\n"
        "upgraded(OmegaConf.create({'model': {'hidden': [1], 'network': {'_partial_': True}}, "
        "'temperature': {'_target_': 'antigravity.fly', 'rate': 1}}))\nprint('antigravity' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# The user's own


class Mine(pl.Callback):
    """Of a package of the user's own."""


def test_a_package_that_the_user_trusts_is_allowed(saved):
    settings = with_node(saved, "callbacks.mine", {"_target_": f"{__name__}.Mine"})
    with pytest.raises(UserError, match="is refused"):
        check_saved(settings)
    check_saved(settings, trust=["tests"])
    with pytest.raises(UserError, match="is refused"):
        check_saved(settings, trust=["test", "tests.config"])
    for through in (f"{__name__}.subprocess.run", f"{__name__}.sys.exit"):  # not what it has imported
        with pytest.raises(UserError, match="is refused"):
            check_saved(with_node(saved, "callbacks.mine", {"_target_": through}), trust=["tests"])
    with pytest.raises(UserError, match="is refused"):  # nor a trust that is saved
        check_saved(settings | {"trust": ["tests"]})


@pytest.mark.parametrize("packages", [["os"], ["torch"], "subprocess", ["a.b"], [3], {"a": 1}, ["builtins"], [""]])
def test_a_library_cannot_be_trusted(packages):
    with pytest.raises(UserError, match=r"^trust must"):
        check_trust(packages)
    assert check_trust("my_package") == check_trust(["my_package"]) == ("my_package",)
    assert "discrete_latents" in UNTRUSTED


def test_a_setting_that_the_command_line_gives_is_free(saved):
    settings = with_node(saved, "callbacks.mine", {"_target_": "x.Y", "key": MASK, "of": "${oc.env:HOME}"})
    given = ["callbacks.mine._target_=my.Own", "callbacks.mine.key=a", "callbacks.mine.of=b"]
    for missing in given:
        with pytest.raises(UserError, match=missing.partition("=")[0]):
            check_saved(settings, own=given_again([item for item in given if item != missing]))
    check_saved(settings, own=given_again(given))
    check_saved(settings, own=given_again(["~callbacks.mine"]))
    with pytest.raises(UserError):  # a dictionary is merged into the saved one
        check_saved(settings, own=given_again(["callbacks.mine={_target_: x}"]))


# References


@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:HOME}",
        "${oc.env:WANDB_API_KEY,x}",
        "${oc.env:${x}}",
        "${${x}:HOME}",
        "${oc.env:DISCRETE_LATENTS_DATA,${oc.env:HOME}}",
        "a ${seed} ${oc.decode:x}",
        "${oc.create:{a:1}}",
        "${hydra:job.env_set}",
        "${hydra:overrides.task}",
        "${oc.select:x}",
        "${a.${b}}",
        "${unclosed",
        "\\\\${oc.env:HOME}",
        "${ oc.env:HOME }",
    ],
)
def test_nothing_else_is_resolved(saved, text):
    assert refused_reference(text) is not None
    with pytest.raises(UserError, match="resolves no"):
        check_saved(saved | {"x": text})
    clean: Any = without_refused({"x": [text], "y": "${x}"})
    assert OmegaConf.to_container(OmegaConf.create(clean), resolve=True) == {"x": [text], "y": [text]}


def test_what_the_projects_own_configurations_refer_to_is_resolved():
    text = "\n".join(path.read_text() for path in CONFIGS.rglob("*.yaml") if "hydra" not in path.parts)
    for line in text.splitlines():
        if "${" in line and "launcher" not in line and "hydra.runtime" not in line and "hydra.sweep" not in line:
            for value in yaml.safe_load(line.strip().lstrip("- ")).values():
                assert refused_reference(str(value)) is None
    assert refused_reference("\\${oc.env:HOME}") is None  # plain text


# Loggers


@pytest.mark.parametrize(
    ("logger", "name", "value"),
    [
        ("discrete_latents.loggers.WandbRun", "settings", {"base_url": "http://evil"}),
        ("discrete_latents.loggers.WandbRun", "config", "/etc/passwd"),
        ("discrete_latents.loggers.WandbRun", "save_code", True),
        ("lightning.pytorch.loggers.MLFlowLogger", "tracking_uri", "http://evil"),
        ("lightning.pytorch.loggers.TensorBoardLogger", "save_dir", "s3://bucket"),
        ("lightning.pytorch.loggers.CSVLogger", "save_dir", "simplecache::http://evil"),
    ],
)
def test_a_saved_logger_sends_nothing_elsewhere(saved, logger, name, value):
    with pytest.raises(UserError, match=rf"^logger\.x\.{name}"):
        check_saved(with_node(saved, "logger.x", {"_target_": logger, name: value}))
