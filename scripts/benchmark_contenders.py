"""The loops that `benchmark.py` compares with, and the gate by which it stops and releases all of them."""

import math
import os
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric
from torchvision import datasets, transforms

BLOCK = 50
"""Steps between two stops."""

LATENTS, CLASSES, BATCH = 20, 10, 100


class Gate(pl.Callback):
    """Stops before every block of steps until it is told to go on, and says how long the block took."""

    def __init__(self) -> None:
        told, tell = map(int, os.environ["BENCHMARK_PIPES"].split())
        self.told, self.tell = os.fdopen(told), os.fdopen(tell, "w")
        self.step = 0
        self.started = time.perf_counter()

    def pass_step(self) -> None:
        if self.step % BLOCK == 0:
            said = time.perf_counter() - self.started if self.step else "ready"
            print(said, file=self.tell, flush=True)
            self.told.readline()
            self.started = time.perf_counter()
        self.step += 1

    def on_train_batch_start(self, *_: Any) -> None:
        self.pass_step()


def layers(sizes: list[int]) -> nn.Sequential:
    made: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        made += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*made[:-1])


class PlainVAE(nn.Module):
    """As a tutorial has it."""

    def __init__(self, hidden: list[int]) -> None:
        super().__init__()
        width = LATENTS * CLASSES
        self.encoder = layers([784, *hidden, width])
        self.decoder = layers([width, *hidden[::-1], 784])

    def loss(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.encoder(x).view(-1, LATENTS, CLASSES)
        z = F.gumbel_softmax(logits, tau=1.0)
        log_q = F.log_softmax(logits, -1)
        kl = (log_q.exp() * (log_q + math.log(CLASSES))).sum((1, 2)).mean()
        reconstruction = F.binary_cross_entropy_with_logits(self.decoder(z.flatten(1)), x, reduction="sum") / len(x)
        return reconstruction + kl, reconstruction, kl


def binary_images(root: str) -> Tensor:
    grey = datasets.MNIST(root).data[:50_000].flatten(1).float() / 255
    return torch.bernoulli(grey)


def plain(root: str, hidden: list[int]) -> Iterator[None]:
    images = binary_images(root)
    model = PlainVAE(hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    while True:
        for index in torch.randperm(len(images)).split(BATCH):
            yield
            loss, _, _ = model.loss(images[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def products(root: str, hidden: list[int]) -> Iterator[None]:
    """Forward, and both of the backward products of every layer."""
    torch.set_flush_denormal(True)
    sizes = [784, *hidden, LATENTS * CLASSES, *hidden[::-1], 784]
    shapes = [(torch.randn(BATCH, i), torch.randn(i, o), torch.randn(BATCH, o)) for i, o in pairwise(sizes)]
    while True:
        yield
        for index, (x, weight, slope) in enumerate(shapes):
            torch.mm(x, weight)
            torch.mm(x.t(), slope)
            if index:
                torch.mm(slope, weight.t())


class Template(pl.LightningModule):
    """A LightningModule in the usual template's style."""

    def __init__(self, hidden: list[int]) -> None:
        super().__init__()
        self.model = PlainVAE(hidden)
        self.metrics = nn.ModuleDict({name: MeanMetric() for name in ("loss", "reconstruction", "kl")})

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        values = self.model.loss(batch[0].flatten(1))
        for (name, metric), value in zip(self.metrics.items(), values, strict=True):
            metric(value)
            self.log(f"train/{name}", metric, on_step=False, on_epoch=True, prog_bar=True)  # type: ignore[arg-type]
        return values[0]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def fit_template(root: str, hidden: list[int]) -> None:
    data = datasets.MNIST(root, transform=transforms.ToTensor())
    loader = DataLoader(data, batch_size=BATCH, shuffle=True)
    trainer = pl.Trainer(
        max_epochs=1000, accelerator="cpu", callbacks=[Gate()], logger=False, enable_checkpointing=False
    )
    trainer.fit(Template(hidden), loader)


def main() -> None:
    name, root, *widths = sys.argv[1:]
    hidden = [int(width) for width in widths]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if name == "template":
        fit_template(root, hidden)
        return
    gate = Gate()
    for _ in {"plain": plain, "products": products}[name](root, hidden):
        gate.pass_step()


if __name__ == "__main__":
    main()
