"""The base of the quantisers: a code that is a function of x."""

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from discrete_latents.latent import Estimator, NotDefined


class Quantizer(Estimator):
    """Maps N vectors to N of K codes without noise. A deterministic code has no KL to train.

    Seen as a posterior it is certain, and its KL from a uniform prior is the constant N log K: with it, the bound is a
    bound, but one that no encoder can improve by telling less.

    Subclasses define `build` and `quantize`. They wrap modules of vector-quantize-pytorch (the extra `tokenizer`).
    The losses of that package are means over features where a bound sums, so they are multiplied by `weight`, the
    number of features of x: the balance is then that of the papers, per feature.
    """

    quantizer: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = 0
        self.weight = 1.0

    def prepare(self, image_shape: Sequence[int], num_classes: int, width: int) -> int:
        """Makes what depends on K. Returns the number of channels of a vector, `width` where it is free.

        Raises ValueError for a K that the quantiser does not have.
        """
        self.num_classes, self.weight = num_classes, float(math.prod(image_shape))
        return self.build(num_classes, width)

    def build(self, num_classes: int, width: int) -> int:
        raise NotImplementedError

    def quantize(self, x: Float[Tensor, "B N D"]) -> tuple[Tensor, Tensor, Tensor]:
        """The vectors of the codes, (B, N, D), with the gradient of this quantiser, the codes, (B, N), and its loss."""
        raise NotImplementedError

    def look_up(self, codes: Int[Tensor, "*S N"]) -> Float[Tensor, "*S N D"]:
        """The vectors of codes."""
        return self.quantizer.indices_to_codes(codes.flatten(0, -2)).unflatten(0, codes.shape[:-1])  # type: ignore[operator]

    def code(self, x: Float[Tensor, "B N D"]) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors and codes as of `quantize`, and each image's KL, (B,): N log K, with the gradient of the loss."""
        with torch.autocast(x.device.type, enabled=False):
            vectors, codes, loss = self.quantize(x.float() if x.dtype != torch.float64 else x)
        loss = self.weight * loss
        kl = x.shape[1] * math.log(self.num_classes) + (loss - loss.detach())
        return vectors.to(x.dtype), codes.long(), kl.expand(len(x))

    def draw(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> NoReturn:
        raise NotDefined(f"{type(self).__name__} is a deterministic code with no KL: choose model=image_tokenizer")


def library(name: str) -> Any:
    """A class of vector-quantize-pytorch. Raises ValueError where that is not installed."""
    try:
        return getattr(import_module("vector_quantize_pytorch"), name)
    except ModuleNotFoundError as error:
        raise ValueError(
            "latent needs vector-quantize-pytorch, which is not installed: pip install 'discrete-latents[tokenizer]', "
            "or choose another latent"
        ) from error
