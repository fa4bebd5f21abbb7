"""The batch path: images in memory as one tensor, an epoch a permutation, a batch an index operation."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class EpochOrder:
    """The order of an epoch: a permutation that is a function of seed and epoch alone, or 0, 1, 2, … where seed
    is None. Where not `reshuffled`, all epochs have the order of the first.

    All of `world` processes take as many batches, since they wait for each other. A shuffled order is cut to equal
    lengths, each process taking every world-th image. Of images in order each takes every world-th batch, so that a
    batch is the same however many processes there are, and an empty one where none is left."""

    def __init__(self, count: int, seed: int | None, rank: int = 0, world: int = 1, reshuffled: bool = True) -> None:
        self.count = count
        self.seed = seed
        self.reshuffled = reshuffled
        self.rank = rank
        self.world = world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, also after a resume."""
        self.epoch = epoch

    def count_batches(self, batch_size: int) -> int:
        """The batches of this process."""
        if self.seed is None:
            return -(-self.count // (batch_size * self.world))
        return -(-(self.count // self.world) // batch_size)

    def permutation(self, count: int, stream: int = 0) -> Tensor:
        """A permutation of this epoch; different streams are independent."""
        # torch takes 32 bits of a seed on the CPU, so seed, epoch and stream are mixed into those.
        epoch = self.epoch if self.reshuffled else 0
        (mixed,) = np.random.SeedSequence([self.seed or 0, epoch, stream]).generate_state(1)
        generator = torch.Generator().manual_seed(int(mixed))
        return torch.randperm(count, generator=generator)

    def indices(self) -> Tensor:
        """The images of this process, shuffled."""
        return self.permutation(self.count)[self.rank :: self.world][: self.count // self.world]

    def batches(self, batch_size: int) -> Sequence[Tensor]:
        """The epoch as one index a batch."""
        if self.seed is None:
            own = torch.arange(self.count).split(batch_size)[self.rank :: self.world]
            return own + (torch.arange(0),) * (self.count_batches(batch_size) - len(own))
        return self.indices().split(batch_size)


class MixedOrder(EpochOrder):
    """Labelled images first in every batch, `labelled_batch_size` of them, then unlabelled ones. An epoch visits
    every unlabelled image once, and the labelled ones, in permutations, as often as the batches need."""

    def __init__(self, labelled: Tensor, unlabelled: Tensor, labelled_batch_size: int, *order: Any) -> None:
        super().__init__(len(unlabelled), *order)
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.labelled_batch_size = labelled_batch_size

    def batches(self, batch_size: int) -> Sequence[Tensor]:
        unlabelled = self.unlabelled[self.indices()].split(batch_size)
        needed = len(unlabelled) * self.labelled_batch_size
        rounds = -(-needed // len(self.labelled))
        # Each process draws its own: stream 0 is the order of the unlabelled images, which they share.
        streams = range(1 + self.rank * rounds, 1 + (self.rank + 1) * rounds)
        order = torch.cat([self.permutation(len(self.labelled), stream) for stream in streams])[:needed]
        labelled = self.labelled[order].split(self.labelled_batch_size)
        return [torch.cat(pair) for pair in zip(labelled, unlabelled, strict=True)]


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
        self.resume_at = (-1, 0)  # epoch and position

    def __len__(self) -> int:
        return self.sampler.count_batches(self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # The caller may stop before the end, so where to start is never read off where the last epoch stopped.
        epoch, position = self.resume_at
        self.position, self.resume_at = position if epoch == self.sampler.epoch else 0, (-1, 0)
        batches = self.sampler.batches(self.batch_size)
        # To the device at once, since the host waits for such a copy.
        order = torch.cat([torch.arange(0), *batches]).to(self.pixels.device).split([len(batch) for batch in batches])
        for index in order[self.position :]:
            self.position += 1
            # index_select copies whole images; indexing goes pixel by pixel and takes nine times as long.
            yield self.to_float(self.pixels.index_select(0, index)), self.labels[index]

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.sampler.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.resume_at = state["epoch"], state["position"]
