"""Fully connected networks."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from discrete_latents.checks import positive
from discrete_latents.networks.base import Network
from discrete_latents.networks.onednn_linear import OneDNNLinear

INITIAL: dict[str, Callable[[Tensor], Tensor] | None] = {
    "torch": None,
    "glorot": nn.init.xavier_uniform_,
    "he": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
}
"""What draws initial weights, by name; None: the layer itself."""


class MLP(Network):
    """Fully connected layers; without hidden widths, one linear map.

    Args:
        initial: the initial weights: torch's, of standard deviation 1/√(3 inputs); glorot, √(2 / (inputs + outputs))
            (Glorot, Bengio 2010); or he, √(2 / inputs) (He, Zhang, Ren, Sun 2015). All are uniform. Biases are torch's
            or, with glorot and he, 0.
        gain: multiplies them. With torch's, √3 preserves the variance through linear or tanh layers (LeCun et al.
            1998).
        encoder_gain: further multiplies the weights of the encoder's last layer. A larger gain moves the initial
            posterior away from uniform, so that fewer latents are noise to the decoder.

    The other arguments: `Network`. Raises ValueError unless both gains are positive, and for another name than these.
    """

    def __init__(
        self,
        hidden: Sequence[int],
        decoder_hidden: Sequence[int] | None = None,
        activation: str = "ReLU",
        gain: float = 1.0,
        encoder_gain: float = 1.0,
        initial: str = "torch",
    ) -> None:
        super().__init__(hidden, decoder_hidden, activation)
        if initial not in INITIAL:
            raise ValueError(f"initial must be one of {', '.join(INITIAL)}, got {initial!r}")
        self.initial = initial
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
                if draw := INITIAL[self.initial]:
                    draw(layer.weight)
                    layer.bias.zero_()
                layer.weight.mul_(self.gain)
            affine[-1].weight.mul_(last_gain)
        return [part for layer in affine for part in (layer, self.activation())][:-1]
