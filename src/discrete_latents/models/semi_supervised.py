"""The semi-supervised classifier M2 (Kingma et al. 2014, section 2), as used by Jang et al. 2017, section 4.3."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Real
from matplotlib.figure import Figure
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassConfusionMatrix

from discrete_latents.checks import share, whole
from discrete_latents.latent import HardSampler, Objective, Sampler, WithContext, layout
from discrete_latents.lightning_internals import steady
from discrete_latents.models.latent_model import Batch, Caption, LatentModel
from discrete_latents.networks import Network
from discrete_latents.networks.onednn_linear import OneDNNLinear


class SemiSupervised(LatentModel):
    """Class y and Gaussian style z generate an image, p(y) p(z) p(x | y, z); q(y | x) classifies, q(z | x, y) encodes.

    The loss, with each term averaged over its images, is

        −labelled bound(x, y) − unlabelled bound(x) − α · log q(y | x)

    In the unlabelled bound y is a discrete latent, under any estimator; `exact` marginalises it. A training batch holds
    `labelled_batch_size` labelled images first; the labels of the others are ignored. The reported nelbo and nll are of
    the marginal bound, with y unobserved.

    Args:
        num_classes: of y.
        network: for both encoders and the decoder.
        num_styles: dimension of z.
        alpha: α.
        classifier: separate network for q(y | x); None: `network`.
        dropout: of the classifier's input pixels.
        warmup: initial optimiser steps with the classification loss only, so that the unlabelled bound starts from
            meaningful classes.
        labelled_batch_size: labelled images in a training batch.

    The other arguments: `LatentModel`. Raises ValueError for a negative alpha or warmup, or a dropout outside [0, 1).
    """

    class_prior: Tensor
    bounds_weight: Tensor

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        network: Network,
        num_styles: int = 32,
        alpha: float = 0.1,
        classifier: Network | None = None,
        dropout: float = 0.0,
        warmup: int = 0,
        labelled_batch_size: int = 100,
        num_latents: int = 1,
        **common: Any,
    ) -> None:
        if num_latents != 1:
            raise ValueError(f"num_latents must be 1, the class, got {num_latents!r}")
        if isinstance(alpha, str) or not alpha >= 0:
            raise ValueError(f"alpha must be at least 0, got {alpha!r}")
        share("dropout", dropout)
        super().__init__(image_shape, num_latents=1, num_classes=num_classes, **common)
        self.num_styles = whole("num_styles", num_styles)
        self.labelled_batch_size = whole("labelled_batch_size", labelled_batch_size)
        self.alpha = alpha
        self.warmup = whole("warmup", warmup, least=0)
        self.register_buffer("bounds_weight", torch.tensor(1.0), persistent=False)
        features = 128
        try:
            input_shape = self.input_shape(image_shape)
            classes = (classifier or network).encoder(input_shape, num_classes)
        except ValueError as error:
            raise ValueError(f"classifier.{error}" if classifier else str(error)) from error
        self.classifier = nn.Sequential(nn.Dropout(dropout), classes)
        self.features = network.encoder(input_shape, features)
        self.class_features = OneDNNLinear(num_classes, features, bias=False)
        self.style = nn.Sequential(network.activation(), OneDNNLinear(features, 2 * num_styles))
        self.decoder = network.decoder(num_classes + num_styles, self.likelihood.output_shape(image_shape))
        self.register_buffer("class_prior", torch.zeros(1, num_classes))
        self.quality = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(num_classes, average="micro"),
                "calibration_error": MulticlassCalibrationError(num_classes),
            }
        )
        self.confusion = MulticlassConfusionMatrix(num_classes)

    def class_logits(self, x: Real[Tensor, "B ..."]) -> Float[Tensor, "B K"]:
        """What an estimator samples y from."""
        return self.mixed(self.classifier(self.inputs(x)))

    def classify(self, x: Real[Tensor, "B ..."]) -> Float[Tensor, "B K"]:
        """Logits of q(y | x)."""
        return self.estimator.marginals(self.class_logits(x).unsqueeze(-2)).squeeze(-2)

    def infer_style(self, features: Float[Tensor, "B F"], y: Float[Tensor, "*S B K"]) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x, y), (*S, B, D) each.

        features: of x. They do not depend on y and are computed once for all classes.
        """
        mean, log_scale = self.style(features + self.class_features(y)).chunk(2, -1)
        return mean, log_scale

    def decode(self, y: Float[Tensor, "*#S K"], z: Float[Tensor, "*#S D"]) -> Tensor:
        """The parameters of the likelihood given class and style, (*S, …)."""
        return self.decoder(torch.cat([y, z], -1)) + self.output_bias

    def log_joint(self, x: Tensor, features: Tensor, y: Tensor, sample: Sampler) -> Tensor:
        """log p(x | y, z) for one-hot or soft y, (*S, B, K). `sample` draws z and adds its KL."""
        z = sample.normal(*self.infer_style(features, y))
        return self.likelihood.log_prob(x, self.decode(y, z))

    def objective(self, batch: Batch) -> Objective:
        """The objective of the unlabelled bound, with the class as a latent."""
        x, _ = batch
        return self.unlabelled(x, self.class_logits(x), self.features(self.inputs(x)))

    def unlabelled(self, x: Tensor, logits: Tensor, features: Tensor) -> Objective:
        def log_likelihood(sample: Sampler) -> Tensor:
            y = sample(logits.unsqueeze(-2), prior=self.class_prior).squeeze(-2)
            return self.log_joint(x, features, y, sample)

        return WithContext(log_likelihood, {"input": lambda: self.inputs(x).flatten(1)})

    def labelled_bound(
        self, x: Tensor, features: Tensor, labels: Int[Tensor, " B"], beta: Tensor | float = 1.0
    ) -> Float[Tensor, " B"]:
        """A bound on log p(x, y), with y observed, for β = 1."""
        y = layout.one_hot(labels.unsqueeze(-1), self.num_classes, self.output_bias.dtype).squeeze(-2)
        sampler = HardSampler()  # draws only the style
        return self.log_joint(x, features, y, sampler) - beta * sampler.kl + self.class_prior.log_softmax(-1)[0][labels]

    @steady
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.bounds_weight.fill_(float(self.global_step >= self.warmup))
        return super().training_step(batch, batch_idx)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x, labels = batch
        count = self.labelled_batch_size
        if len(x) <= count:
            raise ValueError(
                f"a training batch of {len(x)} images has none beside the {count} labelled ones; set data.labelled to "
                "how many training images keep their labels"
            )
        logits, features = self.class_logits(x), self.features(self.inputs(x))
        beta = self.kl_weight.beta() if self.kl_weight.changes else 1.0
        labelled = self.labelled_bound(x[:count], features[:count], labels[:count], beta).mean()
        unlabelled = self.trained(self.unlabelled(x[count:], logits[count:], features[count:])).mean()
        classification = self.estimator.classification_loss(logits[:count], labels[:count])
        return self.alpha * classification - self.bounds_weight * (labelled + unlabelled), unlabelled

    def log_evaluation(self, batch: Batch, split: str, values: dict[str, Tensor]) -> None:
        super().log_evaluation(batch, split, values)
        x, labels = batch
        if len(x):  # torchmetrics rejects empty batches
            probabilities = self.classify(x).softmax(-1)
            self.quality.update(probabilities, labels)
            self.confusion.update(probabilities, labels)

    def finish_evaluation(self, split: str) -> None:
        super().finish_evaluation(split)
        quality = {f"{split}/{name}": value for name, value in self.quality.compute().items()}
        self.log_dict(quality, prog_bar=True, sync_dist=True)
        self.quality.reset()
        self.confusion.compute()  # on all processes, since it synchronises; one of them draws it later

    def on_validation_epoch_start(self) -> None:
        self.confusion.reset()

    def on_test_epoch_start(self) -> None:
        self.confusion.reset()

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """`classes`: a row per style from the prior, a column per class. `styles`: an image, its style per class."""
        x, _ = batch
        kind = {"dtype": self.output_bias.dtype, "device": x.device}
        y = torch.eye(self.num_classes, **kind)
        drawn = torch.randn(8, 1, self.num_styles, **kind)
        inferred, _ = self.infer_style(self.features(self.inputs(x)), self.classify(x).softmax(-1))

        def every_class(z: Float[Tensor, "rows 1 D"]) -> Float[Tensor, "rows K ..."]:
            rows = len(z)
            pairs = y.expand(rows, -1, -1), z.expand(-1, self.num_classes, -1)
            return self.likelihood.mean(self.decode(*pairs))

        return {
            "classes": every_class(drawn),
            "styles": torch.cat([x.unsqueeze(1), every_class(inferred.unsqueeze(1))], 1),
        }

    def captions(self) -> dict[str, Caption]:
        classes = [*map(str, range(self.num_classes))]
        return {
            "classes": Caption("rows: a style of the prior; columns: y", (), classes),
            "styles": Caption("images, and their style with each y", (), ("x", *classes)),
        }

    def figures(self) -> dict[str, Figure]:
        """`confusion`: the confusion matrix, normalised by true class."""
        counts = self.confusion.compute().cpu()
        shares = (counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy()  # 0 if a class has no images
        figure = Figure(figsize=(0.6 * self.num_classes, 0.6 * self.num_classes))
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(shares):
            if value >= 0.005:
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="w" if value > 0.5 else "k")
        axes.set(xlabel="predicted", ylabel="true", xticks=range(self.num_classes), yticks=range(self.num_classes))
        return {"confusion": figure}
