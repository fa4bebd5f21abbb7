"""What the values of a data set are, derived from their type and range, or declared as `data.kind`.

Values of another convention train without an error, and their figures mean nothing: uint8 images of 0 and 1 are black
after the division by 255, and floats up to 255 are no pixels of any likelihood. What can be two things is refused.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float, Shaped
from torch import Tensor

from discrete_latents.data.binarization import to_float
from discrete_latents.data.image_checks import dtype_name, split_name
from discrete_latents.data.splits import Splits
from discrete_latents.likelihoods import KINDS

DECLARED = ("grey", "real", "whole")
"""Kinds of data:

- grey: grey values in [0, 1]: uint8, divided by 255; floats in [0, 1]; bool, and other whole numbers of 0 and 1
- real: any floats, as standardised features
- whole: whole numbers from 0: counts, or classes. uint8 must be declared
"""

DARK = 16
"""No split of images in 0 to 255 has a brightest pixel this low. Images that do count in ones: binary images, palette
indices, scikit-learn's digits of 0 to 16."""


class Values(NamedTuple):
    """A kind of values, as `likelihoods.KINDS` names it, and their range as a model reads them."""

    kind: str
    lowest: float
    highest: float

    @property
    def grey(self) -> bool:
        return self.kind not in DECLARED[1:]


class Span(NamedTuple):
    """The range of all values, whether all are whole numbers, and whether all are levels k / 255."""

    lowest: float
    highest: float
    whole: bool
    levels: bool


def check_values(splits: Splits, declared: str | None) -> Values:
    """The values of all splits. Where they are not declared, the training split decides.

    Raises ValueError, with the split and what was found, for values that are not finite, that are the same throughout,
    that the kind does not allow, or, where it is not declared, that can be of two kinds. Only grey values may be of
    several types then.
    """
    train = split_values(splits.train.x, split_name("train", splits.train.x), declared)
    first, found = splits.train.x.dtype, [train]
    for split, images in list(splits._asdict().items())[1:]:
        name = split_name(split, images.x)
        if declared is None and not train.grey and images.x.dtype != first:
            wanted, got = dtype_name(first), dtype_name(images.x.dtype)
            raise ValueError(
                f"{name} must be {wanted}, as the train split's are, got {got}; data.kind={train.kind} takes both"
            )
        found.append(split_values(images.x, name, declared or ("grey" if train.grey else train.kind)))
    kind = max((values.kind for values in found), key=list(KINDS).index)
    return Values(kind, min(values.lowest for values in found), max(values.highest for values in found))


def split_values(x: Shaped[Tensor, "n ..."], name: str, kind: str | None) -> Values:
    """The values of one split. Raises ValueError as `check_values` does."""
    dtype = dtype_name(x.dtype)
    if dtype == "uint8" and kind in (None, "grey"):
        lowest, highest = value_range(x)
        if lowest == highest:
            raise ValueError(f"{name} must hold more than one grey value, got {highest} in every pixel")
        if highest <= DARK:
            raise ValueError(
                f"{name} must be grey values from 0 to 255, got none above {highest}: divided by 255 they are black; "
                f"multiply them by {255 // int(highest)}, or set data.kind=whole for counts or classes"
            )
        return Values("levels", lowest / 255, highest / 255)
    span = measure(x, name)
    got = f"got {dtype} from {span.lowest:.7g} to {span.highest:.7g}"
    if span.lowest == span.highest:
        raise ValueError(f"{name} must hold more than one value, got {span.lowest:g} throughout")
    unit = span.lowest >= 0 and span.highest <= 1
    if kind is None and not unit and x.is_floating_point() and span.lowest >= 0:
        raise ValueError(
            f"{name} must be grey values in [0, 1] or standardised, {got}; divide grey values by 255, or set "
            f"data.kind=real{' or whole' if span.whole else ''} to take them as they are"
        )
    kind = kind or ("grey" if unit else "real" if x.is_floating_point() else "whole")
    if kind == "grey":
        if not unit:
            whole = "convert 0 to 255 to uint8, or set data.kind=whole for counts or classes"
            hint = "data.kind=real takes other floats" if x.is_floating_point() else whole
            raise ValueError(f"{name} must be grey values, uint8 or in [0, 1], {got}; {hint}")
        if span.highest <= DARK / 255:
            raise ValueError(f"{name} must be grey values in [0, 1], got none above {span.highest:g}: they are black")
        return Values("binary" if span.whole else "levels" if span.levels else "grey", span.lowest, span.highest)
    if kind == "whole" and not (span.whole and span.lowest >= 0):
        raise ValueError(f"{name} must be whole numbers from 0, {got}{'' if span.whole else ' with fractions'}")
    return Values(kind, span.lowest, span.highest)


def measure(x: Shaped[Tensor, "n ..."], name: str) -> Span:
    """All values, read in parts. Raises ValueError for NaN and infinite ones."""
    lowest, highest, whole, levels = math.inf, -math.inf, True, True
    for part in x.split(max(1, 2**20 // x[0].numel())):
        part = part.float() if x.is_floating_point() else part.long()
        low, high = (bound.item() for bound in part.aminmax())
        if not math.isfinite(high - low):
            bad = sum(int((~more.float().isfinite()).sum()) for more in x.split(1000))
            what = "NaN" if math.isnan(low) else "infinite"
            raise ValueError(f"{name} must be finite numbers, got {what} ({bad} of {x.numel()} are not finite)")
        lowest, highest = min(lowest, low), max(highest, high)
        if x.is_floating_point():
            whole = whole and bool((part == part.round()).all())
            # Of float16, x · 255 is within 0.07 of a level.
            levels = levels and bool(((part * 255).round() - part * 255).abs().max() < 0.1)
    return Span(lowest, highest, whole, levels)


def value_range(images: Shaped[Tensor, "n ..."], bright: float = 127) -> tuple[float, float]:
    """The lowest and the highest value of the images, or of the first ones that hold two values, one of them above
    `bright`: what is larger than memory is not read to its end."""
    lowest, highest = math.inf, -math.inf
    for part in images.split(max(1, 2**20 // images[0].numel())):
        low, high = part.aminmax()
        lowest, highest = min(lowest, low.item()), max(highest, high.item())
        if lowest < highest > bright:
            break
    return lowest, highest


def base_rate(total: Float[Tensor, "..."], count: int, values: Values) -> Float[Tensor, "..."]:
    """The mean of the statistics of `count` x, from their sum.

    It includes one extra black and one white image for grey values, so that no pixel's base rate is 0 or 1 (Laplace's
    rule), and one extra observation, of the same mean everywhere, for whole numbers.
    """
    if values.grey:
        return ((total + 1) / (count + 2)).float()
    if values.kind == "whole":
        return ((total + total.mean() / count) / (count + 1)).float()
    return (total / count).float()


def reader(kind: str) -> Callable[[Tensor], Tensor]:
    """How a batch of stored values becomes what a model reads: float32, or int64 where they are whole numbers."""
    return {"real": Tensor.float, "whole": Tensor.long}.get(kind, to_float)
