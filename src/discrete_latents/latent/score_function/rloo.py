"""REINFORCE leave-one-out."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.latent.estimator import Estimator, Objective
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.trace import Recorder


class RLOO(Estimator):
    """The score function over several draws of the single-sample bound (Kool, van Hoof, Welling 2019).

    The baseline of a draw is the mean of the others. A layer's signal leaves out the KL terms that its draw does not
    change.

    draws: their number, at least 2.
    """

    unbiased = True

    def __init__(self, draws: int = 4) -> None:
        super().__init__()
        self.draws = whole("draws", draws, least=2)

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        recorder = Recorder((self.draws,))
        bounds = log_weights(objective, recorder)
        total = bounds
        for site in recorder.sites:
            signal = (bounds + site.kl).detach()
            centred = (signal - signal.mean(0)) * self.draws / (self.draws - 1)  # minus the mean of the others
            total = total + site.with_gradient(centred[..., None, None] * site.score())
        return total.mean(0)
