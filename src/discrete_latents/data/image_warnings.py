"""Data that may be right and seldom is: a warning before training, not an error."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from discrete_latents.data.kinds import value_range
from discrete_latents.data.splits import Splits

LARGEST = 2**28
"""Bytes of images, over all splits, among which identical ones are looked for."""


def split_warnings(splits: Splits, grey: bool = True) -> Iterator[str]:
    """One line each: a split of one image, grey images without a pixel in the upper half of their range, and images
    that two splits share, as those of some public sets do. Shared images are not looked for in more than 256 MB."""
    for split, images in splits._asdict().items():
        if len(images.x) == 1:
            yield f"the {split} split has one image"
        full = 255 if images.x.dtype == torch.uint8 else 1
        _, highest = value_range(images.x, full / 2) if grey else (0, full)
        if highest < full / 2:
            yield f"the brightest pixel of the {split} images is {highest:.3g} of {full}"
    if sum(images.x.numel() * images.x.element_size() for images in splits) > LARGEST:
        return
    hashes = {split: image_hashes(images.x) for split, images in splits._asdict().items()}
    every = np.sort(np.concatenate(list(hashes.values())))
    repeated = np.unique(every[1:][every[1:] == every[:-1]])
    if not len(repeated):
        return
    # Different images can have one hash, though seldom: those that have are compared byte by byte.
    candidates = {
        split: [image.tobytes() for image in images.x[torch.from_numpy(np.isin(hashes[split], repeated))].numpy()]
        for split, images in splits._asdict().items()
    }
    for first, second in combinations(splits._fields, 2):
        known = set(candidates[first])
        count = sum(image in known for image in candidates[second])
        if count:
            yield f"{count} of the {len(hashes[second])} {second} images are in the {first} split, too"


def image_hashes(images: Shaped[Tensor, "n ..."]) -> np.ndarray:
    """A number for each image, the same for identical ones: the sum modulo 2^64 of its bytes, as 64-bit words, times
    fixed random odd numbers."""
    size = images[0].numel() * images.element_size()
    words = -(-size // 8)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(-(2**62), 2**62, (words,), generator=generator) * 2 + 1
    padded = torch.zeros(max(1, 2**15 // words), 8 * words, dtype=torch.uint8)  # 256 kB, which a cache holds
    hashes = []
    for part in images.split(len(padded)):
        padded[: len(part), :size] = part.flatten(1).contiguous().view(torch.uint8)
        hashes.append(padded[: len(part)].view(torch.int64) @ weights)
    return torch.cat(hashes).numpy()
