"""RODEO: leave-one-out with control variates from a discrete Stein operator."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from discrete_latents.checks import finite, whole
from discrete_latents.latent import layout
from discrete_latents.latent.sampler import without_autocast
from discrete_latents.latent.score_function.slopes import WithSlopes
from discrete_latents.latent.score_function.trace import Site


class Surrogates(nn.Module):
    """h(y) and g(y) from a linear estimate of f(y) − f(x) and f(x), in the dtype of the weights even under autocast."""

    def __init__(self, hidden: int = 100) -> None:
        super().__init__()
        self.change = nn.Linear(1, whole("hidden", hidden))
        self.value = nn.Linear(1, hidden)
        self.last = nn.Linear(hidden, 2)

    def forward(self, change: Float[Tensor, "*S"], value: Float[Tensor, "..."]) -> tuple[Tensor, Tensor]:
        with without_autocast(change.device):
            hidden = [
                layer(inputs.to(self.last.weight.dtype).unsqueeze(-1))
                for layer, inputs in ((self.change, change), (self.value, value))
            ]
            both = self.last(nn.functional.leaky_relu(hidden[0] + hidden[1], 0.3)).to(change.dtype)
        return both[..., 0], both[..., 1]


class RODEO(WithSlopes):
    """RLOO with Gibbs–Stein control variates (Shi, Zhou, Hwang, Titsias, Mackey 2022, section 4).

    The operator (A h)(x) = (1/N) Σ_n Σ_k π_nk (h(x with latent n of class k) − h(x)) has the mean 0 under q. The
    gradient by draw m is

        (f(z_m) − mean over l ≠ m of (f(z_l) + α (A h_l)(z_l))) (z_m − π) + β (A [g_m ∇log q])(z_m).

    h_m and g_m know the other draws alone: the mean over l ≠ m of a network of f(z_l) and ∇f(z_l)ᵀ(y − z_l). α, β and
    the network, one for all layers, are trained on the variance. Here also for classes.

    draws: M, at least 2. hidden: width of the network. scale: the initial α and β, with which 0 is RLOO. Raises
    ValueError unless it is finite.
    """

    def __init__(self, draws: int = 2, hidden: int = 100, scale: float = 0.0) -> None:
        super().__init__(draws)
        self.strengths = nn.Parameter(torch.full((2,), finite("scale", scale)))
        self.surrogates = Surrogates(hidden)

    def gradient(self, site: Site, signal: Float[Tensor, "M B"], slope: Float[Tensor, "M B N K"]) -> Tensor:
        z, score = site.z.detach(), site.score().detach()
        number, latents = torch.arange(1, z.shape[-1], device=z.device), max(z.shape[-2], 1)
        index = (z.argmax(-1, keepdim=True) + number) % z.shape[-1]  # of all classes but that of the draw
        chance = layout.softmax(site.logits.detach()).expand_as(z).gather(-1, index)
        h, g, h_near, g_near = self.controls(z, signal, slope, index)
        scalar = (chance * (h_near - h)).sum((-1, -2)) / latents
        step = torch.zeros_like(z).scatter(-1, index, chance * g_near)  # times e_k − z, by which ∇log q changes
        vector = (chance * (g_near - g)).sum((-1, -2))[..., None, None] * score + step - z * step.sum(-1, keepdim=True)
        known = signal + self.strengths[0] * scalar
        others = (known.sum(0) - known) / (self.draws - 1)
        return (signal - others)[..., None, None] * score + self.strengths[1] * vector / latents

    def controls(self, z: Tensor, signal: Tensor, slope: Tensor, index: Int[Tensor, "M B N J"]) -> list[Tensor]:
        """h and g at each draw, (M, B, 1, 1), and with one latent changed to each class of `index`, (M, B, N, J)."""
        found = []
        for shift in range(1, self.draws):
            value, gradient = signal.roll(shift, 0)[..., None, None], slope.roll(shift, 0)
            at = (gradient * (z - z.roll(shift, 0))).sum((-1, -2))[..., None, None]
            near = at + (gradient - (gradient * z).sum(-1, keepdim=True)).gather(-1, index)
            found.append([*self.surrogates(at, value), *self.surrogates(near, value)])
        return [torch.stack(parts).mean(0) for parts in zip(*found, strict=True)]
