"""Convolutional networks."""

import math
from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.networks.base import Network
from discrete_latents.networks.onednn_linear import OneDNNLinear


class CNN(Network):
    """Convolutions of stride 2 with `hidden` channels, then one linear map; the decoder is the transpose.

    A decoder's output can have a last dimension beside (C, H, W): several outputs of a pixel. Raises ValueError if the
    height or width of an image cannot be halved once per layer.
    """

    def encoder(self, image_shape: Sequence[int], features: int) -> nn.Module:
        small = self.smallest(image_shape, "hidden", self.hidden)
        layers = self.downwards(image_shape)
        return AnyBatch(nn.Sequential(*layers, nn.Flatten(), OneDNNLinear(math.prod(small), features)), event_dims=3)

    def decoder(self, features: int, image_shape: Sequence[int]) -> nn.Module:
        _, height, width = self.smallest(image_shape[:3], "decoder_hidden", self.decoder_hidden)
        small = (self.decoder_hidden[0], height, width)
        spread = (OneDNNLinear(features, math.prod(small)), nn.Unflatten(-1, small))
        return AnyBatch(nn.Sequential(*spread, *self.upwards(image_shape)), event_dims=1)

    def downwards(self, image_shape: Sequence[int]) -> list[nn.Module]:
        """From an image to features of a smaller grid."""
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([image_shape[0], *self.hidden]):
            layers.append(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1))
            layers += [*self.between(outputs), self.activation()]
        return layers

    def upwards(self, image_shape: Sequence[int]) -> list[nn.Module]:
        """From features of the smaller grid to an image."""
        image_shape, outputs = image_shape[:3], image_shape[3:]
        layers: list[nn.Module] = []
        for before, after in pairwise([*self.decoder_hidden, image_shape[0] * math.prod(outputs)]):
            layers += [*self.between(before), self.activation()]
            layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))
        return [*layers, *(OutputsLast(count) for count in outputs)]

    def between(self, channels: int) -> list[nn.Module]:
        """What stands between two changes of size, before the activation."""
        return []

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


class OutputsLast(nn.Module):
    """Channels as C channels of several outputs each, (B, C, H, W, outputs)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Float[Tensor, "B channels H W"]) -> Float[Tensor, "B C H W outputs"]:
        return x.unflatten(1, (-1, self.outputs)).movedim(2, -1)


class AnyBatch(nn.Module):
    """Flattens (*S, B) to the single batch dimension that the network takes."""

    def __init__(self, network: nn.Module, event_dims: int) -> None:
        super().__init__()
        self.network = network
        self.event_dims = event_dims

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        batch = x.shape[: x.dim() - self.event_dims]
        return self.network(x.flatten(0, len(batch) - 1)).unflatten(0, batch)
