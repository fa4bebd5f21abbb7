"""Each metric that a run logs: its meaning, unit, better end, and how it is shown. Tables, W&B and papers ask here."""

from dataclasses import dataclass
from typing import Literal

BetterEnd = Literal["lowest", "highest"]


@dataclass(frozen=True)
class Metric:
    """A metric, by the last part of its logged name: test/nll and val/nll are the metric nll.

    meaning: in a few words, beside a value. unit: "nats", "bits", "dB", "%" (a share in [0, 1], shown in percent), "s",
    "images/s", or "" for a number without one. better: the better end of its values in one run; None where it has none.
    ranks: whether runs of different models and estimators are compared by it. decimals: of a value in a table.
    """

    name: str
    meaning: str
    unit: str = "nats"
    better: BetterEnd | None = None
    ranks: bool = True
    decimals: int = 2

    @property
    def scale(self) -> int:
        """What a value is multiplied by to be in `unit`."""
        return 100 if self.unit == "%" else 1

    def text(self, value: float) -> str:
        """A value as a table shows it: 97.5% or 81.20."""
        return f"{value * self.scale:,.{self.decimals}f}{'%' if self.unit == '%' else ''}"


METRICS = (
    Metric("nll", "a bound of m samples", better="lowest"),
    Metric("nelbo", "m = 1", better="lowest"),
    Metric("accuracy", "of classes", "%", "highest", decimals=1),
    # A relaxed bound is that of another model for each estimator and temperature: lower is better within a run alone.
    Metric("relaxed_nelbo", "soft samples, as trained", better="lowest", ranks=False),
    # What these two trade against each other is in nelbo.
    Metric("reconstruction", "−log p(x | z)"),
    Metric("kl", "of categorical latents"),
    Metric("bits_per_dim", "nelbo in bits, for each number of x", "bits", "lowest", decimals=3),
    Metric("bits_per_image", "−log₂ of the codes under their prior", "bits", "lowest", decimals=1),
    Metric("bits_per_code", "the same, for each code", "bits", "lowest", decimals=3),
    Metric("mse", "of E[x | z], for each number of x", "", "lowest", decimals=5),
    Metric("psnr", "of E[x | z]", "dB", "highest"),
    Metric("ssim", "of E[x | z]", "", "highest", decimals=3),
    Metric("calibration_error", "of class probabilities", "", "lowest", decimals=4),
    Metric("code_usage", "of the classes are drawn", "%", decimals=1),
    Metric("perplexity", "classes a latent", ""),
    Metric("dead_codes", "of the codebook are never drawn", "", decimals=0),
    Metric("objective", "what training minimises: beta or free bits change its KL", better="lowest", ranks=False),
    Metric("temperature", "τ of the estimator", "", decimals=4),
    Metric("beta", "weight of the KL in training", "", decimals=4),
    Metric("free_bits", "of each latent in training", decimals=4),
    Metric("learning_rate", "of the last step", "", decimals=6),
    Metric("variance", "E‖g − E g‖² of the gradient for the logits", ""),
    Metric("snr", "of the gradient for the logits", ""),
    Metric("bound", "mean bound minus the exact one"),
    Metric("bias", "of the gradient, relative to the exact one", ""),
    Metric("noise", "of the gradient, relative to the exact one", ""),
    Metric("images_per_second", "training steps alone, one epoch", "images/s", decimals=0),
    Metric("train_images_per_second", "training steps alone", "images/s", "highest", decimals=0),
    Metric("seconds", "of the command, all in all", "s", "lowest", decimals=0),
)
"""In the order of tables. Metrics of images and latents are means over a split's images, of hard samples where nothing
else is said. A metric that is not here is shown after them, as a number without a unit."""

BY_NAME = {metric.name: metric for metric in METRICS}
LOGGED_IN_VALIDATION = ("nelbo", "accuracy", "relaxed_nelbo", "calibration_error")


def short(name: str) -> str:
    """The metric's own name: nll of test/nll."""
    return name.split("/")[-1]


def metric(name: str) -> Metric:
    """The metric of a logged name."""
    return BY_NAME.get(short(name)) or Metric(short(name), "", "")


def better_end(name: str) -> BetterEnd | None:
    """Which values of runs are better, "lowest" or "highest"; None where runs are not ranked by the metric."""
    found = metric(name)
    return found.better if found.ranks else None


def direction(name: str) -> int:
    """1 where the lowest value of runs is best, −1 where the highest is, 0 where neither is."""
    return {"lowest": 1, "highest": -1, None: 0}[better_end(name)]


def unit(name: str) -> str:
    return metric(name).unit


def scale(name: str) -> int:
    """What a logged value is multiplied by to be in its unit: 100 for percent."""
    return metric(name).scale


def position(name: str) -> tuple[int, bool, str]:
    """Sorts columns: in the order of METRICS, and of each metric that of test images first."""
    own = short(name)
    place = list(BY_NAME).index(own) if own in BY_NAME else len(BY_NAME)
    return place, not name.startswith("test/"), name


def best_in_validation(end: BetterEnd) -> list[str]:
    """The logged names of validation metrics whose best value of a run is the lowest, or the highest."""
    return [f"val/{name}" for name in LOGGED_IN_VALIDATION if BY_NAME[name].better == end]
