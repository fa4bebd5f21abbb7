"""Errors in one line: what is suggested for a name, and what becomes of Hydra's reports."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from discrete_latents.config.composition_errors import composition_error
from discrete_latents.errors import suggest

SETTINGS = [
    "seed",
    "data.seed",
    "optimizer.lr",
    "model.num_latents",
    "model.num_classes",
    "model.network.hidden",
    "trainer.max_epochs",
]


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("lr", SETTINGS, "did you mean optimizer.lr?"),
        ("num_latents", SETTINGS, "did you mean model.num_latents?"),
        ("model.num_latent", SETTINGS, "did you mean model.num_latents or model.num_classes?"),
        ("modl.hidden", SETTINGS, "did you mean model.network.hidden?"),
        ("seed", SETTINGS, "did you mean data.seed or seed?"),
        ("gumble", ["gumbel_softmax", "concrete", "gumbel"], "did you mean gumbel?"),
        ("xyz", ["b", "a"], "known: a, b"),
        ("xyz", [f"option{index}" for index in range(51)], "`--help` lists what there is"),
    ],
)
def test_a_suggestion_is_what_ends_alike_then_what_looks_alike(name, known, said):
    assert suggest(name, known) == said


def test_at_most_three_names_are_suggested():
    assert suggest("option", [f"option{index}" for index in range(9)]).count("option") == 3


def test_suggestions_do_not_depend_on_the_order_of_the_known_names():
    assert (
        suggest("model.num", SETTINGS)
        == suggest("model.num", reversed(SETTINGS))
        == suggest("model.num", set(SETTINGS))
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What Hydra itself says about an override of a small configuration, as launch.py hands it on."""
    root = tmp_path_factory.mktemp("configs")
    (root / "train.yaml").write_text("defaults:\n  - _self_\n  - optimizer: adam\n  - nested/kind: one\nseed: 0\n")
    (root / "optimizer").mkdir()
    for name in ("adam", "sgd"):
        (root / "optimizer" / f"{name}.yaml").write_text("lr: 0.1\n")
    (root / "nested" / "kind").mkdir(parents=True)
    (root / "nested" / "kind" / "one.yaml").write_text("width: 1\n")

    def said(*overrides: str) -> str:
        with initialize_config_dir(str(root), version_base="1.3"), pytest.raises(HydraException) as caught:
            compose("train", list(overrides))
        return f"{caught.value}\n{caught.value.__cause__ or ''}"

    return said


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["lr=3"], "lr is not a setting: did you mean optimizer.lr?"),
        (["optimizer.rl=3"], "optimizer.rl is not a setting: did you mean optimizer.lr or optimizer?"),
        (["optimizr.lr=3"], "optimizr.lr is not a setting: did you mean optimizer.lr or optimizer?"),
        (["~optimizer.rl"], "optimizer.rl is not a setting: did you mean optimizer.lr or optimizer?"),
        (["optimizer=lion"], "optimizer = lion is not an option: known: adam, sgd"),
        (["optimizer=adan"], "optimizer = adan is not an option: did you mean adam?"),
        (["nested/kind=two"], "nested/kind = two is not an option: known: one"),
        (["optimiser=adam"], "optimiser is not a setting: did you mean optimizer or optimizer.lr?"),
    ],
    ids=str,
)
def test_what_hydra_reports_becomes_one_line(report, overrides, line):
    assert composition_error(report(*overrides), ["seed", "optimizer", "optimizer.lr"]) == line


def test_a_setting_that_is_added_twice_is_named(report):
    line = composition_error(report("+seed=3"), ["seed", "optimizer.lr"])
    assert line.startswith("seed ")
    assert "\n" not in line


def test_a_key_that_is_read_and_not_there_is_named_with_where_it_would_be():
    message = "Key 'rat' is not in struct\n    full_key: temperature.rat\n    object_type=dict"
    expected = "temperature.rat is not a setting: did you mean temperature.rate?"
    assert composition_error(message, ["temperature.rate"]) == expected


@pytest.mark.parametrize("message", ["Something\n  else\twent  wrong\n", "Something else went wrong"])
def test_any_other_report_is_put_on_one_line(message):
    assert composition_error(message, []) == "Something else went wrong"


def test_a_grammar_error_stays_readable(report):
    line = composition_error(report("model.network.hidden=[1,2"), [])
    assert "[1,2" in line
    assert "\n" not in line
