"""The multi-sample bound, whose logits follow a score function."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.latent import layout
from discrete_latents.latent.estimator import Estimator, Objective
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.trace import Recorder


class MultiSample(Estimator):
    """The m-sample bound log (1/m) Σ w, to whose gradient Σ_m s_m ∇log q(z_m) is added. Subclasses define the signal s.

    samples: m, at least 2.
    """

    def __init__(self, samples: int = 5) -> None:
        super().__init__(whole("samples", samples, least=2))

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        recorder = Recorder((self.samples,), sampled=True)
        weights = log_weights(objective, recorder)
        bound = layout.log_mean_exp(weights)
        signal = self.signal(weights.detach(), bound.detach())[..., None, None]
        for site, (_, prior) in zip(recorder.sites, recorder.calls, strict=True):
            share = self.share(prior)
            bound = bound + site.with_gradient(share * signal * site.score()).sum(0)
        return bound

    def signal(self, log_weights: Float[Tensor, "m B"], bound: Float[Tensor, " B"]) -> Float[Tensor, "m B"]:
        raise NotImplementedError

    def share(self, prior: Tensor | None) -> int:
        """How often a layer with this prior takes the signal."""
        return 1
