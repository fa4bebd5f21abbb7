"""Polynomial objectives, and the exact mean of estimators whose only randomness is the sample."""

import sys
from collections.abc import Callable
from itertools import product
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.latent import Estimator

SHAPES = [(1, 2), (1, 3), (1, 5), (3, 2), (2, 3)]
"""Latents and classes."""


def polynomial(num_latents: int, num_classes: int, degree: int) -> Callable[[Tensor], Tensor]:
    """(…, N, K) to (…): of this degree in every latent and with interactions, but no constant curvature or slope."""
    weight = torch.randn(degree, num_latents * num_classes, 3, dtype=torch.float64)
    return lambda z: sum((z.flatten(-2) @ weight[power]).pow(power + 1).sum(-1) for power in range(degree))


def mean_and_exact(estimator: Estimator, value: Callable[[Tensor], Tensor], shape: tuple[int, int]) -> list[Tensor]:
    """The mean gradient of an estimator whose only randomness is its `sample`, and that of the expectation, both as
    sums over all states; for random logits and a random prior."""
    codes = torch.tensor(list(product(range(shape[1]), repeat=shape[0])))
    states = F.one_hot(codes, shape[1]).double()
    logits, prior = torch.randn(2, *shape, dtype=torch.float64)
    logits.requires_grad_()

    def log_prob(logits: Tensor) -> Tensor:
        return (states * logits.log_softmax(-1)).sum((-1, -2))

    probability = log_prob(logits).exp()
    exact = (probability * (value(states) + log_prob(prior) - log_prob(logits))).sum()
    with patch.object(sys.modules[type(estimator).__module__], "sample", lambda _: states):
        bound = estimator(lambda sample: value(sample(logits.expand(len(states), -1, -1), prior=prior)))
    mean = (probability.detach() * bound).sum()
    torch.testing.assert_close(mean, exact)
    return [torch.autograd.grad(total, logits, retain_graph=True)[0] for total in (mean, exact)]


def is_exact(estimator: Estimator, value: Callable[[Tensor], Tensor], shape: tuple[int, int]) -> bool:
    mean, exact = mean_and_exact(estimator, value, shape)
    distance = (mean - exact).norm() / exact.norm()
    assert distance < 1e-10 or distance > 0.01  # exact or not: nothing between
    return bool(distance < 1e-10)
