"""What shapes of logits and priors an objective may give, (*S, B, N, K), and what is refused."""

import pytest
import torch

from discrete_latents.latent import Concrete, Exact, GumbelSoftmax, HardBound, HardSampler, Reinforce, STGumbel
from tests.helpers.problems import LATENTS, make_estimator, traits

B, T, N = 5, 3, 2


def classes(name: str) -> int:
    return 2 if traits(name).bernoulli else 4


@pytest.mark.parametrize("name", LATENTS)
@pytest.mark.parametrize("leading", [(), (B,), (B, T, N), (1, B, N), (2, B, T, N)])
def test_other_ranks_are_refused(name: str, leading: tuple[int, ...]):
    """(K,), (B, K), and a batch or a time that would be taken for samples."""
    logits = torch.zeros(*leading, classes(name))
    with pytest.raises(ValueError, match=r"^logits must have the shape \(B, N, K\), got \(.*N = 1$"):
        make_estimator(name)(lambda sample: sample(logits, prior=torch.zeros(classes(name))).sum((-1, -2)))


@pytest.mark.parametrize("evaluate", [HardBound(5), lambda objective: objective(HardSampler((5,), sampled=True))])
def test_other_ranks_are_refused_in_evaluation(evaluate):
    for shape in ((4,), (B, 4), (5, T, N, 4)):  # 5 samples and 5 images: not before the first draw
        with pytest.raises(ValueError, match="logits must have the shape"):
            evaluate(lambda sample, shape=shape: sample(torch.zeros(shape)).sum((-1, -2)))


@pytest.mark.parametrize("name", LATENTS)
def test_a_second_call_may_depend_on_the_first_or_not(name: str):
    k = classes(name)
    estimator = make_estimator(name)
    for depends in (True, False):

        def objective(sample, depends=depends):
            first = sample(torch.zeros(B, N, k, requires_grad=True), prior=torch.zeros(N, k))
            second = sample(first * 2 if depends else torch.zeros(B, N, k), prior=torch.zeros(k))
            return (first[..., :1] * second[..., :1]).sum((-1, -2))

        assert estimator(objective).shape == (B,)


@pytest.mark.parametrize("name", LATENTS)
def test_logits_that_depend_on_a_draw_keep_its_samples(name: str):
    """A sample dimension that was averaged, and one that was put in front."""
    k = classes(name)
    for change in (lambda z: z.unsqueeze(0), lambda z: z.unsqueeze(0).expand(7, *z.shape)):

        def objective(sample, change=change):
            return sample(change(sample(torch.zeros(B, N, k)))).sum((-1, -2))

        with pytest.raises(ValueError, match="logits must have the shape"):
            make_estimator(name)(objective)


PRIORS = {(4,): True, (N, 4): True, (1, 4): True, (B, N, 4): True, (1, N, 4): True, (B, 4): False, (3,): False}
PRIORS |= {(N, 1): False, (B + 1, N, 4): False, (3, 4): False}


@pytest.mark.parametrize(("shape", "allowed"), PRIORS.items(), ids=str)
@pytest.mark.parametrize("make", [GumbelSoftmax, Concrete, STGumbel, Reinforce, Exact, lambda: HardBound(3)])
def test_priors_are_of_the_same_latents_and_classes(shape: tuple[int, ...], allowed: bool, make):
    logits, prior = torch.randn(B, N, 4), torch.randn(shape)

    def objective(sample):
        return sample(logits, prior=prior).sum((-1, -2)) * 0

    if not allowed:
        with pytest.raises(ValueError, match=r"^prior must have the shape \(N, K\) = \(2, 4\)"):
            make()(objective)
        return
    torch.manual_seed(1)
    bound = make()(objective)
    assert bound.shape == (B,)
    torch.manual_seed(1)
    torch.testing.assert_close(
        bound, make()(lambda sample: sample(logits, prior=prior.expand(B, N, 4)).sum((-1, -2)) * 0)
    )


def test_an_objective_has_a_value_for_each_image():
    with pytest.raises(ValueError, match="must return a value for each image"):
        GumbelSoftmax()(lambda sample: sample(torch.zeros(B, N, 4)).sum())


@pytest.mark.parametrize("shape", [(4,), (B, 4), (B, N, 4), (B, T, N, 4)])
def test_a_layer_takes_any_rank(shape: tuple[int, ...]):
    for name in LATENTS:
        estimator = make_estimator(name)
        if hasattr(estimator, "rsample"):
            assert estimator(torch.zeros(shape)).shape == shape
