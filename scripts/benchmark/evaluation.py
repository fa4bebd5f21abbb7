"""The time of the m-sample bound of a trained 784-512-256 VAE, against two loops by hand, interleaved by batch.

    ours      the model's own `evaluator`
    loop      encodes once, then draws and decodes one-hot vectors sample by sample
    naive     encodes anew for every sample (first batch only)

Bounds of different draws agree up to Monte Carlo error, and bounds of the same draws up to rounding; both are measured.

The benchmark starts it: python -m scripts.benchmark.evaluation PATH SETTINGS. SETTINGS is JSON: `data`, `device`,
`images` (test images), `samples` (m) and `steps` of training before. The result goes to PATH as JSON.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F

from discrete_latents.config.compose import composed
from discrete_latents.data import ImageData
from discrete_latents.models import CategoricalVAE
from discrete_latents.networks.onednn_linear import OneDNNLinear
from discrete_latents.training.build import build_data, build_model
from scripts.benchmark.cases import CASES
from scripts.benchmark.contenders import threads

BATCH = 500
"""Test images, at most."""


def trained_model(steps: int, samples: int, data: str, device: str) -> tuple[CategoricalVAE, Tensor]:
    """The model after `steps` steps on the CPU, and the test images; both on the device."""
    overrides = [*CASES["512-256"].settings(), f"eval_samples={samples}", f"paths.data_dir={data}"]
    config = composed([*overrides, "paths.output_dir=."])
    images = build_data(config)
    model = build_model(config, images)
    assert isinstance(model, CategoricalVAE)
    assert isinstance(images, ImageData)
    optimizer = model.optimization.optimizer(model.parameters())
    done = 0
    while done < steps:
        for batch in images.train_dataloader():
            optimizer.zero_grad()
            model.training_loss(batch)[0].backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
    return model.eval().to(device), images.first("test", len(images.pixels["test"]))[0].to(device)


class ByHand:
    """The same weights in torch's own layers, evaluated by a loop."""

    def __init__(self, model: CategoricalVAE) -> None:
        self.encoder, self.decoder = (layers_of_torch(network) for network in (model.encoder, model.decoder))
        self.mean, self.bias, self.prior = model.mean_image, model.output_bias, Categorical(logits=model.prior_logits)

    def encode(self, x: Tensor) -> Categorical:
        features = self.encoder(x - self.mean)
        return Categorical(logits=features.view(len(x), -1, self.prior.logits.shape[0]).transpose(1, 2))

    def log_weight(self, x: Tensor, posterior: Categorical, codes: Tensor) -> Tensor:
        """log p(x, z) − log q(z | x) of codes (B, N)."""
        z = F.one_hot(codes, posterior.logits.shape[-1]).float()
        output = self.decoder(z.transpose(1, 2).flatten(1)) + self.bias
        log_likelihood = -F.binary_cross_entropy_with_logits(output, x, reduction="none").flatten(1).sum(1)
        return log_likelihood + (self.prior.log_prob(codes) - posterior.log_prob(codes)).sum(1)

    @torch.no_grad()
    def bound(self, x: Tensor, samples: int, encode_anew: bool) -> Tensor:
        posterior, weights = self.encode(x), []
        for _ in range(samples):
            posterior = self.encode(x) if encode_anew else posterior
            weights.append(self.log_weight(x, posterior, posterior.sample()))
        return torch.logsumexp(torch.stack(weights), 0) - math.log(samples)


def layers_of_torch(network: nn.Module) -> nn.Sequential:
    return nn.Sequential(*(linear(layer) if isinstance(layer, OneDNNLinear) else layer for layer in network.children()))


def linear(layer: OneDNNLinear) -> nn.Linear:
    made = nn.Linear(layer.in_features, layer.out_features)
    made.load_state_dict(layer.state_dict())
    return made.to(layer.weight.device)


@torch.no_grad()
def same_draws(model: CategoricalVAE, by_hand: ByHand, x: Tensor) -> float:
    """The largest difference between the bounds of an image when the loop decodes the model's own draws, nats."""
    drawn: list[Tensor] = []
    objective = model.objective((x, torch.empty(0)))

    def remembering(sampler):  # type: ignore[no-untyped-def]
        value = objective(sampler)
        drawn.extend(codes.flatten(0, -3) for codes in sampler.codes)
        return value

    bound = model.evaluator(remembering)
    codes = torch.cat(drawn)
    posterior = by_hand.encode(x)
    weights = torch.stack([by_hand.log_weight(x, posterior, each) for each in codes])
    return float((torch.logsumexp(weights, 0) - math.log(len(codes)) - bound).abs().max())


def timed(function: Callable[[], Tensor]) -> tuple[float, Tensor]:
    started = time.perf_counter()
    bound = function().cpu()
    return time.perf_counter() - started, bound


def main() -> None:
    path, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(threads())
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    m = settings["samples"]
    model, images = trained_model(settings["steps"], m, settings["data"], settings["device"])
    by_hand = ByHand(model)
    seconds: dict[str, list[float]] = {"ours": [], "loop": [], "naive": []}
    differences: list[Tensor] = []
    for index, x in enumerate(images[: settings["images"]].split(BATCH)):
        taken, ours = timed(lambda x=x: model.evaluator(model.objective((x, torch.empty(0)))))
        seconds["ours"].append(taken)
        taken, loop = timed(lambda x=x: by_hand.bound(x, m, encode_anew=False))
        seconds["loop"].append(taken)
        differences.append(ours - loop)
        if index == 0:
            seconds["naive"].append(timed(lambda x=x: by_hand.bound(x, m, encode_anew=True))[0])
    difference = torch.cat(differences).tolist()
    ratios = [own / loop for own, loop in zip(seconds["ours"], seconds["loop"], strict=True)]
    results = {
        "m": m,
        "images": len(difference),
        "seconds": {name: sum(values) for name, values in seconds.items()},
        "naive_images": min(BATCH, len(difference)),
        "ratio": median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "naive_ratio": seconds["naive"][0] / seconds["loop"][0],
        "difference": mean(difference),
        "standard_error": stdev(difference) / math.sqrt(len(difference)),
        "same_draws_difference": same_draws(model, by_hand, images[:50]),
    }
    path.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
