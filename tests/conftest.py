"""What all tests share."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    """Small tensors are fastest on one thread, and the workers share the machine; every test has its own noise."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds MNIST/raw; the test is skipped where there is none."""
    root = Path(os.environ.get("DISCRETE_LATENTS_DATA", ROOT / "data")).expanduser()
    if not (root / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        pytest.skip(f"no MNIST in {root}: set DISCRETE_LATENTS_DATA to the folder that holds MNIST/raw")
    return root
