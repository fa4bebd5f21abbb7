"""Somebody else's classifier, data and loaders: nothing of this package is imported."""

import math

import lightning.pytorch as pl
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics.classification import MulticlassAccuracy


class Classifier(pl.LightningModule):
    """Lightning's usual classifier: hyperparameters, metrics of torchmetrics, dropout, a scheduler of its own."""

    def __init__(self, hidden: list[int], classes: int = 4, lr: float = 1e-2, dropout: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        layers = nn.Linear(64, hidden[0]), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden[0], classes)
        self.net = nn.Sequential(nn.Flatten(), *layers)
        self.val_acc = MulticlassAccuracy(classes)
        self.test_acc = MulticlassAccuracy(classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = cross_entropy(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = self.net(x)
        self.val_acc(logits, y)
        self.log("val_loss", cross_entropy(logits, y), prog_bar=True)
        self.log("val_acc", self.val_acc)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self.test_acc(self.net(x), y)
        self.log("test_acc", self.test_acc)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)}


def corners(part: int = 0, count: int = 64) -> TensorDataset:
    """Grey 8×8 images, of which the brightest corner is the class."""
    noise = torch.Generator().manual_seed(part)
    y = torch.randint(4, (count,), generator=noise)
    x = torch.rand(count, 1, 8, 8, generator=noise) / 2
    x[torch.arange(count), 0, 7 * (y // 2), 7 * (y % 2)] = 1
    return TensorDataset(x, y)


class Corners(pl.LightningDataModule):
    def __init__(self, batch_size: int = 16, workers: int = 0) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        self.sets = [corners(part) for part in range(3)]

    def loader(self, part: int) -> DataLoader:
        workers = self.hparams["workers"]
        return DataLoader(self.sets[part], self.hparams["batch_size"], shuffle=part == 0, num_workers=workers)

    def train_dataloader(self) -> DataLoader:
        return self.loader(0)

    def val_dataloader(self) -> DataLoader:
        return self.loader(1)

    def test_dataloader(self) -> DataLoader:
        return self.loader(2)


class OnlyImages(Dataset):
    """Images alone, as whole numbers of 0 to 255."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Tensor:
        return (corners(0)[index][0] * 255).to(torch.uint8)


def loaders(batch_size: int = 16) -> tuple[DataLoader, DataLoader, DataLoader]:
    train, val, test = (DataLoader(corners(part), batch_size, shuffle=part == 0) for part in range(3))
    return train, val, test


def training_loader(batch_size: int = 16) -> DataLoader:
    return DataLoader(corners(), batch_size, shuffle=True)


class WithoutTest(BoringModel):
    """Lightning's demo that logs nothing that is tested."""

    test_step = pl.LightningModule.test_step


class Faulty(BoringModel):
    """A bug in the training step."""

    def training_step(self, batch, batch_idx):
        return self.layer(batch)["loss"]


class Refusing(BoringModel):
    """A constructor that says what it takes."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        self.sizes = [2, 3][width]


class Asking(Classifier):
    """Asks for a shape and for something that draws, and keeps both among its hyperparameters."""

    def __init__(self, image_shape: tuple[int, ...], estimator: nn.Module) -> None:
        super().__init__([12])
        self.save_hyperparameters()
        self.draw = estimator
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), 12), self.draw, nn.Linear(12, 4))
