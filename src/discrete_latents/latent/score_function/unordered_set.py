"""The unordered set estimator: joint states drawn without replacement."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.latent import layout, masks
from discrete_latents.latent.joint_states import drawn_without_replacement, log_probabilities
from discrete_latents.latent.score_function.coupled import Coupled, Coupling
from discrete_latents.latent.score_function.trace import Site


class UnorderedSet(Coupled):
    """k joint states of a layer's latents, drawn without replacement (Kool, van Hoof, Welling 2020, section 4).

    With S the set drawn and R(S, s) = P(S | s is drawn first) / P(S), the gradient is

        Σ_s p(s) R(S, s) (f(s) − p(s) f(s) − Σ_{t ≠ s} p(t) R_s(S, t) f(t)) ∇log p(s),

    where R_s is R of S without s among all states but s. The value is Σ_s p(s) R(S, s) f(s). Both are exact if there
    are no more than k states, and RLOO of k draws if no state is likely.

    draws: k, from 2 to 10, since P(S) has 2^k terms. samples: m of the multi-sample bound.
    """

    def __init__(self, draws: int = 4, samples: int = 1) -> None:
        super().__init__(samples)
        self.draws = whole("draws", draws, least=2)
        if draws > 10:
            raise ValueError(f"draws must be a whole number from 2 to 10, got {draws!r}")

    def coupling(self, site: Site) -> Coupling:
        log_q = log_probabilities(site.logits)
        states, log_p = drawn_without_replacement(log_q, site.z.argmax(-1), self.draws)
        shares, baseline = self.ratios(log_p.masked_fill(log_p < masks.LOWEST, -math.inf))
        z = layout.one_hot(states.movedim(1, 0), site.z.shape[-1], site.z.dtype)
        scores = shares.mT[..., None, None] * (z - log_q.exp())
        weights = scores - torch.einsum("bsi,sbnk->ibnk", baseline, scores)
        z = torch.where(shares.mT[..., None, None] > 0, z, site.z)  # what cannot be is not run
        return Coupling(z[1:], weights.to(z.dtype), shares.mT.to(z.dtype))

    def ratios(self, log_p: Float[Tensor, "B k"]) -> tuple[Float[Tensor, "B k"], Float[Tensor, "B k k"]]:
        """p(s) R(S, s), and the weight of f(t) in the baseline of s: p(t) R_s(S, t), or p(s) for s itself.

        By recursion over the sets C of states already drawn: P(C) that the next draws complete S is the sum of
        p(s) / (1 − p(C)) P(C ∪ s) over the states s that are left. log_p: −inf for what is no state.
        """
        count = log_p.shape[-1]
        single = 1 << torch.arange(count, device=log_p.device)
        sets = torch.arange(2**count, device=log_p.device)
        drawn = (sets.unsqueeze(-1) & single) > 0
        held = torch.where(drawn, log_p.unsqueeze(-2), -math.inf).logsumexp(-1)
        left = torch.where(drawn, -math.inf, log_p.unsqueeze(-2))
        free = torch.maximum(log1mexp(held), left.logsumexp(-1))  # log (1 − p(C)), of which all that is left is a part
        completed = torch.zeros_like(held)
        for size in reversed(range(count)):
            members = sets[drawn.sum(-1) == size]
            steps = left[:, members] - free[:, members].unsqueeze(-1) + completed[:, members.unsqueeze(-1) | single]
            total = torch.where(left[:, members] > -math.inf, steps, -math.inf).logsumexp(-1)
            completed[:, members] = torch.where(total > -math.inf, total, 0.0)  # all states are drawn
        after = completed[:, single]
        shares = (log_p + after - completed[:, :1]).exp()
        baseline = log_p.unsqueeze(1) + completed[:, single.unsqueeze(-1) | single] - after.unsqueeze(-1)
        return shares, baseline.exp()


def log1mexp(x: Tensor) -> Tensor:
    """log (1 − exp(x)) for x ≤ 0; −inf at 0."""
    x = x.clamp(max=0.0)
    return torch.where(x > -math.log(2), (-torch.expm1(x)).log(), torch.log1p(-x.exp()))
