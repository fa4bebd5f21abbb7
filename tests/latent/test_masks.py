"""A masked class is never drawn, has the gradient 0, and everything else is as if it was not there."""

import math

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import Estimator, Exact, HardBound, HardSampler, Learned
from discrete_latents.latent.distributions import (
    categorical_kl,
    categorical_log_prob,
    exp_concrete,
    exp_concrete_log_prob,
    sample_codes,
)
from tests.helpers.problems import LATENTS, make_estimator, traits
from tests.helpers.tables import rest_is_slow

FLOAT64 = torch.finfo(torch.float64).min
N, COPIES = 2, 4000

MASKS = {
    "first": [[0], []],
    "last": [[3], []],
    "middle of both": [[1, 2], [2]],
    "all but one": [[0, 1, 3], [0]],
    "everywhere": [[0, 3], [1, 2, 3]],
}
"""Which of four classes are masked, of each of two latents."""

SETTINGS = [(name, {}) for name in LATENTS] + [
    *((name, {"kl": "sampled"}) for name in ("st_gumbel", "gapped_straight_through", "darn", "reinmax", "gumbel_rao")),
    ("straight_through", {"kl": "sampled", "samples": 2}),
    ("gumbel_softmax", {"kl": "relaxed"}),
    ("gumbel_softmax", {"kl": "relaxed", "prior_temperature": 0.7}),
    ("reinforce", {"samples": 3}),
    ("muprop", {"normalize": True}),
]
"""Every estimator as its YAML has it, and its options."""


def masked_of(name: str, mask: str) -> Tensor:
    """(N, K), True where a class is masked; for two classes one of the first latent, in the last mask of both."""
    if traits(name).bernoulli:
        first = {"first": 0, "last": 1}.get(mask, 0)
        masked = torch.zeros(N, 2, dtype=torch.bool)
        masked[0, first] = True
        masked[1, 1 - first] = mask == "everywhere"
        return masked
    masked = torch.zeros(N, 4, dtype=torch.bool)
    for latent, classes in enumerate(MASKS[mask]):
        masked[latent, classes] = True
    return masked


class Small:
    """Two latents, whose masked classes are not there or have a logit that masks them. Each latent is drawn by a call
    of its own, so that both may have their own number of classes."""

    def __init__(self, masked: Tensor, with_prior: bool, value: float | None, copies: int) -> None:
        random = torch.Generator().manual_seed(3)
        classes = masked.shape[-1]
        logits, prior, weight = torch.randn(3, N, classes, generator=random, dtype=torch.float64)
        self.masked, self.with_prior = masked, with_prior
        keep = [torch.ones(classes, dtype=torch.bool) if value is not None else ~masked[n] for n in range(N)]
        fill = 0.0 if value is None else value
        self.leaves = [
            logits[n].masked_fill(masked[n], fill)[keep[n]].expand(copies, 1, -1).clone().requires_grad_()
            for n in range(N)
        ]
        self.priors = [prior[n].masked_fill(masked[n], fill)[keep[n]].unsqueeze(0).requires_grad_() for n in range(N)]
        self.weights = [weight[n][keep[n]] for n in range(N)]
        self.drawn: list[list[Tensor]] = [[], []]

    def __call__(self, sample) -> Tensor:
        total = 0.0
        for n in range(N):
            z = sample(self.leaves[n], prior=self.priors[n] if self.with_prior else None)
            self.drawn[n].append(z.detach())
            total = total + (z * self.weights[n]).sum((-1, -2))
        return -(total - 1).square()


def run(estimator: Estimator, masked: Tensor, with_prior: bool, value: float | None, copies: int = COPIES):
    """The problem, the bounds and the gradients of logits and priors after one call."""
    problem = Small(masked, with_prior, value, copies)
    bound = estimator(problem)
    leaves = problem.leaves + (problem.priors if with_prior else [])
    return problem, bound, torch.autograd.grad(bound.sum(), leaves)


def first_call(estimator: Estimator, masked: Tensor, with_prior: bool, value: float | None) -> None:
    """What an estimator learns is made; its baselines then stay as they are."""
    run(estimator, masked, with_prior, value, 2)
    estimator.eval()
    for buffer in estimator.buffers():
        if buffer.dim() == 0 and estimator.temperature is None:
            buffer.zero_()


def standard_errors(ours: Tensor, theirs: Tensor) -> Tensor:
    difference = ours.mean(0) - theirs.mean(0)
    error = ((ours.var(0) + theirs.var(0)) / len(ours)).sqrt()
    return (difference.abs() / error.clamp(min=1e-9)).max()


