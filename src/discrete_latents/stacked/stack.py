"""The runs whose steps are computed together."""

import copy
import logging
from collections.abc import Hashable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from discrete_latents.data import ImageData
from discrete_latents.errors import first_line
from discrete_latents.latent.tape import Call, draws, listed_draws
from discrete_latents.models import LatentModel
from discrete_latents.models.latent_model import Batch
from discrete_latents.stacked.program import Answer, Program
from discrete_latents.training.memory import out_of_memory

log = logging.getLogger(__name__)

STACK: ContextVar["Stack | None"] = ContextVar("stack", default=None)
"""That of the job which runs in this thread."""


@dataclass
class Request:
    """A run's next step, until it is answered.

    calls, noise: what the step draws, by the run's own generator. kind: equal for steps that are one program.
    """

    model: LatentModel
    batch: Batch
    calls: Sequence[Call]
    noise: Sequence[Tensor]
    kind: Hashable
    answer: Answer | None = None


class Stack:
    """Collects the steps that runs ask for, and computes those of one kind as one batched program.

    refused: why the steps cannot be computed together, once that has turned out; None as long as they can.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.programs: list[Program] = []
        self.calls: dict[Hashable, list[Call]] = {}
        self.tensors: dict[Hashable, list[Tensor]] = {}
        self.refused: str | None = None

    def share(self, data: ImageData, device: torch.device) -> None:
        """Moves images to the device, and makes those that are equal in several runs one tensor."""
        for own in (data.pixels, data.labels):
            for split, values in own.items():
                known = self.tensors.setdefault((own is data.pixels, split), [])
                like = [other for other in known if other.shape == values.shape and other.dtype == values.dtype]
                moved = values.to(device)
                own[split] = next((other for other in like if torch.equal(other, moved)), moved)
                if own[split] is moved:
                    known.append(moved)

    def ask(self, model: LatentModel, likeness: Hashable, batch: Batch) -> Request:
        """Takes note of a run's step. Draws its noise."""
        kind = (likeness, tuple(part.shape for part in batch))
        if kind not in self.calls:
            self.calls[kind] = calls_of(model, batch)
        calls = self.calls[kind]
        request = Request(model, batch, calls, draws(calls), (*kind, model.global_step))
        self.requests.append(request)
        return request

    def answer(self) -> None:
        """Computes all steps that were asked for. Where a first one cannot be computed, says so, once: then none is."""
        waiting, self.requests = self.requests, []
        kinds: dict[Hashable, list[Request]] = {}
        for request in waiting:
            kinds.setdefault(request.kind, []).append(request)
        for same in kinds.values():
            if not self.refused:
                self.compute(same)

    def compute(self, same: Sequence[Request]) -> None:
        models = [request.model for request in same]
        program = next((program for program in self.programs if program.models == models), None)
        if program is not None:
            step(program, same)
            return
        self.programs = [each for each in self.programs if not set(each.models) & set(models)]
        kept = [copy.deepcopy(list(model.buffers())) for model in models]
        try:
            program = Program(models)
            step(program, same)
        except Exception as error:  # of whatever type; that of a single run is raised again when it goes on alone
            for model, buffers in zip(models, kept, strict=True):
                for own, before in zip(model.buffers(), buffers, strict=True):
                    own.copy_(before)
            self.refuse(models[0], error)
        else:
            self.programs.append(program)

    def refuse(self, model: LatentModel, error: Exception) -> None:
        less = "; hydra.launcher.size trains fewer at once" if out_of_memory(error) else ""
        kind = f"{type(model).__name__} with {type(model.estimator).__name__}"
        self.refused = f"{kind} cannot be stacked: {first_line(error)}{less}"
        log.warning("%s; these runs are trained one after another", self.refused)


def step(program: Program, same: Sequence[Request]) -> None:
    """Answers requests. In the main thread, which keeps its memory: that of others is given back at every operation."""
    batches, noise = [request.batch for request in same], [request.noise for request in same]
    with program.models[0].trainer.precision_plugin.forward_context():
        answers = program(batches, same[0].calls, noise)
    for request, answer in zip(same, answers, strict=True):
        request.answer = answer


def likeness(model: LatentModel) -> Hashable:
    """What must be equal in models whose steps are one program, beside their configurations: which KL is trained, and
    the parameters."""
    weight = model.kl_weight
    shapes = tuple(
        (name, tensor.shape, tensor.dtype, tensor.requires_grad) for name, tensor in model.named_parameters()
    )
    return weight.changes, weight.free_bits.always(0.0), shapes


def calls_of(model: LatentModel, batch: Batch) -> list[Call]:
    """What a training step of this model on such a batch draws. Leaves the model and torch's noise as they are."""
    devices = [batch[0].device] if batch[0].device.type == "cuda" else []
    kept = copy.deepcopy(dict(model.named_buffers()))
    with torch.random.fork_rng(devices), torch.no_grad(), listed_draws() as calls:
        type(model).training_loss(model, batch)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])
    return calls
