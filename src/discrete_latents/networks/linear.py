"""Linear networks."""

from collections.abc import Sequence

from discrete_latents.networks.mlp import MLP


class LinearNetwork(MLP):
    """One linear map each way, whatever the hidden widths."""

    def __init__(
        self,
        hidden: Sequence[int] = (),
        decoder_hidden: Sequence[int] | None = None,
        gain: float = 1.0,
        encoder_gain: float = 1.0,
    ) -> None:
        super().__init__(hidden=(), gain=gain, encoder_gain=encoder_gain)
