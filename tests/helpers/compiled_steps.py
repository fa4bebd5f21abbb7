"""Compiles the training step of every model with every estimator, and prints, as JSON, of each pair the largest
difference from the step as it is, of loss and gradients, or why it cannot be compiled whole.

Run in a process of its own, since torch.compile does not go through the tests' type checks.
"""

import copy
import json
import sys

import torch
from torch.nn.utils import parameters_to_vector

from discrete_latents.config.compose import composed
from discrete_latents.models.compiled_loss import CompiledLoss
from discrete_latents.training.build import build_data, build_model
from scripts.common.estimator import make_estimator

EXPERIMENTS = ["vae_digits", "sbn_digits", "ssl_digits"]


def difference(experiment: str, latent: str) -> float | str:
    words = [f"experiment={experiment}", f"latent={latent}", "paths.output_dir=."]
    if experiment != "ssl_digits":
        words += ["model.num_latents=3", f"model.num_classes={2 if make_estimator(latent).bernoulli else 4}"]
    config = composed(words)
    torch.manual_seed(0)
    data = build_data(config)
    model = build_model(config, data)
    batch = next(iter(data.batches("train", 100, shuffled=True)))
    torch._dynamo.reset()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    steps = [model.training_loss, CompiledLoss(model.training_loss, trained, backend="aot_eager")]
    state = copy.deepcopy(model.state_dict())
    losses, gradients = [], []
    for step in steps:
        torch.manual_seed(1)
        model.load_state_dict(state)  # a baseline's moving average has a memory
        model.zero_grad()
        try:
            loss, _ = step(batch)
        except torch._dynamo.exc.TorchDynamoException as error:
            return str(error).splitlines()[0]
        loss.backward()
        losses.append(loss.item())
        found = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
        gradients.append(parameters_to_vector(found))
    scale = gradients[0].abs().max().item()
    return max(abs(losses[1] / losses[0] - 1), (gradients[1] - gradients[0]).abs().max().item() / scale)


def main() -> None:
    found = {}
    for latent in sys.argv[1:]:
        for experiment in EXPERIMENTS:
            if make_estimator(latent).bernoulli and experiment == "ssl_digits":
                continue  # of two classes alone
            found[f"{latent} {experiment}"] = difference(experiment, latent)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
