"""The distance to the exact bound and gradient, on a model small enough to enumerate."""

import lightning.pytorch as pl
import pytest
import torch

from discrete_latents.callbacks import DistanceToExact
from discrete_latents.data import ImageData, digits
from discrete_latents.latent import Exact, GumbelSoftmax, STGumbel
from discrete_latents.latent.gradients import draw_gradient
from discrete_latents.likelihoods import Bernoulli
from discrete_latents.models import CategoricalVAE
from discrete_latents.networks import MLP
from discrete_latents.optimization import Optimization


def make_model(num_latents: int = 2) -> CategoricalVAE:
    return CategoricalVAE(
        image_shape=(1, 8, 8),
        num_latents=num_latents,
        num_classes=3,
        network=MLP,
        estimator=Exact(),
        likelihood=Bernoulli(),
        optimization=Optimization(torch.optim.Adam, lr=1e-2),
    )


def train(callbacks: list[pl.Callback], model: CategoricalVAE) -> dict[str, float]:
    data = ImageData("digits", digits)
    trainer = pl.Trainer(
        max_epochs=2,
        limit_train_batches=5,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    data.setup()
    trainer.fit(model, datamodule=data)
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("exactness")}


def test_the_exact_estimator_is_at_no_distance_and_a_soft_one_is():
    estimators = {"exact": Exact(), "soft": GumbelSoftmax(1.0), "sharp": GumbelSoftmax(0.05), "hard": STGumbel(1.0)}
    logged = train([DistanceToExact(estimators, repeats=60, count=20)], make_model())
    assert logged["exactness/exact/bound"] == pytest.approx(0, abs=1e-5)
    assert logged["exactness/exact/bias"] == pytest.approx(0, abs=1e-5)
    assert logged["exactness/exact/noise"] == pytest.approx(0, abs=1e-5)
    assert logged["exactness/soft/bound"] > 3 * abs(logged["exactness/sharp/bound"])
    assert logged["exactness/soft/bias"] > 0.05
    assert logged["exactness/sharp/noise"] > logged["exactness/soft/noise"] > 0
    assert abs(logged["exactness/hard/bound"]) < 0.05


def test_the_gradient_is_that_for_the_logits():
    model = make_model()
    batch = torch.rand(4, 1, 8, 8).round(), torch.zeros(4, dtype=torch.int64)
    _, gradient = draw_gradient(Exact(), model.objective(batch))
    bias = model.encoder[-1].bias
    expected = torch.autograd.grad(Exact()(model.objective(batch)).sum(), bias)[0]
    torch.testing.assert_close(gradient.sum(0).t().flatten(), expected)


def test_watching_does_not_change_the_training():
    weights = []
    for callbacks in ([], [DistanceToExact({"soft": GumbelSoftmax(1.0)}, repeats=2, count=5)]):
        torch.manual_seed(0)
        model = make_model()
        train(callbacks, model)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(*weights)
