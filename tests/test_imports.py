"""Where a module stands: what it may import, what it may be called, and what the latent module leaves alone."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "discrete_latents"
MODULES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(path.relative_to(SOURCE)) for path in MODULES]

ORDERS = {
    "": """
        checks errors atomic_write parent secrecy slurm torchmetrics_import < console lightning_internals < latent
        process < runs < config networks likelihoods optimization loggers quantizers < data models report < callbacks
        < training < sweep < stacked < cli < embedded search summary < api < explore export priors < start
    """,
    "callbacks": """
        code_histogram epoch_measurement kl_weight_schedule learning_rate noise pictures progress_bar run_report
        stop_signals temperature_schedule throughput weight_average < checkpoint distance_to_exact gradient_statistics
    """,
    "config": """
        aliases allowed_references command_parser config_tree extras imports overrides migration type_hints
        < paths compose instantiate < allowed_targets changes printed_command < saved saved_secrets < additions
        < composition_errors
    """,
    "data": """
        augmentation batches binarization splits < image_checks mnist_files < kinds omniglot_file sources
        < image_warnings loaders model_inputs < datamodule
    """,
    "explore": "layers < page < command",
    "export": "onnx_graph < run_export < command",
    "latent": """
        tape < counts layout masks noise temperature < distributions sampler subsets < joint_states law < estimator
        < evaluation exact kl_weight < gradients sparsemax < pathwise score_function
    """,
    "latent.pathwise": """
        base < gumbel_softmax straight_through gapped_straight_through gumbel_rao reinmax darn st_gumbel zgr mve redge
        < concrete reinmax_rao
    """,
    "latent.score_function": """
        trace tuned baselines broken_stick < coupled multi_sample reinforce rloo slopes arsm rebar
        < carms disarm double_cv muprop relax rodeo sum_and_sample unordered_set vimco wake_wake < tree_disarm
    """,
    "likelihoods": "base < bernoulli categorical discretized_logistic gaussian poisson",
    "loggers": "media metrics_csv wandb_run",
    "models": """
        code_usage compiled_loss dead_codes initial_codebook < latent_model
        < categorical_vae image_tokenizer semi_supervised structured_prediction
    """,
    "networks": "base onednn_linear < cnn mlp < linear resnet",
    "optimization": "rate_schedule < optimization",
    "priors": "tokenizer < code_prior code_splits",
    "quantizers": "base < fsq lfq vq",
    "report": "charts look pictures < run_report",
    "runs": """
        metrics files images kept_bounds saved_hydra source_commit < archive exported_weights history saved_yaml
        < checkpoints < directory < lock results results_table shared tracebacks train_log
    """,
    "search": """
        console space trial_report < experiment settings < study < report worker < command
    """,
    "stacked": "groups program turns < stack < launch member",
    "summary": "finished_runs means < table < html_report text_report < summary < command",
    "sweep": "processes saved_sweep < job < sweep",
    "training": """
        foreign validate lightning_settings memory monitors new_run nonfinite outcome resumed_state run_time shutdown
        contention early_stop initial_weights optimized_metric compile_costs < build compile_choice < train evaluate
    """,
}
"""Each package's modules and packages, from the bottom up. A module may import what is left of its own `<`, and nothing
beside it. A package's `__init__` and `__main__` stand above all of them."""

OPTIONS = {
    *("callbacks", "data", "latent.pathwise", "latent.score_function", "likelihoods", "loggers", "models", "networks"),
    *("optimization", "quantizers"),
}
"""Packages of options: a file that somebody adds needs no place, and may import all that are named above."""

ROOT = {
    *(
        "__init__",
        "__main__",
        "api",
        "cli",
        "embedded",
        "start",
        "checks",
        "errors",
        "atomic_write",
        "console",
        "parent",
        "process",
        "slurm",
        "secrecy",
        "torchmetrics_import",
    ),
    "lightning_internals",
}
"""Modules outside the rooms."""

TREES = {name: ast.parse(path.read_text()) for name, path in zip(NAMES, MODULES, strict=True)}


