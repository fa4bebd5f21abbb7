"""Convolutional networks with residual blocks, between images and grids of features."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.checks import whole
from discrete_latents.networks.cnn import CNN, AnyBatch


class ResNet(CNN):
    """Convolutions of stride 2 with `hidden` channels, each followed by residual blocks; the decoder mirrors them.

    Two widths make an image's grid 4× smaller in height and width. `grid_encoder` and `grid_decoder` keep the grid: a
    cell's features depend on the image around it. `encoder` and `decoder` add one linear map to and from all features.

    Args:
        blocks: residual blocks after each change of size.

    The other arguments: `Network`. Raises ValueError if an image cannot be halved once per width.
    """

    def __init__(
        self,
        hidden: Sequence[int],
        decoder_hidden: Sequence[int] | None = None,
        activation: str = "ReLU",
        blocks: int = 1,
    ) -> None:
        super().__init__(hidden, decoder_hidden, activation)
        self.blocks = whole("blocks", blocks, least=0)

    def between(self, channels: int) -> list[nn.Module]:
        return [ResidualBlock(channels, self.activation) for _ in range(self.blocks)]

    def grid(self, image_shape: Sequence[int]) -> tuple[int, int]:
        below, above = (
            self.smallest(image_shape, *pair)[1:]
            for pair in (("hidden", self.hidden), ("decoder_hidden", self.decoder_hidden))
        )
        if below != above:
            raise ValueError(
                f"decoder_hidden must have as many widths as hidden = {self.hidden}, got {self.decoder_hidden}"
            )
        return below

    def grid_encoder(self, image_shape: Sequence[int], channels: int, gain: float = 1.0) -> nn.Module:
        last = nn.Conv2d(self.hidden[-1], channels, 1)
        with torch.no_grad():
            last.weight.mul_(gain)
        return AnyBatch(nn.Sequential(*self.downwards(image_shape), last), event_dims=3)

    def grid_decoder(self, channels: int, image_shape: Sequence[int]) -> nn.Module:
        first = nn.Conv2d(channels, self.decoder_hidden[0], 3, padding=1)
        return AnyBatch(nn.Sequential(first, *self.upwards(image_shape)), event_dims=3)


class ResidualBlock(nn.Module):
    """x + a 1×1 convolution of a 3×3 convolution of x (van den Oord et al. 2017, section 4.1)."""

    def __init__(self, channels: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.change = nn.Sequential(
            activation(), nn.Conv2d(channels, channels, 3, padding=1), activation(), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x + self.change(x)
