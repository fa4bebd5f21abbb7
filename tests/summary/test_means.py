"""A difference is marked where the seeds tell it: Welch's test of scipy says the same."""

from math import sqrt
from statistics import mean, stdev

import numpy as np
import pytest
from scipy.stats import t, ttest_ind

from discrete_latents.summary.means import STUDENT, MetricMean, among_best, differ


def mean_of(values: list[float]) -> MetricMean:
    error = stdev(values) / sqrt(len(values)) if len(values) > 1 else None
    return MetricMean(mean(values), error, len(values))


def test_the_quantiles_are_those_of_students_t():
    assert pytest.approx(t.ppf(0.975, range(1, 31)), abs=6e-4) == STUDENT


@pytest.mark.parametrize("seed", range(40))
def test_what_differs_is_what_welchs_test_tells_apart(seed: int):
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 1, rng.integers(2, 9)).tolist()
    second = rng.normal(rng.uniform(0, 4), rng.uniform(0.2, 3), rng.integers(2, 9)).tolist()
    test = ttest_ind(first, second, equal_var=False)
    freedom = min(30, max(1, int(test.df)))
    found = differ(mean_of(first), mean_of(second))
    assert found == differ(mean_of(second), mean_of(first))
    assert found == (abs(test.statistic) > t.ppf(0.975, freedom))
    assert test.pvalue < 0.05 or not found  # rounding the degrees of freedom down makes it cautious


def test_one_run_tells_nothing_and_equal_runs_tell_everything():
    assert differ(MetricMean(1.0, None, 1), MetricMean(9.0, 0.1, 3)) is None
    assert differ(MetricMean(1.0, 0.0, 2), MetricMean(1.1, 0.0, 2)) is True
    assert differ(MetricMean(1.0, 0.0, 2), MetricMean(1.0, 0.0, 2)) is False
    assert differ(MetricMean(1.0, 0.0, 2), MetricMean(1.1, 1.0, 2)) is False


def test_the_best_are_marked_where_something_is_worse():
    best, equal, worse, single = (
        MetricMean(1.0, 0.1, 5),
        MetricMean(1.1, 0.1, 5),
        MetricMean(3.0, 0.1, 5),
        MetricMean(1.05, None, 1),
    )
    assert among_best(best, [single, equal, worse]) == [False, True, False]
    assert among_best(best, [single, equal]) is None
    assert among_best(single, [equal, worse]) is None
    assert among_best(best, []) is None
