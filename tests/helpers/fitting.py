"""A short, quiet training on digits with some callbacks."""

from typing import Any

import lightning.pytorch as pl
import torch

from discrete_latents.data import ImageData, digits
from discrete_latents.latent import Estimator
from discrete_latents.likelihoods import Bernoulli
from discrete_latents.models import CategoricalVAE
from discrete_latents.networks import MLP
from discrete_latents.optimization import Optimization


def quiet_trainer(**settings: Any) -> pl.Trainer:
    """A trainer that shows nothing, and keeps nothing but what its settings and callbacks do."""
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(accelerator="cpu", **quiet | settings)


def make_model(estimator: Estimator) -> CategoricalVAE:
    """A VAE with nine joint states."""
    model = CategoricalVAE(
        image_shape=(1, 8, 8),
        num_latents=2,
        num_classes=3,
        network=MLP([]),
        estimator=estimator,
        likelihood=Bernoulli(),
        optimization=Optimization(torch.optim.Adam, lr=1e-2),
    )
    with torch.random.fork_rng(), torch.no_grad():  # makes what an estimator learns, for the optimiser to find
        model.training_loss((torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64)))
    return model


def fit(callbacks: list[pl.Callback], model: CategoricalVAE, prefix: str) -> tuple[dict[str, float], ImageData]:
    """What was logged under names that start with a prefix, and the data."""
    data = ImageData("digits", digits)
    trainer = quiet_trainer(
        max_epochs=2,
        limit_train_batches=5,
        limit_val_batches=1,
        callbacks=callbacks,
    )
    data.setup()
    trainer.fit(model, datamodule=data)
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}, data
