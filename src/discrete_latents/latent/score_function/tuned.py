"""Estimators whose parameters are trained on the variance of their gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent.estimator import Estimator


class Tuned(Estimator):
    """An unbiased estimator with parameters that the mean gradient does not depend on."""

    def variance_loss(self, gradient: Float[Tensor, "B N K"]) -> Tensor:
        """A zero with the gradient of the mean squared gradient for this estimator's parameters.

        That is the gradient of the variance, since the mean does not depend on them. The model's parameters get none.
        """
        tuned = [part for part in self.parameters() if part.requires_grad]
        if not tuned:
            return torch.zeros_like(gradient[0, 0, 0])
        loss = gradient.square().sum((-1, -2)).mean()
        slopes = torch.autograd.grad(loss, tuned, allow_unused=True)
        products = [(part * slope).sum() for part, slope in zip(tuned, slopes, strict=True) if slope is not None]
        total = sum(products, torch.zeros_like(loss))
        return total - total.detach()
