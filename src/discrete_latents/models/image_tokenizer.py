"""An image tokeniser: a grid of codes from one codebook, under any estimator, or under a quantiser to compare with."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Real
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from discrete_latents.checks import positive, whole
from discrete_latents.latent import HardBound, HardSampler, KLWeight, NotDefined, Objective, Sampler, layout
from discrete_latents.latent.distributions import sample_codes
from discrete_latents.lightning_internals import steady
from discrete_latents.models.code_usage import CodeUsage
from discrete_latents.models.dead_codes import revived
from discrete_latents.models.initial_codebook import principal_map, spread_codebook, spread_precision
from discrete_latents.models.latent_model import Batch, Caption, LatentModel
from discrete_latents.networks import Network
from discrete_latents.quantizers import Quantizer

log = logging.getLogger(__name__)

PRIORS = ("uniform", "per_code", "per_position")
SMALLEST_OF_SSIM = 11
"""Pixels a side: those of SSIM's window."""


class ImageTokenizer(LatentModel):
    """x → a grid of h×w codes of K classes → x: the discrete VAE of Ramesh et al. 2021, section 2.1.

    The encoder gives the logits of the N = h·w latents, one codebook embeds what is drawn, and the decoder sees the
    grid of vectors. With a `Quantizer` in the estimator's place, the encoder gives vectors, and the code is a function
    of x; its KL counts N log K in evaluation.

    Args:
        image_shape: (C, H, W).
        num_classes: K, the size of the codebook.
        network: one that keeps a grid, as ResNet.
        prior: "uniform", or trained from uniform: "per_code" for all positions together, "per_position" for each.
        width: of the codebook's vectors.
        logits: "free", of the encoder's own for each class, or "distance": the encoder gives a vector f, and the logits
            are −‖f − e_k‖² / 2σ² to the codebook's vectors e, with σ trained (Takida et al. 2022, section 3.2). The
            codebook then starts by k-means on f of training images, and f as their first principal components: a
            random codebook is far from most f, and codes that nothing is near to stay unused.
        encoder_gain: of free logits, multiplies the initial weights of the encoder's last layer. A larger gain moves
            the initial posterior away from uniform, under which all codes are noise that a decoder learns to ignore.
        revive_every: steps after which codes that the batch hardly gives any probability move to random features of it,
            for logits by distance; None: never. The encoder moves faster than a large codebook follows.

    The other arguments: `LatentModel`. A quantiser uses no `beta` and no `revive_every`, and a line says so where they
    are given. Raises ValueError for another prior or a network without a grid, and NotDefined for a quantiser with free
    bits, with `uniform_mix` or with a trained prior.

    Logs, beside what all models do: dead_codes, those of K that no image of the split has; mse, psnr and ssim of
    E[x | z], the latter two of values in [0, 1]; bits_per_dim, the nelbo in bits for each number of an image, where the
    likelihood is of whole levels. code_usage and perplexity are of the codebook, over all positions.
    """

    prior_logits: Tensor

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        network: Network,
        prior: str = "uniform",
        width: int = 16,
        logits: str = "distance",
        encoder_gain: float = 1.0,
        revive_every: int | None = None,
        **common: Any,
    ) -> None:
        if prior not in PRIORS:
            raise ValueError(f"prior must be one of {', '.join(PRIORS)}, got {prior!r}")
        if logits not in ("free", "distance"):
            raise ValueError(f"logits must be free or distance, got {logits!r}")
        input_shape = common["likelihood"].input_shape(image_shape)
        grid = network.grid(input_shape)
        super().__init__(image_shape, num_latents=math.prod(grid), num_classes=num_classes, **common)
        self.grid = grid
        self.code_usage = CodeUsage(1, num_classes)
        channels = width = whole("width", width)
        quantizer = self.quantizer
        self.by_distance = quantizer is None and logits == "distance"
        if quantizer is None:
            features = 4 * width if self.by_distance else layout.width(1, num_classes)
            if self.by_distance:
                self.projection = nn.Linear(features, width)
                self.log_precision = nn.Parameter(torch.tensor(-math.log(width)))  # −log σ²
            self.codebook = nn.Parameter(torch.randn(num_classes, width))
        else:
            no_kl = f"{type(quantizer).__name__} is a deterministic code with no KL"
            if not self.kl_weight.free_bits.always(0.0) or prior != "uniform" or self.uniform_mix:
                raise NotDefined(f"{no_kl}: free_bits and uniform_mix must be 0, and prior uniform")
            weighted = not self.kl_weight.beta.always(1.0)
            if unused := [name for name, given in (("beta", weighted), ("revive_every", revive_every)) if given]:
                verb = "is" if len(unused) == 1 else "are"
                rank_zero_only(log.warning)("%s %s not used: %s", " and ".join(unused), verb, no_kl)
                self.kl_weight, revive_every = KLWeight(), None
            features = channels = quantizer.prepare(image_shape, num_classes, width)
            self.evaluator = HardBound(1)  # all samples are the same
            self.val_evaluator = self.val_evaluator and HardBound(1)
        self.revive_every = None if revive_every is None else whole("revive_every", revive_every)
        if self.revive_every and not self.by_distance:
            raise ValueError(f"revive_every must be null without logits by distance, got {revive_every!r}")
        gain = positive("encoder_gain", encoder_gain)
        if self.by_distance or quantizer is not None:
            gain = 1.0
        self.encoder = network.grid_encoder(input_shape, features, gain)
        self.decoder = network.grid_decoder(channels, self.likelihood.output_shape(image_shape))
        positions = self.num_latents if prior == "per_position" else 1
        self.prior_logits = nn.Parameter(torch.zeros(positions, num_classes), requires_grad=prior != "uniform")

    @property
    def quantizer(self) -> Quantizer | None:
        """The estimator, where it is a quantiser."""
        return self.estimator if isinstance(self.estimator, Quantizer) else None

    @property
    def images_to_start(self) -> int:
        """64 features for each code, of at most 2,000 images."""
        return min(2000, math.ceil(64 * self.num_classes / self.num_latents)) if self.by_distance else 0

    def start_from(self, x: Real[Tensor, "B ..."]) -> None:
        features = self.features(x).mT.flatten(0, 1)
        weight, bias = principal_map(features, self.codebook.shape[1])
        vectors = features @ weight.T + bias
        codebook = spread_codebook(vectors, self.num_classes)
        self.projection.weight.copy_(weight)
        self.projection.bias.copy_(bias)
        self.codebook.copy_(codebook)
        self.log_precision.copy_(spread_precision(vectors, codebook).log())

    def features(self, x: Real[Tensor, "B ..."]) -> Float[Tensor, "B F N"]:
        return self.encoder(self.inputs(x)).flatten(-2)

    def encode(self, x: Real[Tensor, "B ..."]) -> Float[Tensor, "B N K"]:
        """Logits of q(z | x)."""
        if self.by_distance:
            return self.mixed(self.by_nearness(self.projected(x)))
        return self.mixed(layout.to_logits(self.features(x).flatten(-2), self.num_classes))

    def projected(self, x: Real[Tensor, "B ..."]) -> Float[Tensor, "B N D"]:
        """The features that are held against the codebook."""
        return self.projection(self.features(x).mT)

    def by_nearness(self, f: Float[Tensor, "B N D"]) -> Float[Tensor, "B N K"]:
        """−‖f − e‖² / 2σ² but for ‖f‖², which is the same for all classes."""
        precision = self.log_precision.exp()
        length = precision * self.codebook.square().sum(-1, keepdim=True) / 2
        scaled = precision * f.mT  # here, where it is small
        return torch.baddbmm(-length, self.codebook.expand(len(f), -1, -1), scaled).mT

    @steady
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.revive_every and self.global_step > 0 and self.global_step % self.revive_every == 0:
            self.revive(self.read(batch)[0])
        return super().training_step(batch, batch_idx)

    @torch.no_grad()
    def revive(self, x: Real[Tensor, "B ..."]) -> None:
        """Moves the dead codes, in all processes alike."""
        strategy = self.trainer.strategy
        f = self.projected(x)
        share = strategy.reduce(layout.softmax(self.by_nearness(f)).mean((0, 1)), reduce_op="mean")
        codebook = revived(self.codebook, share, f.flatten(0, 1).to(self.codebook.dtype))
        self.codebook.copy_(strategy.broadcast(codebook))

    def decode(self, vectors: Float[Tensor, "*S B N D"]) -> Float[Tensor, "..."]:
        """The parameters of the likelihood given the vectors of the codes."""
        return self.decoder(vectors.transpose(-1, -2).unflatten(-1, self.grid)) + self.output_bias

    def look_up(self, codes: Int[Tensor, "*S N"]) -> Float[Tensor, "*S N D"]:
        """The vectors of class indices."""
        return (
            nn.functional.embedding(codes, self.codebook) if self.quantizer is None else self.quantizer.look_up(codes)
        )

    def encode_codes(self, x: Real[Tensor, "B ..."]) -> Int[Tensor, "B N"]:
        """The most probable class of each latent."""
        if self.quantizer is None:
            return self.encode(x).argmax(-1)
        return self.quantizer.code(self.features(x).mT)[1]

    def decode_codes(self, codes: Int[Tensor, "*S B N"]) -> Float[Tensor, "..."]:
        """E[x | z] for class indices."""
        return self.likelihood.mean(self.decode(self.look_up(codes).to(self.output_bias.dtype)))

    def objective(self, batch: Batch) -> Objective:
        x, _ = batch
        if self.quantizer is not None:
            return self.certain(x, *self.quantizer.code(self.features(x).mT))
        logits = self.encode(x)

        def log_likelihood(sample: Callable[..., Tensor]) -> Tensor:
            vectors = sample(logits, prior=self.prior_logits, codebook=self.codebook)
            return self.likelihood.log_prob(x, self.decode(vectors))

        return log_likelihood

    def certain(self, x: Tensor, vectors: Tensor, codes: Tensor, kl: Tensor) -> Objective:
        """The objective of a quantiser's code."""

        def log_likelihood(sample: Sampler) -> Tensor:
            sample.known(codes, kl)
            return self.likelihood.log_prob(x, self.decode(vectors.expand(*sample.shape, *vectors.shape)))

        return log_likelihood

    def sample(self, count: int) -> Float[Tensor, "count ..."]:
        """E[x | z] for z sampled from the prior, which knows nothing of neighbours: see `priors`."""
        return self.decode_codes(sample_codes(self.prior_logits.expand(self.num_latents, -1), count))

    def observe(self, batch: Batch, sampler: HardSampler, nelbo: Tensor) -> dict[str, Tensor]:
        (codes,), (x, _) = sampler.codes, batch
        self.code_usage.update(codes.reshape(-1, 1))
        mean = self.decode_codes(codes)
        x = x.to(mean.dtype)
        found = {"mse": (x - mean).square().flatten(1).mean(1)}
        if self.kind not in ("real", "whole"):
            mean = mean.clamp(0, 1)
            error = (x - mean).square().flatten(1).mean(1)
            found["psnr"] = -10 * error.clamp(min=1e-10).log10()
            if min(x.shape[-2:]) >= SMALLEST_OF_SSIM:
                found["ssim"] = ssim_of(mean, x)
        if self.kind in self.likelihood.masses:
            found["bits_per_dim"] = nelbo / (math.log(2) * math.prod(x.shape[1:]))
        return found

    def finish_evaluation(self, split: str) -> None:
        super().finish_evaluation(split)
        assert self.code_usage.last is not None
        self.log(f"{split}/dead_codes", (self.code_usage.last == 0).sum().float(), sync_dist=True)

    def figures(self) -> dict[str, Figure]:
        """`code_use`: how often each code was drawn in the last evaluation, the most frequent first."""
        if self.code_usage.last is None:
            return {}
        counts = self.code_usage.last.flatten().sort(descending=True).values.cpu()
        figure = Figure(figsize=(6, 3))
        panel = figure.subplots()
        panel.fill_between(range(len(counts)), (counts / counts.sum().clamp(min=1)).numpy(), step="mid")
        panel.axhline(1 / len(counts), color="grey", linewidth=0.8, linestyle="--")
        panel.set_xlabel(f"code, by frequency ({int((counts == 0).sum())} of {len(counts)} not drawn)")
        panel.set_ylabel("share of draws")
        return {"code_use": figure}

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures by name:

        - `reconstructions`: images above E[x | z] for a hard z
        - `samples`: from the prior
        - `codebook`: what each of the batch's most frequent codes draws where it stands at every position
        """
        x, _ = batch
        sampler = self.hard_sampler()
        self.objective(batch)(sampler)
        (codes,) = sampler.codes
        common = codes.flatten().bincount(minlength=self.num_classes).argsort(descending=True, stable=True)
        rows = min(8, self.num_classes // 4)
        drawn = common[: rows * (columns := min(12, self.num_classes // rows))]
        alone = self.decode_codes(drawn.unsqueeze(-1).expand(-1, self.num_latents))
        return {
            "reconstructions": torch.stack([x.to(alone.dtype), self.decode_codes(codes)]),
            "samples": self.sample(40).unflatten(0, (4, 10)),
            "codebook": alone.unflatten(0, (rows, columns)),
        }

    def captions(self) -> dict[str, Caption]:
        return {
            "reconstructions": Caption("images, and E[x | z] for a sampled z", ("x", "E[x | z]")),
            "samples": Caption("E[x | z] for samples z of the prior"),
            "codebook": Caption("E[x | z] where all positions have one code, the most frequent first"),
        }


def ssim_of(mean: Float[Tensor, "B C H W"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
    """Of each image, with values in [0, 1] (Wang et al. 2004). A batch may be empty."""
    if len(x) == 0:
        return x.new_zeros(0)
    found = structural_similarity_index_measure(mean, x, reduction="none", data_range=1.0)
    return torch.as_tensor(found).reshape(-1)
