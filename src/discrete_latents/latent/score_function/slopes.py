"""Several draws of an objective, and its gradients at them."""

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.latent.estimator import Objective
from discrete_latents.latent.sampler import Sampler, log_weights
from discrete_latents.latent.score_function.trace import Recorder, Site
from discrete_latents.latent.score_function.tuned import Tuned


class WithSlopes(Tuned):
    """Leave-one-out over M draws with control variates from ∇f at the draws, tuned on the variance.

    draws: M, at least 2.
    """

    unbiased = True
    differentiates = True

    def __init__(self, draws: int) -> None:
        super().__init__()
        self.draws = whole("draws", draws, least=2)

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        recorder = Differentiable((self.draws,))
        bounds = log_weights(objective, recorder)
        if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
            return bounds.mean(0)
        drawn = [site.z for site in recorder.sites]
        slopes = torch.autograd.grad(bounds.sum(), drawn, retain_graph=True, allow_unused=True)
        surrogate = bounds.mean(0)
        for site, slope in zip(recorder.sites, slopes, strict=True):
            slope = torch.zeros_like(site.z) if slope is None else slope  # where z has no effect
            gradient = self.gradient(site, (bounds + site.kl).detach(), slope)
            surrogate = surrogate + site.with_gradient(gradient).mean(0)
            if self.training:
                surrogate = surrogate - self.variance_loss(gradient.mean(0))
        return surrogate

    def gradient(self, site: Site, signal: Float[Tensor, "M B"], slope: Float[Tensor, "M B N K"]) -> Tensor:
        """The gradient of the logits by each draw, (M, B, N, K), differentiable in what is tuned. slope: ∇f."""
        raise NotImplementedError


class Differentiable(Recorder):
    """Records draws for which the objective can be differentiated."""

    def draw(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        z, kl = super().draw(logits, prior, shape)
        return z.requires_grad_(torch.is_grad_enabled()), kl

    draw_vectors = Sampler.draw_vectors  # the product with the codebook, for which z has a gradient
