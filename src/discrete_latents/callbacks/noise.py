"""The random state of a run whose model does not keep it."""

import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from discrete_latents.models import LatentModel


class Noise(pl.Callback):
    """Keeps the random state of each process in checkpoints, of torch, NumPy and Python: a resumed run shuffles, drops
    out and augments as an uninterrupted one. A `LatentModel` keeps torch's itself.

    Loaders' workers get theirs from torch's at the beginning of an epoch. With another number of processes nothing is
    restored.
    """

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        numpy: Any = np.random.get_state()
        _, keys, *rest = numpy
        own: dict[str, Any] = {"python_noise": random.getstate(), "numpy_noise": [keys.tolist(), *rest]}
        if not isinstance(pl_module, LatentModel):
            own["noise"] = torch.get_rng_state()
            if pl_module.device.type == "cuda":
                own["cuda_noise"] = torch.cuda.get_rng_state(pl_module.device)
        states = [own]
        if trainer.world_size > 1:
            states *= trainer.world_size
            torch.distributed.all_gather_object(states, own)
        checkpoint |= {**states[0], "other_noise": states[1:]}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        states = [checkpoint, *checkpoint.get("other_noise", ())]
        if len(states) != trainer.world_size or trainer.state.fn != "fit":
            return
        own = states[trainer.global_rank]
        if "python_noise" in own:
            random.setstate(own["python_noise"])
            keys, *rest = own["numpy_noise"]
            np.random.set_state(("MT19937", np.array(keys, np.uint32), *rest))
        if not isinstance(pl_module, LatentModel) and "noise" in own:
            torch.set_rng_state(own["noise"])
            if pl_module.device.type == "cuda" and "cuda_noise" in own:
                torch.cuda.set_rng_state(own["cuda_noise"], pl_module.device)
