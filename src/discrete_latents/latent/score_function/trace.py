"""Records a run of an objective on hard samples, and replays it with some draws replaced."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.latent import layout
from discrete_latents.latent.distributions import categorical_kl, categorical_log_prob
from discrete_latents.latent.evaluation import HardSampler
from discrete_latents.latent.sampler import Sampler


@dataclass
class Site:
    """One `sample` call of a run on hard samples.

    logits: (*S, B, N, K), with their graph. z: the one-hot draw. kl: the KL terms, (*S, B), computed before the draw,
    which do not depend on it.
    """

    logits: Tensor
    z: Tensor
    kl: Tensor | float

    def score(self) -> Float[Tensor, "*S B N K"]:
        """The gradient of log q(z) for the logits, z − π."""
        return self.z - layout.softmax(self.logits.detach())

    def with_gradient(self, gradient: Float[Tensor, "*S B N K"]) -> Float[Tensor, "*S B"]:
        """Zeros whose gradient for the logits is `gradient`; an estimator adds them to its bound."""
        product = (self.logits * gradient.detach()).sum((-1, -2))
        return product - product.detach()


class Recorder(HardSampler):
    """A hard sampler that records its sites and its Gaussian noise.

    incoming: applied first to the logits of a site, as `incoming(index, logits)`.
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

    def draw_vectors(
        self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...], codebook: Tensor
    ) -> tuple[Tensor, Tensor | float]:
        _, kl = self.draw(logits, prior, shape)
        return F.embedding(self.codes[-1], codebook), kl

    draw_subset = Sampler.draw_subset  # which refuses: a site is of categories

    def standard_normal(self, mean: Tensor) -> Tensor:
        self.noise.append(super().standard_normal(mean))
        return self.noise[-1]

    def replay(self, index: int, z: Tensor, below: Callable[[Tensor], Tensor]) -> Sampler:
        """A sampler that repeats the run with z at site `index`.

        Draws above the site and Gaussian noise are kept; the sites below are drawn by `below` from their logits. z may
        have additional leading sample dimensions.
        """
        given = [site.z for site in self.sites[:index]] + [z]
        return Replay(given, below, self.noise, self.shape, self.sampled)


class Replay(Sampler):
    def __init__(
        self,
        given: Sequence[Tensor],
        below: Callable[[Tensor], Tensor],
        noise: Sequence[Tensor],
        shape: tuple[int, ...],
        sampled: bool,
    ) -> None:
        super().__init__(shape=shape)
        self.sampled = sampled
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
        if prior is None:
            return z, 0.0
        if self.sampled:
            return z, categorical_log_prob(z, logits) - categorical_log_prob(z, prior)
        return z, categorical_kl(logits, prior)

    def standard_normal(self, mean: Tensor) -> Tensor:
        return next(self.noise)
