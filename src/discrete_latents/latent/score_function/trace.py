"""Running an objective on hard samples with notes, and again with some of its draws replaced."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import layout
from discrete_latents.latent.distributions import categorical_kl
from discrete_latents.latent.estimator import Objective
from discrete_latents.latent.evaluation import HardSampler
from discrete_latents.latent.sampler import Sampler, log_weights


@dataclass
class Site:
    """One `sample` call of a run on hard samples.

    logits: (*S, B, N, K), with their graph. z: what was drawn, one-hot. kl: the KL terms, (*S, B), that stand before
    the draw is made and so do not depend on it.
    """

    logits: Tensor
    z: Tensor
    kl: Tensor | float

    def score(self) -> Float[Tensor, "*S B N K"]:
        """∇ log q(z) for the logits, z − π."""
        return self.z - layout.softmax(self.logits.detach())

    def with_gradient(self, gradient: Float[Tensor, "*S B N K"]) -> Float[Tensor, "*S B"]:
        """Zeros whose gradient for the logits is the given one: what an estimator adds to its bound."""
        product = (self.logits * gradient.detach()).sum((-1, -2))
        return product - product.detach()


class Recorder(HardSampler):
    """A hard sampler that notes its sites and its Gaussian noise.

    incoming: what is done to the logits of a site, given its index, before anything else.
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        sampled: bool = False,
        incoming: Callable[[int, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(shape, sampled)
        self.incoming = incoming
        self.sites: list[Site] = []
        self.noise: list[Tensor] = []

    def leading(self) -> tuple[int, ...]:
        return self.shape if self.drawn else ()

    def draw(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        if self.incoming is not None:
            logits = self.incoming(len(self.sites), logits)
        z, kl = super().draw(logits, prior, shape)
        before = self.kl if self.sampled else self.kl + kl
        self.sites.append(Site(logits, z, before.detach() if isinstance(before, Tensor) else before))
        return z, kl

    def standard_normal(self, mean: Tensor) -> Tensor:
        self.noise.append(super().standard_normal(mean))
        return self.noise[-1]

    def replay(self, index: int, z: Tensor, below: Callable[[Tensor], Tensor]) -> Sampler:
        """A sampler of the same run with site `index` at z: the draws above it and the Gaussian noise as they were,
        what comes below it drawn by `below` from its logits. z may have further sample dimensions in front."""
        return Replay([site.z for site in self.sites[:index]] + [z], below, self.noise)


class Replay(Sampler):
    def __init__(self, given: Sequence[Tensor], below: Callable[[Tensor], Tensor], noise: Sequence[Tensor]) -> None:
        super().__init__()
        self.given_shape: tuple[int, ...] = ()
        self.given: Iterator[Tensor] = iter(given)
        self.below = below
        self.noise = iter(noise)

    def leading(self) -> tuple[int, ...]:
        return self.given_shape if self.drawn else ()

    def draw(self, logits: Tensor, prior: Tensor | None, _shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        given = next(self.given, None)
        z = self.below(logits) if given is None else given
        self.given_shape = self.given_shape or tuple(z.shape[:-3])
        return z, 0.0 if prior is None else categorical_kl(logits, prior)

    def standard_normal(self, mean: Tensor) -> Tensor:
        return next(self.noise)


def run(objective: Objective, sampler: Sampler) -> Float[Tensor, "*S B"]:
    """The objective less the KL: the log-weights of the samples."""
    return log_weights(objective, sampler)
