"""Images and vectors in memory or mapped into it: sources, checks, binarisation, batches."""

from discrete_latents.data.augmentation import Augmentation
from discrete_latents.data.datamodule import ImageData
from discrete_latents.data.loaders import Loaders
from discrete_latents.data.omniglot_file import omniglot
from discrete_latents.data.sources import (
    arrays,
    digit_counts,
    digits,
    patches,
    torchvision_images,
    torchvision_photographs,
)
from discrete_latents.data.splits import Images, Splits

__all__ = [
    "Augmentation",
    "ImageData",
    "Images",
    "Loaders",
    "Splits",
    "arrays",
    "digit_counts",
    "digits",
    "omniglot",
    "patches",
    "torchvision_images",
    "torchvision_photographs",
]
