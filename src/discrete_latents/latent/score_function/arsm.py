"""ARSM: ARM for any number of classes."""

from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.latent import layout, masks
from discrete_latents.latent.distributions import conditional_gumbels, sample
from discrete_latents.latent.estimator import Estimator, NotDefined, Objective
from discrete_latents.latent.noise import uniform
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.trace import Recorder, Site


class ARSM(Estimator):
    """Augment, REINFORCE, swap, merge (Yin, Yue, Zhou 2019).

    A sample is the class z = argmin_k ϖ_k / q_k with ϖ uniform on the simplex. With f(m, j) the bound of the sample
    after ϖ_m and ϖ_j are swapped in every latent, the gradient of logit m is

        Σ_j (f(m, j) − (1/K) Σ_k f(k, j)) (1/K − ϖ_j).

    Each layer is swapped given the hard samples above it, and the layers below are drawn again: 1 + L K (K − 1) / 2
    runs, of which all but the first need no gradient. With K = 2 it is ARM. Of a latent with masked classes, K counts
    the others.

    max_classes: the largest K, since a larger one needs many runs. Raises NotDefined above it.
    """

    unbiased = True

    def __init__(self, max_classes: int = 32) -> None:
        super().__init__()
        self.max_classes = whole("max_classes", max_classes, least=2)

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        recorder = Recorder()
        bound = log_weights(objective, recorder)
        surrogate = bound
        for index, site in enumerate(recorder.sites):
            if (classes := site.logits.shape[-1]) > self.max_classes:
                limit = f"num_classes up to max_classes = {self.max_classes}"
                raise NotDefined(f"arsm takes K (K - 1) / 2 runs, for {limit}, got {classes}")
            with torch.no_grad():
                gradient = self.gradient(objective, recorder, index, bound)
            surrogate = surrogate + site.with_gradient(gradient)
        return surrogate

    def gradient(self, objective: Objective, recorder: Recorder, index: int, bound: Tensor) -> Float[Tensor, "B N K"]:
        site = recorder.sites[index]
        there, weights = masks.allowed(site.logits), simplex_weights(site)
        if not (pairs := list(combinations(range(site.logits.shape[-1]), 2))):  # of one class
            return torch.zeros_like(weights)
        swapped = torch.stack([swap(weights, there, *pair) for pair in pairs])
        z = layout.argmax_one_hot(layout.log_softmax(site.logits) - swapped.log())
        replayed = log_weights(objective, recorder.replay(index, z, below=sample))
        bounds = bound.to(weights.dtype).expand(*site.logits.shape[-1:] * 2, *bound.shape).clone()
        for (m, j), value in zip(pairs, replayed, strict=True):
            bounds[m, j] = bounds[j, m] = value
        count = there.sum(-1, keepdim=True)
        mean = torch.einsum("kjb,bnk->bnj", bounds, (there / count).to(bounds.dtype))
        off_mean = bounds.permute(2, 0, 1).unsqueeze(1) - mean.unsqueeze(-2)  # (B, N, m, j)
        shares = weights.masked_fill(~there, 0.0)
        shares = (1 / count - shares / shares.sum(-1, keepdim=True)).masked_fill(~there, 0.0)
        return (off_mean @ shares.unsqueeze(-1)).squeeze(-1).masked_fill(~there, 0.0)


def simplex_weights(site: Site) -> Float[Tensor, "B N K"]:
    """ϖ given z, up to a factor: independent exponentials E of which E_k / q_k is least at the class of z."""
    log_q = layout.log_softmax(site.logits)
    given = (log_q - conditional_gumbels(site.logits, site.z)).exp()
    anew = -uniform(log_q.shape, log_q.device).to(log_q.dtype).log()  # of a masked class, which plays no part
    return torch.where(masks.allowed(site.logits), given, anew)


def swap(weights: Tensor, there: Tensor, m: int, j: int) -> Tensor:
    """Weights with those of two classes exchanged, where neither is masked."""
    both, exchanged = there[..., m] & there[..., j], weights.clone()
    exchanged[..., m] = torch.where(both, weights[..., j], weights[..., m])
    exchanged[..., j] = torch.where(both, weights[..., m], weights[..., j])
    return exchanged
