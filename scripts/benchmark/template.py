"""The contender that is Lightning as templates have it.

The benchmark starts it: python -m scripts.benchmark.template template DATA CASE, CASE a `Case` as JSON.
"""

import json
import sys
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric
from torchvision import datasets, transforms

from scripts.benchmark.callbacks import BlockwiseTraining
from scripts.benchmark.cases import TRAINERS, Case
from scripts.benchmark.contenders import MODELS, threads


class Template(pl.LightningModule):
    """Logs a MeanMetric of each value at every step."""

    def __init__(self, case: Case, names: list[str]) -> None:
        super().__init__()
        self.model = MODELS[case.model](case)
        self.metrics = nn.ModuleDict({name: MeanMetric() for name in names})

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        values = self.model.loss(batch[0].flatten(1))
        for name, value in values.items():
            metric: Any = self.metrics[name]
            metric(value)
            self.log(f"train/{name}", metric, on_step=False, on_epoch=True, prog_bar=True)
        return values["loss"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main() -> None:
    _, root, text = sys.argv[1:]
    case = Case(**json.loads(text))
    torch.set_num_threads(threads())
    torch.manual_seed(0)
    names = list(MODELS[case.model](case).loss(torch.zeros(2, 784)))
    data = datasets.MNIST(root, transform=transforms.ToTensor())
    loader = DataLoader(data, batch_size=case.batch, shuffle=True)
    trainer = pl.Trainer(
        max_epochs=1000,
        accelerator=TRAINERS[case.device],
        callbacks=[BlockwiseTraining()],
        logger=False,
        enable_checkpointing=False,
    )
    trainer.fit(Template(case, names), loader)


if __name__ == "__main__":
    main()
