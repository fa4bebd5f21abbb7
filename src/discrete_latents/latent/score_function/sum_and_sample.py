"""Sum and sample: the likeliest states summed over, one of the others drawn."""

import torch

from discrete_latents.checks import whole
from discrete_latents.latent import layout, masks
from discrete_latents.latent.distributions import draw_codes
from discrete_latents.latent.joint_states import (
    drawn_without_replacement,
    likeliest,
    log_probabilities,
)
from discrete_latents.latent.score_function.coupled import Coupled, Coupling
from discrete_latents.latent.score_function.trace import Site


class SumAndSample(Coupled):
    """The Rao-Blackwellised score function (Liu, Regier, Tripuraneni, Jordan, McAuliffe 2019, section 3).

    With T the likeliest joint states of a layer's latents, and v drawn from all others, the gradient is

        Σ_{s ∈ T} p(s) (f(s) − f(z)) ∇log p(s) + (1 − p(T)) (f(v) − f(z)) ∇log p(v),

    with an independent sample z for the baseline. The value is the same sum of f: 1 + L (|T| + 1) runs.

    top: |T|. Raises ValueError unless it is a whole number of at least 1. samples: m of the multi-sample bound.
    """

    def __init__(self, top: int = 3, samples: int = 1) -> None:
        super().__init__(samples)
        self.top = whole("top", top)

    def coupling(self, site: Site) -> Coupling:
        log_q = log_probabilities(site.logits)
        states, log_p = likeliest(log_q, self.top)
        drawn, log_drawn = drawn_without_replacement(log_q, draw_codes(log_q), self.top + 1)
        summed = (drawn.unsqueeze(2) == states.unsqueeze(1)).all(-1).any(-1)
        first = (~summed).to(torch.int8).argmax(-1, keepdim=True)  # of the others, in the order of drawing
        other = drawn.gather(1, first.unsqueeze(-1).expand(-1, -1, drawn.shape[-1]))
        p = log_p.exp()
        rest = (1 - p.sum(-1, keepdim=True)).clamp(min=0) * (log_drawn.gather(1, first) > masks.LOWEST)
        shares = torch.cat([p, rest], 1).mT
        z = layout.one_hot(torch.cat([states, other], 1).movedim(1, 0), site.z.shape[-1], site.z.dtype)
        scores = (shares[..., None, None] * (z - log_q.exp())).to(z.dtype)
        z = torch.where(shares[..., None, None] > 0, z, site.z)  # what cannot be is not run
        weights = torch.cat([-scores.sum(0, keepdim=True), scores])
        return Coupling(z, weights, torch.cat([torch.zeros_like(shares[:1]), shares]).to(z.dtype))
