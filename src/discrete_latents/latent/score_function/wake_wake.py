"""Wake–wake: the encoder follows the posterior instead of the bound."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.latent import layout
from discrete_latents.latent.estimator import Estimator, Objective
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.trace import Recorder


class WakeWake(Estimator):
    """Reweighted wake–sleep with the wake phase of both networks (Bornschein, Bengio 2015; Le, Kosiorek, Siddharth,
    Teh, Wood 2019).

    Decoder and prior follow the m-sample bound log (1/m) Σ w. The logits of q follow Σ_m w̄_m ∇log q(z_m) with the
    normalised weights w̄ ∝ w instead: as m grows, minus the gradient of KL(p(z | x) ‖ q). Logits without a prior are the
    model's own, as in structured prediction: for them the same expression is the gradient of the log-likelihood by
    importance sampling. The gradient of q is biased for the bound by intent.

    samples: m, at least 2.
    """

    def __init__(self, samples: int = 5) -> None:
        super().__init__(whole("samples", samples, least=2))

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        recorder = Recorder((self.samples,), sampled=True)
        weights = log_weights(objective, recorder)
        bound = layout.log_mean_exp(weights)
        normalised = weights.detach().softmax(0)[..., None, None]
        for site, (_, prior) in zip(recorder.sites, recorder.calls, strict=True):
            # The weights hold −log q where there is a prior, whose own gradient is to go.
            times = 1 if prior is None else 2
            bound = bound + site.with_gradient(times * normalised * site.score()).sum(0)
        return bound
