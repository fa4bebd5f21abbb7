"""Draws are those of q: the exact effective distribution of the sampler, the tails of the noise, and counts."""

import math

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from discrete_latents.latent import HardBound, STGumbel, distributions, noise
from discrete_latents.latent.distributions import gumbel_like, sample, sample_codes
from tests.helpers.problems import ENUMERATE, LATENTS, make_estimator, traits


def zipf(num_classes: int, power: float = 1.0) -> Tensor:
    return -power * torch.arange(1, num_classes + 1, dtype=torch.float64).log()


def of(*probabilities: float) -> Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


LOGITS = {
    "rare first": of(1e-8, 1 - 1e-8),
    "rare last": of(1 - 1e-8, 1e-8),
    "rarer": of(1e-10, 0.5, 0.5 - 1e-10),
    "rarest": torch.tensor([-25.0, 0.0, -36.0], dtype=torch.float64),
    "even": torch.zeros(3, dtype=torch.float64),
    "far from zero": torch.tensor([1000.0, 1001.0, 999.5], dtype=torch.float64),
    "low": torch.tensor([-2000.0, -2001.0, -2000.5], dtype=torch.float64),
    "masked": torch.tensor([-math.inf, 0.0, -math.inf, 1.0, -math.inf], dtype=torch.float64),
    "40 classes": zipf(40, 3.0),
    "Zipf of 1e5": zipf(100_000),
    "Zipf of 1e6": zipf(1_000_000, 1.2),
    "1e6 even": torch.zeros(1_000_000, dtype=torch.float64),
}
DTYPES = [torch.float32, torch.float64]


