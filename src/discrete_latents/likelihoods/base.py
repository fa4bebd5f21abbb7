"""Likelihoods p(x | z), parameterised by a decoder's output. Log-densities sum over the features of x, in nats."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from discrete_latents.latent.sampler import at_least_float32

KINDS = {
    "binary": "0 and 1",
    "levels": "grey values of 256 levels",
    "grey": "grey values in [0, 1]",
    "real": "real numbers",
    "whole": "whole numbers from 0",
}
"""What x can be, and the words for it."""

CASES = {"binary": {"levels", "grey", "whole"}, "levels": {"grey"}}
"""The kinds that a kind is a case of."""

CHOICES = {
    "binary": "choose model/likelihood=bernoulli",
    "levels": "choose another model/likelihood, data.binarization=fixed for 0 and 1, or data.kind=whole for classes",
    "grey": "choose model/likelihood=bernoulli or gaussian",
    "real": "choose model/likelihood=gaussian; grey values must be uint8, or floats in [0, 1]",
    "whole": "choose model/likelihood=poisson or categorical; grey values from 0 to 255 must be uint8",
}
"""What to do about a kind of x that a likelihood does not take."""


class Likelihood(nn.Module):
    """The distribution of x, (B, *shape), given a decoder's output, (*S, B, *output_shape(shape)).

    takes: the kinds of x, as `KINDS` names them, and their cases. masses: those of which log_prob is of a
    probability, so that it is a number of bits, and not a density or a cross-entropy. outputs: a decoder's outputs for
    each feature.
    """

    takes: Collection[str] = tuple(KINDS)
    masses: Collection[str] = ()
    outputs: int = 1

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of a decoder's output for x of `shape`: several outputs of a feature are the last dimension."""
        return (*shape, self.outputs) if self.outputs > 1 else tuple(shape)

    def check(self, kind: str, lowest: float, highest: float) -> None:
        """Raises ValueError if this is no distribution of x of a kind and range."""
        if not {kind, *CASES.get(kind, ())} & set(self.takes):
            words = " or ".join(KINDS[taken] for taken in self.takes)
            found = f"{KINDS[kind]} ({lowest:g} to {highest:g})"
            raise ValueError(f"{type(self).__name__} takes {words}, got {found}; {CHOICES[kind]}")

    def inputs(self, x: Real[Tensor, "B ..."], mean: Float[Tensor, "..."]) -> Float[Tensor, "B ..."]:
        """x as a network reads it, (B, features) or (B, channels, H, W): centred. mean: of x in training."""
        return x - mean

    def input_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of what a network reads for x of `shape`."""
        empty = torch.zeros(*shape)
        return tuple(self.inputs(empty.unsqueeze(0), empty).shape[1:])

    def statistics(self, x: Real[Tensor, "B ..."]) -> Real[Tensor, "B ..."]:
        """What `output_for_mean` takes the mean of, (B, …)."""
        return x

    def log_prob(self, x: Real[Tensor, "B ..."], output: Float[Tensor, "..."]) -> Tensor:
        """log p(x | z), (*S, B), computed in at least float32."""
        pixels = self.pixel_nll(x, at_least_float32(output))
        return -pixels.flatten(1 - x.dim()).sum(-1)

    def pixel_nll(self, x: Tensor, output: Tensor) -> Tensor:
        """−log p of each feature, (*S, *x.shape)."""
        raise NotImplementedError

    def mean(self, output: Tensor) -> Tensor:
        """E[x | z], as shown in pictures."""
        raise NotImplementedError

    def output_for_mean(self, mean: Tensor) -> Tensor:
        """The output under which the statistics have this mean, used to set the output bias to the data's base rate."""
        raise NotImplementedError
