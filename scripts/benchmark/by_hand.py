"""`experiment=vae_mnist` by hand: a plain loop without Lightning, with the same evaluation and pictures.

The benchmark starts it: python -m scripts.benchmark.by_hand PATH SETTINGS. SETTINGS is JSON: `data`, `device`,
`epochs`, `samples` (m of the test's nll), and `nats` and `images`, which may be null: training ends after the first
epoch in which the nll (m = 1000) of the first validation images is at most `nats`, and nothing is tested.

The result goes to PATH as JSON: epochs, seconds without start-up and without that nll, and the last nll. As in the
experiment, the temperature is annealed, the learning rate falls in the second half, each epoch ends with a validation
by one hard sample of each image and a checkpoint, each tenth with pictures, and the best weights are tested. The prior
is uniform.
"""

import copy
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import functional as F
from torchvision import datasets
from torchvision.utils import save_image

from scripts.benchmark.cases import CASES
from scripts.benchmark.contenders import CLASSES, LATENTS, VAE, threads

CLOSE = 4.0
"""An nll of 100 samples is above one of 1000 by at most so many nats: 2.6 were seen."""


def binary(data: datasets.MNIST, device: str) -> Tensor:
    return torch.bernoulli(data.data.flatten(1).float() / 255).to(device)


@torch.no_grad()
def nll(model: VAE, x: Tensor, samples: int) -> Tensor:
    """−log p(x) by the bound of m samples, (B,), nats; with one sample, the negative ELBO of that draw."""
    posterior = Categorical(logits=model.encoder(x).view(-1, LATENTS, CLASSES))
    weights = []
    for _ in range(samples):
        codes = posterior.sample()
        output = model.decoder(F.one_hot(codes, CLASSES).float().flatten(1))
        log_likelihood = -F.binary_cross_entropy_with_logits(output, x, reduction="none").sum(1)
        weights.append(log_likelihood - LATENTS * math.log(CLASSES) - posterior.log_prob(codes).sum(1))
    return math.log(samples) - torch.logsumexp(torch.stack(weights), 0)


def mean_nll(model: VAE, images: Tensor, samples: int, batch: int) -> float:
    return float(torch.cat([nll(model, x, samples) for x in images.split(batch)]).mean())


@torch.no_grad()
def draw(model: VAE, images: Tensor, folder: Path) -> None:
    codes = Categorical(logits=model.encoder(images).view(-1, LATENTS, CLASSES)).sample()
    uniform = torch.randint(CLASSES, (80, LATENTS), device=images.device)
    for name, drawn in (("reconstructions", codes), ("samples", uniform)):
        shown = model.decoder(F.one_hot(drawn, CLASSES).float().flatten(1)).sigmoid()
        save_image(shown.view(-1, 1, 28, 28), folder / f"by_hand_{name}.png")


def run(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    case, epochs, device = CASES["vae_mnist"], settings["epochs"], settings["device"]
    training, test = (binary(datasets.MNIST(settings["data"], train), device) for train in (True, False))
    images, validation = training[:50_000], training[50_000:]
    model = VAE(case).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    total, step, asking, best, kept, last = epochs * math.ceil(len(images) / case.batch), 0, 0.0, math.inf, None, None
    begun, epoch = time.perf_counter(), 0
    for epoch in range(1, epochs + 1):
        for index in torch.randperm(len(images), device=device).split(case.batch):
            model.temperature = max(0.5, math.exp(-1e-4 * (step - step % 500)))
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * min(1.0, 2 * (1 - step / total))
            loss = model.loss(images[index])["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        nelbo = mean_nll(model, validation, 1, case.batch)
        if nelbo < best:
            best, kept = nelbo, copy.deepcopy(model.state_dict())
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / "by_hand.ckpt")
        if epoch % 10 == 0:
            draw(model, validation[:80], folder)
        if settings["nats"] is not None:
            asked = time.perf_counter()
            last = mean_nll(model, validation[: settings["images"]], 100, 1000)
            if last <= settings["nats"] + CLOSE:
                last = mean_nll(model, validation[: settings["images"]], 1000, 1000)
            asking += time.perf_counter() - asked
            if last <= settings["nats"]:
                break
    else:
        if settings["nats"] is None and kept is not None:
            model.load_state_dict(kept)
            last = mean_nll(model, test, settings["samples"], case.batch)
    return {"epochs": epoch, "seconds": time.perf_counter() - begun - asking, "nll": last}


def main() -> None:
    path, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(threads())
    torch.manual_seed(0)
    path.write_text(json.dumps(run(settings, path.parent)))


if __name__ == "__main__":
    main()
