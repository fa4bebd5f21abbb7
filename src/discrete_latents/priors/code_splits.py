"""The codes of a tokeniser as data."""

from discrete_latents.data import ImageData, Images, Splits
from discrete_latents.errors import UserError
from discrete_latents.priors.tokenizer import load_tokenizer


def codes(folder: str | None = None) -> Splits:
    """The most probable codes, (n, N), of all images that a tokeniser was trained, validated and tested on, in its
    splits. folder: its run directory; its data set must be there.

    Raises UserError where that is no run of a tokeniser, or its images are not `ImageData`.
    """
    run = load_tokenizer(folder)
    data = run.data
    if not isinstance(data, ImageData):
        raise UserError(f"tokenizer = {folder} must be of data of this package, got a {type(data).__name__}")
    return Splits(*(Images(run.encode(data.pixels[split]), data.labels[split]) for split in Splits._fields))
