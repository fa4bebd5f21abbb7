"""Unbiased estimators against enumeration: the value and every gradient, and that the check notices mistakes."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor, nn

from discrete_latents.latent import (
    CARMS,
    RLOO,
    VIMCO,
    Estimator,
    InputNetwork,
    MovingAverage,
    MuProp,
    Rebar,
    Reinforce,
    Relax,
)
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.coupled import Coupled
from discrete_latents.latent.score_function.trace import Recorder, Site
from tests.helpers.problems import LATENTS, Problem, make_estimator, standard_errors_off, traits

UNBIASED = [name for name in LATENTS if traits(name).unbiased and traits(name).law is None]


@dataclass
class Mixed(Problem):
    """Three calls, all with a prior: a layer, one below it and below a Gaussian between them, one beside both. So KL
    terms depend on draws, Gaussians stand between draws, and some draws do not matter to others."""

    layers: int = 3

    def objective(self, biases: list[Tensor]) -> Callable[..., Tensor]:
        def value(sample: Callable[..., Tensor]) -> Tensor:
            above = sample(biases[0], prior=self.prior)
            hidden = above.flatten(-2) @ self.weight1
            normal = sample.normal(hidden[..., :1] / 2, hidden[..., 1:2].tanh() / 2)
            gain = 1 + normal.tanh().unsqueeze(-1) / 2
            below = sample(self.logits_below(1, above, biases[1]) * gain, prior=self.prior.flip(-1))
            beside = sample(biases[2], prior=self.prior)
            return self.log_likelihood(below) * (1 + self.log_likelihood(beside)) + normal.squeeze(-1)

        return value


class Given:
    """Stands for a sampler: gives C joint configurations, and adds up their log-probabilities and KL terms."""

    def __init__(self, draws: list[Tensor], noise: Tensor) -> None:
        self.draws, self.noise = iter(draws), noise
        self.log_q = self.kl = torch.zeros(())

    def __call__(self, logits: Tensor, prior: Tensor | None = None) -> Tensor:
        z = next(self.draws)
        log_q = (z * logits.log_softmax(-1)).sum((-1, -2))
        self.log_q = self.log_q + log_q
        if prior is not None:
            self.kl = self.kl + log_q - (z * prior.log_softmax(-1)).sum((-1, -2))
        return z

    def normal(self, mean: Tensor, log_scale: Tensor) -> Tensor:
        z = mean + log_scale.exp() * self.noise
        self.kl = self.kl + ((z.square() - self.noise.square()) / 2 - log_scale).sum(-1)
        return z


def exact_bound(problem: Problem, biases: list[Tensor], samples: int = 1) -> Tensor:
    """E[log (1/m) Σ w], over all m-tuples of joint configurations, Gaussians by quadrature."""
    nodes, weights = map(torch.from_numpy, hermegauss(16 if isinstance(problem, Mixed) else 1))
    states = torch.stack(problem.states())
    sizes = [len(nodes)] + [len(states)] * problem.layers
    first, *codes = torch.cartesian_prod(*map(torch.arange, sizes)).unbind(1)
    given = Given([states[code] for code in codes], nodes[first, None])
    log_weights = problem.objective(biases)(given) - given.kl
    probability = given.log_q.exp() * (weights / weights.sum())[first]
    tuples = torch.cartesian_prod(*[torch.arange(len(first))] * samples).reshape(-1, samples)
    bounds = log_weights[tuples].logsumexp(1) - math.log(samples)
    return (probability[tuples].prod(1) * bounds).sum()


def worst(estimator: Estimator, problem: Problem, copies: int = 20_000, scales: list[float] | None = None) -> Tensor:
    """How many standard errors the value and the gradients for each layer's logits, times its scale, are off."""
    biases = [bias.clone().requires_grad_() for bias in problem.biases]
    bound = exact_bound(problem, biases, estimator.samples)
    values, gradients = problem.estimates(estimator, copies)
    off = [standard_errors_off(values, bound.detach())]
    for index, exact in enumerate(torch.autograd.grad(bound, biases)):
        off.append(standard_errors_off(gradients[index] * (scales[index] if scales else 1), exact))
    return torch.stack(off).max()


