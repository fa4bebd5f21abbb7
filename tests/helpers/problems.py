"""Small models whose bound and gradient can be written down by enumeration, apart from the code under test."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.config.compose import estimator_options
from discrete_latents.latent import Estimator
from scripts.common.estimator import make_estimator

CONFIGS = Path(__file__).parents[2] / "configs"
LATENTS = estimator_options()
"""Every estimator, found by its YAML."""

ENUMERATE = [name for name in LATENTS if name == "exact" or make_estimator(name).law is not None]
"""Those that draw nothing. All but exact have a q of their own: tests/latent/test_sparsemax.py."""

QUANTIZERS = sorted({path.stem for path in (CONFIGS / "latent").glob("*.yaml")} - {*LATENTS})
"""The deterministic codes of the same group, which model=image_tokenizer alone takes."""


@cache
def traits(name: str) -> Estimator:
    """An estimator to ask what it is: relaxed, unbiased, bernoulli."""
    return make_estimator(name)


@dataclass
class Problem:
    """`layers` layers of N latents of K classes under a non-quadratic log-likelihood, for one image.

    Layer l has logits bias_l + coupling_l(z of the layer above); the first layer has a prior. The same problem is
    run for R copies of the image at once, each with its own leaves `biases`, so that the rows of their gradients
    are R independent estimates.
    """

    num_latents: int = 2
    num_classes: int = 3
    layers: int = 1
    with_prior: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        random = torch.Generator().manual_seed(self.seed)
        size = self.num_latents * self.num_classes

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random, dtype=torch.float64)

        shape = (self.num_latents, self.num_classes)
        self.biases = [normal(*shape) for _ in range(self.layers)]
        self.prior = normal(*shape)
        self.couplings = [normal(size, size) for _ in range(self.layers)]
        self.weight1, self.weight2 = normal(size, 7), normal(7)

    def leaves(self, copies: int) -> list[Tensor]:
        return [bias.expand(copies, -1, -1).clone().requires_grad_() for bias in self.biases]

    def log_likelihood(self, z: Tensor) -> Tensor:
        """(…, N, K) to (…): tanh and cube make it neither linear nor quadratic."""
        hidden = (z.flatten(-2) @ self.weight1).tanh()
        return hidden @ self.weight2 + (hidden.sum(-1) / 3) ** 3

    def logits_below(self, layer: int, z: Tensor, bias: Tensor) -> Tensor:
        return bias + (z.flatten(-2) @ self.couplings[layer]).unflatten(-1, z.shape[-2:])

    def objective(self, biases: list[Tensor]) -> Callable[..., Tensor]:
        def run(sample: Callable[..., Tensor]) -> Tensor:
            z = sample(biases[0], prior=self.prior) if self.with_prior else sample(biases[0])
            for layer in range(1, self.layers):
                z = sample(self.logits_below(layer, z, biases[layer]))
            return self.log_likelihood(z)

        return run

    def states(self) -> list[Tensor]:
        """All K^N one-hot states of a layer, (N, K) each."""
        codes = product(range(self.num_classes), repeat=self.num_latents)
        return [F.one_hot(torch.tensor(code), self.num_classes).double() for code in codes]

    def exact_bound(self, biases: list[Tensor]) -> Tensor:
        """E_q[log p(x | z) + log p(z) − log q(z)] for one image, by a loop over all states."""

        def log_prob(state: Tensor, logits: Tensor) -> Tensor:
            return (state * (logits - logits.logsumexp(-1, keepdim=True))).sum()

        def expectation(layer: int, above: Tensor | None) -> Tensor:
            logits = biases[0] if above is None else self.logits_below(layer, above, biases[layer])
            total = torch.zeros((), dtype=torch.float64)
            for state in self.states():
                log_q = log_prob(state, logits)
                value = self.log_likelihood(state) if layer == self.layers - 1 else expectation(layer + 1, state)
                if layer == 0 and self.with_prior:
                    value = value + log_prob(state, self.prior) - log_q
                total = total + log_q.exp() * value
            return total

        return expectation(0, None)

    def exact_gradients(self) -> list[Tensor]:
        biases = [bias.clone().requires_grad_() for bias in self.biases]
        return list(torch.autograd.grad(self.exact_bound(biases), biases))

    def estimates(self, estimator: Estimator, copies: int) -> tuple[Tensor, list[Tensor]]:
        """R values of the bound, (R,), and R gradients of it, (R, N, K) for each layer."""
        biases = self.leaves(copies)
        bound = estimator(self.objective(biases))
        gradients = torch.autograd.grad(bound.sum(), biases)
        return bound.detach(), list(gradients)


def standard_errors_off(samples: Tensor, expected: Tensor) -> Tensor:
    """How many standard errors the mean over the first dimension lies from what is expected, at the worst."""
    error = samples.std(0) / len(samples) ** 0.5
    return ((samples.mean(0) - expected).abs() / error.clamp(min=1e-12)).max()
