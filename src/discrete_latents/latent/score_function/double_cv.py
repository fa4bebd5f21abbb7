"""Double control variates: leave-one-out with the gradients at the other draws."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.checks import finite, whole
from discrete_latents.latent import layout
from discrete_latents.latent.estimator import Objective
from discrete_latents.latent.sampler import Sampler, log_weights
from discrete_latents.latent.score_function.trace import Recorder, Site
from discrete_latents.latent.score_function.tuned import Tuned


class DoubleCV(Tuned):
    """RLOO of f − η c with c(z_m) = ḡ_mᵀ(z_m − π), where ḡ_m is the mean of ∇f at the other draws (Titsias, Shi 2022).

    E[c ∇log q] = Cov(z) ḡ_m is known, so that η times it is added and the gradient stays unbiased; here also for
    classes, Cov(z) = diag(π) − π πᵀ, and for layers, with ∇f given the draws below. At η = 1 the gradient of a linear
    objective has no noise. η is trained on the variance.

    draws: their number, at least 2. scale: the initial η, with which 0 is RLOO. Raises ValueError unless it is finite.
    """

    unbiased = True
    differentiates = True

    def __init__(self, draws: int = 4, scale: float = 0.0) -> None:
        super().__init__()
        self.draws = whole("draws", draws, least=2)
        self.scale = nn.Parameter(torch.tensor(finite("scale", scale)))

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        recorder = Differentiable((self.draws,))
        bounds = log_weights(objective, recorder)
        if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
            return bounds.mean(0)
        drawn = [site.z for site in recorder.sites]
        slopes = torch.autograd.grad(bounds.sum(), drawn, retain_graph=True, allow_unused=True)
        surrogate = bounds.mean(0)
        for site, slope in zip(recorder.sites, slopes, strict=True):
            gradient = self.gradient(site, (bounds + site.kl).detach(), slope)
            surrogate = surrogate + site.with_gradient(gradient).mean(0)
            if self.training:
                surrogate = surrogate - self.variance_loss(gradient.mean(0))
        return surrogate

    def gradient(self, site: Site, signal: Float[Tensor, "S B"], slope: Tensor | None) -> Float[Tensor, "S B N K"]:
        """The gradient of the logits by each draw, differentiable in η. slope: ∇f; None where z has no effect."""
        slope = torch.zeros_like(site.z) if slope is None else slope
        others = (slope.sum(0) - slope) / (self.draws - 1)
        mean, score = layout.softmax(site.logits.detach()), site.score().detach()
        signal = signal - self.scale * (others * score).sum((-1, -2))
        centred = (signal - signal.mean(0)) * self.draws / (self.draws - 1)  # minus the mean of the others
        known = mean * (others - (mean * others).sum(-1, keepdim=True))
        return centred[..., None, None] * score + self.scale * known


class Differentiable(Recorder):
    """Records draws for which the objective can be differentiated."""

    def draw(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        z, kl = super().draw(logits, prior, shape)
        return z.requires_grad_(torch.is_grad_enabled()), kl

    draw_vectors = Sampler.draw_vectors  # the product with the codebook, for which z has a gradient
