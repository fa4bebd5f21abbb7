"""An estimator by its name."""

from hydra.utils import instantiate
from omegaconf import OmegaConf

from discrete_latents.config.compose import composed
from discrete_latents.latent import Constant, Estimator


def make_estimator(name: str, temperature: float = 1.0, **settings: object) -> Estimator:
    """An option of `latent` as its YAML describes it but for `settings`, at a constant temperature."""
    config = composed((), f"latent/{name}")
    target = {"_target_": f"{Constant.__module__}.Constant", "start": temperature}
    OmegaConf.set_struct(config, False)  # a YAML need not name every setting
    config = OmegaConf.create({"temperature": target, "latent": OmegaConf.merge(config.latent, settings)})
    return instantiate(config.latent)
