"""Deterministic codes, to compare the estimators with: options of `latent` for model=image_tokenizer alone."""

from discrete_latents.quantizers.base import Quantizer
from discrete_latents.quantizers.fsq import FSQ
from discrete_latents.quantizers.lfq import LFQ
from discrete_latents.quantizers.vq import VQ

__all__ = ["FSQ", "LFQ", "VQ", "Quantizer"]
