"""torch.func, inference mode, no latents at all, and a generator of one's own."""

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from discrete_latents.latent import Estimator, Exact, HardBound, HardSampler, Objective, Pathwise
from discrete_latents.latent.distributions import (
    conditional_gumbels,
    exp_concrete,
    gumbel_like,
    sample,
    sample_codes,
)
from tests.helpers.problems import ENUMERATE, LATENTS, make_estimator, traits

B, N, COPIES = 3, 2, 50

DIFFERENTIATE = [name for name in LATENTS if traits(name).differentiates]
"""They take a gradient within, by torch.autograd.grad, which torch.func refuses."""

OBSERVE = ["nvil", "reinforce"]
"""In training mode their baselines observe the signal, a change of state, which torch.func refuses."""


def problem(name: str) -> tuple[Tensor, "object"]:
    """Logits, and an estimator's bounds as a function of it and of them."""
    classes = 2 if traits(name).bernoulli else 3
    logits, weight, prior = torch.randn(B, N, classes), torch.randn(N, classes), torch.randn(N, classes)

    def bound(estimator: Estimator, logits: Tensor, **source) -> Tensor:
        return estimator(lambda sample: (sample(logits, prior=prior) * weight).sum((-1, -2)).square(), **source)

    return logits, bound


def ready(name: str, logits: Tensor, bound) -> Estimator:
    """In evaluation mode, after what it learns has been made."""
    estimator = make_estimator(name, 0.7)
    bound(estimator, logits)
    return estimator.eval()


@pytest.mark.parametrize("name", [name for name in LATENTS if name not in DIFFERENTIATE])
def test_estimators_under_vmap_and_grad(name: str):
    logits, bound = problem(name)
    estimator = ready(name, logits, bound)
    if name not in OBSERVE:
        estimator.train()
    copies = logits.expand(COPIES, B, N, -1)
    gradients = vmap(grad(lambda logits: bound(estimator, logits).sum()), randomness="different")
    for draws in (
        vmap(lambda logits: bound(estimator, logits), randomness="different")(copies),
        vmap(lambda _: bound(estimator, logits), randomness="different")(torch.zeros(COPIES)),
        gradients(copies).flatten(1),
    ):
        assert len(draws) == COPIES
        assert draws.isfinite().all()
        assert name in ENUMERATE or (draws.std(0) > 0).any()
    torch.manual_seed(3)
    ours = grad(lambda logits: bound(estimator, logits).sum())(logits)
    torch.manual_seed(3)
    leaf = logits.clone().requires_grad_()
    torch.testing.assert_close(ours, torch.autograd.grad(bound(estimator, leaf).sum(), leaf)[0])


@pytest.mark.parametrize("name", DIFFERENTIATE + OBSERVE)
def test_those_that_cannot_say_so(name: str):
    logits, bound = problem(name)
    estimator = ready(name, logits, bound).train()
    with pytest.raises(RuntimeError):
        grad(lambda logits: bound(estimator, logits).sum())(logits)


DRAWS = {
    "sample_codes": lambda logits, **source: sample_codes(logits, 4, **source).double(),
    "many classes": lambda logits, **source: sample_codes(logits.repeat(1, 1, 20), 4, **source).double(),
    "sample": sample,
    "gumbel_like": gumbel_like,
    "conditional_gumbels": lambda logits, **source: conditional_gumbels(
        logits, torch.eye(3)[torch.zeros(B, N, dtype=torch.int64)], **source
    ),
    "exp_concrete": lambda logits, **source: exp_concrete(logits, 0.5, **source),
    "HardSampler": lambda logits, **source: HardSampler((2,), **source)(logits),
    "normal": lambda logits, **source: HardSampler((2,), **source).normal(logits[..., 0], logits[..., 1]),
    "HardBound": lambda logits, **source: HardBound(4, 3)(
        lambda sample: (sample(logits, prior=torch.zeros(3)) * torch.arange(3)).sum((-1, -2)), **source
    ),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_hard_draws_and_noise_under_vmap_and_grad(draw):
    logits = torch.randn(B, N, 3)
    draws = vmap(lambda _: draw(logits), randomness="different")(torch.zeros(COPIES))
    assert (draws.std(0) > 0).any()
    same = vmap(lambda _: draw(logits), randomness="same")(torch.zeros(4))
    assert (same == same[0]).all()
    grad(lambda logits: draw(logits).sum())(logits)


def check_generator(draw) -> None:
    """One seed, one draw; two seeds, two; and torch's global state stays."""
    torch.manual_seed(0)
    state, draws = torch.get_rng_state(), []
    for seed in (5, 5, 6):
        draws.append(draw(generator=torch.Generator().manual_seed(seed)))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    draw()
    assert not torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_functions_draw_from_a_generator(draw):
    logits = torch.randn(B, N, 3)
    check_generator(lambda **source: draw(logits, **source))


@pytest.mark.parametrize("name", [name for name in LATENTS if name not in ENUMERATE])
def test_estimators_draw_from_a_generator(name: str):
    """What they learn too is made from it, at the first call."""
    logits, bound = problem(name)
    estimators = iter([make_estimator(name, 0.7) for _ in range(8)])
    check_generator(lambda **source: bound(next(estimators), logits, **source))
    layer = next(estimators)
    if isinstance(layer, Pathwise):
        check_generator(lambda **source: layer(logits.expand(50, B, N, -1), **source))


@pytest.mark.parametrize("name", LATENTS)
def test_inference_mode_gives_a_value(name: str):
    logits, bound = problem(name)
    estimator = make_estimator(name, 0.7)
    with torch.inference_mode():
        assert bound(estimator, logits).isfinite().all()
    assert bound(estimator, logits.requires_grad_()).requires_grad


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")  # torch's own, of a network of no inputs
@pytest.mark.parametrize("evaluate", [*LATENTS, HardBound(3)], ids=str)
def test_no_latents_leave_the_objectives_value(evaluate):
    estimator = make_estimator(evaluate) if isinstance(evaluate, str) else evaluate
    classes = 2 if isinstance(estimator, Estimator) and estimator.bernoulli else 3
    value = torch.tensor([1.0, -2.0, 0.5])

    def objective(classes: int) -> Objective:
        logits, prior = torch.zeros(B, 0, classes, requires_grad=True), torch.zeros(0, classes)
        return lambda sample: sample(logits, prior=prior).sum((-1, -2)) + value

    bound = estimator(objective(classes))
    torch.testing.assert_close(bound.detach(), value)


def test_exact_counts_one_configuration_of_no_latents():
    two = torch.randn(B, 1, 2)
    bound = Exact()(lambda sample: sample(torch.zeros(B, 0, 5)).sum((-1, -2)) + sample(two)[..., 0].sum(-1))
    torch.testing.assert_close(bound, two.softmax(-1)[:, 0, 0])
