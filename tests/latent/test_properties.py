"""What holds of every estimator for any size, precision, layout in memory and size of the logits."""

import copy
from contextlib import nullcontext
from functools import cache
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.latent import Estimator, MuProp, Rebar
from tests.helpers.problems import LATENTS, make_estimator, traits

made = cache(make_estimator)
same_every_time = settings(derandomize=True, deadline=None, database=None)

HALVES = (torch.bfloat16, torch.float16)


class Case(NamedTuple):
    """Logits, (B, N, K), of some precision, layout and size, and how they are used."""

    batch: int
    latents: int
    classes: int
    dtype: torch.dtype
    layout: str
    kind: str
    prior: bool
    layers: int
    temperature: float
    slope: float
    seed: int


CASES = st.builds(
    Case,
    batch=st.sampled_from([1, 2, 5]),
    latents=st.sampled_from([1, 2, 3]),
    classes=st.sampled_from([2, 3, 4]),
    dtype=st.sampled_from([torch.float32, torch.float64, *HALVES]),
    layout=st.sampled_from(["contiguous", "transposed", "strided", "expanded"]),
    kind=st.sampled_from(["normal", "equal", "huge", "masked", "dominated", "alternating"]),
    prior=st.booleans(),
    layers=st.sampled_from([1, 2]),
    temperature=st.sampled_from([0.05, 1.0, 20.0]),
    slope=st.sampled_from([1.0, 300.0]),
    seed=st.integers(0, 1000),
)


def values(case: Case) -> Tensor:
    """Logits as they come, or as they come to be: all alike, ±1e4, all but one class ruled out, one far ahead."""
    normal = torch.randn(case.batch, case.latents, case.classes, dtype=torch.float64)
    first = F.one_hot(torch.zeros_like(normal[..., 0], dtype=torch.int64), case.classes).double()
    return {
        "normal": normal,
        "equal": torch.zeros_like(normal) + 3.0,
        "huge": normal.sign() * 1e4,
        "masked": torch.where(first > 0, 0.0, -1e4 if case.dtype in HALVES else -1e9),
        "dominated": normal + 1e4 * first,
        "alternating": torch.full_like(normal, -1e4) * torch.arange(case.classes).remainder(2),
    }[case.kind]


def laid_out(x: Tensor, layout: str) -> Tensor:
    """The same numbers, otherwise in memory, as a view of a leaf."""
    match layout:
        case "transposed":
            return x.transpose(-1, -2).contiguous().transpose(-1, -2)
        case "strided":
            return torch.stack([x, -x], -1).flatten(-2)[..., ::2]
        case "expanded":
            return x[:1].expand_as(x)
    return x.contiguous()


class Seen:
    """An objective that keeps what it is given: one or two layers of latents under a log-likelihood of -1 or
    -1e5 nats."""

    def __init__(self, case: Case, logits: Tensor) -> None:
        self.case, self.logits = case, logits
        self.drawn: list[Tensor] = []
        self.weight = case.slope * torch.randn(case.latents, case.classes, dtype=logits.dtype)
        self.prior = torch.randn(case.latents, case.classes).to(torch.promote_types(logits.dtype, torch.float32))
        self.prior.requires_grad_()

    def __call__(self, sample) -> Tensor:
        z = sample(self.logits, prior=self.prior) if self.case.prior else sample(self.logits)
        self.drawn.append(z)
        if self.case.layers == 2:
            z = sample(z * self.weight + self.logits)
            self.drawn.append(z)
        total = (z * self.weight).sum((-1, -2))
        return -(total.to(torch.promote_types(total.dtype, torch.float32)) - 1).square()


def run(name: str, case: Case) -> tuple[Estimator, Seen, Tensor, Tensor, Tensor]:
    """The estimator, what its objective saw, the leaf below the logits, the logits, and the bound after a backward
    pass; half precisions as they come under autocast."""
    if traits(name).bernoulli:
        case = case._replace(classes=2)
    if case.dtype == torch.float16:  # whose gradients overflow at 65504: what Lightning's scaler is for
        case = case._replace(slope=1.0)
    torch.manual_seed(case.seed)
    estimator = copy.deepcopy(made(name, case.temperature))
    leaf = values(case).to(case.dtype).requires_grad_()
    logits = laid_out(leaf, case.layout)
    seen = Seen(case, logits)
    with torch.autocast("cpu", case.dtype) if case.dtype in HALVES else nullcontext():
        bound = estimator(seen)
    bound.sum().backward()
    return estimator, seen, leaf, logits, bound


@pytest.mark.parametrize("name", LATENTS)
@settings(same_every_time, max_examples=40)
@given(case=CASES)
def test_bound_gradients_and_draws(name: str, case: Case):
    """The bound and its gradients are finite, and all has its own shape and precision; what is drawn is a class, or a
    distribution over classes where that is meant."""
    estimator, seen, leaf, logits, bound = run(name, case)
    assert bound.shape == (case.batch,)
    assert bound.dtype == torch.promote_types(case.dtype, torch.float32)
    assert bound.isfinite().all()
    assert leaf.grad is not None
    assert (leaf.grad.shape, leaf.grad.dtype) == (leaf.shape, case.dtype)
    for trained in (leaf, seen.prior, *estimator.parameters()):
        assert trained.grad is None or trained.grad.isfinite().all()

    tolerance = {torch.bfloat16: 2e-2, torch.float16: 4e-3}.get(case.dtype, 1e-5)
    for z in seen.drawn:
        assert z.shape[-3:] == logits.shape
        assert z.dtype == case.dtype
        assert (z >= 0).all()
        assert (z.double().sum(-1) - 1).abs().max() < tolerance
    # The runs after the first are those of control variates, which are soft.
    hard = seen.drawn[: case.layers] if isinstance(estimator, MuProp | Rebar) else seen.drawn
    if not estimator.relaxed:
        assert all(((z == 0) | (z == 1)).all() for z in hard)


@pytest.mark.parametrize("name", [name for name in LATENTS if name != "exact"])  # which gives every class
@settings(same_every_time, max_examples=8)
@given(case=CASES)
def test_a_class_that_is_ruled_out_is_not_drawn(name: str, case: Case):
    _, seen, *_ = run(name, case._replace(kind="masked", temperature=1.0))
    assert (seen.drawn[0][..., 0] == 1).all()
    assert (seen.drawn[0][..., 1:] == 0).all()
