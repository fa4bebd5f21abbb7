"""A model's deterministic parts as ONNX, for programs without torch."""

import copy
import logging
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from discrete_latents.errors import UserError
from discrete_latents.models import CategoricalVAE, LatentModel, SemiSupervised
from discrete_latents.networks.onednn_linear import OneDNNLinear


class Part(nn.Module):
    """A deterministic function of a model, as a module."""

    def __init__(self, model: LatentModel, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.model, x)


def mean_of(model: CategoricalVAE, z: Tensor) -> Tensor:
    """E[x | z] of z, one-hot or soft, (B, N, K)."""
    return model.likelihood.mean(model.decode(z))


def onnx_files(model: LatentModel | Any) -> dict[str, bytes]:
    """The content of encoder.onnx, x → logits of q(z | x), and decoder.onnx, z → E[x | z], or of classifier.onnx, x →
    logits of q(y | x); their first dimension is any batch.

    Raises UserError for a model that has none of them, and where the packages of the extra `onnx` are not installed.
    """
    for package in ("onnx", "onnxscript"):
        try:
            import_module(package)
        except ImportError as error:
            raise UserError(
                f"--onnx needs {package}, which is not installed: pip install 'discrete-latents[onnx]'"
            ) from error
    if not isinstance(model, CategoricalVAE | SemiSupervised):
        raise UserError(
            f"--onnx is for models whose encoder and decoder draw nothing, CategoricalVAE and SemiSupervised, got a "
            f"{type(model).__name__}"
        )
    model = with_linear(copy.deepcopy(model).cpu().eval())
    x = torch.zeros(2, *model.mean_image.shape, dtype=torch.int64 if model.kind == "whole" else model.mean_image.dtype)
    if isinstance(model, SemiSupervised):
        return {"classifier.onnx": graph(Part(model, SemiSupervised.classify), "x", x, "logits")}
    z = torch.zeros(2, model.num_latents, model.num_classes, dtype=model.output_bias.dtype)
    return {
        "encoder.onnx": graph(Part(model, CategoricalVAE.encode), "x", x, "logits"),
        "decoder.onnx": graph(Part(model, mean_of), "z", z, "mean"),
    }


M = TypeVar("M", bound=nn.Module)


def with_linear(model: M) -> M:
    """The model with torch's own linear layers, of which ONNX knows, in place of ours."""
    for module in model.modules():
        for name, layer in module.named_children():
            if isinstance(layer, OneDNNLinear):
                plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
                plain.weight, plain.bias = layer.weight, layer.bias
                setattr(module, name, plain)
    return model


def graph(module: nn.Module, takes: str, example: Tensor, gives: str) -> bytes:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch's own to itself
            program = torch.onnx.export(
                module,
                (example,),
                input_names=[takes],
                output_names=[gives],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    return program.model_proto.SerializeToString()