def warmed(estimator: Estimator, problem: Problem) -> Estimator:
    """After some steps, so that running averages stand somewhere, with large weights in whatever is learned."""
    for _ in range(5):
        problem.estimates(estimator, 100)
    for module in estimator.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    return estimator


def make(name: str, **settings: object) -> Estimator:
    """As its YAML says, but with no more samples than can be enumerated and a gradient that is not scaled."""
    if traits(name).samples > 1:
        settings["samples"] = 2
    if getattr(traits(name), "scales", None) is not None:
        settings["normalize"] = False
    return make_estimator(name, **settings)


PROBLEMS = [
    Problem(2, 2),
    Problem(1, 5, with_prior=False),
    Problem(2, 2, layers=2, with_prior=False),
    Problem(1, 5, layers=2),
    Mixed(1, 2),
    Mixed(1, 3),
]
CASES = [
    (name, problem, training)
    for name in UNBIASED
    for problem in PROBLEMS
    for training in ((True, False) if [*traits(name).children()] else (True,))
    if problem.num_classes == 2 or not traits(name).bernoulli
]


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if not isinstance(p, Mixed)], ids=str)
def test_the_two_enumerations_agree(problem: Problem):
    torch.testing.assert_close(exact_bound(problem, problem.biases), problem.exact_bound(problem.biases))


@pytest.mark.parametrize(("name", "problem", "training"), CASES, ids=str)
def test_value_and_gradients_are_those_of_the_bound(name: str, problem: Problem, training: bool):
    estimator = warmed(make(name), problem).train(training)
    assert worst(estimator, problem) < 4


VARIANTS = {
    "three samples": lambda: make_estimator("reinforce", samples=3),
    "three of vimco": lambda: VIMCO(samples=3),
    "no baseline": Reinforce,
    "both baselines, two samples": lambda: Reinforce({"a": MovingAverage, "b": InputNetwork}, samples=2),
    "two draws": lambda: RLOO(draws=2),
    **{f"rebar {tau} {scale}": partial(Rebar, tau, scale) for tau, scale in [(0.1, 1.0), (2.0, -0.5), (0.7, 0.0)]},
    "relax": lambda: Relax(0.2, -1.0),
    "three of carms": lambda: CARMS(3, samples=3),
}


COUPLED = [name for name in UNBIASED if isinstance(traits(name), Coupled)]


@pytest.mark.parametrize("problem", [Problem(1, 2, layers=2), Mixed(1, 2), Problem(1, 3)], ids=str)
@pytest.mark.parametrize("name", COUPLED)
def test_the_bound_of_two_samples_has_its_own_gradient(name: str, problem: Problem):
    if problem.num_classes > 2 and traits(name).bernoulli:
        pytest.skip("of two classes alone")
    assert worst(make_estimator(name, samples=2), problem) < 4


