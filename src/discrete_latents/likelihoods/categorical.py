"""Categorical features: each is one of K classes."""

import torch
from jaxtyping import Float, Real
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.latent import layout
from discrete_latents.likelihoods.base import Likelihood


class Categorical(Likelihood):
    """Class indices from 0 to K − 1, independent given z; the outputs are K logits for each feature.

    categories: K. Networks read one-hot classes, as channels of images. Raises ValueError unless K is at least 2.
    """

    takes = ("whole",)
    masses = ("whole",)

    def __init__(self, categories: int = 256) -> None:
        super().__init__()
        self.outputs = whole("categories", categories, least=2)

    def check(self, kind: str, lowest: float, highest: float) -> None:
        super().check(kind, lowest, highest)
        if highest >= self.outputs:
            raise ValueError(f"categories must be at least {highest + 1:g}, the classes of x, got {self.outputs}")

    def inputs(self, x: Real[Tensor, "B ..."], mean: Float[Tensor, "..."]) -> Float[Tensor, "B ..."]:
        return self.one_hot(x, mean.dtype).movedim(-1, 1).flatten(1, 2)

    def statistics(self, x: Real[Tensor, "B ..."]) -> Float[Tensor, "B ... K"]:
        return self.one_hot(x, torch.get_default_dtype())

    def one_hot(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return layout.one_hot(x.long(), self.outputs, dtype)

    def pixel_nll(self, x: Tensor, output: Tensor) -> Tensor:
        classes = x.long().expand(output.shape[:-1]).unsqueeze(-1)
        return -output.log_softmax(-1).gather(-1, classes).squeeze(-1)

    def mean(self, output: Tensor) -> Tensor:
        """The mean class index."""
        return output.softmax(-1) @ torch.arange(self.outputs, dtype=output.dtype, device=output.device)

    def output_for_mean(self, mean: Tensor) -> Tensor:
        """mean: the frequency of each class, (…, K)."""
        return mean.log()
