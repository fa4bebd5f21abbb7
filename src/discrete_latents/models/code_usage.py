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

    def __init__(self, num_latents: int, num_classes: int) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(num_latents, num_classes), dist_reduce_fx="sum")

    def update(self, codes: Int[Tensor, "B N"]) -> None:
        classes = torch.arange(self.counts.shape[-1], device=codes.device)
        # Not in place: the counts may be inference-mode tensors.
        self.counts = self.counts + (codes.unsqueeze(-1) == classes).sum(0)

    def compute(self) -> dict[str, Tensor]:
        frequencies = self.counts / self.counts.sum(-1, keepdim=True)
        entropy = -torch.xlogy(frequencies, frequencies).sum(-1)
        return {"code_usage": (self.counts > 0).float().mean(), "perplexity": entropy.exp().mean()}
