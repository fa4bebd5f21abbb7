"""What the contenders of `benchmark.py` train: the same model by hand and by train.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A model on MNIST with 20×10 latents, batch 100 and τ from 1.

    model: "vae", "structured" (top half to bottom half, 392-(20×10)-(20×10)-392) or "semi_supervised" (M2 without a
    convolution: 100 unlabelled and 50 labelled images a step; the class, and 32 Gaussian styles). encoder, decoder:
    hidden widths, of both encoders of the last. device: "cpu" or "cuda".
    """

    model: str
    encoder: tuple[int, ...] = ()
    decoder: tuple[int, ...] = ()
    batch: int = 100
    device: str = "cpu"

    def settings(self) -> list[str]:
        """Of train.py."""
        words = [*EXPERIMENTS[self.model], f"data.batch_size={self.batch}", "optimizer.hold=1.0"]
        words += [f"trainer={TRAINERS[self.device]}"]
        if self.model != "structured":
            words += [f"model.network.hidden={list(self.encoder)}"]
            words += [f"model.network.decoder_hidden={list(self.decoder)}"]
        return words


TRAINERS = {"cpu": "cpu", "cuda": "gpu"}

EXPERIMENTS = {
    "vae": ["experiment=vae_mnist"],
    "structured": ["experiment=sbn_mnist"],
    # Without what a loop by hand would leave out: convolutions, shifted images, dropout, a warm-up.
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
"""By the name that a table shows: the VAE's networks, `vae_mnist` with that experiment's own, then the other models."""
