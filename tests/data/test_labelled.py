"""Semi-supervised data: which images keep their label, and how batches mix."""

import pytest
import torch

from discrete_latents.data import ImageData, digits
from discrete_latents.data.augmentation import Augmentation, shifted
from discrete_latents.data.datamodule import balanced


def make_data(**settings) -> ImageData:
    data = ImageData("digits", digits, **{"labelled": 50, "labelled_batch_size": 20, "batch_size": 100} | settings)
    data.setup()
    return data


def test_labels_are_kept_evenly_by_class_and_are_true():
    data = make_data()
    kept = data.labels["train"]
    assert torch.equal(kept[kept >= 0].bincount(), torch.full((10,), 5))
    assert torch.equal(kept[kept >= 0], digits().train.labels[kept >= 0])
    assert (data.labels["val"] >= 0).all()


def test_the_choice_is_a_function_of_its_seed():
    assert torch.equal(make_data().labels["train"], make_data(seed=7).labels["train"])
    assert not torch.equal(make_data().labels["train"], make_data(label_seed=1).labels["train"])


def test_every_batch_holds_labelled_images_first_and_the_epoch_every_unlabelled_one_once():
    data = make_data(binarization="grey")
    seen = []
    for images, labels in data.train_dataloader():
        assert (labels[:20] >= 0).all()
        assert (labels[20:] == -1).all()
        seen.append(images[20:])
    assert len(seen) == 13
    unlabelled = data.pixels["train"][data.labels["train"] < 0] / 255
    place = torch.randn(64)  # a number that tells images apart
    visited, expected = (images.flatten(1) @ place for images in (torch.cat(seen), unlabelled))
    torch.testing.assert_close(visited.sort()[0], expected.sort()[0])


def test_labelled_images_are_visited_evenly():
    loader = make_data().train_dataloader()
    index = torch.cat([batch[:20] for batch in loader.sampler.batches(100)])
    counts = index.bincount()
    assert (counts > 0).sum() == 50
    assert counts[counts > 0].min() >= 5
    assert counts.max() <= 6


def test_the_order_depends_on_the_epoch_and_ranks_share_the_unlabelled_images():
    data = make_data()
    order = data.train_dataloader().sampler
    first = torch.cat(order.batches(100))
    order.set_epoch(1)
    assert not torch.equal(first, torch.cat(order.batches(100)))
    parts = []
    for rank in range(2):
        order.set_epoch(0)
        order.rank, order.world = rank, 2
        parts.append([batch[20:] for batch in order.batches(100)])
    assert len(parts[0]) == len(parts[1])
    assert not set(torch.cat(parts[0]).tolist()) & set(torch.cat(parts[1]).tolist())


@pytest.mark.parametrize("count", [45, 5, 100_000])
def test_a_number_that_the_classes_cannot_share_is_refused(count: int):
    with pytest.raises(ValueError, match="labelled must be a multiple of the 10 classes, at most"):
        balanced(digits().train.labels, count, 0)


def test_shifts_move_only_labelled_images_and_lose_nothing_of_what_stays_inside():
    plain, moved = make_data(binarization="grey"), make_data(binarization="grey", augmentation=Augmentation(shift=2))
    (images, _), (shifted_images, _) = (next(iter(data.train_dataloader())) for data in (plain, moved))
    assert torch.equal(images[20:], shifted_images[20:])
    candidates = torch.nn.functional.pad(images[:20], (2, 2, 2, 2)).unfold(2, 8, 1).unfold(3, 8, 1)
    matches = (candidates == shifted_images[:20, :, None, None]).flatten(4).all(-1).flatten(1)
    assert matches.any(1).all()
    assert not torch.equal(images[:20], shifted_images[:20])


def test_shifts_are_even_over_all_moves():
    image = torch.zeros(20_000, 1, 5, 5, dtype=torch.uint8)
    image[..., 2, 2] = 9
    place = shifted(image, 2).flatten(1).argmax(1).bincount(minlength=25)
    assert ((place - 800).abs() < 5 * 800**0.5).all()


def test_turning_and_zooming_move_a_dot_where_the_geometry_says():
    image = torch.zeros(5_000, 1, 33, 33, dtype=torch.uint8)
    image[..., 15:18, 25:28] = 255  # 10 pixels right of the middle
    places = Augmentation(degrees=30, zoom=0.2)(image).float()
    rows, columns = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    mass = places.sum((1, 2, 3))
    down, right = ((places[:, 0] * along).sum((1, 2)) / mass for along in (rows, columns))
    angle, radius = torch.atan2(down, right).rad2deg(), (down.square() + right.square()).sqrt()
    for value, low, high in ((angle, -30, 30), (radius, 8, 12)):
        assert low - 0.5 < value.min() < low + 1
        assert high - 1 < value.max() < high + 0.5
        assert value.mean() == pytest.approx((low + high) / 2, abs=0.6)


def test_binarised_images_stay_binary_and_unlabelled_ones_as_they_are():
    plain, moved = make_data(), make_data(augmentation=Augmentation(shift=1, degrees=20, zoom=0.1))
    (images, _), (changed, _) = (next(iter(data.train_dataloader())) for data in (plain, moved))
    assert torch.equal(changed.unique(), torch.tensor([0.0, 1.0]))
    assert torch.equal(images[20:], changed[20:])
    assert not torch.equal(images[:20], changed[:20])


def test_half_of_the_images_are_mirrored():
    image = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    seen = Augmentation(flip=True)(image.repeat(5_000, 1, 1, 1)).unflatten(0, (5_000, 2))
    kept, mirrored = ((seen == each).flatten(2).all(-1) for each in (image, image.flip(-1)))
    assert torch.equal(kept, ~mirrored)
    assert ((kept.sum(0) - 2_500).abs() < 5 * 1_250**0.5).all()


@pytest.mark.parametrize("settings", [{"shift": -1}, {"degrees": 200}, {"zoom": 1.0}])
def test_an_augmentation_that_cannot_be_is_refused(settings: dict):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        Augmentation(**settings)
