"""Where a run is: in a folder, in this package, or on the Hugging Face Hub."""

import os
import re
from importlib import import_module
from pathlib import Path

from discrete_latents.errors import UserError, first_line
from discrete_latents.runs.directory import RunDirectory

SHIPPED = Path(__file__).parents[1] / "shipped"
"""Small runs that are part of this package, by their names."""

HUB = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", re.ASCII)


def find_run(address: str | os.PathLike[str]) -> RunDirectory:
    """The run at an address: a folder; the name of a run that ships with this package, where there is no such folder;
    or hf://OWNER/NAME, with @REVISION at its end for another than the newest.

    Raises UserError for what is none of them, and for a download that fails.
    """
    if isinstance(address, str) and address.startswith("hf:"):
        return downloaded(address)
    if os.path.lexists(address):
        return RunDirectory(address)
    shipped = sorted(folder.name for folder in SHIPPED.iterdir() if folder.is_dir())
    if str(address) not in shipped:
        raise UserError(
            f"{address} is not the directory of a run: there is none, nor does a run of that name ship with the "
            f"package, as {', '.join(shipped)} does"
        )
    return borrowed(SHIPPED / str(address))


def downloaded(address: str) -> RunDirectory:
    """An export on the Hugging Face Hub: of its repository, the files of an export alone."""
    parts = HUB.fullmatch(address)
    if parts is None:
        raise UserError(f"a run on the Hugging Face Hub is hf://OWNER/NAME or hf://OWNER/NAME@REVISION, got {address}")
    try:
        hub = import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(
            f"{address} needs huggingface_hub, which is not installed: pip install 'discrete-latents[hub]'"
        ) from error
    files = RunDirectory("")
    wanted = [files.exported, files.results, files.card, files.config, files.hydra_config, files.overrides]
    try:
        folder = hub.snapshot_download(
            parts["repo"], revision=parts["revision"], allow_patterns=[path.as_posix() for path in wanted]
        )
    except Exception as error:  # of many kinds: no such repository, no permission, no network
        raise UserError(f"{address} cannot be downloaded: {first_line(error)}") from error
    return borrowed(Path(folder))


def borrowed(folder: Path) -> RunDirectory:
    run = RunDirectory(folder)
    run.borrowed = True
    return run
