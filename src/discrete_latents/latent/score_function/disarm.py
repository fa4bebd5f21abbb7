"""ARM and DisARM, for Bernoulli latents."""

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import layout
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.estimator import Estimator, NotDefined, Objective
from discrete_latents.latent.noise import uniform
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.trace import Recorder, Site


class ARM(Estimator):
    """Two antithetic samples b = 1[u > σ(−a)] and b̃ = 1[u < σ(a)], with a the log-odds and u uniform.

    The gradient of a is (f(b) − f(b̃)) (u − ½) (Yin, Zhou 2019, proposition 3). With several layers, each draws its own
    b̃ given the layers above, and the layers below are drawn again: 1 + L runs. The bound is their mean.

    Raises NotDefined for K > 2.
    """

    unbiased = True
    bernoulli = True

    def __init__(self) -> None:
        super().__init__()

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        recorder = Recorder()
        bound = log_weights(objective, recorder)
        bounds, surrogate = [bound], torch.zeros_like(bound)
        for index, site in enumerate(recorder.sites):
            if site.logits.shape[-1] != 2:
                name, classes = type(self).__name__.lower(), site.logits.shape[-1]
                raise NotDefined(f"{name} is defined for Bernoulli latents, num_classes = 2, got {classes}")
            antithetic, weight = self.pair(site)
            bounds.append(log_weights(objective, recorder.replay(index, antithetic, below=sample)))
            difference = (bounds[0] - bounds[-1]).detach()[..., None, None]
            surrogate = surrogate + site.with_gradient(difference * weight)
        return torch.stack(bounds).mean(0) + surrogate

    def pair(self, site: Site) -> tuple[Tensor, Tensor]:
        """b̃ given b, one-hot, and the weight of f(b) − f(b̃) in the gradient of the logits."""
        on, given = log_odds(site).sigmoid(), site.z[..., 1] > 0.5
        v = uniform(on.shape, on.device).to(on.dtype)
        u = torch.where(given, 1 - on * v, (1 - on) * v)  # uniform on the part of [0, 1] that gives b
        return bits((u < on).to(on.dtype)), torch.stack([0.5 - u, u - 0.5], -1)


class DisARM(ARM):
    """ARM with u averaged out given b and b̃.

    The gradient of a is (f(b) − f(b̃)) / 2 · (−1)^b̃ · 1[b ≠ b̃] · σ(|a|) (Dong, Mnih, Tucker 2020; U2G of Yin, Ho,
    Yan, Qian, Zhou 2020).
    """

    def pair(self, site: Site) -> tuple[Tensor, Tensor]:
        again = self.antithetic(site)
        # b − b̃ is ±1 in both classes if the two differ, with the sign of the logits' gradient, else 0.
        return again, (site.z - again) * layout.softmax(site.logits.detach()).amax(-1, keepdim=True) / 2

    def antithetic(self, site: Site) -> Tensor:
        """b̃ given b: u is uniform on the part of [0, 1] that gives b, and 1 − u determines b̃."""
        on, given = log_odds(site).sigmoid(), site.z[..., 1] > 0.5
        # b = 1: u is above σ(−a), where b̃ = 1 has probability (2 σ(a) − 1)₊ / σ(a). b = 0: u is below.
        chance = torch.where(given, (2 * on - 1).clamp(min=0) / on, (on / (1 - on)).clamp(max=1))
        return bits((uniform(chance.shape, chance.device) < chance).to(site.z.dtype))


def log_odds(site: Site) -> Float[Tensor, "*S B N"]:
    return (site.logits[..., 1] - site.logits[..., 0]).detach()


def bits(on: Float[Tensor, "*S B N"]) -> Float[Tensor, "*S B N 2"]:
    """One-hot vectors of bits."""
    return torch.stack([1 - on, on], -1)
