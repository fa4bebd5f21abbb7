"""Batches of images in memory: one tensor; an epoch is a permutation, a batch one index operation."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class EpochOrder:
    """The order of an epoch: a permutation determined by seed and epoch, or 0, 1, 2, … if seed is None.

    If not `reshuffled`, all epochs use the order of the first.

    All `world` processes get the same number of batches, since they wait for each other:

    - Shuffled: each process takes every world-th image, cut to equal lengths.
    - In order: each process takes every world-th batch, so that batches do not depend on the number of processes. A
      process with no batch left gets an empty one.
    """

    def __init__(self, count: int, seed: int | None, rank: int = 0, world: int = 1, reshuffled: bool = True) -> None:
        self.count = count
        self.seed = seed
        self.reshuffled = reshuffled
        self.rank = rank
        self.world = world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch, also after a resume."""
        self.epoch = epoch

    def count_batches(self, batch_size: int) -> int:
        """The number of batches of this process."""
        if self.seed is None:
            return -(-self.count // (batch_size * self.world))
        return -(-(self.count // self.world) // batch_size)

    def permutation(self, count: int, stream: int = 0) -> Tensor:
        """A permutation for this epoch; different streams are independent."""
        # On the CPU torch uses 32 bits of a seed, so seed, epoch and stream are hashed into 32.
        epoch = self.epoch if self.reshuffled else 0
        (mixed,) = np.random.SeedSequence([self.seed or 0, epoch, stream]).generate_state(1)
        generator = torch.Generator().manual_seed(int(mixed))
        return torch.randperm(count, generator=generator)

    def indices(self) -> Tensor:
        """Shuffled indices of the images of this process."""
        return self.permutation(self.count)[self.rank :: self.world][: self.count // self.world]

    def batches(self, batch_size: int) -> Sequence[Tensor]:
        """The epoch as one index tensor per batch."""
        if self.seed is None:
            own = torch.arange(self.count).split(batch_size)[self.rank :: self.world]
            return own + (torch.arange(0),) * (self.count_batches(batch_size) - len(own))
        return self.indices().split(batch_size)


class MixedOrder(EpochOrder):
    """Batches of `labelled_batch_size` labelled images, then unlabelled ones.

    An epoch visits every unlabelled image once and repeats permutations of the labelled ones as needed.
    """

    def __init__(self, labelled: Tensor, unlabelled: Tensor, labelled_batch_size: int, *order: Any) -> None:
        super().__init__(len(unlabelled), *order)
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.labelled_batch_size = labelled_batch_size

    def batches(self, batch_size: int) -> Sequence[Tensor]:
        unlabelled = self.unlabelled[self.indices()].split(batch_size)
        needed = len(unlabelled) * self.labelled_batch_size
        rounds = -(-needed // len(self.labelled))
        # Streams of its own for each process; stream 0 is the shared order of the unlabelled images.
        streams = range(1 + self.rank * rounds, 1 + (self.rank + 1) * rounds)
        order = torch.cat([self.permutation(len(self.labelled), stream) for stream in streams])[:needed]
        labelled = self.labelled[order].split(self.labelled_batch_size)
        return [torch.cat(pair) for pair in zip(labelled, unlabelled, strict=True)]


class Batches:
    """An iterable over (images, labels) batches of tensors already on the device; the last batch may be smaller.

    `to_float` converts a batch of stored pixels to the model's input. `state_dict` allows resuming within an epoch.
    """

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
        self.sampler = order  # Lightning looks for `set_epoch` under this name
        self.batch_sampler = None
        self.to_float = to_float
        self.position = 0
        self.resume_at = (-1, 0)  # epoch and position

    def __len__(self) -> int:
        return self.sampler.count_batches(self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # The caller may stop early, so the start does not depend on where the last epoch stopped.
        epoch, position = self.resume_at
        self.position, self.resume_at = position if epoch == self.sampler.epoch else 0, (-1, 0)
        batches = self.sampler.batches(self.batch_size)
        # One copy to the device, since each blocks the host.
        order = torch.cat([torch.arange(0), *batches]).to(self.pixels.device).split([len(batch) for batch in batches])
        for index in order[self.position :]:
            self.position += 1
            # index_select copies whole images; indexing copies pixel by pixel and is nine times slower.
            yield self.to_float(self.pixels.index_select(0, index)), self.labels.index_select(0, index)

    def state_dict(self) -> dict[str, Any]:
        epoch, position = self.resume_at  # not taken up yet where a resumed run begins with a validation
        return {"epoch": self.sampler.epoch, "position": position if epoch == self.sampler.epoch else self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.resume_at = state["epoch"], state["position"]
