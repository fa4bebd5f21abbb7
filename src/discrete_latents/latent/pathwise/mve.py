"""MVE: straight-through of minimal variance, and its form for classes that are numbers."""

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import layout, masks
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.pathwise.base import Pathwise, with_gradient_of
from discrete_latents.latent.temperature import Temperature


class MVE(Pathwise):
    """Forward: a sample z. Backward: a gradient v of z becomes S(z)ᵀ v (Hooper, Shekhovtsov 2026).

    Of all S that are exact on average for objectives linear and quadratic in each latent, this one has the least
    E‖S‖²: S(z) is (1[i = z] (e_z − π) / 2 + σ(a_i − a_z) (V_i − V_z)) for class i, with a the logits. The potentials V
    solve a linear system of K equations, Σ_j σ(a_j − a_i) (V_i − V_j) = (e_i − π) / 2: the flow p_z S(z)_i is that of a
    resistor network with the conductances π_i π_j / (π_i + π_j). ZGR is the same with π_i π_j.

    temperature: ε > 0 minimises E‖S‖² + (squared error on quadratics) / (2 ε) instead, exact for linear objectives
        alone; the paper lets it fall from 1 to 1e-6. None: exact for quadratics, ε → 0. Straight-through: ε → ∞.
    """

    def __init__(self, temperature: float | Temperature | None = None, kl: str = "analytic", samples: int = 1) -> None:
        super().__init__(1.0 if temperature is None else temperature, kl, samples)
        self.quadratic = temperature is None

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        z, log_q = sample(logits), layout.log_softmax(logits)
        fixed = log_q.detach()
        moved = log_q - fixed  # 0, with the gradient of log π
        # ε + π, a share π / (ε + π), and of each pair of classes π_j / (ε + π_i + π_j).
        slack = fixed if self.quadratic else torch.logaddexp(fixed, self.temperature().to(fixed.dtype).log())
        share = (fixed - slack).exp()
        rates = torch.sigmoid(fixed.unsqueeze(-2) - slack.unsqueeze(-1))
        system = torch.diag_embed(rates.sum(-1)) - share.unsqueeze(-1) * rates
        if self.quadratic:  # V is known up to a constant: that of mean 0. The rows now add up to 1.
            system = system + fixed.exp().unsqueeze(-2)
        own = rates.diagonal(dim1=-2, dim2=-1) * moved
        potential = torch.linalg.solve(system, own.unsqueeze(-1)).squeeze(-1)
        at_z = (z * fixed).sum(-1, keepdim=True), (z * potential).sum(-1, keepdim=True)
        soft = torch.sigmoid(slack - at_z[0]) * (potential - share * at_z[1]) + z * own
        return with_gradient_of(soft, z)


class IntegerMVE(Pathwise):
    """MVE for classes that are the numbers 0 … K − 1, in closed form (Hooper, Shekhovtsov 2026, their integer form).

    The sampled number moves with the mean and the standard deviation of its distribution, m + s ε with ε = (z − m) / s
    held fixed: exact for objectives quadratic in the number, at the least variance. What an objective does with a
    one-hot z beside its number is passed straight through: exact for objectives linear in z.
    """

    def __init__(self, kl: str = "analytic", samples: int = 1) -> None:
        super().__init__(1.0, kl, samples)

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        z, mean = sample(logits), layout.softmax(logits)
        number = torch.arange(z.shape[-1], device=z.device, dtype=z.dtype)
        off_mean = ((z - mean) * number).sum(-1, keepdim=True).detach()
        squares = (number - (mean.detach() * number).sum(-1, keepdim=True)).square()
        variance = (mean * squares).sum(-1, keepdim=True)
        tiny = torch.finfo(z.dtype).tiny
        spread = off_mean / (2 * variance.detach()).clamp(min=tiny) * variance
        there = masks.allowed(logits)
        centred = (number - (there * number).sum(-1, keepdim=True) / there.sum(-1, keepdim=True)) * there
        unit = centred / centred.square().sum(-1, keepdim=True).clamp(min=tiny)  # raises the number by 1
        return with_gradient_of(mean + unit * spread, z)
