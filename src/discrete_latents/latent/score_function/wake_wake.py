"""Wake–wake: the encoder follows the posterior instead of the bound."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent.score_function.multi_sample import MultiSample


class WakeWake(MultiSample):
    """Reweighted wake–sleep with the wake phase of both networks (Bornschein, Bengio 2015; Le, Kosiorek, Siddharth,
    Teh, Wood 2019).

    Decoder and prior follow the m-sample bound log (1/m) Σ w. The logits of q follow Σ_m w̄_m ∇log q(z_m) with the
    normalised weights w̄ ∝ w instead: as m grows, minus the gradient of KL(p(z | x) ‖ q). Logits without a prior are the
    model's own, as in structured prediction: for them the same expression is the gradient of the log-likelihood by
    importance sampling. The gradient of q is biased for the bound by intent.

    samples: m, at least 2.
    """

    def signal(self, log_weights: Float[Tensor, "m B"], bound: Float[Tensor, " B"]) -> Float[Tensor, "m B"]:
        return log_weights.softmax(0)

    def share(self, prior: Tensor | None) -> int:
        # The weights hold −log q where there is a prior, whose own gradient is to go.
        return 1 if prior is None else 2
