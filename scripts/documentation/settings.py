"""Writes reference/settings.md: every group of settings, its options, and what each is, from the YAML files."""

from collections.abc import Iterator
from pathlib import Path

import mkdocs_gen_files
from hydra.utils import get_class
from omegaconf import OmegaConf

CONFIGS = Path(__file__).parents[2] / "configs"
INTRODUCTION = """# Settings

Written from the files in `configs`. `group=option` chooses a file, `group.setting=value` changes a line of it. An
option replaces its whole group: `experiment=vae_mnist model/network=cnn` takes all of `configs/model/network/cnn.yaml`.
`python train.py --help` prints the settings of a command.
"""


def groups() -> Iterator[tuple[str, list[Path]]]:
    folders = sorted({path.parent for path in CONFIGS.rglob("*.yaml")} - {CONFIGS})
    for folder in folders:
        name = folder.relative_to(CONFIGS).as_posix()
        if not name.startswith("hydra"):
            yield name, sorted(folder.glob("*.yaml"))


def summary(path: Path) -> str:
    """The first comment of a file that stands before its settings, or the first line of its class's docstring."""
    first = path.read_text().splitlines()[0]
    if first.startswith("# ") and "@package" not in first:
        return first[2:]
    target = OmegaConf.select(OmegaConf.load(path), "_target_")
    try:
        described = (get_class(str(target)).__doc__ or "").strip() if target else ""
    except ImportError:
        return ""  # of an extra that is not installed
    return described.partition("\n")[0]


def option(path: Path) -> str:
    text = path.read_text().rstrip()
    return f"### `{path.stem}`\n\n{summary(path)}\n\n```yaml\n{text}\n```\n\n"


def page() -> str:
    parts = [INTRODUCTION]
    for name in ("train", "eval", "search"):
        command = {"search": "discrete-latents-search"}.get(name, f"python {name}.py")
        parts.append(f"## `{command}`\n\n```yaml\n{(CONFIGS / f'{name}.yaml').read_text().rstrip()}\n```\n\n")
    for name, paths in groups():
        listed = ", ".join(f"`{path.stem}`" for path in paths)
        parts.append(f"## `{name}`\n\nOptions: {listed}.\n\n" + "".join(map(option, paths)))
    return "\n".join(parts)


with mkdocs_gen_files.open("reference/settings.md", "w") as file:
    file.write(page())
