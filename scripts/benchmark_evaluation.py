"""The m = 1000 bound of a trained 784-512-256 VAE: by this project and by two loops by hand, batch by batch in turn.

    python benchmark_evaluation.py PATH --data DATA     # JSON goes to PATH; benchmark.py starts it

    ours      the model's own `evaluator`
    loop      encodes once, draws and decodes one-hot vectors sample by sample
    naive     the same, and encodes anew for every sample (the first batch alone)

Bounds of different draws agree to Monte-Carlo error; of the same draws to rounding, which is measured apart.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev

import torch
from benchmark_cases import CASES
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F

from discrete_latents.config.compose import composed
from discrete_latents.models import CategoricalVAE
from discrete_latents.networks.onednn_linear import OneDNNLinear
from discrete_latents.training.build import build_data, build_model

BATCH = 500


def trained(steps: int, samples: int, data: Path, device: str) -> tuple[CategoricalVAE, Tensor]:
    """The model and the test images."""
    words = [*CASES["512-256"].settings(), f"eval_samples={samples}", f"paths.data_dir={data}", "paths.output_dir=."]
    config = composed(words)
    images = build_data(config)
    model = build_model(config, images)
    assert isinstance(model, CategoricalVAE)
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
    """The same weights in torch's own layers."""

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
    """The largest difference of an image's bound where the loop decodes what the model drew, nats."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2000, help=f"test images, in batches of at most {BATCH}")
    parser.add_argument("--samples", type=int, default=1000, help="m")
    parser.add_argument("--steps", type=int, default=1000, help="of training before, on the CPU")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    model, images = trained(arguments.steps, arguments.samples, arguments.data, arguments.device)
    by_hand, m = ByHand(model), arguments.samples
    seconds: dict[str, list[float]] = {"ours": [], "loop": [], "naive": []}
    differences: list[Tensor] = []
    for index, x in enumerate(images[: arguments.images].split(BATCH)):
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
    arguments.path.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