@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.parametrize(
    "mask", [mask if mask == "everywhere" else pytest.param(mask, marks=pytest.mark.slow) for mask in MASKS]
)
@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=str)
def test_it_is_as_if_a_masked_class_was_not_there(name: str, settings: dict, mask: str, with_prior: bool):
    """Bounds and gradients have the mean and variance of the problem without the masked classes; what is drawn is
    exact."""
    if settings.get("samples", 1) > 1 and settings.get("kl") != "sampled" and name != "reinforce":
        pytest.skip("no bound")
    if name == "mve_integer" and mask == "middle of both":
        pytest.skip("the classes are numbers: that of a later class does not change")
    masked = masked_of(name, mask)
    estimators = [make_estimator(name, 0.6, **settings) for _ in range(3)]
    if traits(name).bernoulli:  # not defined for the class that is left
        estimators[0] = Exact()
    same_variance = name not in ("nvil", "relax") and not traits(name).bernoulli  # whose networks have other sizes
    results = []
    for estimator, value in zip(estimators, (None, -math.inf, FLOAT64), strict=True):
        torch.manual_seed(4)
        first_call(estimator, masked, with_prior, value)
        torch.manual_seed(1 if value is None else 2)
        results.append(run(estimator, masked, with_prior, value))
    (_, bounds, gradients), *others = results
    for problem, bound, gradient in others:
        assert bound.isfinite().all()
        for n in range(N):
            assert all((z[..., masked[n]] == 0).all() for z in problem.drawn[n][: 1 if name != "exact" else 0])
        assert standard_errors(bound.detach(), bounds.detach()) < 5
        for index, (ours, theirs) in enumerate(zip(gradient, gradients, strict=True)):
            hidden = masked[index % N]
            assert (ours[..., hidden] == 0).all()
            assert ours.isfinite().all()
            if index < N:
                assert standard_errors(ours[..., ~hidden], theirs) < 5
                if same_variance:
                    assert standard_errors(ours[..., ~hidden].square(), theirs.square()) < 5
            else:
                torch.testing.assert_close(ours[..., ~hidden], theirs, rtol=0.1, atol=0.05 * COPIES)
    for ours, theirs in zip(others[0][2], others[1][2], strict=True):  # −inf and the lowest number, with equal noise
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", LATENTS)
@pytest.mark.parametrize("value", [-math.inf, "lowest"])
@pytest.mark.parametrize("dtype", rest_is_slow([torch.float16, torch.float32, torch.bfloat16, torch.float64], 1))
def test_all_classes_masked_is_an_error_and_one_left_is_not(name: str, value, dtype: torch.dtype):
    value = torch.finfo(dtype).min if value == "lowest" else value
    logits = torch.zeros(3, 2, 2, dtype=dtype)
    logits[1, 1] = value
    with pytest.raises(ValueError, match=r"^all 2 classes of a latent are masked; each latent"):
        make_estimator(name)(lambda sample: sample(logits).sum((-1, -2)))
    logits[1, 1, 0] = 0.0
    logits.requires_grad_()
    bound = make_estimator(name)(lambda sample: sample(logits, prior=logits[0].detach())[..., 1].double().sum(-1))
    bound.sum().backward()
    assert bound.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[1, 1, 1] == 0


def test_a_learned_temperature_is_trained_beside_masks():
    estimator = make_estimator("gumbel_softmax")
    estimator.temperature = Learned(0.5, 0.1)
    logits = torch.tensor([[0.0, -math.inf, 1.0]]).expand(50, 1, 3)
    estimator(lambda sample: sample(logits)[..., 0].square().sum(-1)).sum().backward()
    gradient = estimator.temperature.log_excess.grad
    assert gradient.isfinite()
    assert gradient != 0


@pytest.mark.parametrize("value", [-math.inf, torch.finfo(torch.float32).min])
def test_densities_and_divergences_leave_masked_classes_out(value: float):
    logits, prior = torch.randn(2, 5, 3, 4).unbind()
    hidden = torch.tensor([True, False, False, True])
    masked = logits.masked_fill(hidden, value).requires_grad_()
    masked_prior = prior[0].masked_fill(hidden, value).requires_grad_()
    kept, kept_prior = logits[..., ~hidden], prior[0][..., ~hidden]
    z = torch.nn.functional.one_hot(torch.tensor([[1, 2, 1]] * 5), 4).float()
    y = exp_concrete(masked.detach().clamp(min=-1e20), 0.4)
    pairs = {
        "kl": (categorical_kl(masked, masked_prior), categorical_kl(kept, kept_prior)),
        "log_prob": (categorical_log_prob(z, masked), categorical_log_prob(z[..., ~hidden], kept)),
        "density": (exp_concrete_log_prob(y, masked, 0.4), exp_concrete_log_prob(y[..., ~hidden], kept, 0.4)),
    }
    for ours, theirs in pairs.values():
        torch.testing.assert_close(ours, theirs)
        (gradient,) = torch.autograd.grad(ours.sum(), masked)
        assert gradient.isfinite().all()
        assert (gradient[..., hidden] == 0).all()
    whole = categorical_kl(masked, prior[0])  # a prior keeps the probability of a class that q masks
    lost = (1 - prior[0].softmax(-1)[..., hidden].sum(-1)).log().sum()
    torch.testing.assert_close(whole, categorical_kl(kept, kept_prior) - lost)


@pytest.mark.parametrize("value", [-math.inf, torch.finfo(torch.float32).min])
def test_what_the_prior_masks_and_q_does_not_is_infinitely_far(value: float):
    logits, prior = torch.zeros(5, 2, 3), torch.tensor([[0.0, value, 0.0], [0.0, 0.0, 0.0]])
    assert (categorical_kl(logits, prior) == math.inf).all()
    z = torch.nn.functional.one_hot(torch.tensor([[0, 2], [1, 1]]), 3).float()
    assert categorical_log_prob(z, prior).isneginf().tolist() == [False, True]
    assert (exp_concrete_log_prob(exp_concrete(logits, 0.5), prior, 0.5) == -math.inf).all()
    sampler = HardSampler((1000,), sampled=True)
    codes = sampler(logits, prior=prior).argmax(-1)
    assert torch.equal(sampler.kl == math.inf, codes[..., 0] == 1)
    assert HardBound(50)(lambda sample: sample(logits, prior=prior).sum((-1, -2))).isfinite().all()


@pytest.mark.parametrize("num_classes", [3, 50])
def test_masked_classes_are_never_drawn(num_classes: int):
    logits = torch.zeros(1, num_classes)
    logits[0, [0, 1, num_classes - 1]] = -math.inf
    if num_classes == 3:
        logits[0, 1] = 0.0
    drawn = sample_codes(logits, 100_000).unique()
    assert torch.equal(drawn, torch.arange(num_classes)[logits[0] == 0])
    with pytest.raises(ValueError, match="all 4 classes"):
        sample_codes(torch.full((1, 4), -math.inf), 3)
