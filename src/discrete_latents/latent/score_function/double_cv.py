"""Double control variates: leave-one-out with the gradients at the other draws."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.checks import finite
from discrete_latents.latent import layout
from discrete_latents.latent.score_function.slopes import WithSlopes
from discrete_latents.latent.score_function.trace import Site


class DoubleCV(WithSlopes):
    """RLOO of f − η c with c(z_m) = ḡ_mᵀ(z_m − π), where ḡ_m is the mean of ∇f at the other draws (Titsias, Shi 2022).

    E[c ∇log q] = Cov(z) ḡ_m is known, so that η times it is added and the gradient stays unbiased; here also for
    classes, Cov(z) = diag(π) − π πᵀ, and for layers, with ∇f given the draws below. At η = 1 the gradient of a linear
    objective has no noise. η is trained on the variance.

    draws: their number, at least 2. scale: the initial η, with which 0 is RLOO. Raises ValueError unless it is finite.
    """

    def __init__(self, draws: int = 4, scale: float = 0.0) -> None:
        super().__init__(draws)
        self.scale = nn.Parameter(torch.tensor(finite("scale", scale)))

    def gradient(self, site: Site, signal: Float[Tensor, "M B"], slope: Float[Tensor, "M B N K"]) -> Tensor:
        others = (slope.sum(0) - slope) / (self.draws - 1)
        mean, score = layout.softmax(site.logits.detach()), site.score().detach()
        signal = signal - self.scale * (others * score).sum((-1, -2))
        centred = (signal - signal.mean(0)) * self.draws / (self.draws - 1)  # minus the mean of the others
        known = mean * (others - (mean * others).sum(-1, keepdim=True))
        return centred[..., None, None] * score + self.scale * known
