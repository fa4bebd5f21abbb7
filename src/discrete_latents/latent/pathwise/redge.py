"""ReDGE: a sample by a few steps of a diffusion whose denoiser is known."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import positive, share, whole
from discrete_latents.latent import layout
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.noise import normal
from discrete_latents.latent.pathwise.base import Pathwise, with_gradient_of

START = 1 - 1e-4
"""The time of the noise."""


class ReDGE(Pathwise):
    """Forward: a class drawn by the last step of a deterministic diffusion. Backward: through all its steps.

    It is the hard form of Gourevitch, Durmus, Moulines, Olsson, Janati 2026.

    From Gaussian noise x at time t ≈ 1, x_t = (1 − t) z + t ε, each step moves to an earlier time with the posterior
    mean of z, softmax(logits + (1 − t) x / t²). The mean at the last time is the probability of the class.

    steps: of the denoiser, the last included, at times evenly spaced from 1 to `end`; at least 2, 2 to 8 in the paper.
    end: the last time, in (0, 1): it plays the part of a temperature. At end → 1 it is straight-through.

    The law of the samples is the model's up to the error of the steps: below 1e-3 of a probability at end = 0.9, up to
    0.02 at end = 0.5. The bound then uses these samples with the KL of the model's own probabilities.
    """

    def __init__(self, steps: int = 4, end: float = 0.9, kl: str = "analytic", samples: int = 1) -> None:
        super().__init__(1.0, kl, samples)
        self.steps = whole("steps", steps, least=2)
        self.end = positive("end", share("end", end))

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        x = layout.classes_first(normal(layout.classes_first(logits).shape, logits.dtype, logits.device))
        step = (START - self.end) / (self.steps - 1)
        for index in range(self.steps - 1):
            time, earlier = START - index * step, START - (index + 1) * step
            mean = denoised(logits, x, time)
            x = (1 - earlier) * mean + earlier / time * (x - (1 - time) * mean)
        soft = denoised(logits, x, self.end)
        return with_gradient_of(soft, sample(soft.detach().log()))


def denoised(logits: Float[Tensor, "... K"], x: Float[Tensor, "... K"], time: float) -> Float[Tensor, "... K"]:
    """The mean of z given x at a time."""
    return layout.softmax(logits + (1 - time) / time**2 * x)
