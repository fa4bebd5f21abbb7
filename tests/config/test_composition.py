"""What is chosen is what its file says: under every experiment, a group's node is that of the option alone."""

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from beartype.roar import BeartypeDecorHintPep585DeprecationWarning
from omegaconf import OmegaConf

with warnings.catch_warnings():
    warnings.simplefilter("ignore", BeartypeDecorHintPep585DeprecationWarning)  # OmegaConf's DictConfig
    from discrete_latents.config.compose import CONFIGS, composed, group_options

NOT_SWAPPED = ("debug", "experiment", "hydra", "launcher", "search")
"""Groups that are not of a run's own nodes: they choose or change those of others, or are Hydra's."""

WHOLE = ("code_prior",)
"""Models without a network and a likelihood to choose, which an experiment that chooses them cannot have."""

GROUPS = {group: options for group, options in group_options().items() if group.split("/")[0] not in NOT_SWAPPED}
GROUPS["model"] = [name for name in GROUPS["model"] if name not in WHOLE]
INNER = {group: [other.rpartition("/")[2] for other in GROUPS if other.startswith(f"{group}/")] for group in GROUPS}
"""The groups inside a group's node, which are chosen by themselves."""

FILES = sorted((CONFIGS / "experiment").rglob("*.yaml"))

SHARED = {
    "data": {"augmentation", "batch_size", "binarization", "labelled", "labelled_batch_size"},
    "lr_schedule": {"warmup"},
    "optimizer": {"lr"},
    "trainer": {"log_every_n_steps", "max_epochs", "max_steps"},
}
"""What an experiment may set inside a node that can be swapped: keys that every option of the group has."""

OFTEN = ["ssl_mnist", "null"]
"""The experiment that sets the most, and none; the others are slow tests."""

NAMED = [str(path.relative_to(CONFIGS / "experiment").with_suffix("")) for path in FILES]
EXPERIMENTS = [*OFTEN, *(name for name in NAMED if name not in OFTEN)]


@cache
def of_file(group: str, option: str) -> dict[str, Any]:
    """The node of an option's own file, composed alone."""
    return plain(composed(name=f"{group}/{option}"), group)


def plain(config: Any, group: str) -> dict[str, Any]:
    """A group's node, its interpolations as they are, without the nodes of other groups inside it."""
    node: Any = OmegaConf.to_container(OmegaConf.select(config, group.replace("/", ".")), resolve=False)
    return {key: value for key, value in node.items() if key not in INNER[group]}


def differences(experiment: str, words: list[str], chosen: dict[str, str]) -> list[str]:
    """Every key of the chosen options that is not what their files say, but for the shared ones."""
    config = composed([f"experiment={experiment}", *words])
    found = []
    for group, option in chosen.items():
        node, own = plain(config, group), of_file(group, option)
        keys = (node.keys() | own.keys()) - SHARED.get(group, set())
        found += [f"{group}={option}: {key}" for key in sorted(keys) if node.get(key, ...) != own.get(key, ...)]
    return found


def word(group: str, option: str) -> str:
    return f"{group}=[{option}]" if group == "logger" else f"{group}={option}"


@pytest.mark.parametrize(
    "experiment", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS]
)
def test_every_option_of_every_group_is_what_its_file_says_under_every_experiment(experiment):
    """One option of each group at once: the nodes of different groups have nothing in common."""
    seen = set()
    for index in range(max(map(len, GROUPS.values()))):
        chosen = {group: options[index % len(options)] for group, options in GROUPS.items()}
        seen |= set(chosen.items())
        assert not differences(experiment, [word(*pair) for pair in chosen.items()], chosen)
    assert seen == {(group, option) for group, options in GROUPS.items() for option in options}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_sets_nothing_of_what_it_chooses_but_shared_keys(experiment):
    hydra = composed([f"experiment={experiment}"], return_hydra_config=True).hydra
    chosen = {group: hydra.runtime.choices.get(group, "csv") for group in GROUPS}  # Hydra names no lists of options
    if chosen["model"] in WHOLE:
        chosen = {group: option for group, option in chosen.items() if not group.startswith("model/")}
    assert not differences(experiment, [], chosen)


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        ("null", "model/network=cnn"),
        ("vae_mnist", "model/network=cnn"),
        ("ssl_mnist", "temperature=constant"),
        ("vae_digits", "model=semi_supervised"),
        ("paper/concrete_nonlinear", "data=arrays"),
    ],
)
def test_one_option_alone_is_what_its_file_says(experiment, words):
    group, _, option = words.partition("=")
    assert not differences(experiment, [words], {group: option})


@pytest.mark.parametrize("group", SHARED)
def test_every_option_of_a_group_has_its_shared_keys(group):
    assert all(SHARED[group] <= of_file(group, option).keys() for option in GROUPS[group])


def test_a_key_that_an_experiment_sets_is_found(monkeypatch):
    """The test can fail: without its table, it finds what experiments set."""
    monkeypatch.setitem(SHARED, "data", set())
    assert differences("paper/reinmax", ["data=digits"], {"data": "digits"}) == ["data=digits: binarization"]


def test_without_an_experiment_the_run_is_that_of_the_default_one():
    null, default = (OmegaConf.to_container(composed(words)) for words in (["experiment=null"], []))
    assert null == default


@pytest.mark.parametrize("path", sorted((CONFIGS / "model" / "network").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_network_is_told_by_its_file(path: Path):
    assert "_partial_" not in of_file("model/network", path.stem)
