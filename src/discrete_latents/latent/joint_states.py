"""Joint states of N latents that differ: the likeliest, and draws without replacement.

Each function returns k states, class indices (B, k, N), and their log-probabilities, (B, k). Where there are fewer than
k states, and for a state with a masked class, these are below `masks.LOWEST`.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from discrete_latents.latent import layout, masks
from discrete_latents.latent.distributions import draw_codes, gumbel_like

States = tuple[Int[Tensor, "B k n"], Float[Tensor, "B k"]]


def log_probabilities(logits: Float[Tensor, "B N K"]) -> Float[Tensor, "B N K"]:
    """log π without gradient, in float64 where the device has it."""
    logits = logits.detach()
    return layout.log_softmax(logits if logits.device.type == "mps" else logits.double())


def likeliest(log_q: Float[Tensor, "B N K"], count: int) -> States:
    """The `count` joint states of the largest probability, by beam search."""
    states, log_p = beams(log_q, count)
    for latent in range(log_q.shape[-2]):
        log_p = log_p.unsqueeze(-1) + log_q[:, latent].unsqueeze(1)
        log_p, chosen = log_p.flatten(1).topk(count)
        states = extended(states, chosen, log_q.shape[-1])
    return states, log_p


def drawn_without_replacement(log_q: Float[Tensor, "B N K"], first: Int[Tensor, "B N"], count: int) -> States:
    """`count` joint states in the order drawn, given the first (stochastic beam search; Kool, van Hoof, Welling 2019).

    They are those with the largest log-probability plus Gumbel noise. The largest noise of each beam's states is
    given by the beam's own, so that a class c takes it over and the others stay below. c is drawn, or that of `first`.
    """
    states, log_p = beams(log_q, count)
    top = log_p
    for latent in range(log_q.shape[-2]):
        here = log_q[:, latent].unsqueeze(1).expand(*log_p.shape, -1)
        log_p = log_p.unsqueeze(-1) + here
        own = torch.cat([first[:, latent, None, None], draw_codes(here[:, 1:]).unsqueeze(-1)], 1)
        below = -torch.logaddexp(-(log_p + gumbel_like(log_p)), -top.unsqueeze(-1))
        perturbed = below.scatter(-1, own, top.unsqueeze(-1)).flatten(1)
        top, chosen = perturbed.topk(count)
        log_p = log_p.flatten(1).gather(-1, chosen)
        states = extended(states, chosen, log_q.shape[-1])
    return states, log_p


def beams(log_q: Float[Tensor, "B N K"], count: int) -> States:
    """States of no latents, and their log-probabilities: one, and others that are not possible."""
    log_p = log_q.new_full((len(log_q), count), masks.LOGIT)
    log_p[:, 0].zero_()  # not = 0.0, which copies a number to the device
    return torch.zeros(len(log_q), count, 0, dtype=torch.int64, device=log_q.device), log_p


def extended(states: Int[Tensor, "B k n"], chosen: Int[Tensor, "B k"], classes: int) -> Int[Tensor, "B k m"]:
    """The chosen of all states with each class added to them."""
    parents = (chosen // classes).unsqueeze(-1).expand(-1, -1, states.shape[-1])
    return torch.cat([states.gather(1, parents), (chosen % classes).unsqueeze(-1)], -1)
