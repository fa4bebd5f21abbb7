"""Evaluation on a process for which no image is left: an empty batch changes nothing."""

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from discrete_latents import load_run
from discrete_latents.data import ImageData, digits
from discrete_latents.models import LatentModel


def evaluate(model: LatentModel, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> dict:
    trainer = pl.Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
    loader = DataLoader(batches, batch_size=None, collate_fn=tuple)  # type: ignore[arg-type]
    return dict(trainer.test(model, dataloaders=loader, verbose=False)[0])


@pytest.mark.parametrize("run", ["vae_run", "sbn_run", "ssl_run"])
def test_an_empty_batch_changes_no_metric(run, request):
    model = load_run(request.getfixturevalue(run)).model
    data = ImageData("digits", digits, eval_batch_size=100)
    data.setup()
    batches = list(data.test_dataloader())
    images, labels = batches[0]
    metrics = evaluate(model, batches)
    assert all(torch.tensor(value).isfinite() for value in metrics.values())
    assert evaluate(model, [*batches, (images[:0], labels[:0])]) == metrics
