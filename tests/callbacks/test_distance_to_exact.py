"""The distance to the exact bound and gradient, on a model small enough to enumerate."""

import pytest
import torch

from discrete_latents.callbacks import DistanceToExact
from discrete_latents.latent import Exact, GumbelSoftmax, STGumbel
from discrete_latents.latent.gradients import draw_gradient
from tests.helpers.fitting import fit, make_model


def test_the_exact_estimator_is_at_no_distance_and_a_soft_one_is():
    estimators = {"exact": Exact(), "soft": GumbelSoftmax(1.0), "sharp": GumbelSoftmax(0.05), "hard": STGumbel(1.0)}
    logged, _ = fit([DistanceToExact(estimators, repeats=60, count=20)], make_model(Exact()), "exactness")
    assert logged["exactness/exact/bound"] == pytest.approx(0, abs=1e-5)
    assert logged["exactness/exact/bias"] == pytest.approx(0, abs=1e-5)
    assert logged["exactness/exact/noise"] == pytest.approx(0, abs=1e-5)
    assert logged["exactness/soft/bound"] > 3 * abs(logged["exactness/sharp/bound"])
    assert logged["exactness/soft/bias"] > 0.05
    assert logged["exactness/sharp/noise"] > logged["exactness/soft/noise"] > 0
    assert abs(logged["exactness/hard/bound"]) < 0.05


def test_the_gradient_is_that_for_the_logits():
    model = make_model(Exact())
    batch = torch.rand(4, 1, 8, 8).round(), torch.zeros(4, dtype=torch.int64)
    _, gradient = draw_gradient(Exact(), model.objective(batch))
    bias = model.encoder[-1].bias
    expected = torch.autograd.grad(Exact()(model.objective(batch)).sum(), bias)[0]
    torch.testing.assert_close(gradient.sum(0).t().flatten(), expected)


def test_watching_does_not_change_the_training():
    weights = []
    for callbacks in ([], [DistanceToExact({"soft": GumbelSoftmax(1.0)}, repeats=2, count=5)]):
        torch.manual_seed(0)
        model = make_model(Exact())
        fit(callbacks, model, "exactness")
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(*weights)
