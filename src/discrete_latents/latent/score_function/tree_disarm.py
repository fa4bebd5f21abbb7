"""DisARM for any number of classes: antithetic binary choices that lead to a class."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from discrete_latents.latent import layout
from discrete_latents.latent.noise import uniform
from discrete_latents.latent.score_function.broken_stick import first_stop, stop_chances
from discrete_latents.latent.score_function.coupled import Coupled, Coupling
from discrete_latents.latent.score_function.disarm import antithetic_chance
from discrete_latents.latent.score_function.trace import Site

Parting = tuple[Int[Tensor, "B N"], Bool[Tensor, "B N K"], Bool[Tensor, "B N K"]]


class TreeDisARM(Coupled):
    """DisARM of the binary choices on the way down a balanced tree of the classes (Dong, Mnih, Tucker 2021).

    z and z̃ go down together, each choice antithetic, until they part at one node, z into the subtree S and z̃ into S̃;
    below it they are independent. Averaged over all choices that neither z nor z̃ shows, the gradient is

        ½ (f(z) − f(z̃)) (z − z̃ − min(π(S), π(S̃)) / (π(S) + π(S̃)) (π_S − π_S̃)),

    where π_S is π within S, normalised: the scores of z in S and of z̃ in S̃, and DisARM's σ(|a|) where they part. The
    choices are the binary digits of the class. With K = 2 it is DisARM.
    """

    def coupling(self, site: Site) -> Coupling:
        q = layout.softmax(site.logits.detach())
        codes = site.z.argmax(-1)
        others, own, theirs = self.parting(q, codes)
        again = layout.one_hot(others, q.shape[-1], q.dtype)
        within, beside = q * own, q * theirs
        least = torch.finfo(q.dtype).tiny
        here, there = (part.sum(-1, keepdim=True).clamp(min=least) for part in (within, beside))
        share = torch.minimum(here, there) / (here + there)
        weight = (site.z - again - share * (within / here - beside / there)) / 2
        weight = weight.masked_fill((codes == others).unsqueeze(-1), 0.0)
        return Coupling(again.unsqueeze(0), torch.stack([weight, -weight]))

    def parting(self, q: Float[Tensor, "B N K"], codes: Int[Tensor, "B N"]) -> Parting:
        """The class of z̃, and which classes are in S and S̃."""
        depth = (q.shape[-1] - 1).bit_length()
        leaves = pad(q, (0, 2**depth - q.shape[-1]))
        others, parted_at = torch.zeros_like(codes), torch.zeros_like(codes)
        for level in reversed(range(depth)):
            masses = leaves.unflatten(-1, (-1, 2**level)).sum(-1)  # of the subtrees below this choice
            zero, one = (masses.gather(-1, (2 * others + bit).unsqueeze(-1)).squeeze(-1) for bit in (0, 1))
            together = others == codes >> (level + 1)
            on = one / (zero + one)
            chance = torch.where(together, antithetic_chance(on, (codes >> level) % 2 == 1), on)
            others = 2 * others + (uniform(chance.shape, chance.device) < chance)
            parted_at = torch.where(together, level, parted_at)
        number = torch.arange(q.shape[-1], device=q.device) >> parted_at.unsqueeze(-1)
        own, theirs = (number == (code >> parted_at).unsqueeze(-1) for code in (codes, others))
        return others, own, theirs


class StickBreakingDisARM(TreeDisARM):
    """The same with the choices of stick-breaking, in the order of the classes: is it this class, or a later one?

    S is the first of both classes and S̃ all later ones, or the other way round.
    """

    def parting(self, q: Float[Tensor, "B N K"], codes: Int[Tensor, "B N"]) -> Parting:
        number = torch.arange(q.shape[-1], device=q.device)
        on = stop_chances(q)
        own = codes.unsqueeze(-1)
        chance = torch.where(number > own, on, antithetic_chance(on, number == own))
        others = first_stop(uniform(chance.shape, chance.device) < chance)
        least = torch.minimum(codes, others).unsqueeze(-1)
        first, later = number == least, number > least
        mine = (codes < others).unsqueeze(-1)
        return others, torch.where(mine, first, later), torch.where(mine, later, first)
