"""Images in memory or mapped into it: sources, checks, binarisation, batches."""

from discrete_latents.data.augmentation import Augmentation
from discrete_latents.data.datamodule import ImageData
from discrete_latents.data.sources import arrays, digits, torchvision_images
from discrete_latents.data.splits import Images, Splits

__all__ = ["Augmentation", "ImageData", "Images", "Splits", "arrays", "digits", "torchvision_images"]
