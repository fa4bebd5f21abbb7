"""Structured prediction: one part of an image predicts the rest (Raiko et al. 2015; Jang et al. 2017, section 4.1)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from discrete_latents.checks import whole
from discrete_latents.latent import Objective, WithContext, layout
from discrete_latents.models.latent_model import Batch, Caption, LatentModel
from discrete_latents.networks import Network

HALVES = {
    "top": ("top_left", "top_right"),
    "bottom": ("bottom_left", "bottom_right"),
    "left": ("top_left", "bottom_left"),
    "right": ("top_right", "bottom_right"),
}
QUADRANTS = ("top_left", "top_right", "bottom_left", "bottom_right")


class StructuredPrediction(LatentModel):
    """given pixels → L layers of N latents of K classes, each sampled from the layer above → the other pixels.

    The objective is log p(rest | h_L). With m samples the bound is log (1/m) Σ p(rest | h); Jang et al. print the mean
    of logs, a slip. There is no prior, so kl is 0.

    Args:
        num_latents: N of each layer.
        network: for every connection.
        layers: L.
        given: "top", "bottom", "left", "right", or a list of one to three of the quadrants "top_left", ….

    The other arguments: `LatentModel`.
    """

    given: Tensor
    asked: Tensor

    def __init__(
        self,
        image_shape: Sequence[int],
        num_latents: int,
        num_classes: int,
        network: Network,
        layers: int = 2,
        given: str | Sequence[str] = "top",
        **common: Any,
    ) -> None:
        super().__init__(
            image_shape, num_latents=num_latents * whole("layers", layers), num_classes=num_classes, **common
        )
        known = given_pixels(given, image_shape)
        width = layout.width(num_latents, num_classes)
        self.first = network.encoder(self.input_shape([int(known.sum())]), width)
        self.between = nn.ModuleList(network.encoder([width], width) for _ in range(layers - 1))
        output_shape = self.likelihood.output_shape([int((~known).sum())])
        self.head = network.decoder(width, output_shape)
        self.register_buffer("given", known.nonzero().squeeze(-1))
        self.register_buffer("asked", (~known).nonzero().squeeze(-1))
        self.output_bias = torch.zeros(*output_shape)

    def set_base_rate(self, mean: Tensor) -> None:
        """Centres the given pixels at their mean and sets the output bias to the base rate of the others."""
        if mean.shape == self.mean_image.shape:
            self.mean_image.copy_(mean)
        asked = mean.flatten(0, self.mean_image.dim() - 1)[self.asked]
        self.output_bias.copy_(self.likelihood.output_for_mean(asked))

    def first_logits(self, x: Real[Tensor, "B C H W"]) -> Float[Tensor, "B N K"]:
        """Logits of the first layer, from the given pixels."""
        return self.mixed(layout.to_logits(self.first(self.given_inputs(x)), self.num_classes))

    def given_inputs(self, x: Real[Tensor, "B C H W"]) -> Float[Tensor, "B ..."]:
        """The given pixels as the first connection reads them."""
        return self.likelihood.inputs(x.flatten(1)[:, self.given], self.mean_image.flatten()[self.given])

    def objective(self, batch: Batch) -> Objective:
        x, _ = batch
        logits = self.first_logits(x)
        rest = x.flatten(1)[:, self.asked]

        def log_likelihood(sample: Callable[..., Tensor]) -> Tensor:
            return self.likelihood.log_prob(rest, self.predict(logits, sample))

        return WithContext(log_likelihood, {"input": lambda: self.given_inputs(x), "output": lambda: rest})

    def predict(self, logits: Float[Tensor, "B N K"], sample: Callable[..., Tensor]) -> Float[Tensor, "..."]:
        """The likelihood parameters of the asked pixels, through all stochastic layers."""
        units = layout.to_units(sample(logits))
        for layer in self.between:
            units = layout.to_units(sample(self.mixed(layout.to_logits(layer(units), self.num_classes))))
        return self.head(units) + self.output_bias

    def complete(self, x: Real[Tensor, "B C H W"], count: int = 1) -> Float[Tensor, "count B C H W"]:
        """`count` completions of each image: its asked pixels replaced by E[rest | h] for sampled h."""
        rest = self.likelihood.mean(self.predict(self.first_logits(x), self.hard_sampler(count)))
        completed = x.to(self.mean_image.dtype).flatten(1).repeat(count, 1, 1)
        completed[..., self.asked] = rest.to(completed.dtype)
        return completed.unflatten(-1, x.shape[1:])

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """`completions`: a row per image, with the given pixels, six sampled completions and the truth."""
        x, _ = batch
        shown = x.to(self.mean_image.dtype, copy=True).flatten(1)
        shown[:, self.asked] = (shown.min() + shown.max()) / 2
        rows = torch.cat([shown.view_as(x).unsqueeze(0), self.complete(x, 6), x.unsqueeze(0)])
        return {"completions": rows.transpose(0, 1)}

    def captions(self) -> dict[str, Caption]:
        return {"completions": Caption("E[rest | h] for samples h", (), ("given", *["sample"] * 6, "x"))}


def given_pixels(given: str | Sequence[str], image_shape: Sequence[int]) -> Tensor:
    """A boolean mask of the given ones among the C·H·W pixels.

    Raises ValueError for unknown parts, and for parts that leave nothing to predict.
    """
    parts = HALVES.get(given, (given,)) if isinstance(given, str) else tuple(given)
    if not parts or not set(parts) <= set(QUADRANTS) or len(set(parts)) == len(QUADRANTS):
        raise ValueError(
            f"given must be one of {', '.join(HALVES)}, or a list of one to three of {', '.join(QUADRANTS)}, "
            f"got {given!r}"
        )
    if len(image_shape) != 3:
        raise ValueError(f"given = {given!r} needs images, got vectors of {image_shape[0]} features")
    _, height, width = image_shape
    mask = torch.zeros(*image_shape, dtype=torch.bool)
    for part in parts:
        vertical, horizontal = part.split("_")
        rows = slice(height // 2) if vertical == "top" else slice(height // 2, None)
        columns = slice(width // 2) if horizontal == "left" else slice(width // 2, None)
        mask[:, rows, columns] = True
    return mask.flatten()
