"""Rules of straight-through estimators as matrices, and their exact bias and variance on small problems."""

import math
import sys
from collections.abc import Callable
from itertools import product
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.latent import MVE, ZGR, Darn, Pathwise, ReinMax, StraightThrough


def rules(logits: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """By name, S of each class of one latent, (K, K, K); and that of the star."""
    pi, one = logits.softmax(-1), torch.eye(len(logits), dtype=logits.dtype)
    away, top = (one - pi) / 2, int(pi.argmax())
    star = torch.zeros(len(pi), len(pi), len(pi), dtype=pi.dtype)
    for x in range(len(pi)):
        star[x, x] += away[x]
        if x == top:
            star[x] += ((pi / pi[top]).unsqueeze(-1) * away) * (1 - one[top]).unsqueeze(-1)
        else:
            star[x, top] -= away[x]
    shipped = {
        "straight_through": StraightThrough(),
        "darn": Darn(),
        "reinmax, τ = 1.2": ReinMax(1.2),
        "zgr = reinmax": ZGR(),
        "mve": MVE(),
        "mve, ε = 0.1": MVE(0.1),
        "mve, ε = 1": MVE(1.0),
    }
    found = {name: matrix(estimator, logits) for name, estimator in shipped.items()}
    plain, zgr = found["straight_through"], found["zgr = reinmax"]
    difference, weight = zgr - star, pi[:, None, None]
    power = (weight * difference.square()).sum()
    share = (weight * zgr * difference).sum() / power if power > 1e-15 else 0.0
    found["idea: flow"] = zgr - share * difference
    for part in (0.25, 0.5, 0.75):
        found[f"idea: λ = {part:g}"] = plain + part * (zgr - plain)
    return found, star


def matrix(estimator: Pathwise, logits: Tensor) -> Tensor:
    """∂z/∂logits as the estimator has it at each class."""
    leaf = logits.expand(len(logits), -1).clone().requires_grad_()
    with patch.object(
        sys.modules[type(estimator).__module__], "sample", lambda _: torch.eye(len(logits), dtype=logits.dtype)
    ):
        z = estimator(leaf)
    rows = [torch.autograd.grad(z[:, i].sum(), leaf, retain_graph=True)[0] for i in range(len(logits))]
    return torch.stack(rows, 1)


def measure(num_latents: int, num_classes: int, scale: float, seed: int) -> dict[str, tuple[float, float]]:
    """By rule, ‖E g − g*‖ / ‖g*‖ and E‖g − E g‖² / ‖g*‖² of one problem."""
    random = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(num_latents, num_classes, generator=random, dtype=torch.float64)
    first = (
        0.5 / math.sqrt(num_latents) * torch.randn(num_latents * num_classes, 7, generator=random, dtype=torch.float64)
    )
    last = torch.randn(7, generator=random, dtype=torch.float64)
    codes = torch.tensor(list(product(range(num_classes), repeat=num_latents)))
    states = F.one_hot(codes, num_classes).double().requires_grad_()
    hidden = (states.flatten(-2) @ first).tanh()
    values = hidden @ last + (hidden.sum(-1) / 3) ** 3
    (slopes,) = torch.autograd.grad(values.sum(), states)
    weight = (states.detach() * logits.log_softmax(-1)).sum((-1, -2)).exp()[:, None, None]
    exact = (weight * values.detach()[:, None, None] * (states.detach() - logits.softmax(-1))).sum(0)
    found = [rules(latent) for latent in logits]

    def gradients(of: Callable[[int], Tensor]) -> Tensor:
        return torch.stack(
            [torch.einsum("sik,si->sk", of(n)[codes[:, n]], slopes[:, n]) for n in range(num_latents)], 1
        )

    drawn = {name: gradients(lambda n, name=name: found[n][0][name]) for name in found[0][0]}
    zgr = drawn["zgr = reinmax"]
    variate = zgr - gradients(lambda n: found[n][1])
    off = [x - (weight * x).sum(0) for x in (zgr, variate)]
    power = (weight * off[1].square()).sum()
    eta = (weight * off[0] * off[1]).sum() / power if power > 1e-15 else 0.0
    drawn["idea: learned η, in hindsight"] = zgr - eta * variate
    result = {}
    for name, gradient in drawn.items():
        mean = (weight * gradient).sum(0)
        variance = (weight * (gradient - mean).square()).sum() / exact.square().sum()
        result[name] = ((mean - exact).norm() / exact.norm()).item(), variance.item()
    return result
