"""Networks as data: the layers that a page can run, and their weights as one array of float32."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from discrete_latents.errors import UserError
from discrete_latents.networks.cnn import AnyBatch, OutputsLast

ACTIVATIONS = ("ReLU", "Tanh", "Sigmoid", "SiLU", "LeakyReLU", "ELU", "Softplus", "Identity")
"""Those that explorer.js has."""

Layer = dict[str, Any]


class Weights:
    """Arrays, one after the other; each is named by the place where it starts."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self.length = 0

    def add(self, values: Tensor) -> int:
        place = self.length
        self.parts.append(values.detach().float().cpu().flatten())
        self.length += values.numel()
        return place

    def content(self) -> bytes:
        """Little-endian."""
        return torch.cat(self.parts).numpy().astype("<f4").tobytes()


def layers_of(network: nn.Module, shape: Sequence[int], weights: Weights) -> list[Layer]:
    """The layers of a network for one x of `shape`; adds their arrays to `weights`.

    Raises UserError for a layer that the page cannot run.
    """
    found: list[Layer] = []
    for module in modules_of(network):
        for kind, describe in KINDS.items():
            if isinstance(module, kind):
                layer, shape = describe(module, tuple(shape), weights)
                found += layer
                break
        else:
            if type(module).__name__ not in ACTIVATIONS:
                raise UserError(
                    f"the explorer runs linear layers, convolutions and {', '.join(ACTIVATIONS)}, got a "
                    f"{type(module).__name__}"
                )
            found.append({"kind": "activation", "name": type(module).__name__})
    return found


def modules_of(network: nn.Module) -> list[nn.Module]:
    if isinstance(network, AnyBatch):
        return modules_of(network.network)
    if isinstance(network, nn.Sequential):
        return [inner for module in network for inner in modules_of(module)]
    return [network]


Described = tuple[list[Layer], tuple[int, ...]]


def linear(module: Any, shape: tuple[int, ...], weights: Weights) -> Described:
    bias = module.bias if module.bias is not None else torch.zeros(module.out_features)
    layer = {"kind": "linear", "inputs": module.in_features, "outputs": module.out_features}
    layer |= {"weight": weights.add(module.weight.t().contiguous()), "bias": weights.add(bias)}
    return [layer], (module.out_features,)


def convolution(module: Any, shape: tuple[int, ...], weights: Weights) -> Described:
    transposed = isinstance(module, nn.ConvTranspose2d)
    kernel, stride, padding = module.kernel_size, module.stride, module.padding
    plain = module.groups == 1 and {*module.dilation} == {1} and module.padding_mode == "zeros"
    if not plain or (transposed and {*module.output_padding} != {0}) or isinstance(padding, str):
        raise UserError("the explorer runs plain convolutions, without groups, dilation and output padding")
    if transposed:
        after = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(shape[1:], stride, padding, kernel, strict=True)]
    else:
        after = [(n + 2 * p - k) // s + 1 for n, s, p, k in zip(shape[1:], stride, padding, kernel, strict=True)]
    bias = module.bias if module.bias is not None else torch.zeros(module.out_channels)
    order = (0, 1, 2, 3) if transposed else (1, 0, 2, 3)  # from, to, rows, columns
    to = (module.out_channels, *after)
    layer = {"kind": "transposed" if transposed else "convolution", "from": shape, "to": to, "kernel": kernel}
    layer |= {"stride": stride, "padding": padding, "bias": weights.add(bias)}
    layer["weight"] = weights.add(module.weight.permute(*order).contiguous())
    return [layer], to


def flattened(module: Any, shape: tuple[int, ...], weights: Weights) -> Described:
    return [], (math.prod(shape),)


def unflattened(module: Any, shape: tuple[int, ...], weights: Weights) -> Described:
    return [], tuple(module.unflattened_size)


def outputs_last(module: Any, shape: tuple[int, ...], weights: Weights) -> Described:
    inner = (shape[0] // module.outputs, module.outputs, shape[1] * shape[2])
    return [{"kind": "outputs last", "shape": inner}], (inner[0], *shape[1:], module.outputs)


KINDS: dict[type, Callable[[Any, tuple[int, ...], Weights], Described]] = {
    nn.Linear: linear,
    nn.Conv2d: convolution,
    nn.ConvTranspose2d: convolution,
    nn.Flatten: flattened,
    nn.Unflatten: unflattened,
    OutputsLast: outputs_last,
}
