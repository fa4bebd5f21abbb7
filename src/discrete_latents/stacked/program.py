"""The loss and the gradient of several runs of one model as a single batched program."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from discrete_latents.latent.tape import Call, given
from discrete_latents.models import LatentModel
from discrete_latents.models.latent_model import Batch


class Answer(NamedTuple):
    """A run's part of a step: its loss and its bound, (), and the gradient of each trained parameter."""

    loss: Tensor
    bound: Tensor
    gradients: list[Tensor | None]


class Loss(nn.Module):
    """A model's training loss as the `forward` of a module. Returns the buffers that a step has replaced, too."""

    def __init__(self, model: LatentModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        before = dict(self.named_buffers())
        loss, bound = type(self.model).training_loss(self.model, batch)
        replaced = {name: buffer for name, buffer in self.named_buffers() if buffer is not before[name]}
        return loss, bound, replaced


class Program:
    """A step of several models that differ in the values of their tensors alone.

    Parameters and buffers of floats become views of one tensor for all models, (R, …): an optimiser that changes a
    model's own changes what the next step uses. Call `part` to give a model its own memory again.

    Other buffers must be equal in all models.
    """

    def __init__(self, models: Sequence[LatentModel]) -> None:
        self.models = list(models)
        self.loss = Loss(self.models[0])
        self.trained: dict[str, Tensor] = {}
        self.own: dict[str, Tensor] = {}
        self.shared: dict[str, Tensor] = {}
        columns = [dict(Loss(model).named_parameters()) | dict(Loss(model).named_buffers()) for model in self.models]
        for name, first in columns[0].items():
            tensors = [column[name] for column in columns]
            if not first.is_floating_point():
                if any(not torch.equal(first, other) for other in tensors[1:]):
                    raise RuntimeError(f"{name} is another in each run")
                self.shared[name] = first
                continue
            stacked = torch.stack([tensor.detach() for tensor in tensors])
            for tensor, part in zip(tensors, stacked.unbind(), strict=True):
                tensor.data = part
            (self.trained if first.requires_grad else self.own)[name] = stacked
        for tensor in self.trained.values():
            tensor.requires_grad_()

    def __call__(
        self, batches: Sequence[Batch], calls: Sequence[Call], noise: Sequence[Sequence[Tensor]]
    ) -> list[Answer]:
        """A step of each model. noise: of each model, what `calls` draw."""
        batch = tuple(torch.stack(part) for part in zip(*batches, strict=True))
        drawn = [torch.stack(draw) for draw in zip(*noise, strict=True)]
        inputs = (self.trained, self.own, batch, drawn)
        step: Callable[..., Any] = vmap(self.one(calls))
        losses, bounds, replaced = step(*inputs)
        gradients = torch.autograd.grad(losses.sum(), list(self.trained.values()), allow_unused=True)
        for name, value in replaced.items():
            self.own[name].copy_(value.detach())
        parts = [[None] * len(losses) if gradient is None else gradient.unbind() for gradient in gradients]
        columns = zip(*parts, strict=True)
        values = zip(losses.detach().unbind(), bounds.detach().unbind(), columns, strict=True)
        return [Answer(loss, bound, list(each)) for loss, bound, each in values]

    def one(self, calls: Sequence[Call]) -> Callable[..., Any]:
        """The step of one model, as a function of its tensors."""

        def step(trained: Any, own: Any, batch: Batch, noise: Sequence[Tensor]) -> Any:
            with given(calls, noise):
                return functional_call(self.loss, {**trained, **own, **self.shared}, (batch,))

        return step


def part(model: LatentModel) -> None:
    """Gives a model of a `Program` its own memory again."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