@pytest.mark.parametrize("problem", [Problem(1, 3, layers=2), Mixed(1, 2)], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_no_setting_moves_the_mean(variant: str, problem: Problem):
    estimator = VARIANTS[variant]()
    if isinstance(problem, Mixed) and estimator.samples > 2:
        problem = Problem(2, 2, layers=2)  # Gaussians by quadrature are too many for triples
    assert worst(warmed(estimator, problem), problem) < 4


@pytest.mark.parametrize("problem", [Problem(1, 3), Problem(1, 2, with_prior=False), Mixed(1, 2)], ids=str)
@pytest.mark.parametrize("name", ["nvil", "muprop"])
def test_normalisation_scales_the_gradient_and_keeps_its_direction(name: str, problem: Problem):
    problem = replace(problem)
    problem.weight2 = problem.weight2 * 5
    estimator = warmed(make_estimator(name, normalize=True), problem)
    for _ in range(20):
        problem.estimates(estimator, 100)
    scales = [scale().item() for scale in estimator.eval().scales]
    assert max(scales) > 1.5
    assert worst(estimator, problem, scales=scales) < 4


@pytest.mark.parametrize("name", UNBIASED)
def test_shared_parameters_have_unbiased_gradients(name: str):
    """Those of the prior and the networks: they see every image, so a batch is one estimate."""
    problem = Mixed(1, 2)
    leaves = [problem.prior, problem.weight1, problem.weight2, problem.couplings[1]]
    for leaf in leaves:
        leaf.requires_grad_()
    estimator = warmed(make(name), problem)
    exact = torch.autograd.grad(exact_bound(problem, problem.biases, estimator.samples), leaves)
    batches = [estimator(problem.objective(problem.leaves(500))).mean() for _ in range(80)]
    draws = [torch.autograd.grad(bound, leaves) for bound in batches]
    for expected, *estimates in zip(exact, *draws, strict=True):
        assert standard_errors_off(torch.stack(estimates), expected) < 4


SCORE, CONTROL, EXPANSION = Site.score, Rebar.control, MuProp.control


def rebar(at: int, wrong: Callable[[Tensor], Tensor]) -> tuple[str, Callable[..., Tensor]]:
    """REBAR with a wrong control variate at z (0) or at z̃ (1)."""
    return "rebar.Rebar.control", lambda *a: torch.stack(
        [wrong(c) if i == at else c for i, c in enumerate(CONTROL(*a))]
    )


def no_kl_below(_self, _objective, recorder: Recorder, index: int, signal: Tensor) -> tuple[Tensor, float]:
    return signal + (recorder.kl - recorder.sites[index].kl).detach(), 0.0


SCORES = {by: ("trace.Site.score", lambda site, by=by: by * SCORE(site)) for by in (-1, 0.5, 0.75, 0)}
SCORED = ("reinforce", "nvil", "muprop", "rloo", "vimco", "rebar", "relax")
MUTATIONS = {
    **{(n, f"score times {by}"): SCORES[by] for n in SCORED for by in (-1, 0.5)},
    ("reinforce", "no KL in the bound"): ("reinforce.log_weights", lambda objective, recorder: objective(recorder)),
    ("reinforce", "no KL below"): ("reinforce.Reinforce.control", no_kl_below),
    ("muprop", "no correction"): ("muprop.MuProp.control", lambda *a: (EXPANSION(*a)[0], 0.0)),
    ("rloo", "its own among the others"): SCORES[0.75],
    ("vimco", "no signal"): SCORES[0],
    ("vimco", "no direct path"): ("multi_sample.log_weights", lambda *a: log_weights(*a).detach()),
    ("vimco", "its own weight in its baseline"): ("vimco.VIMCO.without_each", lambda _self, log_weights: log_weights),
    ("disarm", "not antithetic"): ("disarm.DisARM.antithetic", lambda _self, site: sample(site.logits.detach())),
    ("disarm", "no likelier class"): ("disarm.Tensor.amax", lambda x, *_, **__: torch.ones_like(x[..., :1])),
    ("rebar", "no control in the signal"): rebar(1, lambda c: c - c.detach()),
    ("rebar", "no slope at z"): rebar(0, Tensor.detach),
    ("rebar", "no slope at z given b"): rebar(1, Tensor.detach),
}


@pytest.mark.parametrize(("name", "mistake"), MUTATIONS, ids=str)
def test_a_mistake_is_noticed(name: str, mistake: str, monkeypatch: pytest.MonkeyPatch):
    problem = Mixed(1, 2) if "KL" in mistake else Problem(2, 2, layers=2)
    estimator = warmed(make(name), problem)
    assert worst(estimator, problem) < 4
    where, wrong = MUTATIONS[name, mistake]
    monkeypatch.setattr(f"discrete_latents.latent.score_function.{where}", wrong)
    assert worst(estimator, problem) > 8


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ("coupled.torch.eye", lambda size, **how: torch.zeros(size, size, **how)),  # a sample beside its replacement
        ("trace.categorical_log_prob", lambda z, _logits: z.sum((-1, -2)) * 0),  # no KL in the other draws
    ],
    ids=["kept", "no KL"],
)
def test_a_mistake_with_two_samples_is_noticed(where: str, wrong: object, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(f"discrete_latents.latent.score_function.{where}", wrong)
    assert worst(make_estimator("disarm", samples=2), Problem(2, 2, layers=2)) > 8
