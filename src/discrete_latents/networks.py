"""Networks between images and features. A `Network` makes an encoder and a decoder that belong together.

Encoders map (*S, B, *image) to (*S, B, features), decoders back, for any number of sample dimensions *S.
The last layer of each is linear: its outputs are logits or means.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.affine import Affine
from discrete_latents.latent.checks import positive

ACTIVATIONS = set(nn.modules.activation.__all__) - {
    *("MultiheadAttention", "Threshold"),  # take more than their input
    *("GLU", "Softmax", "Softmax2d", "Softmin", "LogSoftmax"),  # see several numbers at once
}


class Network:
    """Makes encoders and decoders.

    hidden: widths of the encoder's hidden layers. decoder_hidden: the decoder's; the encoder's mirrored where
    None. activation: the name of a class in `torch.nn` that works on each number by itself. Raises ValueError for
    widths below 1 or an unknown name.
    """

    def __init__(
        self, hidden: Sequence[int], decoder_hidden: Sequence[int] | None = None, activation: str = "ReLU"
    ) -> None:
        self.hidden = widths("hidden", hidden)
        self.decoder_hidden = self.hidden[::-1] if decoder_hidden is None else widths("decoder_hidden", decoder_hidden)
        if not (isinstance(activation, str) and activation in ACTIVATIONS):
            raise ValueError(f"activation must be the name of an activation in torch.nn, as ReLU, got {activation!r}")
        self.activation: type[nn.Module] = getattr(nn, activation)

    def encoder(self, image_shape: Sequence[int], features: int) -> nn.Module:
        raise NotImplementedError

    def decoder(self, features: int, image_shape: Sequence[int]) -> nn.Module:
        raise NotImplementedError


class MLP(Network):
    """Fully connected layers; with no hidden widths, one linear map.

    gain: multiplies torch's initial weights, of standard deviation 1/√(3 inputs); √3 keeps the variance of what goes
    through linear or tanh layers (LeCun et al. 1998). encoder_gain: multiplies those of the encoder's last layer, too:
    the larger, the further from uniform is a posterior at first, and the fewer latents are noise to the decoder. Raises
    ValueError unless both are positive.
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
        affine = [Affine(inputs, outputs) for inputs, outputs in pairwise(sizes)]
        with torch.no_grad():
            for layer in affine:
                layer.weight.mul_(self.gain)
            affine[-1].weight.mul_(last_gain)
        return [part for layer in affine for part in (layer, self.activation())][:-1]


class Linear(MLP):
    """One linear map each way, whatever the hidden widths."""

    def __init__(
        self,
        hidden: Sequence[int] = (),
        decoder_hidden: Sequence[int] | None = None,
        gain: float = 1.0,
        encoder_gain: float = 1.0,
    ) -> None:
        super().__init__(hidden=(), gain=gain, encoder_gain=encoder_gain)


class CNN(Network):
    """Convolutions of stride 2, `hidden` being their channels, then one linear map; the decoder is the transpose.

    Raises ValueError where the height or width of an image cannot be halved once for each layer.
    """

    def encoder(self, image_shape: Sequence[int], features: int) -> nn.Module:
        small = self.smallest(image_shape, "hidden", self.hidden)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([image_shape[0], *self.hidden]):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), self.activation()]
        return AnyBatch(nn.Sequential(*layers, nn.Flatten(), Affine(math.prod(small), features)), event_dims=3)

    def decoder(self, features: int, image_shape: Sequence[int]) -> nn.Module:
        small = self.smallest(image_shape, "decoder_hidden", self.decoder_hidden)
        small = (self.decoder_hidden[0], *small[1:])
        layers: list[nn.Module] = [Affine(features, math.prod(small)), nn.Unflatten(-1, small)]
        for inputs, outputs in pairwise([*self.decoder_hidden, image_shape[0]]):
            layers += [self.activation(), nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)]
        return AnyBatch(nn.Sequential(*layers), event_dims=1)

    def smallest(self, image_shape: Sequence[int], name: str, channels: Sequence[int]) -> tuple[int, int, int]:
        """The shape after the last convolution."""
        if len(image_shape) != 3:
            raise ValueError(
                f"network must be linear or mlp for inputs that are no whole images, got {type(self).__name__}"
            )
        _, height, width = image_shape
        shrink = 2 ** len(channels)
        if not channels or height % shrink or width % shrink:
            raise ValueError(
                f"{name} = {list(channels)} needs images that can be halved {len(channels)} times (and at least "
                f"one width), got {height}×{width}"
            )
        return channels[-1], height // shrink, width // shrink


class AnyBatch(nn.Module):
    """Gives a network that takes one batch dimension all of (*S, B) as one."""

    def __init__(self, network: nn.Module, event_dims: int) -> None:
        super().__init__()
        self.network = network
        self.event_dims = event_dims

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        batch = x.shape[: x.dim() - self.event_dims]
        return self.network(x.flatten(0, len(batch) - 1)).unflatten(0, batch)


def widths(name: str, values: Sequence[int]) -> list[int]:
    """`values` as a list. Raises ValueError unless they are whole numbers of at least 1."""
    listed = isinstance(values, Sequence) and not isinstance(values, str)
    if not listed or not all(type(value) is int and value >= 1 for value in values):
        raise ValueError(f"{name} must be a list of whole numbers of at least 1, as [200, 200], got {values!r}")
    return list(values)
