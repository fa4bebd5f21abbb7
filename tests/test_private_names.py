"""What Lightning keeps private is touched in one module."""

import ast
from collections.abc import Iterator

import pytest

from tests.test_imports import MODULES, NAMES

OTHERS = {
    *("_target_", "_fields", "_asdict", "_get_node", "_get_help_string"),
    *("_linear_pointwise", "_foreach_add_", "_fused_adam_", "_fused_adamw_"),
    *("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks", "_is_profiler_enabled"),
    *("_save_to_state_dict", "_load_from_state_dict"),
    *("_C", "_are_functorch_transforms_active"),
}
"""Of Hydra, of named tuples, of OmegaConf and of argparse; and of torch, kernels, hooks and what a module overrides to
say how it is saved, each in one module."""

LOOPS = {"fit_loop", "epoch_loop", "val_loop", "validate_loop", "batch_progress"}
"""Of Lightning, private but for the name."""


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def touched(tree: ast.AST) -> Iterator[str]:
    """Private names that a file imports of Lightning, reads, sets or defines as methods."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (private(node.attr) or node.attr in LOOPS):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("lightning"):
            yield from filter(private, [*str(node.module).split("."), *(alias.name for alias in node.names)])
        elif isinstance(node, ast.ClassDef):
            yield from (item.name for item in node.body if isinstance(item, ast.FunctionDef) and private(item.name))


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_private_names_of_lightning_are_touched_in_one_module(path):
    found = set(touched(ast.parse(path.read_text()))) - OTHERS
    if path.name == "lightning_internals.py":
        assert {"_should_check_val_fx", "_HandlersCompose", "_save_last_checkpoint", "epoch_loop"} <= found
    else:
        assert found == set()
