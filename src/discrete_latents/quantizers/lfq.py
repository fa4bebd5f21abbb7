"""Look-up-free quantisation: a deterministic code with no KL."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import not_negative
from discrete_latents.latent.estimator import NotDefined
from discrete_latents.quantizers.base import Quantizer, library


class LFQ(Quantizer):
    """The signs of log₂ K numbers (Yu et al. 2024, section 3.1). The gradient passes the sign straight through, plus
    that of the loss: codes are to be certain given x and evenly used over a batch (equation 5), and near their vectors.

    Args:
        entropy: weight of the first, E H(q) − H(E q).
        commitment: weight of the second.

    It has K a power of 2, and needs memory for B·N·K probabilities.
    """

    def __init__(self, entropy: float = 0.1, commitment: float = 0.25) -> None:
        super().__init__()
        self.entropy = not_negative("entropy", entropy)
        self.commitment = not_negative("commitment", commitment)

    def build(self, num_classes: int, width: int) -> int:
        if num_classes & (num_classes - 1):
            raise NotDefined(f"num_classes must be a power of 2 for LFQ, got {num_classes}")
        self.quantizer = library("LFQ")(
            codebook_size=num_classes, entropy_loss_weight=self.entropy, commitment_loss_weight=self.commitment
        )
        return num_classes.bit_length() - 1

    def quantize(self, x: Float[Tensor, "B N D"]) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(self.quantizer(x))
