"""Fully connected networks."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from discrete_latents.checks import positive
from discrete_latents.networks.base import Network
from discrete_latents.networks.onednn_linear import OneDNNLinear


class MLP(Network):
    """Fully connected layers; without hidden widths, one linear map.

    Args:
        gain: multiplies torch's initial weights, of standard deviation 1/√(3 inputs). √3 preserves the variance through
            linear or tanh layers (LeCun et al. 1998).
        encoder_gain: further multiplies the weights of the encoder's last layer. A larger gain moves the initial
            posterior away from uniform, so that fewer latents are noise to the decoder.

    The other arguments: `Network`. Raises ValueError unless both gains are positive.
    """

    def __init__(
        self,
        hidden: Sequence[int],
        decoder_hidden: Sequence[int] | None = None,
        activation: str = "ReLU",
        gain: float = 1.0,
        encoder_gain: float = 1.0,
    ) -> None:
        super().__init__(hidden, decoder_hidden, activation)
        self.gain = positive("gain", gain)
        self.encoder_gain = positive("encoder_gain", encoder_gain)

    def encoder(self, image_shape: Sequence[int], features: int) -> nn.Module:
        layers = self.layers([math.prod(image_shape), *self.hidden, features], self.encoder_gain)
        return nn.Sequential(nn.Flatten(-len(image_shape)), *layers)

    def decoder(self, features: int, image_shape: Sequence[int]) -> nn.Module:
        layers = self.layers([features, *self.decoder_hidden, math.prod(image_shape)])
        return nn.Sequential(*layers, nn.Unflatten(-1, tuple(image_shape)))

    def layers(self, sizes: Sequence[int], last_gain: float = 1.0) -> list[nn.Module]:
        affine = [OneDNNLinear(inputs, outputs) for inputs, outputs in pairwise(sizes)]
        with torch.no_grad():
            for layer in affine:
                layer.weight.mul_(self.gain)
            affine[-1].weight.mul_(last_gain)
        return [part for layer in affine for part in (layer, self.activation())][:-1]
