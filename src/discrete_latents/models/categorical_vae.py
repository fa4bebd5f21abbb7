"""The variational autoencoder with categorical latents (Jang et al. 2017, section 4.2)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor, nn

from discrete_latents.latent import Objective, WithContext, layout
from discrete_latents.latent.distributions import categorical_kl, sample_codes
from discrete_latents.models.latent_model import Batch, Caption, LatentModel
from discrete_latents.networks import Network


class CategoricalVAE(LatentModel):
    """x → N latents of K classes → x, with one stochastic layer; K = 2 gives Bernoulli latents.

    image_shape: (C, H, W) or (D,). network: for encoder and decoder. prior: "uniform", or "learned": trained,
    from uniform. The other arguments: `LatentModel`.
    """

    prior_logits: Tensor

    def __init__(
        self,
        image_shape: Sequence[int],
        num_latents: int,
        num_classes: int,
        network: Network,
        prior: str = "learned",
        **common: Any,
    ) -> None:
        super().__init__(image_shape, num_latents=num_latents, num_classes=num_classes, **common)
        if prior not in ("learned", "uniform"):
            raise ValueError(f"prior must be learned or uniform, got {prior!r}")
        width = layout.width(num_latents, num_classes)
        self.encoder = network.encoder(self.input_shape(image_shape), width)
        self.decoder = network.decoder(width, self.likelihood.output_shape(image_shape))
        self.prior_logits = nn.Parameter(torch.zeros(num_latents, num_classes), requires_grad=prior == "learned")

    def encode(self, x: Real[Tensor, "B ..."]) -> Float[Tensor, "B N K"]:
        """Logits of q(z | x)."""
        return self.mixed(layout.to_logits(self.encoder(self.inputs(x)), self.num_classes))

    def decode(self, z: Float[Tensor, "*S B N K"]) -> Float[Tensor, "..."]:
        """The parameters of the likelihood given z."""
        return self.decoder(layout.to_units(z)) + self.output_bias

    def encode_codes(self, x: Real[Tensor, "B ..."]) -> Int[Tensor, "B N"]:
        """The most probable class of each latent."""
        return self.encode(x).argmax(-1)

    def decode_codes(self, codes: Int[Tensor, "*S B N"]) -> Float[Tensor, "..."]:
        """E[x | z] for class indices."""
        return self.likelihood.mean(self.decode(layout.one_hot(codes, self.num_classes, self.output_bias.dtype)))

    def objective(self, batch: Batch) -> Objective:
        x, _ = batch
        logits = self.encode(x)

        def log_likelihood(sample: Callable[..., Tensor]) -> Tensor:
            z = sample(logits, prior=self.prior_logits)
            return self.likelihood.log_prob(x, self.decode(z))

        return WithContext(log_likelihood, {"input": lambda: self.inputs(x).flatten(1)})

    def sample(self, count: int) -> Float[Tensor, "count ..."]:
        """E[x | z] for z sampled from the prior."""
        return self.decode_codes(sample_codes(self.prior_logits, count))

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures by name:

        - `reconstructions`: images above E[x | z] for a hard z
        - `samples`: from the prior
        - `classes`: rows are images, columns are the classes of the latent with the largest KL; other latents are kept
        """
        x, _ = batch
        logits = self.estimator.marginals(self.encode(x))
        codes = sample_codes(logits)
        kl = categorical_kl(logits.unsqueeze(-2), self.prior_logits.unsqueeze(-2)).mean(0)
        varied = codes[:8].unsqueeze(1).repeat(1, self.num_classes, 1)
        varied[..., kl.argmax()] = torch.arange(self.num_classes, device=codes.device)
        return {
            "reconstructions": torch.stack([x, self.decode_codes(codes)]),
            "samples": self.sample(80).unflatten(0, (8, 10)),
            "classes": self.decode_codes(varied),
        }

    def captions(self) -> dict[str, Caption]:
        classes = [*map(str, range(self.num_classes))]
        return {
            "reconstructions": Caption("images, and E[x | z] for a sampled z", ("x", "E[x | z]")),
            "samples": Caption("E[x | z] for samples z of the prior"),
            "classes": Caption("one latent takes its classes, the others stay", (), classes),
        }
