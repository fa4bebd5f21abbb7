"""Priors over the codes of a tokeniser that is already trained."""

from discrete_latents.priors.code_prior import CodePrior
from discrete_latents.priors.code_splits import codes

__all__ = ["CodePrior", "codes"]
