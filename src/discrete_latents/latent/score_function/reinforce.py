"""The score-function estimator with baselines."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.checks import truth
from discrete_latents.latent import layout
from discrete_latents.latent.estimator import Estimator, Objective, context_of
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.baselines import PerSite, Scale
from discrete_latents.latent.score_function.trace import Recorder

READS: dict[str, tuple[str, ...]] = {"logits": (), "input": ("input",), "input_and_output": ("input", "output")}
"""What baselines can read, and the parts of an objective's context that it is made of."""


class Reinforce(Estimator):
    """The gradient of the logits is (signal − baselines) · ∇log q(z) (Williams 1992).

    Everything else is differentiated directly. With one sample, a layer's signal is the bound without the KL terms that
    its draw does not change (the local signals of Mnih, Gregor 2014). With m, each sample's signal is the m-sample
    bound.

    baselines: functions by name that build a baseline from the number of features of the logits, as `MovingAverage` and
        `InputNetwork` (both with `normalize` are NVIL: Mnih, Gregor 2014). They are subtracted in turn.
    normalize: whether to divide the gradient of the logits by max(1, running standard deviation of the centred signal).
        The whole gradient is divided, so that an analytic KL keeps its weight against the signal.
    reads: what the baselines are functions of: the layer's "logits"; or, of the objective's context, its "input", or
        "input_and_output" (Gu et al. 2016), for every layer. NVIL's reads the image (Mnih, Gregor 2014).
    features: how many numbers the baselines read at each `sample` call, to build them now: with logits, N·K. None: at
        the first call.

    Calling it raises ValueError for an objective that does not offer what is read.
    """

    unbiased = True

    def __init__(
        self,
        baselines: Mapping[str, Callable[[int], nn.Module]] | None = None,
        normalize: bool = False,
        samples: int = 1,
        features: Sequence[int] | None = None,
        reads: str = "logits",
    ) -> None:
        super().__init__(samples)
        if reads not in READS:
            raise ValueError(f"reads must be one of {', '.join(READS)}, got {reads!r}")
        self.reads = reads
        truth("normalize", normalize)
        self.makers = dict(baselines or {})
        self.check_makers()
        self.baselines = PerSite(self.make_baselines, features)
        self.scales = PerSite(Scale, features) if normalize else None
        self.replaces_buffers = normalize

    def check_makers(self) -> None:
        """Builds each baseline once and discards it, so that a wrong setting fails now and not at the first step."""
        with torch.random.fork_rng(devices=[]):
            for name, make in self.makers.items():
                if not callable(make):
                    raise ValueError(f"baselines.{name} must be called with a number of features, got {make!r}")
                try:
                    make(1)
                except ValueError as error:
                    raise ValueError(f"baselines.{name}.{error}") from error

    def make_baselines(self, features: int) -> nn.ModuleDict:
        return nn.ModuleDict({name: make(features) for name, make in self.makers.items()})

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        shape = () if self.samples == 1 else (self.samples,)
        recorder = Recorder(shape, sampled=self.samples > 1, incoming=self.with_scaled_gradient)
        bound = layout.log_mean_exp(log_weights(objective, recorder))
        if (
            not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()
        ):  # no gradients, and a baseline cannot be built
            return bound
        surrogate, context = bound, self.context(objective)
        for index, site in enumerate(recorder.sites):
            signal = bound.detach() + site.kl if self.samples == 1 else bound.detach()
            signal, correction = self.control(objective, recorder, index, signal)
            centred, loss = self.centre(index, site.logits.detach() if context is None else context, signal)
            terms = site.with_gradient(centred[..., None, None] * site.score() + correction) - loss
            surrogate = surrogate + terms.flatten(0, -2).sum(0) if terms.dim() > 1 else surrogate + terms
        return surrogate

    def control(
        self, objective: Objective, recorder: Recorder, index: int, signal: Tensor
    ) -> tuple[Tensor, Tensor | float]:
        """The signal of a site minus a control variate, and the correction to the gradient of its logits."""
        return signal, 0.0

    def context(self, objective: Objective) -> Float[Tensor, "B 1 F"] | None:
        """What all baselines read, in the shape of a latent's logits; None where each reads those of its layer."""
        if not READS[self.reads]:
            return None
        offered = context_of(objective)
        if missing := [name for name in READS[self.reads] if name not in offered]:
            what = f"an objective that offers {' and '.join(missing)}"
            raise ValueError(f"reads = {self.reads} needs {what}, got {', '.join(offered) or 'no context'}")
        return torch.cat([offered[name]().detach() for name in READS[self.reads]], -1).unsqueeze(-2)

    def centre(self, index: int, logits: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
        """The signal minus its baselines, and zeros whose gradient trains the baselines. logits: what they read."""
        learns = self.training and torch.is_grad_enabled()
        loss = torch.zeros_like(signal)
        for baseline in self.baselines.at(index, logits).values():
            residual = signal - baseline(logits).to(signal.dtype)
            if learns:
                baseline.observe(signal)
            loss = loss + residual.square() / 2
            signal = residual.detach()
        if self.scales is not None and learns:
            self.scales.at(index, logits).observe(signal)
        return signal, loss - loss.detach()

    def with_scaled_gradient(self, index: int, logits: Tensor) -> Tensor:
        """The logits, with their gradient normalised if `normalize` is set."""
        if self.scales is None:
            return logits
        scaled = logits / self.scales.at(index, logits)()
        return scaled + (logits - scaled).detach()
