"""The base of the networks, which build a matching encoder and decoder.

Encoders map (*S, B, *image) to (*S, B, features) and decoders map back, for any number of sample dimensions *S. A
vector is an image of shape (D,); a decoder's image can have a last dimension more, for a likelihood of several outputs.
The last layer of each is linear: its outputs are logits or means.
"""

from collections.abc import Sequence

from torch import nn

ACTIVATIONS = set(nn.modules.activation.__all__) - {
    *("MultiheadAttention", "Threshold"),  # need more than an input
    *("GLU", "Softmax", "Softmax2d", "Softmin", "LogSoftmax"),  # not elementwise
}


class Network:
    """Builds encoders and decoders.

    Args:
        hidden: widths of the encoder's hidden layers.
        decoder_hidden: widths of the decoder's; None: the encoder's, mirrored.
        activation: the name of an elementwise activation in `torch.nn`.

    Raises ValueError for widths below 1 or an unknown name.
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

    def grid(self, image_shape: Sequence[int]) -> tuple[int, int]:
        """The height and width of what `grid_encoder` makes of an image. Raises ValueError where there is no grid."""
        raise ValueError(f"network must keep a grid of features, as resnet does, got {type(self).__name__}")

    def grid_encoder(self, image_shape: Sequence[int], channels: int, gain: float = 1.0) -> nn.Module:
        """From an image to `channels` features of each cell of a grid, (*S, B, channels, h, w).

        gain: multiplies the initial weights of the last layer.
        """
        raise NotImplementedError

    def grid_decoder(self, channels: int, image_shape: Sequence[int]) -> nn.Module:
        """From a grid of features to an image."""
        raise NotImplementedError


def widths(name: str, values: Sequence[int]) -> list[int]:
    """`values` as a list. Raises ValueError unless they are whole numbers of at least 1."""
    listed = isinstance(values, Sequence) and not isinstance(values, str)
    if not listed or not all(type(value) is int and value >= 1 for value in values):
        raise ValueError(f"{name} must be a list of whole numbers of at least 1, as [200, 200], got {values!r}")
    return list(values)
