"""Linear networks."""

from discrete_latents.networks.mlp import MLP


class LinearNetwork(MLP):
    """One linear map in each direction. Arguments: `MLP`."""

    def __init__(self, gain: float = 1.0, encoder_gain: float = 1.0, initial: str = "torch") -> None:
        super().__init__(hidden=(), gain=gain, encoder_gain=encoder_gain, initial=initial)
