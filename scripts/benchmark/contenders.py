"""Contenders without Lightning: loops as tutorials write them, and the matrix products of a step alone.

The benchmark starts each in its own process: python -m scripts.benchmark.contenders NAME DATA CASE, NAME being plain,
plain_fused, products or onednn_products, CASE a `Case` as JSON.
"""

import json
import math
import os
import sys
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import datasets

from scripts.benchmark.cases import Case
from scripts.benchmark.gate import Gate

LATENTS, CLASSES = 20, 10
LABELLED, STYLES, FEATURES = 50, 32, 128
Values = dict[str, Tensor]


def threads() -> int:
    """Of a process that is measured, as `race.environment` says."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def layers(sizes: list[int]) -> nn.Sequential:
    made: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        made += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*made[:-1])


def cross_entropy(output: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, x, reduction="sum") / len(x)


def kl_from_uniform(logits: Tensor) -> Tensor:
    """KL in nats, the mean over images; logits (B, …, K)."""
    log_q = F.log_softmax(logits, -1)
    return (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum() / len(logits)


class VAE(nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        width = LATENTS * CLASSES
        self.encoder = layers([784, *case.encoder, width])
        self.decoder = layers([width, *case.decoder, 784])
        self.temperature = 1.0

    def loss(self, x: Tensor) -> Values:
        logits = self.encoder(x).view(-1, LATENTS, CLASSES)
        z = F.gumbel_softmax(logits, tau=self.temperature)
        reconstruction, kl = cross_entropy(self.decoder(z.flatten(1)), x), kl_from_uniform(logits)
        return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


class Structured(nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        width = LATENTS * CLASSES
        self.layers = nn.ModuleList(nn.Linear(*sizes) for sizes in ((392, width), (width, width), (width, 392)))

    def loss(self, x: Tensor) -> Values:
        given, rest = x.chunk(2, 1)
        first, second, last = self.layers
        h = F.gumbel_softmax(first(given).view(-1, LATENTS, CLASSES), tau=1.0).flatten(1)
        h = F.gumbel_softmax(second(h).view(-1, LATENTS, CLASSES), tau=1.0).flatten(1)
        return {"loss": cross_entropy(last(h), rest)}


class SemiSupervised(nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.classifier = layers([784, *case.encoder, CLASSES])
        self.features = layers([784, *case.encoder, FEATURES])
        self.class_features = nn.Linear(CLASSES, FEATURES, bias=False)
        self.style = nn.Linear(FEATURES, 2 * STYLES)
        self.decoder = layers([CLASSES + STYLES, *case.decoder, 784])

    def nelbo(self, x: Tensor, y: Tensor) -> Tensor:
        mean, log_scale = self.style(F.relu(self.features(x) + self.class_features(y))).chunk(2, -1)
        z = mean + log_scale.exp() * torch.randn_like(mean)
        kl = 0.5 * (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum() / len(x)
        return cross_entropy(self.decoder(torch.cat([y, z], -1)), x) + kl

    def loss(self, x: Tensor, known: Tensor, labels: Tensor) -> Values:
        classification = F.cross_entropy(self.classifier(known), labels)
        labelled = self.nelbo(known, F.one_hot(labels, CLASSES).float())
        logits = self.classifier(x)
        unlabelled = self.nelbo(x, F.gumbel_softmax(logits, tau=1.0)) + kl_from_uniform(logits)
        loss = labelled + unlabelled + 50 * classification
        return {"loss": loss, "unlabelled": unlabelled, "classification": classification}


MODELS = {"vae": VAE, "structured": Structured, "semi_supervised": SemiSupervised}


def plain(root: str, case: Case) -> Iterator[None]:
    """An eager loop on tensors in memory, Adam as it is by default or fused. Yields before every step."""
    fused = True if sys.argv[1] == "plain_fused" else None
    data = datasets.MNIST(root)
    images = torch.bernoulli(data.data[:50_000].flatten(1).float() / 255).to(case.device)
    labels = data.targets.to(case.device)
    model = MODELS[case.model](case).to(case.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    while True:
        for index in torch.randperm(len(images), device=case.device).split(case.batch):
            yield
            batch = [images[index]]
            if case.model == "semi_supervised":
                known = torch.randint(100, (LABELLED,), device=case.device)
                batch += [images[known], labels[known]]
            loss = model.loss(*batch)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def product_shapes(case: Case) -> Iterator[tuple[int, int, int, bool]]:
    """Rows, inputs and outputs of every layer, and whether its input needs a gradient."""

    def chain(rows: int, *sizes: int, leaf: bool = False) -> Iterator[tuple[int, int, int, bool]]:
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            yield rows, inputs, outputs, index > 0 or not leaf

    width = LATENTS * CLASSES
    if case.model == "vae":
        yield from chain(case.batch, 784, *case.encoder, width, *case.decoder, 784, leaf=True)
    elif case.model == "structured":
        yield from chain(case.batch, 392, width, width, 392, leaf=True)
    else:
        for outputs in (CLASSES, FEATURES):
            yield from chain(case.batch + LABELLED, 784, *case.encoder, outputs, leaf=True)
        for rows in (case.batch, LABELLED):
            yield from chain(rows, CLASSES, FEATURES, leaf=rows == LABELLED)
            yield from chain(rows, FEATURES, 2 * STYLES)
            yield from chain(rows, CLASSES + STYLES, *case.decoder, 784)


def mm(x: Tensor, a: Tensor) -> Tensor:
    """x aᵀ as in torch's Linear."""
    return torch.mm(x, a.t())


def onednn(x: Tensor, a: Tensor) -> Tensor:
    """x aᵀ by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, a, None, "none", [], "")


def products(root: str, case: Case) -> Iterator[None]:
    """The forward and both backward products of every layer. Yields before every step."""
    product = onednn if sys.argv[1] == "onednn_products" else mm
    operands = [
        (*(torch.randn(shape, device=case.device) for shape in ((m, k), (n, k), (m, n))), needs_gradient)
        for m, k, n, needs_gradient in product_shapes(case)
    ]
    while True:
        yield
        for x, weight, gradient, needs_gradient in operands:
            product(x, weight)
            product(gradient.t(), x.t())
            if needs_gradient:
                product(gradient, weight.t())


def main() -> None:
    name, root, case = sys.argv[1:]
    torch.set_num_threads(threads())
    torch.manual_seed(0)
    gate = Gate()
    for _ in (products if "products" in name else plain)(root, Case(**json.loads(case))):
        gate.pass_step()


if __name__ == "__main__":
    main()
