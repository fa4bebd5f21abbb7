"""What the LightningModules share: training through an estimator, evaluation with hard samples."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from matplotlib.figure import Figure
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from discrete_latents.latent import Estimator, HardBound, HardSampler, Objective
from discrete_latents.latent.checks import whole
from discrete_latents.likelihoods import Likelihood
from discrete_latents.models.code_usage import CodeUsage
from discrete_latents.optimization import Optimization

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W), as floats, and their labels (B,)."""

EVALUATION_SEED = 0


class LatentModel(pl.LightningModule):
    """A model with discrete latents. Subclasses define `objective` and `pictures`, and never look at the
    estimator.

    image_shape: (C, H, W). num_latents, num_classes: N, over all layers, and K. eval_samples: the m of the reported
    nll. eval_chunk: how many samples of an image are decoded at once, which bounds memory.

    Logs, in nats: train/nelbo, or train/relaxed_nelbo where the estimator trains on soft samples; for val and
    test, with hard samples, nelbo = reconstruction + kl (the categorical KL in closed form), code_usage and
    perplexity, and relaxed_nelbo beside them; for test the nll with m = eval_samples.
    """

    mean_image: Tensor
    output_bias: Tensor

    def __init__(
        self,
        image_shape: Sequence[int],
        estimator: Estimator,
        likelihood: Likelihood,
        optimization: Optimization,
        num_latents: int,
        num_classes: int,
        eval_samples: int = 1000,
        eval_chunk: int = 10,
    ) -> None:
        super().__init__()
        self.num_classes = whole("num_classes", num_classes, least=2)
        self.num_latents = whole("num_latents", num_latents)
        self.estimator = estimator
        self.likelihood = likelihood
        self.optimization = optimization
        self.evaluator = HardBound(whole("eval_samples", eval_samples), whole("eval_chunk", eval_chunk))
        self.code_usage = CodeUsage(num_latents, num_classes)
        self.register_buffer("mean_image", torch.zeros(*image_shape))
        self.register_buffer("output_bias", torch.zeros(*image_shape))
        self.trained_bounds: list[Tensor] = []
        self.total_steps = math.inf
        self.evaluating = ExitStack()

    def objective(self, batch: Batch) -> Objective:
        """log p(x | z) of a batch as a function of a sampler. What does not depend on a sample is computed
        here, once, however often an estimator runs the objective."""
        raise NotImplementedError

    def set_base_rate(self, mean: Tensor) -> None:
        """Centres what encoders read at the mean training image, (C, H, W), strictly inside (0, 1), and offsets the
        decoder's output to it: with z without effect, the model is the data's pixel-wise base rate (Maddison et al.
        2017, appendix F)."""
        self.mean_image.copy_(mean)
        self.output_bias.copy_(self.likelihood.output_for_mean(mean))

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures by name, each rows of images, (rows, columns, C, H, W), values in [0, 1]."""
        raise NotImplementedError

    def compile_networks(self) -> None:
        """Compiles the networks in place, so that the keys of checkpoints stay as they are."""
        for network in self.children():
            if not isinstance(network, Estimator | CodeUsage):
                network.compile()

    def forward(self, batch: Batch) -> Tensor:
        """The estimator's bound, (B,), nats."""
        return self.estimator(self.objective(batch))

    def figures(self) -> dict[str, Figure]:
        """Figures of the last evaluation, by name."""
        return {}

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What is minimised, and the mean bound that is logged, nats."""
        bound = self(batch).mean()
        return -bound, bound

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss, bound = self.training_loss(batch)
        # Kept as tensors on the device and averaged when logged: a `log` at every step costs more than Adam.
        self.trained_bounds.append(bound.detach())
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            name = "train/relaxed_nelbo" if self.estimator.relaxed else "train/nelbo"
            self.log(name, -torch.stack(self.trained_bounds).mean(), prog_bar=True, sync_dist=True)
            self.trained_bounds.clear()
        return loss

    def on_train_start(self) -> None:
        """Processes start from the same weights, since they share a seed, and draw different noise. The learning
        rate is the configuration's at the global step, whatever a checkpoint held."""
        self.trained_bounds.clear()
        if self.global_rank > 0:
            torch.manual_seed(torch.initial_seed() + self.global_rank + self.trainer.world_size * self.global_step)
        self.total_steps = self.trainer.estimated_stepping_batches
        schedule, optimizer = self.lr_schedulers(), self.optimizers()
        assert isinstance(schedule, LambdaLR)
        assert isinstance(optimizer, LightningOptimizer)
        schedule.base_lrs = [self.optimization.lr] * len(schedule.base_lrs)
        for group in optimizer.param_groups:
            group["lr"] = self.optimization.lr * self.lr_factor(self.global_step)

    def lr_factor(self, step: int) -> float:
        """What multiplies the learning rate. How many steps there will be is known once training starts; asked
        earlier, Lightning would set up the batches before it has restored where a resumed run stood in them."""
        return self.optimization.factor(step, self.total_steps)

    def on_train_epoch_start(self) -> None:
        """Lightning counts an epoch twice that ended before a checkpoint, with max_steps."""
        sampler: Any = getattr(self.trainer.train_dataloader, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(self.current_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["noise"] = torch.get_rng_state()
        if self.device.type == "cuda":
            checkpoint["cuda_noise"] = torch.cuda.get_rng_state(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continues the noise where it was, so that a resumed run draws what an uninterrupted one would."""
        torch.set_rng_state(checkpoint["noise"])
        if self.device.type == "cuda" and "cuda_noise" in checkpoint:
            torch.cuda.set_rng_state(checkpoint["cuda_noise"], self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log_evaluation(batch, "val", {})

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        with self.evaluation_noise(stream=1 + batch_idx):  # its own, so that m does not change the other metrics
            nll = -self.evaluator(self.objective(batch))
        self.log_evaluation(batch, "test", {"nll": nll})

    def log_evaluation(self, batch: Batch, split: str, values: dict[str, Tensor]) -> None:
        """Logs the means over a split of `values`, (B,) each, and of what every evaluation has."""
        sampler = HardSampler()
        reconstruction = -self.objective(batch)(sampler)
        kl = torch.as_tensor(sampler.kl, device=self.device).expand_as(reconstruction)
        values = {"nelbo": reconstruction + kl, "reconstruction": reconstruction, "kl": kl, **values}
        if self.estimator.relaxed:
            values["relaxed_nelbo"] = -self(batch)
        self.code_usage.update(torch.cat(sampler.codes, -1))
        self.log_dict(
            {f"{split}/{name}": value.mean() for name, value in values.items()},
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=len(reconstruction),
        )

    def on_validation_epoch_start(self) -> None:
        self.start_evaluation()

    def on_test_epoch_start(self) -> None:
        self.start_evaluation()

    def on_validation_epoch_end(self) -> None:
        self.finish_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self.finish_evaluation("test")

    def start_evaluation(self) -> None:
        self.evaluating.enter_context(self.evaluation_noise())

    def finish_evaluation(self, split: str) -> None:
        self.evaluating.close()
        usage = {f"{split}/{name}": value for name, value in self.code_usage.compute().items()}
        self.log_dict(usage, sync_dist=True)
        self.code_usage.reset()

    @contextmanager
    def evaluation_noise(self, stream: int = 0) -> Iterator[None]:
        """Evaluation draws its own noise: the same every time, and training's is left as it was."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(EVALUATION_SEED + self.global_rank + 10_000 * stream)
            yield

    def configure_optimizers(self) -> Any:
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = self.optimization.optimizer(trainable)
        schedule = LambdaLR(optimizer, lambda step: self.lr_factor(step))  # a plain function stays out of checkpoints
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
