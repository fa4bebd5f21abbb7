"""The LightningModules."""

from discrete_latents.models.categorical_vae import CategoricalVAE
from discrete_latents.models.latent_model import LatentModel

__all__ = ["CategoricalVAE", "LatentModel"]