def probability_up_to(logits: Tensor, classes: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The largest uniform number that gives a class of at most each of `classes`, by bisection of the sampler."""
    low, high = torch.zeros(2, len(classes), dtype=torch.float64)
    high += 1
    for _ in range(60):
        middle = (low + high) / 2
        monkeypatch.setattr(distributions, "uniform", lambda shape, _, u=middle: u.clamp(min=1e-300).reshape(shape))
        below = sample_codes(logits.unsqueeze(0), len(classes)).squeeze(-1) <= classes
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("logits", LOGITS.values(), ids=LOGITS)
def test_the_effective_distribution_is_q(logits: Tensor, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    """To 1e-9, and each rare class to a share of 1e-5 of its own probability."""
    logits = logits.to(dtype)
    q = logits.double().softmax(-1)
    count = len(q)
    chosen = torch.arange(count) if count < 100 else torch.cat([torch.arange(50), torch.randint(count, (500,))])
    chosen = chosen.unique()
    up_to = probability_up_to(logits, torch.cat([chosen - 1, chosen]), monkeypatch)
    before, including = up_to.unflatten(0, (2, -1))
    # The last class takes what is left: every uniform number gives some class.
    assert not (chosen == count - 1).any() or including[chosen == count - 1] > 1 - 1e-15
    effective = including - before
    assert (effective - q[chosen]).abs().max() < 1e-9
    large = q[chosen] > 1e-10
    torch.testing.assert_close(effective[large], q[chosen][large], rtol=1e-5, atol=0)
    assert (effective[q[chosen] == 0] < 1e-17).all()


@pytest.mark.parametrize("logits", [[-25.0, 0.0], [0.0, -25.0], [-18.4, 0.0, 1.0]])
def test_the_hard_bound_is_a_lower_bound(logits: list[float], monkeypatch: pytest.MonkeyPatch):
    """E[exp(bound)] = p(x), here 1, with the effective probabilities: that of a rare class is multiplied by 1e10."""
    q = torch.tensor(logits).unsqueeze(0)
    classes = torch.arange(q.shape[-1])
    up_to = probability_up_to(q.squeeze(0), classes, monkeypatch)
    effective = torch.diff(up_to, prepend=torch.zeros(1, dtype=torch.float64))
    weights = []
    for k in classes:
        monkeypatch.setattr(distributions, "uniform", lambda shape, _, u=up_to[k]: u.expand(shape) * (1 - 1e-13))
        bound = HardBound(1)(lambda sample: sample(q.unsqueeze(0), prior=torch.zeros_like(q)).sum((-1, -2)) * 0)
        weights.append(bound.double().exp())
    assert (effective * torch.cat(weights)).sum() == pytest.approx(1.0, abs=1e-5)


def test_uniform_numbers_lie_between_0_and_1_and_fill_their_cells(monkeypatch: pytest.MonkeyPatch):
    edge = 2**31
    halves = torch.tensor([-edge, -edge + 1, -1, 0, edge - 1], dtype=torch.int64).to(torch.int32).reshape(5, 1, 1)
    monkeypatch.setattr(noise, "random_halves", lambda _shape: halves)
    for low in (0.0, 0.25, 1 - 2.0**-53):
        monkeypatch.setattr(torch, "rand", lambda shape, low=low, **kind: torch.full(shape, low, **kind))
        u = noise.uniform((5, 1, 1), torch.device("cpu")).flatten()
        assert (u > 0).all()
        assert (u < 1).all()
        expected = torch.tensor([0.0, 1.0, edge - 1.0, edge, 2 * edge - 1.0], dtype=torch.float64) + low
        assert (u * 2.0**32 - expected).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", DTYPES)
def test_gumbel_noise_has_both_tails(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    """Of the number exp(−G), which has the density exp(−x), by its cells: the smallest has the probability 2⁻³¹."""
    edge = 2**31
    if dtype == torch.float32:
        cells = {0: 0, -1: 0, 1: 1, -2: 1, 999: 999, edge // 2: edge // 2, edge - 1: edge - 1, -edge: edge - 1}
        scale = 2.0**-31
    else:
        cells = {edge - 1 - cell: cell for cell in (0, 1, 999, edge, 2 * edge - 1)}
        scale = 2.0**-32
    halves = torch.tensor(list(cells)).to(torch.int32).reshape(-1, 1, 1)
    monkeypatch.setattr(noise, "random_halves", lambda _shape: halves)
    for low in (2.0**-10, 0.25, 1 - 2.0**-10):
        monkeypatch.setattr(torch, "rand", lambda shape, low=low, **kind: torch.full(shape, low, **kind))
        ours = gumbel_like(torch.empty(len(cells), 1, 1, dtype=dtype)).flatten().double()
        within = low if dtype == torch.float32 else 1 - low
        expected = -(-torch.log1p(-(torch.tensor(list(cells.values())).double() + within) * scale)).log()
        if dtype == torch.float32:
            expected = expected.clamp(min=-math.log(24 * math.log(2)))  # the cut
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_gumbel_noise_goes_beyond_what_24_bits_give():
    """P(no draw of 5e7 above 16.7) = exp(-2.8): three in a row, and further than float32 uniforms go, 16.64."""
    largest = max(gumbel_like(torch.empty(50, 100_000, 10)).max() for _ in range(4))
    assert largest > 16.7  # fails once in 7e4 seeds
    assert gumbel_like(torch.empty(10, 100_000, 1)).isfinite().all()


@pytest.mark.parametrize("name", LATENTS)
def test_every_estimator_draws_its_classes_from_q(name: str):
    """The first draw of an estimator, by χ²; of a soft sample its largest class."""
    if name in ENUMERATE:
        pytest.skip("it does not draw")
    logits = torch.tensor([0.3, -1.0, -4.0, 1.0, -7.0][: 2 if traits(name).bernoulli else 5])
    drawn = []

    def objective(sample):
        drawn.append(sample(logits.expand(100_000, 1, -1)))
        return drawn[-1].sum((-1, -2))

    make_estimator(name, 1e3)(objective)
    codes = drawn[0].argmax(-1).flatten()
    expected = logits.double().softmax(-1) * len(codes)
    statistic = (codes.bincount(minlength=len(expected)) - expected).square() / expected
    assert chi2.sf(statistic.sum().item(), len(expected) - 1) > 1e-5


def test_at_high_temperatures_the_class_is_that_of_the_noise_and_not_of_a_tie():
    """Soft values at τ = 1e6 are all 1/K in float32, and the first of equals is the largest."""
    codes = STGumbel(1e6)(torch.zeros(100_000, 1, 4)).argmax(-1)
    assert (codes.flatten().bincount() / 1e5 - 0.25).abs().max() < 0.01


COUNTED = {name: LOGITS[name] for name in ("rare first", "rare last", "rarer", "even", "40 classes", "Zipf of 1e5")}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["codes", "sample", "gumbel"])
@pytest.mark.parametrize("logits", COUNTED.values(), ids=COUNTED)
def test_counts_of_many_draws(logits: Tensor, way: str):
    """χ² at 1e8 class indices (1e7 otherwise, and as many Gumbels), classes that are expected less than ten times taken
    together."""
    logits = logits.float()
    classes = len(logits)
    draws = {"codes": 100_000_000, "sample": 10_000_000, "gumbel": 10_000_000}[way]
    chunk = 1_000_000 if way == "codes" else max(1_000_000 // classes, 10)
    if way != "codes":
        draws = min(draws, 300_000_000 // classes)
    counts = torch.zeros(classes, dtype=torch.int64)
    for _ in range(draws // chunk):
        if way == "codes":
            codes = sample_codes(logits.unsqueeze(0), chunk)
        elif way == "sample":
            codes = sample(logits.expand(chunk, 1, classes)).argmax(-1)
        else:
            expanded = logits.expand(chunk, 1, classes)
            codes = (expanded + gumbel_like(expanded)).argmax(-1)
        counts += codes.flatten().bincount(minlength=classes)
    expected = logits.double().softmax(-1) * counts.sum()
    common = expected >= 10
    counts = torch.cat([counts[common], counts[~common].sum().unsqueeze(0)]).double()
    expected = torch.cat([expected[common], expected[~common].sum().unsqueeze(0)])
    kept = expected > 0
    statistic = ((counts - expected).square() / expected)[kept].sum().item()
    assert 1e-5 < chi2.sf(statistic, max(int(kept.sum()) - 1, 1)) < 1 - 1e-6 or statistic < 12
