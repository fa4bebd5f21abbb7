"""Vector quantisation: a deterministic code with no KL."""

from importlib import import_module

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.checks import not_negative, share
from discrete_latents.quantizers.base import Quantizer, library


class VQ(Quantizer):
    """The nearest of K vectors (van den Oord, Vinyals, Kavukcuoglu 2017). The gradient is straight-through, plus that
    of the commitment loss, β ‖x − sg[e]‖² (equation 3).

    The codebook is no parameter: each vector is the moving average of what was nearest to it (appendix A.1), and one
    that is hardly used becomes a vector of the batch.

    Args:
        commitment: β.
        decay: of the moving average.
        dead_below: uses by the moving average, relative to an even share of a batch's B·N vectors, below which a vector
            of the codebook is replaced; 0: never.
    """

    def __init__(self, commitment: float = 0.25, decay: float = 0.99, dead_below: float = 0.1) -> None:
        super().__init__()
        self.commitment = not_negative("commitment", commitment)
        self.decay = share("decay", decay)
        self.dead_below = not_negative("dead_below", dead_below)

    def build(self, num_classes: int, width: int) -> int:
        self.quantizer = library("VectorQuantize")(
            dim=width,
            codebook_size=num_classes,
            decay=self.decay,
            commitment_weight=self.commitment,
            threshold_ema_dead_code=self.dead_below,
            rotation_trick=False,
        )
        return width

    def quantize(self, x: Float[Tensor, "B N D"]) -> tuple[Tensor, Tensor, Tensor]:
        learns = self.training and torch.is_grad_enabled()
        if learns:
            self.adapt(x.shape[0] * x.shape[1])
        return self.quantizer(x, freeze_codebook=not learns)

    def adapt(self, count: int) -> None:
        """Sets what the package fixes when its module is made: what use is too little among `count` vectors, and, where
        there are several processes, that their moving averages are shared."""
        (book,) = (part for part in self.quantizer.modules() if hasattr(part, "all_reduce_fn"))
        processes = 1
        if torch.distributed.is_initialized() and (processes := torch.distributed.get_world_size()) > 1:
            shared = import_module(type(book).__module__).sample_vectors_distributed
            book.all_reduce_fn, book.replace_sample_fn = torch.distributed.all_reduce, shared  # type: ignore[assignment]
        threshold = self.dead_below * count * processes / self.num_classes
        book.threshold_ema_dead_code = book.reset_cluster_size = threshold  # type: ignore[assignment]

    def look_up(self, codes: Int[Tensor, "*S N"]) -> Float[Tensor, "*S N D"]:
        return F.embedding(codes, self.quantizer.codebook)  # type: ignore[arg-type]
