"""Binarisation: what is drawn, when, and that evaluation always sees the same pixels."""

import math

import pytest
import torch

from discrete_latents.data.augmentation import Augmentation
from discrete_latents.data.binarization import MODES, draw, prepare, to_float

GREY = torch.arange(256, dtype=torch.uint8).repeat(40).view(40, 1, 16, 16)
"""Every grey value, in each of 40 images."""

SEED_WITH_A_ZERO = 84
"""Of a generator whose first 200,000 uniform numbers hold a zero, as some ten million do."""


@pytest.mark.parametrize("mode", MODES)
def test_what_is_kept_is_bytes_in_the_shape_of_the_images(mode):
    kept = prepare(GREY, mode, 0)
    assert (kept.dtype, kept.shape) == (torch.uint8, GREY.shape)


@pytest.mark.parametrize("mode", MODES)
def test_preparing_is_the_same_every_time_and_draws_none_of_trainings_noise(mode):
    noise = torch.get_rng_state()
    kept = prepare(GREY, mode, 1)
    assert torch.equal(torch.get_rng_state(), noise)
    torch.manual_seed(123)
    assert torch.equal(prepare(GREY, mode, 1), kept)


def test_fixed_draws_each_pixel_by_its_grey_value():
    kept = prepare(GREY.repeat(50, 1, 1, 1), "fixed", 0)
    assert set(kept.unique().tolist()) == {0, 255}
    check_means(to_float(kept))


def test_fixed_draws_other_noise_for_every_split():
    half = torch.full((1, 1, 100, 100), 128, dtype=torch.uint8)
    train, val, test = (prepare(half, "fixed", part) for part in range(3))
    for one, other in ((train, val), (train, test), (val, test)):
        assert 0.4 < (one == other).float().mean() < 0.6


def test_threshold_is_grey_above_127():
    kept = to_float(prepare(GREY, "threshold", 0))
    assert torch.equal(kept, (GREY >= 128).float())


@pytest.mark.parametrize("mode", ["grey", "dynamic"])
def test_grey_values_are_kept_where_they_are_drawn_later_or_not_at_all(mode):
    assert torch.equal(prepare(GREY, mode, 0), GREY)


def test_pixels_as_floats_lie_in_0_to_1_with_both_ends():
    values = to_float(GREY)
    assert values.dtype == torch.float32
    assert (values.min(), values.max()) == (0, 1)
    torch.testing.assert_close(values.double(), GREY.double() / 255, rtol=1e-6, atol=0)


def check_means(drawn):
    """Each grey value's share of ones within 4.5 standard errors of grey / 255, 254 of them at once, and their
    mean deviation within 4; black and white exact."""
    by_value = drawn.view(-1, 256)
    assert by_value[:, 0].sum() == 0
    assert by_value[:, 255].sum() == len(by_value)
    p = torch.arange(1, 255) / 255
    errors = (by_value[:, 1:255].double().mean(0) - p) / (p * (1 - p) / len(by_value)).sqrt()
    assert errors.abs().max() < 4.5
    assert errors.mean().abs() < 4 / math.sqrt(254)


def test_a_draw_is_0_or_1_with_the_grey_value_as_its_mean():
    drawn = draw(GREY.repeat(50, 1, 1, 1))
    assert drawn.dtype == torch.float32
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    check_means(drawn)


def test_black_stays_black_where_the_noise_is_exactly_zero():
    u = torch.rand(200_000, generator=torch.Generator().manual_seed(SEED_WITH_A_ZERO))
    assert (u == 0).any()
    black = torch.zeros(200_000, dtype=torch.uint8)
    assert draw(black, torch.Generator().manual_seed(SEED_WITH_A_ZERO)).sum() == 0


def test_draws_come_from_the_generator_that_is_given():
    half = torch.full((1, 1, 100, 100), 128, dtype=torch.uint8)
    one, again = (draw(half, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, again)
    assert not torch.equal(one, draw(half))
    assert not torch.equal(draw(half), draw(half))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("read", [draw, to_float, Augmentation(shift=2, degrees=10.0, zoom=0.1)])
def test_pixels_are_the_same_whatever_the_precision_of_training(read, dtype):
    """Which, while a training step runs, is torch's default."""
    pixels = torch.randint(0, 256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    torch.manual_seed(0)
    expected = read(pixels)
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        pixels = read(pixels)
    finally:
        torch.set_default_dtype(torch.float32)
    assert pixels.dtype == expected.dtype
    assert torch.equal(pixels, expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floats_are_binarised_as_the_same_bytes_are(mode, dtype):
    floats = (GREY.double() / 255).to(dtype)
    assert torch.equal(to_float(prepare(floats, mode, 1)), to_float(prepare(GREY, mode, 1)))
    one, again = (draw(pixels, torch.Generator().manual_seed(5)) for pixels in (GREY, floats))
    assert torch.equal(one, again)