def dotted(name: str) -> str:
    """latent.layout of latent/layout.py, latent of latent/__init__.py, "" of the package itself."""
    return ".".join(Path(name).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything that a file imports, anywhere in it, TYPE_CHECKING included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph(trees: Mapping[str, ast.AST]) -> dict[str, set[str]]:
    """The modules of the package that each of them imports."""
    modules = {dotted(name) for name in trees}
    found: dict[str, set[str]] = {}
    for name, tree in trees.items():
        targets = found.setdefault(dotted(name), set())
        for target in imported(tree):
            if target.partition(".")[0] == "discrete_latents":
                inner = target.removeprefix("discrete_latents").removeprefix(".")
                while inner not in modules:
                    inner = inner.rpartition(".")[0]
                targets.add(inner)
        targets.discard(dotted(name))
    return found


def levels(package: str) -> dict[str, int]:
    """How high each module or package in a package stands."""
    rows = ORDERS[package].split("<")
    named = {name: height for height, row in enumerate(rows) for name in row.split()}
    own = {name.removeprefix(f"{package}.") for name in map(dotted, NAMES) if name.startswith(f"{package}.")}
    added = {name: len(rows) for name in own - named.keys() if package in OPTIONS and "." not in name}
    return named | added | {"__main__": len(rows) + 1}


def upward(imports: Mapping[str, set[str]]) -> list[str]:
    """Imports between two parts of a package that do not point down, as "models.a imports models.b"."""
    found = []
    for module, targets in imports.items():
        for target in sorted(targets):
            above, below = f"{module}.".split("."), f"{target}.".split(".")
            shared = next(index for index, pair in enumerate(zip(above, below, strict=False)) if len({*pair}) > 1)
            package, importing, is_imported = ".".join(above[:shared]), above[shared], below[shared]
            heights = levels(package)
            # "" is the package's own __init__, which imports what it exports, and is imported from outside alone.
            if importing and (not is_imported or heights[importing] <= heights[is_imported]):
                found.append(f"{module} imports {target or '__init__'}")
    return found


def public(tree: ast.Module) -> list[str]:
    """Classes and functions that a module defines."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


IMPORTS = graph(TREES)


def test_the_modules_are_found():
    assert {"latent.estimator", "models.categorical_vae", "training.train", "cli", "latent", ""} <= IMPORTS.keys()
    assert {"latent.layout", "latent.distributions"} <= IMPORTS["latent.pathwise.base"]
    assert "api" in IMPORTS[""]


@pytest.mark.parametrize("module", IMPORTS)
def test_every_module_has_a_place_in_its_package(module):
    package, _, name = module.rpartition(".")
    assert not name or name in levels(package), f"ORDERS has no {name} in {package or 'the package'}"


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_point_down(module):
    assert upward({module: IMPORTS[module]}) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("latent/layout.py", "from discrete_latents.latent.distributions import log_prob"),
        ("latent/layout.py", "from discrete_latents.latent import Estimator"),
        ("latent/estimator.py", "from discrete_latents.latent.pathwise.base import Pathwise"),
        ("latent/sampler.py", "import discrete_latents.errors\nimport discrete_latents.models"),
        ("latent/pathwise/base.py", "from discrete_latents.latent.pathwise import reinmax"),
        ("latent/pathwise/darn.py", "from discrete_latents.latent.pathwise.reinmax import ReinMax"),
        ("runs/directory.py", "from discrete_latents.runs import results"),
        ("checks.py", "if TYPE_CHECKING:\n    from discrete_latents.errors import UserError"),
        ("models/latent_model.py", "def late():\n    from discrete_latents.training.train import train"),
        ("api.py", "from discrete_latents import load_run"),
    ],
)
def test_an_import_that_points_up_or_beside_is_found(file, line):
    assert len(upward(graph(TREES | {file: ast.parse(line)}))) == 1


def test_no_modules_import_each_other_in_a_circle():
    graphlib.TopologicalSorter(IMPORTS).prepare()


def test_a_circle_is_found():
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("latent/")])
def test_the_latent_module_imports_torch_and_jaxtyping_alone(name):
    outside = {target.split(".")[0] for target in imported(TREES[name])} - set(sys.stdlib_module_names)
    assert outside <= {"torch", "jaxtyping", "discrete_latents"}
    assert {target.split(".")[0] for target in IMPORTS[dotted(name)]} <= {"latent", "checks"}


def names_used(tree: ast.AST) -> set[str]:
    """The last parts of what a file imports, and all its attributes."""
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {target.split(".")[-1] for target in imported(tree)} | attributes


@pytest.mark.parametrize("name", NAMES)
def test_one_module_builds_objects_from_configurations_and_one_starts_hydra(name):
    used = names_used(TREES[name])
    assert ("instantiate" in used) == (name == "config/instantiate.py")
    assert ("initialize_config_dir" in used) == (name == "config/compose.py")


@pytest.mark.parametrize("name", NAMES)
def test_one_module_writes_atomically(name):
    calls = {ast.unparse(node) for node in ast.walk(TREES[name]) if isinstance(node, ast.Attribute)}
    renaming = {"atomic_write.py", "data/mnist_files.py"}  # which moves downloaded files out of a folder of its own
    assert bool({"os.replace", "os.rename"} & calls) == (name in renaming)
    assert not {"OmegaConf.save", "shutil.move"} & calls


@pytest.mark.parametrize("name", NAMES)
def test_every_module_says_what_it_is(name):
    assert ast.get_docstring(TREES[name])


def test_only_named_modules_stand_outside_the_rooms():
    assert {path.stem for path in SOURCE.glob("*.py")} <= ROOT


def test_no_file_is_named_by_a_gerund():
    assert [name for name in NAMES if Path(name).stem.endswith("ing")] == []


def test_no_two_classes_or_functions_bear_one_name():
    places: dict[str, list[str]] = {}
    for name, tree in TREES.items():
        for defined in public(tree):
            places.setdefault(defined, []).append(name)
    assert {defined: names for defined, names in places.items() if len(names) > 1} == {}


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("__init__.py")])
def test_no_package_exports_a_name_over_its_module(name):
    children = {path.stem for path in (SOURCE / name).parent.iterdir()}
    package = ".".join(filter(None, ("discrete_latents", dotted(name))))
    modules = {f"{package}.{child}" for child in children}
    exported = {target.split(".")[-1] for target in imported(TREES[name]) if target not in modules}
    assert not children & {*exported, *public(TREES[name])}


def test_the_latent_module_loads_without_lightning_and_hydra():
    code = "import sys, discrete_latents.latent; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not {"lightning", "hydra", "omegaconf", "torchvision", "torchmetrics", "sklearn", "wandb"} & set(loaded)


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.rglob("*.py")), ids=lambda path: path.stem)
def test_what_the_tests_import_changes_nothing(path: Path):
    """pytest imports every file for its doctests: what one sets in another module, all tests of the process have."""
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        assert not [target for target in targets if isinstance(target, ast.Attribute)], f"{path}:{node.lineno}"
