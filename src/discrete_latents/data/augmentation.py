"""Random changes of training images."""

import math

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.checks import share, truth, whole


class Augmentation:
    """Random mirroring, rotation, zoom and shift of each image, on a black background.

    degrees: the largest angle of rotation about the centre, in either direction. zoom: images are scaled by a factor in
    [1 − zoom, 1 + zoom], with bilinear interpolation. shift: the largest translation in either direction, in whole
    pixels. flip: mirrors half of the images, left to right. Raises ValueError for a shift below 0 or, when called, not
    below the size of the images, for degrees outside [0, 180], for a zoom outside [0, 1), and unless flip is a truth
    value; when called, also for vectors, and for rotation or zoom of whole numbers other than uint8, which may be
    classes.
    """

    def __init__(self, shift: int = 0, degrees: float = 0.0, zoom: float = 0.0, flip: bool = False) -> None:
        self.shift = whole("shift", shift, least=0)
        if isinstance(degrees, bool | str) or not 0 <= degrees <= 180:
            raise ValueError(f"degrees must be from 0 to 180, got {degrees!r}")
        self.degrees = degrees
        self.zoom = share("zoom", zoom)
        self.flip = truth("flip", flip)

    def __call__(self, pixels: Shaped[Tensor, "n C H W"]) -> Shaped[Tensor, "n C H W"]:
        if pixels.dim() != 4:
            raise ValueError(f"augmentation must be null for vectors, got one for {pixels.shape[1]} features")
        smooth = pixels.dtype == torch.uint8 or pixels.is_floating_point()
        if (self.degrees or self.zoom) and not smooth:
            raise ValueError(
                f"degrees and zoom must be 0 for {pixels.dtype} values, got {self.degrees} and {self.zoom}"
            )
        if self.shift >= min(pixels.shape[-2:]):
            size = "×".join(map(str, pixels.shape[-2:]))
            raise ValueError(f"shift must be below the size of the images, {size}, got {self.shift}")
        if self.degrees or self.zoom:
            pixels = turned(pixels, self.degrees, self.zoom)
        if self.flip:
            pixels = flipped(pixels)
        return shifted(pixels, self.shift) if self.shift else pixels


def flipped(pixels: Shaped[Tensor, "n C H W"]) -> Shaped[Tensor, "n C H W"]:
    mirrored = torch.rand(len(pixels), device=pixels.device) < 0.5
    return torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)


def turned(pixels: Shaped[Tensor, "n C H W"], degrees: float, zoom: float) -> Shaped[Tensor, "n C H W"]:
    turn, size = 2 * torch.rand(2, len(pixels), dtype=torch.float32, device=pixels.device) - 1
    turn, size = math.radians(degrees) * turn, 1 + zoom * size
    cosine, sine, zero = turn.cos() / size, turn.sin() / size, torch.zeros_like(turn)
    maps = torch.stack([cosine, -sine, zero, sine, cosine, zero], -1).unflatten(-1, (2, 3))
    grid = F.affine_grid(maps, list(pixels.shape), align_corners=False)
    moved = F.grid_sample(pixels.float(), grid, align_corners=False)
    return moved.to(pixels.dtype) if pixels.is_floating_point() else moved.round().to(pixels.dtype)


def shifted(pixels: Shaped[Tensor, "n C H W"], most: int) -> Shaped[Tensor, "n C H W"]:
    count, channels, height, width = pixels.shape
    padded = F.pad(pixels, (most, most, most, most))
    down, right = torch.randint(2 * most + 1, (2, count, 1), device=pixels.device)
    rows = down + torch.arange(height, device=pixels.device)
    columns = right + torch.arange(width, device=pixels.device)
    image = torch.arange(count, device=pixels.device)[:, None, None, None]
    channel = torch.arange(channels, device=pixels.device)[:, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
