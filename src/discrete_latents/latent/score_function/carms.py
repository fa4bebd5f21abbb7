"""ARMS and CARMS: n negatively dependent draws of each latent."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from discrete_latents.checks import whole
from discrete_latents.latent import layout
from discrete_latents.latent.noise import uniform
from discrete_latents.latent.score_function.broken_stick import first_stop, stop_chances
from discrete_latents.latent.score_function.coupled import Coupled, Coupling
from discrete_latents.latent.score_function.trace import Site


class CARMS(Coupled):
    """n antithetic draws of each latent, by stick-breaking (Dimitriev, Zhou 2021, "CARMS").

    The classes are sorted, the least likely first, and p_k = π_k / Σ_{j ≥ k} π_j. Draw i stops at the first k with
    u_ik < p_k, u_ik = (1 − d_ik)^(n − 1) and d_·k uniform on the simplex: each u is uniform, and those of n draws
    avoid each other. The gradient is leave-one-out, each pair of draws weighted by the ratio r of the probability
    of their classes if independent to their joint probability,

        1 / (n (n − 1)) Σ_{i ≠ j} f(z_i) r(z_i, z_j) (z_i − z_j),

    with r(k, l) = ρ_k Π_{j < k} (1 − p_j)² / (1 − 2 p_j + Φ_j) for k < l, ρ_k = p_k (1 − p_k) / (p_k − Φ_k) and
    Φ = max(0, 2 p^(1 / (n − 1)) − 1)^(n − 1), the probability that two draws stop at one stick. In this order no pair
    of classes has the probability 0.

    draws: n, at least 2. samples: m of the multi-sample bound.
    """

    def __init__(self, draws: int = 4, samples: int = 1) -> None:
        super().__init__(samples)
        self.draws = whole("draws", draws, least=2)

    def coupling(self, site: Site) -> Coupling:
        q, order = layout.softmax(site.logits.detach()).sort(-1)
        stops = stop_chances(q)
        first = site.z.gather(-1, order).argmax(-1)
        sticks = torch.cat([first.unsqueeze(0), self.others(stops, first)])
        least = torch.minimum(sticks.unsqueeze(0), sticks.unsqueeze(1))
        ratios = layout.at(self.ratio(stops), least)
        draws = layout.one_hot(layout.at(order, sticks), order.shape[-1], site.z.dtype)
        pairs = draws * ratios.sum(1).unsqueeze(-1) - torch.einsum("ijbn,jbnk->ibnk", ratios, draws)
        return Coupling(draws[1:], pairs / (self.draws * (self.draws - 1)))

    def others(self, stops: Float[Tensor, "B N K"], first: Int[Tensor, "B N"]) -> Int[Tensor, "n B N"]:
        """The sticks of the n − 1 other draws, given that of the first."""
        number = torch.arange(stops.shape[-1], device=stops.device)
        own = first.unsqueeze(-1)
        v = uniform(stops.shape, stops.device)
        u = torch.where(number < own, stops + (1 - stops) * v, torch.where(number > own, v, stops * v))
        rest = u.pow(1 / (self.draws - 1))  # 1 − d of the first draw: what is left of the simplex
        exponentials = -uniform((self.draws - 1, *stops.shape), stops.device).log()
        u = (1 - rest * exponentials / exponentials.sum(0)).pow(self.draws - 1)
        return first_stop(u < stops)

    def ratio(self, stops: Float[Tensor, "B N K"]) -> Float[Tensor, "B N K"]:
        """r of a pair of classes, by the first stick at which one of them stops."""
        least = torch.finfo(stops.dtype).tiny  # not 0 where no pair stops
        stops = stops.clamp(min=least)
        both = (2 * stops.pow(1 / (self.draws - 1)) - 1).clamp(min=0).pow(self.draws - 1)
        passed = (1 - stops).square() / (1 - 2 * stops + both).clamp(min=least)
        passed = pad(passed[..., :-2].cumprod(-1), (1, 1), value=1.0)[..., : stops.shape[-1]]
        return passed * stops * (1 - stops) / (stops - both).clamp(min=least)


class ARMS(CARMS):
    """n antithetic draws of each Bernoulli latent (Dimitriev, Zhou 2021, "ARMS").

    b_i = 1[u_i < p] with u from the Dirichlet copula of `CARMS`, of the less likely class. The gradient of the log-odds
    is ρ / (n − 1) Σ_i (f(b_i) − f̄) (b_i − p). With n = 2 it is DisARM.

    draws: n, at least 2. samples: m of the multi-sample bound. Raises NotDefined for K > 2.
    """

    bernoulli = True
