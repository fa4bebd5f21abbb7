"""The batch path: images in memory as one tensor, an epoch a permutation, a batch an index operation."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


class EpochOrder:
    """The order of an epoch: a permutation that is a function of seed and epoch alone, or 0, 1, 2, … where seed
    is None. Each of `world` processes takes every world-th image; shuffled orders are cut to equal lengths,
    since distributed training needs as many batches on every rank."""

    def __init__(self, count: int, seed: int | None, rank: int = 0, world: int = 1) -> None:
        self.count = count
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, also after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(range(self.rank, self.count, self.world)) if self.seed is None else self.count // self.world

    def __call__(self) -> Tensor:
        if self.seed is None:
            return torch.arange(self.rank, self.count, self.world)
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch)) % 2**63)
        order = torch.randperm(self.count, generator=generator)
        return order[self.rank :: self.world][: len(self)]


class Batches:
    """An iterable over (images, labels) batches of tensors that are already on the device; the last may be
    smaller. `to_float` makes a batch of kept pixels what a model sees. It continues in the middle of an epoch
    from its `state_dict`."""

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor,
        batch_size: int,
        order: EpochOrder,
        to_float: Callable[[Tensor], Tensor],
    ) -> None:
        self.pixels = pixels
        self.labels = labels
        self.batch_size = batch_size
        self.sampler = order  # the name by which Lightning finds `set_epoch`
        self.batch_sampler = None
        self.to_float = to_float
        self.position = 0
        self.resume_at = 0

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # The caller may stop before the end, so where to start is never read off where the last epoch stopped.
        self.position, self.resume_at = self.resume_at, 0
        order = self.sampler().to(self.pixels.device)
        for index in order.split(self.batch_size)[self.position :]:
            self.position += 1
            yield self.to_float(self.pixels[index]), self.labels[index]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.resume_at = state["position"] % len(self)
