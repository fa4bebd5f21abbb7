"""Sets temperatures to their schedules' values at the global step."""

import lightning.pytorch as pl

from discrete_latents.latent.temperature import Temperature
from discrete_latents.lightning_internals import steady


class TemperatureSchedule(pl.Callback):
    """Updates τ before every training step, and logs it each epoch, of every `Temperature` in the module: that of a
    model's estimator as `temperature`, of a module with several by their names in it too.

    The global step counts over all epochs and resumes, and not in validation.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        found = {name: part for name, part in pl_module.named_modules() if isinstance(part, Temperature)}
        prefix = "temperature/" if len(found) > 1 else ""
        self.temperatures = {f"{prefix}{name}" if prefix else "temperature": part for name, part in found.items()}

    @steady
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        for temperature in self.temperatures.values():
            temperature.update(trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for name, temperature in self.temperatures.items():
            pl_module.log(name, temperature().detach(), sync_dist=True)
