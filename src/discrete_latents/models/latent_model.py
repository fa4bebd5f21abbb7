"""The base of the LightningModules: training through an estimator, evaluation with hard samples."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from discrete_latents.checks import share, whole
from discrete_latents.errors import NotFinite
from discrete_latents.latent import Estimator, HardBound, HardSampler, KLSchedule, KLWeight, NotDefined, Objective
from discrete_latents.latent.distributions import mixed_with_uniform
from discrete_latents.lightning_internals import (
    attached_trainer,
    count_manual_steps,
    optimizer_steps_now,
    steady,
)
from discrete_latents.likelihoods import Likelihood
from discrete_latents.models.code_usage import CodeUsage
from discrete_latents.models.compiled_loss import CompiledLoss, CompiledOrNot
from discrete_latents.optimization import Optimization

Batch = tuple[Tensor, Tensor]
"""x, (B, C, H, W) or (B, D), floats or whole numbers, and labels, (B,)."""

EVALUATION_SEED = 0


class Caption(NamedTuple):
    """Words around a picture: above it, left of each row, and above each column."""

    title: str
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()


class LatentModel(pl.LightningModule):
    """A model with discrete latents. Subclasses define `objective`, and `pictures` if there are any; they do not depend
    on the estimator.

    Args:
        image_shape: (C, H, W), or (D,) of vectors.
        num_latents: N, over all layers.
        num_classes: K.
        eval_samples: m of the reported nll.
        eval_chunk: samples per image decoded at once; it bounds memory.
        val_samples: m of the nll of each validation, which a checkpoint can be chosen by; None: no such metric.
        beta: the weight of the KL in training; None: 1.
        free_bits: nats of each latent's KL that cost nothing more in training; None: 0.
        uniform_mix: share of the uniform distribution in every q, in training and evaluation (0.01 in DreamerV3). It
            keeps log-probabilities finite, and so the KL and its gradient. In [0, 1).

    Logs, in nats:

    - train: nelbo, or relaxed_nelbo if the estimator trains on soft samples, or objective with another `beta` or
      `free_bits`, which no evaluation has
    - val and test, with hard samples: nelbo = reconstruction + kl (the categorical KL in closed form), code_usage and
      perplexity; relaxed_nelbo too if the estimator trains on soft samples
    - test: nll with m = eval_samples; val: with m = val_samples, if there is one
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
        val_samples: int | None = None,
        beta: KLSchedule | None = None,
        free_bits: KLSchedule | None = None,
        uniform_mix: float = 0.0,
    ) -> None:
        super().__init__()
        self.uniform_mix = share("uniform_mix", uniform_mix)
        if uniform_mix and estimator.law is not None:
            raise NotDefined(f"uniform_mix must be 0 for {type(estimator).__name__}, whose q is sparse by intent")
        self.num_classes = whole("num_classes", num_classes, least=2)
        self.num_latents = whole("num_latents", num_latents)
        self.estimator = estimator
        self.likelihood = likelihood
        self.optimization = optimization
        self.kl_weight = KLWeight(beta, free_bits)
        self.evaluator = HardBound(whole("eval_samples", eval_samples), whole("eval_chunk", eval_chunk), estimator.law)
        self.val_evaluator: HardBound | None = None
        if val_samples is not None:
            self.val_evaluator = HardBound(whole("val_samples", val_samples), eval_chunk, estimator.law)
        self.code_usage = CodeUsage(num_latents, num_classes)
        self.kind = "grey"  # of x: a key of likelihoods.KINDS
        self.reader: Callable[[Any], Batch] | None = None  # of the batches of a foreign data module
        self.register_buffer("mean_image", torch.zeros(*image_shape))
        self.register_buffer("output_bias", torch.zeros(*likelihood.output_shape(image_shape)))
        self.kept: Callable[[int, int, Callable[[], Tensor]], Tensor] | None = None
        """Called with a test batch's number, its size, and what computes the nll of its images, which it may know."""
        self.trained_bounds: list[Tensor] = []
        self.own_noise = False

    def objective(self, batch: Batch) -> Objective:
        """log p(x | z) of a batch as a function of a sampler.

        Compute here, once, what does not depend on a sample: an estimator may run the objective several times.
        """
        raise NotImplementedError

    def set_base_rate(self, mean: Tensor) -> None:
        """Centres inputs at the mean of x and offsets outputs to the base rate.

        mean: of the likelihood's statistics in training, where the likelihood has an output for it. A decoder that
        ignores z then predicts the data's pixel-wise base rate (Maddison et al. 2017, appendix F).
        """
        if mean.shape == self.mean_image.shape:  # else of one-hot classes, which are not centred
            self.mean_image.copy_(mean)
        self.output_bias.copy_(self.likelihood.output_for_mean(mean))

    @property
    def images_to_start(self) -> int:
        """How many training images `start_from` asks for; 0: it is not called."""
        return 0

    def start_from(self, x: Tensor) -> None:
        """Sets initial weights by training images, before training and without gradient."""

    def inputs(self, x: Tensor) -> Tensor:
        """x as an encoder reads it."""
        return self.likelihood.inputs(x, self.mean_image)

    def mixed(self, logits: Tensor) -> Tensor:
        """Logits of q with its share of the uniform distribution, `uniform_mix`."""
        return mixed_with_uniform(logits, self.uniform_mix)

    def hard_sampler(self, *shape: int) -> HardSampler:
        """Draws `shape` samples of q, or one, for evaluation."""
        return HardSampler(shape, law=self.estimator.law)

    def input_shape(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of what an encoder reads for x of `image_shape`."""
        return self.likelihood.input_shape(image_shape)

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures by name: grids of x, (rows, columns, C, H, W) or (rows, columns, D), in the range of x."""
        return {}

    def captions(self) -> dict[str, Caption]:
        """The words around pictures, by their names; a picture may have none."""
        return {}

    def compile_step(self, refused: Callable[[Exception], None] | None = None) -> None:
        """Compiles the loss and its gradient, in place: checkpoint keys do not change.

        refused: is told why the compiler refuses the model, which then trains as it is; None: the exception is raised.
        """
        loss = self.training_loss
        if self.device.type == "cpu":
            trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
            compiled: Any = CompiledLoss(loss, trained)
        else:
            # On a GPU a step is hundreds of short kernels: a CUDA graph replays them with one launch.
            recorded = self.device.type == "cuda" and not self.estimator.replaces_buffers
            mode = "reduce-overhead" if recorded else None
            compiled = torch.compile(loss, fullgraph=True, dynamic=False, mode=mode)
        self.training_loss = compiled if refused is None else CompiledOrNot(compiled, loss, refused)

    def forward(self, batch: Batch) -> Tensor:
        """The estimator's bound, (B,), nats."""
        return self.estimator(self.objective(batch))

    def figures(self) -> dict[str, Figure]:
        """Figures of the last evaluation, by name."""
        return {}

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss to minimise and the mean objective to log, nats."""
        bound = self.trained(self.objective(batch)).mean()
        return -bound, bound

    def trained(self, objective: Objective) -> Tensor:
        """The estimator's bound of an objective as it is in training, its KL weighted, (B,), nats."""
        return self.estimator(self.kl_weight(objective, self.estimator))

    @property
    def train_metric(self) -> str:
        """The name under which training logs what it minimises."""
        if self.kl_weight.changes:
            return "train/objective"
        return "train/relaxed_nelbo" if self.estimator.relaxed else "train/nelbo"

    @steady
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = self.read(batch)
        loss, bound = self.training_loss(batch)
        # Kept on the device and averaged when logged: calling `log` at every step costs more than Adam.
        self.trained_bounds.append(bound.detach().clone())  # a replayed CUDA graph overwrites its output
        trainer = self.trainer
        due = (trainer.global_step + 1) % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if due and optimizer_steps_now(trainer):
            self.log_trained_bounds(batch)
        return loss

    def log_trained_bounds(self, batch: Batch) -> None:
        """Logs the mean bound since the last call, over all processes. Raises NotFinite if it is not finite."""
        name = self.train_metric
        value = self.trainer.strategy.reduce(-torch.stack(self.trained_bounds).mean(), reduce_op="mean")
        if not value.isfinite():
            raise NotFinite(self.global_step + 1, batch)
        self.trained_bounds.clear()
        self.log(name, value, prog_bar=True, logger=False)
        for logger in self.loggers:  # directly: Lightning would repeat the value with later metrics
            logger.log_metrics({name: float(value)}, step=self.global_step)

    def configure_optimizers(self) -> Any:
        """The optimiser of `optimization`; the LearningRate callback sets its rate. The `rate` of a part of
        the estimator, as of a baseline, multiplies it for that part's weights."""
        parts = [part for part in self.estimator.modules() if isinstance(getattr(part, "rate", None), int | float)]
        factors = {id(own): float(part.rate) for part in parts for own in part.parameters()}  # type: ignore[arg-type]
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return self.optimization.optimizer(trained, [factors.get(id(parameter), 1.0) for parameter in trained])

    def setup(self, stage: str) -> None:
        self.trained_bounds.clear()

    def on_train_start(self) -> None:
        """Gives each process its own noise; all share the seed of the initial weights."""
        self.trained_bounds = [bound.to(self.device) for bound in self.trained_bounds]
        if self.global_rank > 0 and not self.own_noise:
            torch.manual_seed(torch.initial_seed() + self.global_rank + self.trainer.world_size * self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the kind of x, the noise, and bounds not logged yet: the first process's own, and `other_processes`."""
        own: dict[str, Any] = {"noise": torch.get_rng_state()}
        own["trained_bounds"] = [bound.cpu() for bound in self.trained_bounds]
        if self.device.type == "cuda":
            own["cuda_noise"] = torch.cuda.get_rng_state(self.device)
        states = [own]
        if self.trainer.world_size > 1:
            states *= self.trainer.world_size
            torch.distributed.all_gather_object(states, own)
        checkpoint |= states[0]
        checkpoint["other_processes"] = states[1:]
        checkpoint["kind"] = self.kind

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the random state, so that a resumed run draws the same noise as an uninterrupted one.

        With another number of processes, all but the first start with noise that no run has drawn.
        """
        count_manual_steps(checkpoint)  # for runs from before November 2026
        states = [checkpoint, *checkpoint.get("other_processes", ())]
        self.own_noise = len(states) == self.trainer.world_size
        own = states[self.global_rank] if self.own_noise else checkpoint
        torch.set_rng_state(own["noise"])
        self.trained_bounds = list(own.get("trained_bounds", ()))
        if self.device.type == "cuda" and "cuda_noise" in own:
            torch.cuda.set_rng_state(own["cuda_noise"], self.device)

    def read(self, batch: Any) -> Batch:
        """A batch of the trainer's data as (x, labels)."""
        return batch if self.reader is None else self.reader(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        batch = self.read(batch)
        values = {}
        if self.val_evaluator is not None:
            values["nll"] = self.nll(batch, batch_idx, self.val_evaluator)
        with self.evaluation_noise(batch_idx):
            self.log_evaluation(batch, "val", values)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        batch = self.read(batch)
        if self.kept is None:
            nll = self.nll(batch, batch_idx, self.evaluator)
        else:
            compute = partial(self.nll, batch, batch_idx, self.evaluator)
            nll = self.kept(self.batch_number(batch_idx), len(batch[0]), compute)
        nll = nll.to(self.device, torch.promote_types(self.output_bias.dtype, torch.float32))
        with self.evaluation_noise(batch_idx):
            self.log_evaluation(batch, "test", {"nll": nll})

    def nll(self, batch: Batch, batch_idx: int, evaluator: HardBound) -> Tensor:
        """Minus the bound of many samples, (B,)."""
        with self.evaluation_noise(batch_idx, stream=1):  # a separate stream, so that m does not change other metrics
            return -evaluator(self.objective(batch))

    def log_evaluation(self, batch: Batch, split: str, values: dict[str, Tensor]) -> None:
        """Logs the split's means of `values`, (B,) each, and of the common metrics.

        A batch is empty in a process that has no images left.
        """
        sampler = self.hard_sampler()
        reconstruction = -self.objective(batch)(sampler)
        kl = torch.as_tensor(sampler.kl, device=self.device).expand_as(reconstruction)
        values = {"nelbo": reconstruction + kl, "reconstruction": reconstruction, "kl": kl, **values}
        if self.estimator.relaxed:
            values["relaxed_nelbo"] = -self(batch)
        values |= self.observe(batch, sampler, values["nelbo"])
        count = len(reconstruction)
        self.log_dict(
            {f"{split}/{name}": value.sum() / max(count, 1) for name, value in values.items()},
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            # A float: Lightning would round the mean of integers over processes to an integer.
            batch_size=float(count),  # type: ignore[arg-type]
        )

    def observe(self, batch: Batch, sampler: HardSampler, nelbo: Tensor) -> dict[str, Tensor]:
        """Counts the codes that were drawn in an evaluation. Returns further metrics of each image, (B,), by name."""
        self.code_usage.update(torch.cat(sampler.codes, -1))
        return {}

    def on_validation_epoch_end(self) -> None:
        self.finish_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self.finish_evaluation("test")

    def finish_evaluation(self, split: str) -> None:
        usage = {f"{split}/{name}": value for name, value in self.code_usage.compute().items()}
        self.log_dict(usage, sync_dist=True)
        self.code_usage.reset()

    def batch_number(self, batch_idx: int) -> int:
        """The number of this process's batch over all processes."""
        trainer = attached_trainer(self)
        return batch_idx * (trainer.world_size if trainer else 1) + self.global_rank

    @contextmanager
    def evaluation_noise(self, batch_idx: int = 0, stream: int = 0) -> Iterator[None]:
        """A context with evaluation noise of its own; the training noise is restored afterwards.

        The seed depends on the batch's number over all processes, so the noise is the same in every evaluation and for
        any number of processes.
        """
        number = self.batch_number(batch_idx)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(EVALUATION_SEED + (10_000 * (1 + number) if stream else number))
            yield
