"""The training loss and its gradient as one compiled graph."""

import operator
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from discrete_latents.lightning_internals import nothing_changed

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
        self.loss = loss
        self.parameters = list(parameters)
        self.graph = Graph()
        self.compiled = torch.compile(self.with_gradient, fullgraph=True, dynamic=False, backend=noted(backend))
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
        if nothing_changed() and self.graph.known:
            loss, bound, *gradients = self.graph.replayed(batch)
        else:
            loss, bound, gradients = self.compiled(batch)
            self.graph.learn(batch, (loss, bound, *gradients))
        if self.shared is None:
            places = [gradient.untyped_storage().data_ptr() for gradient in gradients if gradient is not None]
            self.shared = len(set(places)) < len(places)
        # A gradient with one owner becomes `.grad` without a copy.
        given = [None if each is None else each.clone() for each in gradients] if self.shared else list(gradients)
        del gradients
        return Given.apply(loss, given, *self.parameters), bound  # type: ignore[return-value]


LAST = threading.local()
"""`call`: of a graph, by the compiler: the graph, what it was given and what it returned."""


@cache
def noted(backend: str) -> Callable[..., Callable[..., Any]]:
    """A backend of `torch.compile` that notes each call of what it has compiled in `LAST`.

    Of a name there is one, by which the compiler knows again, in a process of many runs, what it has compiled before.
    """

    def compiler(module: Any, examples: Any) -> Callable[..., Any]:
        from torch._dynamo import lookup_backend

        options = {"config_patches": inductor_options()} if backend == "inductor" else {}
        run: Any = lookup_backend(backend)(module, examples, **options)

        def called(*inputs: Any) -> Sequence[Any]:
            outputs = run(*inputs)
            LAST.call = run, inputs, outputs
            return outputs

        return called

    return compiler


class Graph:
    """What the compiler has made of a function, which can be called without the compiler.

    Before each call the compiler looks at a hundred conditions and sets up its own state, which takes as long as 30
    small operations. Between calls where `nothing_changed`, the graph is called directly, with the same tensors but for
    the batch, once two calls by the compiler have had the same and have returned all that the graph does: a function
    that replaces buffers is always called by the compiler.
    """

    def __init__(self) -> None:
        self.run: Callable[..., Any] | None = None
        self.inputs: list[Any] = []
        """Of the last call by the compiler; of a tensor of the batch, its number there."""
        self.order: list[int | None] = []
        """The number of each result among the graph's outputs."""
        self.known = False

    def learn(self, batch: tuple[Tensor, Tensor], results: Sequence[Tensor | None]) -> None:
        """Compares the last call by the compiler, with this batch and these results, to the one before."""
        run, given, outputs = getattr(LAST, "call", None) or (None, (), ())
        LAST.call = None  # which would keep gradients
        places = {id(output): place for place, output in enumerate(outputs)}
        order = [None if result is None else places.get(id(result), -1) for result in results]
        numbers = {id(part): number for number, part in enumerate(batch)}
        inputs = [numbers.get(id(value), value) for value in given]
        same = len(inputs) == len(self.inputs) and all(map(operator.is_, inputs, self.inputs))
        whole = {place for place in order if place is not None} == set(range(len(outputs)))
        self.known = run is self.run and run is not None and same and whole and order == self.order
        self.run, self.inputs, self.order = run, inputs, order

    def replayed(self, batch: tuple[Tensor, Tensor]) -> list[Any]:
        """The results for another batch."""
        assert self.run is not None
        outputs = self.run(*[batch[value] if type(value) is int else value for value in self.inputs])
        return [None if place is None else outputs[place] for place in self.order]


def inductor_options() -> dict[str, Any]:
    """The compiler's: torch's own noise, kernels called from C++, and vectors of the width that torch itself uses.

    By itself the compiler takes the processor's widest, which its cache does not know: code that was generated with
    AVX-512 is compiled anew where there is AVX2 alone, or torch is held to it, and then computes half of the numbers.
    """
    width = {"AVX2": 256, "AVX512": 512}.get(torch.backends.cpu.get_cpu_capability())
    # More than 8 operations that are read twice, as Gumbel noise by a softmax, are computed once; by default 30.
    options: dict[str, Any] = {"fallback_random": True, "cpp_wrapper": True, "realize_opcount_threshold": 8}
    return options | ({"cpp.simdlen": width} if width else {})


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
