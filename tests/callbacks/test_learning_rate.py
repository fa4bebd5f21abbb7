"""The learning rate, as whoever looks at it sees it."""

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor

from discrete_latents.callbacks import LearningRate
from discrete_latents.data import ImageData, digits
from discrete_latents.latent import GumbelSoftmax
from discrete_latents.lightning_internals import use_fast_epoch_loop
from discrete_latents.loggers.metrics_csv import MetricsCSV
from discrete_latents.models import CategoricalVAE
from discrete_latents.optimization import LinearRate
from tests.helpers.fitting import make_model, quiet_trainer

STEPS = 10
LR = 1e-2
"""Of `make_model`."""


def monitored(path, fast, model):
    """What LearningRateMonitor logs, by step, of two epochs of five steps."""
    logger = MetricsCSV(str(path))
    trainer = quiet_trainer(
        max_epochs=2,
        limit_train_batches=STEPS // 2,
        limit_val_batches=0,
        log_every_n_steps=1,
        logger=logger,
        callbacks=[LearningRate(), LearningRateMonitor()],
    )
    if fast:
        use_fast_epoch_loop(trainer)
    trainer.fit(model, datamodule=ImageData("digits", digits))
    return {int(row["step"]): float(row["lr-Adam"]) for row in logger.read() if "lr-Adam" in row}


@pytest.mark.filterwarnings("ignore:.*no learning rate schedulers.*")
@pytest.mark.parametrize("fast", [False, True])
def test_a_monitor_sees_the_rate_of_the_step_that_comes(tmp_path, fast):
    model = make_model(GumbelSoftmax())
    model.optimization.schedule = LinearRate(0.5)
    seen = monitored(tmp_path / "metrics.csv", fast, model)
    assert seen == {step: pytest.approx(LR * min(1, 2 * (1 - step / STEPS))) for step in range(STEPS)}


class Own(CategoricalVAE):
    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.5)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@pytest.mark.parametrize("fast", [False, True])
def test_a_model_with_its_own_optimiser_and_schedule_keeps_them(tmp_path, fast):
    model = make_model(GumbelSoftmax())
    model.__class__ = Own
    seen = monitored(tmp_path / "metrics.csv", fast, model)
    assert seen == {step: pytest.approx(0.5 ** (1 + step)) for step in range(STEPS)}
