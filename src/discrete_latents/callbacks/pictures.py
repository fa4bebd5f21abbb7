"""A model's pictures, of images or of vectors, as PNG files and in loggers that show images."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import make_grid

from discrete_latents.atomic_write import atomic_write
from discrete_latents.checks import whole
from discrete_latents.data.loaders import first_batch
from discrete_latents.errors import UserError, first_line
from discrete_latents.loggers.media import log_pictures
from discrete_latents.models import LatentModel
from discrete_latents.models.latent_model import Caption
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.images import after_epoch
from discrete_latents.runs.tracebacks import write_traceback

log = logging.getLogger(__name__)

TEXT, LINE = 13, 20
"""Pixels: of letters, and of a line."""
INK, PAPER = "#1d2126", "#ffffff"
SMALLEST = 56
"""Smaller images are enlarged to at least this many pixels a side."""
CELL, WIDTH, HEIGHT = 24, 640, 320
"""Pixels: of a class of a latent in `code_use` at most, and about as much as all of them take."""


class Pictures(pl.Callback):
    """Writes the model's `pictures` of the first `count` images of a split, its `figures`, and how often each class of
    each latent was drawn, into `folder`.

    Of a `LatentModel` alone. After testing, of the tested split, also as PDF; in training every `every_n_epochs` epochs
    (0: never), of validation images, and those of each such epoch stay in a folder of their own. What cannot be drawn
    is a warning, with its traceback in the run's log, and training goes on. Under FSDP nothing is written: no process
    has all parameters.
    """

    def __init__(self, folder: str, every_n_epochs: int = 10, count: int = 10) -> None:
        self.folder = Path(folder)
        self.every_n_epochs = whole("every_n_epochs", every_n_epochs, least=0)
        self.count = count
        self.said: set[tuple[type[Exception], str]] = set()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws once before training, and keeps nothing: what cannot be drawn is said now."""
        if trainer.is_global_zero and has_pictures(pl_module, trainer):
            with self.warned(trainer):
                for rows in self.draw(trainer, pl_module, "val").values():
                    render(rows)

    @contextmanager
    def warned(self, trainer: pl.Trainer) -> Iterator[None]:
        """Makes one warning of an exception, except for a disk that refuses."""
        try:
            yield
        except (OSError, UserError):
            raise
        except Exception as error:
            kind = type(error), first_line(error)
            if kind not in self.said:
                said = write_traceback(RunDirectory(trainer.default_root_dir), error)
                log.warning("a picture cannot be drawn: %s", said)
            self.said.add(kind)

    @torch.no_grad()
    def draw(self, trainer: pl.Trainer, model: LatentModel, split: str) -> dict[str, Tensor]:
        found = first_batch(trainer.datamodule, split, self.count, model.reader)  # type: ignore[attr-defined]
        if found is None:
            return {}
        batch = trainer.precision_plugin.convert_input(found)
        low, high = (0.0, 1.0) if model.kind not in ("real", "whole") else batch[0].float().aminmax()
        with model.evaluation_noise():
            return {name: ((rows.float() - low) / (high - low)).cpu() for name, rows in model.pictures(batch).items()}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self.write(trainer, pl_module, "val", after_epoch(self.folder, trainer.current_epoch + 1))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.write(trainer, pl_module, getattr(trainer.datamodule, "test_split", "test"))  # type: ignore[attr-defined]

    @rank_zero_only
    @torch.no_grad()
    def write(self, trainer: pl.Trainer, model: pl.LightningModule, split: str, kept: Path | None = None) -> None:
        """Draws and writes. kept: a folder for copies, which later pictures do not replace."""
        if not has_pictures(model, trainer):
            return
        shown: dict[str, Image.Image | Figure] = {}
        with self.warned(trainer):
            shown |= model.figures()
        with self.warned(trainer):
            if "code_use" not in shown and (counts := model.code_usage.last) is not None:
                shown["code_use"] = code_use(counts.cpu())
        with self.warned(trainer):
            captions = model.captions()
            for name, rows in self.draw(trainer, model, split).items():
                shown[name] = render(rows, captions.get(name))
        written = {name: self.folder / f"{name}.png" for name in shown}
        for name, picture in shown.items():
            atomic_write(written[name], partial(save_png, picture))
            if kept:
                atomic_write(kept / written[name].name, written[name].read_bytes())
            else:
                atomic_write(written[name].with_suffix(".pdf"), partial(save_pdf, picture))
        log_pictures(trainer.loggers, written, trainer.global_step)


