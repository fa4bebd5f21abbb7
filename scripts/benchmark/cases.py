"""The models of the benchmark: each the same by hand and by train.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A model on MNIST with 20×10 latents, τ from 1.

    Args:
        model: "vae", "structured" (top half to bottom half, 392-(20×10)-(20×10)-392) or "semi_supervised" (M2 without
            convolutions: a class and 32 Gaussian latents; 50 labelled images a step beside the unlabelled ones).
        encoder, decoder: hidden widths; "semi_supervised" has two encoders of these widths.
        batch: images a step.
        device: "cpu" or "cuda".
    """

    model: str
    encoder: tuple[int, ...] = ()
    decoder: tuple[int, ...] = ()
    batch: int = 100
    device: str = "cpu"

    def settings(self) -> list[str]:
        """Overrides of train.py."""
        overrides = [*EXPERIMENTS[self.model], f"data.batch_size={self.batch}", "lr_schedule.hold=1.0"]
        overrides += [f"trainer={TRAINERS[self.device]}"]
        if self.model != "structured":
            overrides += [
                f"model.network.hidden={list(self.encoder)}",
                f"model.network.decoder_hidden={list(self.decoder)}",
            ]
        return overrides


TRAINERS = {"cpu": "cpu", "cuda": "gpu"}

EXPERIMENTS = {
    "vae": ["experiment=vae_mnist"],
    "structured": ["experiment=sbn_mnist"],
    # A loop by hand has no convolutions, shifted images, dropout or warm-up.
    "semi_supervised": [
        "experiment=ssl_mnist",
        "model.classifier=null",
        "model.dropout=0.0",
        "model.warmup=0",
        "data.augmentation=null",
        "data.binarization=fixed",
    ],
}

CASES = {
    "linear": Case("vae"),
    "vae_mnist": Case("vae", (), (200,)),
    "200": Case("vae", (200,), (200,)),
    "512-256": Case("vae", (512, 256), (256, 512)),
    "structured": Case("structured"),
    "semi-supervised": Case("semi_supervised", (512, 256), (256, 512)),
}
"""By name in the report: VAEs by their networks (`vae_mnist` has that experiment's), then the other models."""
