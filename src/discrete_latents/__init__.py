"""Train models with discrete latent variables, and swap how their gradient is estimated.

from discrete_latents import train                      # a run, with the settings of train.py: train(["seed=1"])
from discrete_latents import load_run                   # a trained model, from its run directory
from discrete_latents.latent import GumbelSoftmax       # an estimator alone, pure PyTorch
"""

from typing import TYPE_CHECKING, Any

from discrete_latents.parent import end_with_parent
from discrete_latents.torchmetrics_import import import_torchmetrics

if TYPE_CHECKING:
    from discrete_latents.api import Run, load_run
    from discrete_latents.api import train_run as train

__all__ = ["Run", "load_run", "train"]

end_with_parent()  # in a process that Lightning started, before torch is imported, which takes seconds


def __getattr__(name: str) -> Any:
    """Loaded when asked for, so that the latent module alone imports neither Lightning nor Hydra."""
    if name in __all__:
        import_torchmetrics()
        from discrete_latents import api

        return getattr(api, {"train": "train_run"}.get(name, name))
    raise AttributeError(f"module {__name__} has no attribute {name}")
