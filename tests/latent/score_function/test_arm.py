"""ARM, DisARM and ARSM: how they are related, and mistakes in them that enumeration notices."""

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import ARM, ARSM, DisARM, NotDefined
from discrete_latents.latent.score_function.trace import Recorder, Site
from tests.helpers.problems import Problem
from tests.latent.score_function.test_unbiased import worst

BITS = Problem(2, 2)


def gradients(estimator: ARM | ARSM, problem: Problem = BITS, copies: int = 40_000) -> Tensor:
    return problem.estimates(estimator, copies)[1][0]


def test_disarm_is_arm_with_u_averaged_out():
    """So it has the same mean and less variance."""
    plain, averaged = gradients(ARM()), gradients(DisARM())
    error = (plain.var(0) / len(plain) + averaged.var(0) / len(averaged)).sqrt()
    assert ((plain.mean(0) - averaged.mean(0)).abs() / error).max() < 4
    assert averaged.var(0).sum() < 0.9 * plain.var(0).sum()


def test_arsm_of_two_classes_is_arm():
    """In distribution: the means and variances agree."""
    two, many = gradients(ARM()), gradients(ARSM())
    error = (two.var(0) / len(two) + many.var(0) / len(many)).sqrt()
    assert ((two.mean(0) - many.mean(0)).abs() / error).max() < 4
    torch.testing.assert_close(two.var(0), many.var(0), rtol=0.1, atol=0)


class WrongWeight(ARM):
    """u − ½ with the sign of DisARM's 1 − u."""

    def pair(self, site: Site) -> tuple[Tensor, Tensor]:
        z, weight = super().pair(site)
        return z, -weight


class Independent(ARM):
    """b̃ is drawn by a u of its own, and not by the one that gave b."""

    def pair(self, site: Site) -> tuple[Tensor, Tensor]:
        _, weight = super().pair(site)
        z, _ = super().pair(site)
        return z, weight


class OneReference(ARSM):
    """The sum over references without the last one."""

    def gradient(self, objective: object, recorder: Recorder, index: int, bound: Tensor) -> Tensor:
        return super().gradient(objective, recorder, index, bound) * 2 / 3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "problem"), [(WrongWeight(), BITS), (Independent(), BITS), (OneReference(), Problem(1, 3))], ids=str
)
def test_a_mistake_is_noticed(wrong: ARM | ARSM, problem: Problem):
    assert worst(wrong, problem) > 8


def test_arsm_refuses_more_classes_than_it_can_run():
    with pytest.raises(NotDefined, match="num_classes up to max_classes = 2, got 3"):
        Problem(1, 3).estimates(ARSM(max_classes=2), 2)


def test_most_runs_of_arsm_need_no_gradient():
    """The first alone: K (K − 1) / 2 of them for K = 3."""
    runs = []
    problem = Problem(1, 3)
    biases = problem.leaves(4)
    objective = problem.objective(biases)

    def counted(sample: object) -> Tensor:
        value = objective(sample)  # type: ignore[arg-type]
        runs.append((value.requires_grad, tuple(value.shape)))
        return value

    ARSM()(counted)
    assert [shape for _, shape in runs] == [(4,), (3, 4)]
    assert not runs[1][0]


def test_with_one_class_certain_swaps_change_nothing_and_the_gradient_of_arsm_is_0():
    biases = torch.tensor([[[0.0, 60.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    bound = ARSM()(lambda sample: (sample(biases) * torch.tensor([1.0, 2.0, 4.0])).sum((-1, -2)))
    assert bound.item() == 2
    assert torch.autograd.grad(bound.sum(), biases)[0].abs().max() < 1e-12
