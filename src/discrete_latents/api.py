"""The public door: load a trained model, then encode, decode, sample, complete and classify images or vectors."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.config.allowed_targets import check_trust
from discrete_latents.config.saved import checked_config
from discrete_latents.data.model_inputs import read_codes, read_x
from discrete_latents.errors import UserError
from discrete_latents.likelihoods.base import KINDS
from discrete_latents.models import LatentModel
from discrete_latents.runs.checkpoints import check_weights, read_checkpoint, weights_in
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.training.build import make_model
from discrete_latents.training.foreign import has_fixed_weights


class Run:
    """A trained model with its configuration, as `load_run` returns it. One that is no LatentModel is in `model`, and
    the methods below raise TypeError.

    Images go in as tensors or NumPy arrays, (n, C, H, W) of the size that the model was trained on, or (n, H, W) where
    C is 1, and vectors as (n, D): grey values as uint8, bool or floats in [0, 1], whatever the training data had; real
    and whole numbers where the training data were such. They come out as float tensors of that shape, on the CPU. Each
    method works in batches of `batch_size`, on the model's device. It raises ValueError for images or codes of another
    type, range or shape, and TypeError where the model has no use for it.
    """

    def __init__(self, model: LatentModel | Any, config: DictConfig, batch_size: int = 500) -> None:
        self.model = model
        self.config = config
        self.batch_size = whole("batch_size", batch_size)

    def encode(self, images: Tensor | np.ndarray) -> Tensor:
        """The most probable code of each image: class indices, (n, N).

        >>> run = load_run(vae_run)
        >>> run.encode(images).shape
        torch.Size([30, 20])
        """
        return self.batched(self.call("encode_codes"), self.pixels(images))

    def decode(self, codes: Tensor | np.ndarray) -> Tensor:
        """E[x | z] of class indices, whole numbers from 0 to K − 1, (n, N).

        >>> run = load_run(vae_run)
        >>> run.decode(run.encode(images)).shape
        torch.Size([30, 1, 8, 8])
        """
        function = self.call("decode_codes")
        return self.batched(function, read_codes(codes, self.model.num_latents, self.model.num_classes))

    def sample(self, count: int) -> Tensor:
        """E[x | z] for `count` samples z of the prior, (count, C, H, W).

        >>> load_run(vae_run).sample(3).shape
        torch.Size([3, 1, 8, 8])
        """
        sizes = torch.full((whole("count", count),), 1).split(self.batch_size)
        return torch.cat([self.call("sample")(len(size)).cpu() for size in sizes])

    def complete(self, images: Tensor | np.ndarray, count: int = 1) -> Tensor:
        """`count` sampled completions of each image, (n, count, C, H, W): the given part as it is, E[x | h] in the
        rest, whatever was there.

        >>> load_run(sbn_run).complete(images, count=4).shape
        torch.Size([30, 4, 1, 8, 8])
        """
        return self.batched(self.call("complete"), self.pixels(images), count=whole("count", count), dim=1)

    def classify(self, images: Tensor | np.ndarray) -> Tensor:
        """Class probabilities q(y | x), (n, K).

        >>> probabilities = load_run(ssl_run).classify(images)
        >>> probabilities.shape
        torch.Size([30, 10])
        >>> bool((probabilities.sum(-1) - 1).abs().max() < 1e-5)
        True
        """
        return self.batched(self.call("classify"), self.pixels(images)).softmax(-1)

    def call(self, method: str) -> Callable[..., Tensor]:
        """A method of the model, without gradients."""
        if not isinstance(self.model, LatentModel) or not hasattr(self.model, method):
            raise TypeError(f"a {type(self.model).__name__} does not {method.split('_')[0]}")
        return torch.no_grad()(getattr(self.model, method))

    def pixels(self, images: Tensor | np.ndarray) -> Tensor:
        """Images as the model reads them."""
        x = read_x(images, tuple(self.model.mean_image.shape), self.model.kind)
        if self.model.kind == "whole" and len(x):
            self.model.likelihood.check(self.model.kind, x.min().item(), x.max().item())
        return x.to(self.model.mean_image.dtype) if x.is_floating_point() else x

    def batched(self, function: Callable[..., Tensor], inputs: Tensor, dim: int = 0, **arguments: int) -> Tensor:
        """A function's results over all inputs; `dim` is the dimension of its batch, made the first."""
        batches = inputs.to(self.model.device).split(self.batch_size)
        return torch.cat([function(batch, **arguments).cpu().movedim(dim, 0) for batch in batches])


def saved_shape(run: RunDirectory, weights: Mapping[str, Tensor]) -> list[int]:
    """The shape of x that a model was trained on. Raises UserError for weights that do not tell it."""
    if "mean_image" not in weights:
        raise UserError(f"{run} is not the directory of a run of a LatentModel: its weights do not tell the shape of x")
    return list(weights["mean_image"].shape)


def load_run(
    path: str | Path, ckpt: str = "best", device: str | torch.device = "cpu", trust: Sequence[str] = ()
) -> Run:
    """The model of a run directory, in evaluation mode. Needs no data set.

    ckpt: "best" by validation, or "last". trust: packages of your own that the run's configuration may name.
    The run may be somebody else's: nothing in a checkpoint is executed, and the configuration may name the classes of
    this package, and the public ones of torch and Lightning where they belong; `config/allowed_targets.py` lists them.
    Raises UserError for a configuration that names anything else, before anything is called, and for a directory that
    is no run or has no such checkpoint.

    >>> run = load_run(vae_run)
    >>> run.model.num_latents, run.model.num_classes
    (20, 10)
    """
    run = RunDirectory(path)
    checkpoint = run.checkpoint(ckpt)
    config = checked_config(run, check_trust(tuple(trust) if not isinstance(trust, str) else trust), secrets=False)
    content = read_checkpoint(checkpoint)
    weights = weights_in(content, checkpoint)
    model = make_model(config, lambda: saved_shape(run, weights))
    if not isinstance(model, LatentModel):
        if has_fixed_weights(model):
            check_weights(checkpoint, weights, model, OmegaConf.select(config, "trainer.precision"))
        model.load_state_dict(weights)
        return Run(model.to(device).eval(), config)
    saved_shape(run, weights)
    model.kind = str(content.get("kind", model.kind))
    if model.kind not in KINDS:
        raise UserError(f"{checkpoint} is not a checkpoint of a run: its kind must be one of {', '.join(KINDS)}")
    with model.evaluation_noise(), torch.no_grad():  # a learned baseline takes its shape from the first batch
        model((torch.zeros(1, *model.mean_image.shape), torch.zeros(1, dtype=torch.int64)))
    check_weights(checkpoint, weights, model, OmegaConf.select(config, "trainer.precision"))
    if weights["mean_image"].dtype == torch.float64:  # trained with 64-true; float32 holds those of lower precision
        model.double()
    model.load_state_dict(weights)
    return Run(model.to(device).eval(), config)
