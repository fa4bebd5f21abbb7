"""The tokeniser of a prior: the model of a run."""

from pathlib import Path

from discrete_latents.api import Run, load_run
from discrete_latents.errors import UserError
from discrete_latents.models import ImageTokenizer


def load_tokenizer(path: str | Path | None) -> Run:
    """The run whose codes are modelled. Raises UserError where it is none of an ImageTokenizer."""
    if path is None:
        raise UserError("tokenizer must be the RUN_DIR of a run of model=image_tokenizer, got null")
    run = load_run(path)
    if not isinstance(run.model, ImageTokenizer):
        raise UserError(f"tokenizer = {path} must be a run of model=image_tokenizer, got a {type(run.model).__name__}")
    return run
