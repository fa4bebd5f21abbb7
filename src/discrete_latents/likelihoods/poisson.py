"""Poisson counts."""

import torch
from jaxtyping import Float, Real
from torch import Tensor

from discrete_latents.likelihoods.base import Likelihood


class Poisson(Likelihood):
    """Counts, independent given z; the output is their log-rate. Networks read log(1 + count)."""

    takes = ("whole",)
    masses = ("whole",)

    def inputs(self, x: Real[Tensor, "B ..."], mean: Float[Tensor, "..."]) -> Float[Tensor, "B ..."]:
        return x.to(mean.dtype).log1p() - mean.log1p()

    def pixel_nll(self, x: Tensor, output: Tensor) -> Tensor:
        # −log p = x (e^d − 1 − d) − log p(x | rate = x), with d = output − log x. In the usual form, terms of x log x
        # cancel: float32 loses a nat at counts of a million.
        count = x.float() if x.device.type == "mps" else x.double()  # which has no float64
        least = torch.where(count > 0, count - torch.xlogy(count, count) + torch.lgamma(count + 1), 0.0)
        x = x.to(output.dtype)
        d = output - x.clamp(min=1).log()
        return torch.where(x > 0, x * (d.expm1() - d), output.exp()) + least.to(output.dtype)

    def mean(self, output: Tensor) -> Tensor:
        return output.exp()

    def output_for_mean(self, mean: Tensor) -> Tensor:
        return mean.log()
