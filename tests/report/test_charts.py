"""Learning curves as data: which metrics share a chart, and what of them is shown."""

from discrete_latents.report.charts import POINTS, charts, curves_of, points, vertical_range


def test_bounds_share_a_chart_and_come_first_and_what_never_changes_is_left_out():
    rows = [
        {"step": "0", "val/nelbo": "9", "val/kl": "1", "temperature": "1", "test/nll": "3"},
        {"step": "1", "val/nelbo": "8", "train/relaxed_nelbo": "7", "val/kl": "2", "temperature": "1"},
        {"step": "2", "train/relaxed_nelbo": "6"},
    ]
    found = charts(curves_of(rows))
    assert [chart["title"] for chart in found] == ["bound", "kl"]
    assert [line["label"] for line in found[0]["lines"]] == ["val/nelbo", "train/relaxed_nelbo"]
    assert [line["dashes"] == "none" for line in found[0]["lines"]] == [True, False]
    assert found[0]["lines"][0]["points"] == [(0, 9.0), (1, 8.0)]
    assert found[0]["unit"] == "nats"


def test_numbers_that_are_not_finite_are_gaps():
    rows = [{"step": str(step), "val/nelbo": text} for step, text in enumerate(("1", "nan", "inf", "2"))]
    assert curves_of(rows) == {"val/nelbo": [(0, 1.0), (3, 2.0)]}


def test_the_beginning_does_not_flatten_the_rest():
    curve = [(0, 1000.0), *((step, 10.0 - step / 100) for step in range(1, 101))]
    low, high = vertical_range([curve])
    assert 8.9 < low < 9.0
    assert 9.8 < high < 10.0
    assert vertical_range([[(0, 3.0), (1, 2.0)]])[1] > 3.0  # all of it where nothing stands out


def test_a_long_curve_keeps_its_ends():
    curve = [(step, float(step)) for step in range(10 * POINTS + 1)]
    shown = points(curve)
    assert len(shown) <= POINTS + 2
    assert (shown[0], shown[-1]) == (curve[0], curve[-1])