def has_pictures(model: pl.LightningModule, trainer: pl.Trainer) -> TypeGuard[LatentModel]:
    return isinstance(model, LatentModel) and not isinstance(trainer.strategy, FSDPStrategy)


def save_png(picture: Image.Image | Figure, file: Any) -> None:
    if isinstance(picture, Figure):
        picture.savefig(file, format="png", dpi=120, bbox_inches="tight")
    else:
        picture.save(file, format="PNG")


def save_pdf(picture: Image.Image | Figure, file: Any) -> None:
    """The same bytes for the same picture: no date is in it."""
    if isinstance(picture, Figure):
        picture.savefig(file, format="pdf", bbox_inches="tight", metadata={"CreationDate": None})
    else:
        picture.save(file, format="PDF", resolution=150, quality=95, title="", creationDate=None, modDate=None)


def render(rows: Tensor, caption: Caption | None = None) -> Image.Image | Figure:
    """A picture of rows of images, or a figure of rows of vectors, with values in [0, 1]."""
    if rows.dim() != 5:
        return heat_maps(rows, caption)
    pixels = (arrange(rows) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return captioned(Image.fromarray(pixels), rows.shape[0], rows.shape[1], caption or Caption(""))


def captioned(grid: Image.Image, rows: int, columns: int, caption: Caption) -> Image.Image:
    """A grid of images, at the lower right, with its words around it; the grid alone where there are none."""
    font = ImageFont.load_default(TEXT)
    names = caption.rows[:rows]
    beside = [round(font.getlength(name)) + TEXT for name in names]
    left = max([0, round(font.getlength(caption.title)) + TEXT - grid.width, *beside])
    top = LINE * (bool(caption.title) + bool(caption.columns))
    picture = Image.new("RGB", (left + grid.width, top + grid.height), PAPER)
    picture.paste(grid, (left, top))
    draw = ImageDraw.Draw(picture)
    draw.text((max(beside, default=2), LINE // 2), caption.title, INK, font, anchor="lm")
    height, width = grid.height / rows, grid.width / columns
    for i, name in enumerate(names):
        draw.text((left - TEXT // 2, top + (i + 0.5) * height), name, INK, font, anchor="rm")
    for i, name in enumerate(caption.columns[:columns]):
        draw.text((left + (i + 0.5) * width, top - LINE // 2), name, INK, font, anchor="mm")
    return picture


def code_use(counts: Float[Tensor, "N K"]) -> Image.Image:
    """Classes below each other, latents side by side: white where a class was never drawn, black where most often."""
    latents, classes = counts.shape
    shares = counts / counts.sum(-1, keepdim=True).clamp(min=1)
    most = float(shares.max())
    width, height = max(2, min(CELL, WIDTH // latents)), max(1, min(CELL, HEIGHT // classes))
    grey = 255 * (1 - shares.T / max(most, 1e-9))
    cells = grey.round().to(torch.uint8).repeat_interleave(height, 0).repeat_interleave(width, 1)
    return captioned(
        Image.fromarray(cells.numpy()).convert("RGB"),
        classes,
        latents,
        Caption(
            f"images in which a latent (column) takes a class (row); black: {most:.0%}",
            [*map(str, range(classes))] if height >= TEXT else (),
            [*map(str, range(latents))] if width >= CELL else (),
        ),
    )


def heat_maps(rows: Tensor, caption: Caption | None = None) -> Figure:
    """A panel for each row of vectors, (rows, columns, D): a line for each vector, dark where values are high."""
    figure = Figure(figsize=(8, 0.3 + 0.12 * len(rows) * (rows.shape[1] + 2)))
    panels = figure.subplots(len(rows), squeeze=False, sharex=True).flatten()
    for panel, vectors in zip(panels, rows.clamp(0, 1).numpy(), strict=True):
        panel.imshow(vectors, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        panel.set_yticks([])
    panels[-1].set_xlabel("feature")
    if caption:
        panels[0].set_title(caption.title, loc="left", fontsize="medium")
        for panel, name in zip(panels, caption.rows, strict=False):
            panel.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def arrange(rows: Tensor) -> Tensor:
    """One picture, (3, height, width), of rows of images, (rows, columns, C, H, W): colours where C is 3, and the
    channels as grey images side by side where it is neither 1 nor 3."""
    if rows.shape[2] not in (1, 3):
        rows = rows.transpose(2, 3).flatten(3).unsqueeze(2)
    scale = -(-SMALLEST // rows.shape[-1])
    images = rows.flatten(0, 1).repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    return make_grid(images.clamp(0, 1), nrow=rows.shape[1], padding=2, pad_value=0.5)
