"""The training loss and its gradient as one compiled graph."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

Loss = Callable[[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]
"""`LatentModel.training_loss`."""


class CompiledLoss:
    """A model's training loss on a CPU, compiled together with its gradient.

    `torch.compile` of the loss alone makes two graphs, of a forward and of a backward pass, and autograd leads from one
    to the other. Here a single graph returns the gradient too, and `backward` hands it on. It runs without Python
    between its kernels. The noise is torch's own: the numbers are those of the loss as it is, up to rounding.

    A batch of another shape than the first (the last of an epoch) is not compiled.
    """

    def __init__(self, loss: Loss, parameters: Sequence[nn.Parameter], backend: str = "inductor") -> None:
        from torch._dynamo import config  # here, since the compiler takes a second to import

        config.trace_autograd_ops = True  # also when it compiles again later
        options = inductor_options() if backend == "inductor" else {}
        self.loss = loss
        self.parameters = list(parameters)
        self.compiled = torch.compile(
            self.with_gradient,
            fullgraph=True,
            dynamic=False,
            backend=backend,
            options=options | {"guard_filter_fn": looked_at},
        )
        self.shapes: list[torch.Size] | None = None
        self.shared: bool | None = None
        """Whether two parameters have one gradient, as those of two biases that are added."""

    def with_gradient(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
        """The loss, the mean objective and the gradient of each parameter."""
        loss, bound = self.loss(batch)
        with torch.autocast(loss.device.type, enabled=False):  # as `backward` outside of it
            gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        return loss.detach(), bound.detach(), gradients

    def __call__(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        shapes = [part.shape for part in batch]
        if self.shapes is None:
            self.shapes = shapes
        if shapes != self.shapes or not torch.is_grad_enabled():
            return self.loss(batch)
        loss, bound, gradients = self.compiled(batch)
        if self.shared is None:
            places = [gradient.untyped_storage().data_ptr() for gradient in gradients if gradient is not None]
            self.shared = len(set(places)) < len(places)
        # A gradient with one owner becomes `.grad` without a copy.
        given = [None if each is None else each.clone() for each in gradients] if self.shared else list(gradients)
        del gradients
        return Given.apply(loss, given, *self.parameters), bound  # type: ignore[return-value]


def inductor_options() -> dict[str, Any]:
    """The compiler's: torch's own noise, kernels called from C++, and vectors of the width that torch itself uses.

    By itself the compiler takes the processor's widest, which its cache does not know: code that was generated with
    AVX-512 is compiled anew where there is AVX2 alone, or torch is held to it, and then computes half of the numbers.
    """
    width = {"AVX2": 256, "AVX512": 512}.get(torch.backends.cpu.get_cpu_capability())
    # More than 8 operations that are read twice, as Gumbel noise by a softmax, are computed once; by default 30.
    options: dict[str, Any] = {"fallback_random": True, "cpp_wrapper": True, "realize_opcount_threshold": 8}
    return options | ({"cpp.simdlen": width} if width else {})


CODE = {"CLOSURE_MATCH", "MODULE_MATCH", "BUILTIN_MATCH", "CLASS_MATCH"}
"""The compiler's conditions on functions, modules and classes."""

MEANINGLESS = {"DUPLICATE_INPUT", "AUTOGRAD_SAVED_TENSORS_HOOKS"}
"""Its conditions on which weights are one, and on hooks of a backward pass, which this graph does not have."""


def looked_at(conditions: Sequence[Any]) -> list[bool]:
    """Which of the compiler's conditions are looked at before every step: not those on the code of modules, which no
    training changes. These are half of them, and take 1 to 2 % of a step."""
    return [
        condition.guard_type not in MEANINGLESS and not (condition.is_global and condition.guard_type in CODE)
        for condition in conditions
    ]


class CompiledOrNot:
    """A compiled loss; the loss as it is, from the same noise on, where the compiler refuses it at the first call.

    refused: is told why.
    """

    def __init__(self, compiled: Loss, loss: Loss, refused: Callable[[Exception], None]) -> None:
        self.compiled = compiled
        self.loss = loss
        self.refused = refused
        self.chosen: Loss | None = None

    def __call__(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        if self.chosen is None:
            device = batch[0].device
            noise = torch.get_rng_state()
            device_noise = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
            try:
                result = self.compiled(batch)
            except Exception as error:  # the compiler's, of whatever type; another is raised again by the loss
                torch.set_rng_state(noise)
                if device_noise is not None:
                    torch.cuda.set_rng_state(device_noise, device)
                self.chosen = self.loss
                self.refused(error)
            else:
                self.chosen = self.compiled
                return result
        return self.chosen(batch)


class Given(Function):
    """A loss whose gradients are known. `known_gradients` of its `grad_fn` gives them without a call of autograd."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        ctx.known_gradients = lambda: zip(parameters, gradients, strict=True)
        return loss.detach()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (slope,), gradients = slopes, ctx.gradients
        if float(slope) != 1:  # accumulated or scaled
            gradients[:] = [None if gradient is None else gradient * slope for gradient in gradients]
        result = (None, None, *gradients)
        gradients.clear()
        return result
