"""Small changes of training images that keep their class."""

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F


def shifted(pixels: UInt8[Tensor, "n C H W"], most: int) -> UInt8[Tensor, "n C H W"]:
    """Each image moved by its own random whole number of pixels, up to `most` each way, over a black ground."""
    count, channels, height, width = pixels.shape
    padded = F.pad(pixels, (most, most, most, most))
    down, right = torch.randint(2 * most + 1, (2, count, 1), device=pixels.device)
    rows = down + torch.arange(height, device=pixels.device)
    columns = right + torch.arange(width, device=pixels.device)
    image = torch.arange(count, device=pixels.device)[:, None, None, None]
    channel = torch.arange(channels, device=pixels.device)[:, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
