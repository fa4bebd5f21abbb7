"""ARM and DisARM, for Bernoulli latents."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discrete_latents.latent import layout
from discrete_latents.latent.noise import uniform
from discrete_latents.latent.score_function.coupled import Coupled, Coupling
from discrete_latents.latent.score_function.trace import Site


class ARM(Coupled):
    """Two antithetic samples b = 1[u > σ(−a)] and b̃ = 1[u < σ(a)], with a the log-odds and u uniform.

    The gradient of a is (f(b) − f(b̃)) (u − ½) (Yin, Zhou 2019, proposition 3). With several layers, each draws its own
    b̃ given the layers above, and the layers below are drawn again: 1 + L runs.

    Raises NotDefined for K > 2.
    """

    bernoulli = True

    def coupling(self, site: Site) -> Coupling:
        again, weight = self.pair(site)
        return Coupling(again.unsqueeze(0), torch.stack([weight, -weight]))

    def pair(self, site: Site) -> tuple[Tensor, Tensor]:
        """b̃ given b, one-hot, and the weight of f(b) − f(b̃) in the gradient of the logits."""
        on, given = log_odds(site).sigmoid(), site.z[..., 1] > 0.5
        v = uniform(on.shape, on.device).to(on.dtype)
        u = torch.where(given, 1 - on * v, (1 - on) * v)  # uniform on the part of [0, 1] that gives b
        return layout.one_hot_pairs((u < on).long(), on.dtype), torch.stack([0.5 - u, u - 0.5], -1)


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
        chance = antithetic_chance(log_odds(site).sigmoid(), site.z[..., 1] > 0.5)
        return layout.one_hot_pairs((uniform(chance.shape, chance.device) < chance).long(), site.z.dtype)


def antithetic_chance(on: Tensor, given: Bool[Tensor, "*S"]) -> Tensor:
    """The probability of b̃ = 1 given b, with `on` that of b = 1.

    b = 1: u is above 1 − on, where b̃ = 1 has the probability (2 on − 1)₊ / on. b = 0: u is below.
    """
    return torch.where(given, (2 * on - 1).clamp(min=0) / on, (on / (1 - on)).clamp(max=1))


def log_odds(site: Site) -> Float[Tensor, "*S B N"]:
    return (site.logits[..., 1] - site.logits[..., 0]).detach()
