"""RELAX: REBAR with a learned critic."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.checks import whole
from discrete_latents.latent import layout, masks
from discrete_latents.latent.estimator import Objective
from discrete_latents.latent.score_function.baselines import OneHidden, PerSite
from discrete_latents.latent.score_function.rebar import Rebar
from discrete_latents.latent.score_function.trace import Recorder
from discrete_latents.latent.temperature import Temperature


class Critic(OneHidden):
    """r(z): one hidden layer over a relaxed sample and its logits; initially 0."""

    def __init__(self, features: int, hidden: int = 100) -> None:
        super().__init__(2 * features, hidden)
        nn.init.zeros_(self.last.weight)

    def forward(self, soft: Float[Tensor, "2 B N K"], log_q: Float[Tensor, "B N K"]) -> Float[Tensor, "2 B"]:
        log_q = torch.where(masks.allowed(log_q), log_q, 0.0)
        return super().forward(torch.cat([soft, log_q.expand_as(soft)], -1).flatten(-2))


class Relax(Rebar):
    """REBAR with c(z) = η f(softmax(z / τ)) + r(softmax(z / τ)).

    The network r is trained with τ and η on the gradient's variance (Grathwohl, Choi, Wu, Roeder, Duvenaud 2018,
    section 3). It is unbiased for any r.

    hidden: width of the critic's hidden layer. features: N·K of the logits of each `sample` call, to build the critics
    now; None: at the first call. The other arguments: `Rebar`.
    """

    def __init__(
        self,
        temperature: float | Temperature | None = None,
        scale: float = 1.0,
        hidden: int = 100,
        features: Sequence[int] | None = None,
    ) -> None:
        super().__init__(temperature, scale)
        self.critics = PerSite(partial(Critic, hidden=whole("hidden", hidden)), features)

    def control(self, objective: Objective, recorder: Recorder, index: int, soft: Tensor) -> Float[Tensor, "2 B"]:
        log_q = layout.log_softmax(recorder.sites[index].logits.detach())
        critic = self.critics.at(index, log_q)(soft, log_q)
        return super().control(objective, recorder, index, soft) + critic.to(soft.dtype)
