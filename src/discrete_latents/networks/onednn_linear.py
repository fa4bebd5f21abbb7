"""Fully connected layers that use oneDNN's matrix products where those are faster."""

import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from discrete_latents.latent.tape import transforming


class OneDNNLinear(nn.Linear):
    """`torch.nn.Linear`, with oneDNN's matrix products in float32 on AMD processors with AVX-512.

    There torch itself uses MKL, which leaves half of the processor idle. The products of a training step of a
    784-512-256 autoencoder take 3.4 ms instead of 6.0; results are equal up to the order of additions. Everywhere else
    (other processors, a GPU, other precisions) it is `torch.nn.Linear`.
    """

    def forward(self, x: Tensor) -> Tensor:
        float32 = x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32 and x.numel() > 0
        plain = not (torch.is_autocast_enabled("cpu") or transforming())
        if float32 and plain and self.bias is not None and torch.compiler.is_compiling() and not FASTER:
            # A sum would become `addmm`, which copies the bias into all rows first; the compiler subtracts it where it
            # next reads the product.
            return functional.linear(x, self.weight) - (-self.bias)
        if not (float32 and FASTER and plain):
            return super().forward(x)
        y: Tensor = Product.apply(x.reshape(-1, self.in_features), self.weight, self.bias)  # type: ignore[assignment]
        return y.view(*x.shape[:-1], self.out_features)


class Product(Function):
    """x Aᵀ + b. Its gradients are the same kind of product, so it can be differentiated any number of times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, a)
        return opaque_product(x, a, b) if torch.compiler.is_compiling() else onednn_product(x, a, b)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, Any, Any]:
        (slope,), (x, a), (needs_x, needs_a, needs_b) = slopes, ctx.saved_tensors, ctx.needs_input_grad
        return (
            Product.apply(slope, a.t(), None) if needs_x else None,
            Product.apply(slope.t(), x.t(), None) if needs_a else None,
            slope.sum(0) if needs_b else None,
        )


def onednn_product(x: Tensor, a: Tensor, b: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, a, b, "none", [], "")


AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
"""The operator is undocumented; torch.compile uses it for inference. Without it, MKL is used."""


def amd() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return "AuthenticAMD" in (cpuinfo.read_text() if cpuinfo.is_file() else platform.processor())


# Chosen by processor, not by measurement: a measurement could choose differently in the next run and change its last
# bits. With only AVX2, MKL takes an eighth less time per step.
FASTER = AVAILABLE and torch.backends.cpu.get_cpu_capability() == "AVX512" and amd()

# A custom operator, opaque to torch.compile, which supports torch's own operator only for constant weights.
opaque_product = torch.library.custom_op("discrete_latents::product", onednn_product, mutates_args=())
opaque_product.register_fake(lambda x, a, b: x.new_empty(x.shape[0], a.shape[0]))
