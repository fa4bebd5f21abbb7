"""How many classes of its latents a model uses."""

import torch
from jaxtyping import Int
from torch import Tensor
from torchmetrics import Metric


class CodeUsage(Metric):
    """Counts each class of each latent over a data set.

    `compute` returns two metrics:

    - code_usage: the fraction of the N·K classes drawn at least once
    - perplexity: exp of the entropy of a latent's class frequencies, averaged over latents, from 1 (collapsed) to K
    """

    full_state_update = False
    counts: Tensor
    last: Tensor | None = None
    """The counts of all processes, (N, K), of which `compute` was last called."""

    def __init__(self, num_latents: int, num_classes: int) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(num_latents, num_classes), dist_reduce_fx="sum")

    def update(self, codes: Int[Tensor, "B N"]) -> None:
        latents, classes = self.counts.shape
        places = codes + classes * torch.arange(latents, device=codes.device)
        drawn = torch.zeros_like(self.counts).view(-1)
        drawn.scatter_add_(0, places.flatten(), torch.ones_like(places, dtype=drawn.dtype).flatten())
        self.counts = self.counts + drawn.view_as(self.counts)  # not in place: they may be inference-mode tensors

    def compute(self) -> dict[str, Tensor]:
        self.last = self.counts
        frequencies = self.counts / self.counts.sum(-1, keepdim=True)
        entropy = -torch.xlogy(frequencies, frequencies).sum(-1)
        return {"code_usage": (self.counts > 0).float().mean(), "perplexity": entropy.exp().mean()}
