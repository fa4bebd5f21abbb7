"""The pictures of a run: the latest in its folder of images, and below it those of epochs in training."""

from pathlib import Path

EPOCH = "epoch_"


def after_epoch(images: Path, epoch: int) -> Path:
    """The folder of the pictures that are drawn after an epoch."""
    return images / f"{EPOCH}{epoch:04d}"


def drawn_epochs(images: Path) -> list[tuple[int, Path]]:
    """The epochs after which pictures were drawn, and their folders, in order."""
    folders = [path for path in images.glob(f"{EPOCH}*") if path.is_dir() and not path.is_symlink()]
    numbers = [(folder.name.removeprefix(EPOCH), folder) for folder in folders]
    return sorted((int(number), folder) for number, folder in numbers if number.isdecimal())
