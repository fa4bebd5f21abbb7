"""The folder of an export, which is a run of a few files: whatever reads a run reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from discrete_latents.api import Run
from discrete_latents.atomic_write import atomic_folder
from discrete_latents.config.compose import CONFIGS
from discrete_latents.config.overrides import key
from discrete_latents.config.paths import is_path
from discrete_latents.errors import UserError
from discrete_latents.export.onnx_graph import onnx_files
from discrete_latents.models import LatentModel
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.exported_weights import exported
from discrete_latents.runs.metrics import metric, position
from discrete_latents.runs.results import results_text
from discrete_latents.runs.results_table import meaning, title


def export_run(run: Run, folder: Path, onnx: bool = False) -> list[Path]:
    """Writes a run's model into a new folder, all files or none, and returns their paths.

    What only this machine knows is left out: paths, the command line, the optimiser's state. Secrets are masked.
    Raises UserError for a folder that is not empty, and, with `onnx`, as `onnx_files` does.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} must be a new folder: it has files")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} must be a new folder, got a file")
    made = RunDirectory(folder)
    results = {name: value for name, value in run.results.items() if name != "command"}
    results |= {"checkpoint": made.exported.name} if results else {}
    contents: dict[Path, bytes | str] = {**made.config_texts(*without_paths(run))}
    contents[made.exported] = exported(run.model.state_dict(), getattr(run.model, "kind", None))
    contents[made.card] = card(run, results)
    if results:
        contents[made.results] = results_text(results)
    if onnx:
        contents |= {folder / name: content for name, content in onnx_files(run.model).items()}
    atomic_folder(folder, {path.relative_to(folder).as_posix(): content for path, content in contents.items()})
    return list(contents)


def without_paths(run: Run) -> tuple[Any, Any]:
    """A run's configuration with the paths that are the default, and what is used of Hydra's; None where it is
    unknown."""
    config = run.config.copy()
    config.paths = OmegaConf.load(CONFIGS / "paths" / "default.yaml")
    if not run.files.hydra_config.is_file():
        return config, None
    hydra = run.files.read_hydra()
    given = OmegaConf.to_container(hydra).get("overrides", {}).get("task", [])  # type: ignore[union-attr]
    named = [override for override in given if not is_path(key(override))]
    return config, OmegaConf.create(
        {"job": hydra.get("job", {}), "overrides": {"task": named}, "runtime": {"choices": hydra.runtime.choices}}
    )


def card(run: Run, results: Mapping[str, Any]) -> str:
    """What an export is, as Markdown."""
    model = run.model
    lines = ["---", "library_name: discrete_latents", "---", "", f"# {title(results) or type(model).__name__}", ""]
    if isinstance(model, LatentModel):
        shape = "×".join(map(str, model.mean_image.shape))
        codes = f"{model.num_latents} latents of {model.num_classes} classes"
        lines += [f"{type(model).__name__}: x of {shape}, {codes}.", ""]
    rows = sorted((results.get("metrics") or {}).items(), key=lambda item: position(item[0]))
    if rows:
        lines += ["| metric | value | |", "|---|---|---|"]
        m = results.get("eval_samples", 1)
        for name, value in rows:
            if value is not None:
                lines.append(f"| {name} | {metric(name).text(value)} | {meaning(name, m).replace('|', '&#124;')} |")
        lines.append("")
    lines += ["```python", "from discrete_latents import load_run", "", 'run = load_run("this folder")', "```", ""]
    return "\n".join(lines)
