"""ReinMax: second-order accurate straight-through."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import layout
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.pathwise.base import Pathwise, with_gradient_of


class ReinMax(Pathwise):
    """Forward: a sample D. Backward: through 2 π_D − π / 2 (Liu, Dong, Liu, Yu, Gao 2023, algorithm 2).

    Here π = softmax(logits), and π_D is a softmax with the value (softmax(logits / τ) + D) / 2 that moves with the
    logits. This is Heun's second-order method; straight-through is Euler's first-order one. At τ = 1 it is exact for
    objectives quadratic in z. Use τ ≥ 1.
    """

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        hard = sample(logits)
        middle = (layout.softmax(logits.detach() / self.temperature().detach()) + hard) / 2
        soft = 2 * moving(middle, logits) - layout.softmax(logits) / 2
        return with_gradient_of(soft, hard)


def moving(middle: Float[Tensor, "... K"], logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """`middle`, with the gradient for the logits of a softmax that has this value."""
    moved = logits - logits.detach()  # 0, with the gradient of the logits
    return middle * (1 + moved - (middle * moved).sum(-1, keepdim=True))
