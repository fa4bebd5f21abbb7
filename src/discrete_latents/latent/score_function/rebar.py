"""REBAR: the score function with the bound of a relaxed sample as control variate."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.checks import finite
from discrete_latents.latent import layout
from discrete_latents.latent.distributions import conditional_gumbels, gumbel_like
from discrete_latents.latent.estimator import Objective
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.trace import Recorder
from discrete_latents.latent.score_function.tuned import Tuned
from discrete_latents.latent.temperature import Learned, Temperature, as_temperature


class Rebar(Tuned):
    """The gradient of the logits is (f(b) − c(z̃)) ∇log q(b) + ∇c(z) − ∇c(z̃).

    Here b is a hard sample, z its perturbed logits, z̃ perturbed logits drawn again given b, both reparameterised, and
    c(z) = η f(softmax(z / τ)) (Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein 2017, section 3). It is unbiased for any
    η and τ; both are trained on the gradient's variance. Each layer is relaxed together with those below it, given the
    hard samples above: 1 + 2 L runs.

    temperature: τ; a `Learned` one is trained on the variance, any other follows its schedule.
    scale: the initial η. Raises ValueError unless it is finite.
    """

    unbiased = True
    differentiates = True
    temperature: Temperature

    def __init__(self, temperature: float | Temperature | None = None, scale: float = 1.0) -> None:
        super().__init__()
        self.temperature = Learned(0.5, 0.05) if temperature is None else as_temperature(temperature)
        self.scale = nn.Parameter(torch.tensor(finite("scale", scale)))

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        recorder = Recorder()
        bound = log_weights(objective, recorder)
        if torch.is_inference_mode_enabled():  # no gradients, and a critic cannot be built
            return bound
        surrogate = bound
        for index, site in enumerate(recorder.sites):
            gradient = self.gradient(objective, recorder, index, (bound + site.kl).detach())
            surrogate = surrogate + site.with_gradient(gradient)
            if self.training and torch.is_grad_enabled():
                surrogate = surrogate - self.variance_loss(gradient)
        return surrogate

    @torch.enable_grad()
    def gradient(self, objective: Objective, recorder: Recorder, index: int, signal: Tensor) -> Tensor:
        """The gradient of a site's logits, (B, N, K), differentiable in τ, η and critics."""
        site = recorder.sites[index]
        logits = site.logits.detach().requires_grad_()
        log_q = layout.log_softmax(logits)
        z = conditional_gumbels(log_q, site.z).detach() + (log_q - log_q.detach())  # given that z has its largest at b
        again = conditional_gumbels(log_q, site.z)
        soft = layout.softmax(torch.stack([z, again]) / self.temperature())
        control, control_again = self.control(objective, recorder, index, soft).unbind()
        (slope,) = torch.autograd.grad((control - control_again).sum(), logits, create_graph=True)
        return (signal - control_again)[..., None, None] * site.score() + slope

    def control(self, objective: Objective, recorder: Recorder, index: int, soft: Tensor) -> Float[Tensor, "2 B"]:
        """The control variate c of two relaxed samples, (2, B, N, K), with the same noise in the layers below."""

        def below(logits: Tensor) -> Tensor:
            noise = gumbel_like(logits[0] if logits.dim() > 3 else logits)  # no leading 2 where z has no effect
            return layout.softmax((layout.log_softmax(logits) + noise) / self.temperature())

        relaxed = log_weights(objective, recorder.replay(index, soft, below)) + recorder.sites[index].kl
        return self.scale * relaxed
