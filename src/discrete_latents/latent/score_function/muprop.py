"""MuProp: the score function with a first-order expansion of the mean-field network as control variate."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from discrete_latents.latent import layout
from discrete_latents.latent.estimator import Objective
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.reinforce import Reinforce
from discrete_latents.latent.score_function.trace import Recorder


class MuProp(Reinforce):
    """Subtracts f̄(π) + f̄′(π)ᵀ(z − π) from the signal (Gu, Levine, Sutskever, Mnih 2016, section 3).

    f̄ is the bound with this layer at its mean π and the layers below at theirs (mean-field). Adding f̄′(π) ∂π/∂logits
    to the gradient keeps it unbiased. Each layer is expanded given the hard samples above it: 1 + L runs.

    baselines, normalize, features, reads: those of `Reinforce`, applied after the expansion; the paper uses NVIL's.
    """

    differentiates = True

    def __init__(
        self,
        baselines: Mapping[str, Callable[[int], nn.Module]] | None = None,
        normalize: bool = False,
        features: Sequence[int] | None = None,
        reads: str = "logits",
    ) -> None:
        super().__init__(baselines, normalize, features=features, reads=reads)

    @torch.enable_grad()
    def control(self, objective: Objective, recorder: Recorder, index: int, signal: Tensor) -> tuple[Tensor, Tensor]:
        site = recorder.sites[index]
        mean = layout.softmax(site.logits.detach()).requires_grad_()
        expansion = log_weights(objective, recorder.replay(index, mean, below=layout.softmax)) + site.kl
        (slope,) = torch.autograd.grad(expansion.sum(), mean)
        mean = mean.detach()
        correction = mean * (slope - (mean * slope).sum(-1, keepdim=True))
        return signal - expansion.detach() - (slope * (site.z - mean)).sum((-1, -2)), correction
