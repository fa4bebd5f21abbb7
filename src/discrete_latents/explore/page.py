"""The page of the explorer: a model's networks as data, and the script that runs them."""

import base64
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from discrete_latents.api import Run
from discrete_latents.atomic_write import atomic_write
from discrete_latents.errors import UserError
from discrete_latents.explore.layers import Weights, layers_of
from discrete_latents.latent import layout
from discrete_latents.latent.distributions import sample_codes
from discrete_latents.likelihoods.base import Likelihood
from discrete_latents.models import CategoricalVAE
from discrete_latents.report.look import render_page
from discrete_latents.runs.results_table import title

HERE = Path(__file__).parent
MEANS = ("Bernoulli", "Gaussian", "DiscretizedLogistic")
"""The likelihoods whose mean explorer.js has."""
GREY = ("binary", "levels", "grey")
CONTEXTS = 32
"""Codes of the prior that the effect of a latent is averaged over."""


def write_explorer(run: Run, path: Path) -> None:
    """Writes the page. Raises UserError for a model that it cannot run."""
    model = explorable(run.model)
    weights = Weights()
    width = layout.width(model.num_latents, model.num_classes)
    content: dict[str, Any] = {
        "shape": tuple(model.mean_image.shape),
        "latents": model.num_latents,
        "classes": model.num_classes,
        "likelihood": type(model.likelihood).__name__,
        "binary": model.kind == "binary",
        "encoder": layers_of(model.encoder, model.mean_image.shape, weights),
        "decoder": layers_of(model.decoder, (width,), weights),
        "mean": weights.add(model.mean_image),
        "bias": weights.add(model.output_bias),
        "prior": weights.add(model.prior_logits),
        "effects": [round(effect, 4) for effect in effects(model).tolist()],
    }
    content["weights"] = base64.b64encode(weights.content()).decode()
    page = render_page(
        HERE / "explorer.html.jinja",
        [HERE / "explorer.js"],
        data=content,
        title=title(run.results) or type(model).__name__,
        folder=run.directory.name if run.files.borrowed else str(run.directory),
        colour=model.mean_image.shape[0] == 3,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, page)


def explorable(model: Any) -> CategoricalVAE:
    """The model. Raises UserError for what the page cannot show, in one line; `layers_of` does so for the networks."""
    if not isinstance(model, CategoricalVAE):
        raise UserError(f"the explorer shows a CategoricalVAE, whose decoder draws codes, got a {type(model).__name__}")
    shape, likelihood = tuple(model.mean_image.shape), model.likelihood
    if len(shape) != 3 or shape[0] not in (1, 3) or model.kind not in GREY:
        raise UserError(f"the explorer shows images of grey values or colours, got {model.kind} x of shape {shape}")
    if type(likelihood).__name__ not in MEANS or type(likelihood).inputs is not Likelihood.inputs:
        raise UserError(f"the explorer shows the means of {', '.join(MEANS)}, got {type(likelihood).__name__}")
    return model


@torch.no_grad()
def effects(model: CategoricalVAE) -> Tensor:
    """How much the class of each latent changes the picture: the standard deviation of a pixel over the classes, in the
    root mean square over pixels and codes of the prior, (N,)."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        codes = sample_codes(model.prior_logits, CONTEXTS)
    found = []
    for latent in range(model.num_latents):
        varied = codes.repeat(model.num_classes, 1, 1)
        varied[..., latent] = torch.arange(model.num_classes).unsqueeze(-1)
        found.append(model.decode_codes(varied).float().var(0, correction=0).mean().sqrt())
    return torch.stack(found)
