"""Compiles the training step of every model with the estimators that are named, on a GPU, and prints, as JSON, of each
pair how many graphs a step launches once it is recorded, and how often torch chose not to record one.

Run in a process of its own, since torch.compile does not go through the tests' type checks.
"""

import json
import sys

import torch
from torch._dynamo.utils import counters
from torch.profiler import ProfilerActivity, profile

from discrete_latents.config.compose import composed
from discrete_latents.training.build import build_data, build_model

EXPERIMENTS = ["vae_digits", "sbn_digits", "ssl_digits"]


def replays(experiment: str, latent: str) -> dict[str, int]:
    config = composed([f"experiment={experiment}", f"latent={latent}", "paths.output_dir=."])
    data = build_data(config)
    model = build_model(config, data).cuda()
    optimizer = model.optimization.optimizer(model.parameters())
    torch._dynamo.reset()
    skipped = counters["inductor"]["cudagraph_skips"]
    model.compile_step()
    batches = iter(data.batches("train", 100, shuffled=True))

    def step() -> None:
        images, labels = next(batches)
        loss, _ = model.training_loss((images.cuda(), labels.cuda()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(5):
        step()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        step()
        torch.cuda.synchronize()
    launched = sum("GraphLaunch" in event.name for event in seen.events() or ())
    return {"skipped": counters["inductor"]["cudagraph_skips"] - skipped, "launched": launched}


def main() -> None:
    print(json.dumps({f"{latent} {name}": replays(name, latent) for latent in sys.argv[1:] for name in EXPERIMENTS}))


if __name__ == "__main__":
    main()
