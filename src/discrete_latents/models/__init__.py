"""The LightningModules."""

from discrete_latents.models.categorical_vae import CategoricalVAE
from discrete_latents.models.image_tokenizer import ImageTokenizer
from discrete_latents.models.latent_model import LatentModel
from discrete_latents.models.semi_supervised import SemiSupervised
from discrete_latents.models.structured_prediction import StructuredPrediction

__all__ = ["CategoricalVAE", "ImageTokenizer", "LatentModel", "SemiSupervised", "StructuredPrediction"]
