"""A prior over a tokeniser's codes: a causal transformer, one code after the other."""

import math
from functools import cache, partial
from typing import Any

import lightning.pytorch as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.utils import save_image

from discrete_latents.atomic_write import atomic_write
from discrete_latents.callbacks.pictures import arrange
from discrete_latents.checks import share, whole
from discrete_latents.models import ImageTokenizer
from discrete_latents.models.latent_model import Batch
from discrete_latents.optimization import Optimization
from discrete_latents.priors.tokenizer import load_tokenizer
from discrete_latents.runs.directory import RunDirectory


class CodePrior(pl.LightningModule):
    """p(z) = Π_n p(z_n | z_1 … z_(n−1)) of the N codes of an image, row by row, by a transformer.

    The tokeniser stays as it is and is not in the checkpoint; it tells N and K, and draws the pictures.

    Args:
        tokenizer: its run directory.
        width: of the transformer.
        layers: their number.
        heads: of each attention; they divide the width.
        dropout: in training.

    Logs, for train, val and test: loss, −log p(z) in nats, exact; bits_per_image, the same in bits, and bits_per_code,
    of at most log₂ K. After testing it writes `samples`: pictures of codes drawn from it.

    Raises UserError where `tokenizer` is no run of a tokeniser, and ValueError for invalid sizes.
    """

    mask: Tensor

    def __init__(
        self,
        tokenizer: str | None,
        optimization: Optimization,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if whole("width", width) % whole("heads", heads):
            raise ValueError(f"heads must divide width = {width}, got {heads}")
        self.tokenizer_of = cache(lambda: load_tokenizer(tokenizer).model)
        self.optimization = optimization
        self.num_latents, self.num_classes = self.tokenizer.num_latents, self.tokenizer.num_classes
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, share("dropout", dropout), "gelu", batch_first=True, norm_first=True
        )
        self.embedding = nn.Embedding(self.num_classes + 1, width)  # the last one stands before the first code
        self.position = nn.Parameter(0.02 * torch.randn(self.num_latents, width))
        self.transformer = nn.TransformerEncoder(layer, whole("layers", layers), enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.num_classes))
        mask = torch.triu(torch.full((self.num_latents, self.num_latents), -math.inf), 1)
        self.register_buffer("mask", mask, persistent=False)

    @property
    def tokenizer(self) -> ImageTokenizer:
        """In evaluation mode, on the CPU, and no part of this module."""
        model = self.tokenizer_of()
        assert isinstance(model, ImageTokenizer)
        return model

    def forward(self, codes: Int[Tensor, "B n"]) -> Float[Tensor, "B m K"]:
        """Logits of each code given those before it, up to the one that follows `codes`, or all N."""
        start = codes.new_full((len(codes), 1), self.num_classes)
        begun = torch.cat([start, codes], 1)[:, : self.num_latents]
        count = begun.shape[1]
        features = self.embedding(begun) + self.position[:count]
        return self.head(self.transformer(features, mask=self.mask[:count, :count], is_causal=True))

    def log_prob(self, codes: Int[Tensor, "B N"]) -> Float[Tensor, " B"]:
        """log p(z), nats."""
        logits = self(codes).float()
        return -F.cross_entropy(logits.mT, codes, reduction="none").sum(-1)

    @torch.no_grad()
    def sample_codes(self, count: int, temperature: float = 1.0) -> Int[Tensor, "count N"]:
        """Codes drawn from p, or from its conditionals at another temperature."""
        codes = torch.empty(count, 0, dtype=torch.int64, device=self.device)
        for _ in range(self.num_latents):
            chances = (self(codes)[:, -1].float() / temperature).softmax(-1)
            codes = torch.cat([codes, torch.multinomial(chances, 1)], 1)
        return codes

    @torch.no_grad()
    def sample(self, count: int) -> Float[Tensor, "count C H W"]:
        """E[x | z] of new images."""
        return self.tokenizer.decode_codes(self.sample_codes(count).to(self.tokenizer.device))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.measured("train", batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.measured("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.measured("test", batch)

    def measured(self, split: str, batch: Batch) -> Tensor:
        """The mean of −log p over a batch, logged."""
        codes, _ = batch
        loss = -self.log_prob(codes).mean()
        bits = loss.detach() / math.log(2)
        values = {"loss": loss.detach(), "bits_per_image": bits, "bits_per_code": bits / self.num_latents}
        for name, value in values.items():
            self.log(f"{split}/{name}", value, batch_size=len(codes), sync_dist=split != "train")
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = self.optimization.optimizer(self.parameters())
        steps = self.trainer.estimated_stepping_batches
        factor = partial(self.optimization.schedule.factor, total_steps=steps)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def on_test_epoch_end(self) -> None:
        """Writes the pictures, before the report of the run."""
        if not self.trainer.is_global_zero:
            return
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            rows = self.sample(40).unflatten(0, (4, 10))
        folder = RunDirectory(self.trainer.default_root_dir).images
        atomic_write(folder / "samples.png", partial(save_image, arrange(rows), format="png"))
