"""The batch path: what an epoch visits, in which order, on which process, and from where it continues."""

import json
from itertools import islice

import pytest
import torch

from discrete_latents.data.batches import Batches, EpochOrder, MixedOrder
from discrete_latents.data.binarization import to_float

COUNT = 23


def make_batches(batch_size=5, seed=0, rank=0, world=1, epoch=0, count=COUNT):
    """Batches of images that are all of one grey value, their own number, which is their label too."""
    labels = torch.arange(count)
    pixels = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    batches = Batches(pixels, labels, batch_size, EpochOrder(count, seed, rank, world), to_float)
    batches.sampler.set_epoch(epoch)
    return batches


def visited(batches):
    """The numbers of the images, batch by batch."""
    return [labels.tolist() for _, labels in batches]


def flat(batches):
    return joined(visited(batches))


def joined(lists):
    return [number for part in lists for number in part]


@pytest.mark.parametrize("seed", [0, None], ids=["shuffled", "in order"])
@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_an_epoch_visits_every_image_once(seed, batch_size):
    assert sorted(flat(make_batches(batch_size, seed))) == list(range(COUNT))


@pytest.mark.parametrize(("batch_size", "sizes"), [(5, [5, 5, 5, 5, 3]), (23, [23]), (22, [22, 1]), (100, [23])])
def test_the_last_batch_is_what_is_left(batch_size, sizes):
    batches = make_batches(batch_size)
    assert [len(batch) for batch in visited(batches)] == sizes
    assert len(batches) == len(sizes)


def test_images_stay_with_their_labels():
    for images, labels in make_batches():
        assert torch.equal((images * 255).round().long(), labels.view(-1, 1, 1, 1).expand(-1, 1, 2, 2))


def test_batches_of_bytes_become_floats_in_0_to_1():
    images, labels = next(iter(make_batches(count=256, batch_size=256, seed=None)))
    assert (images.dtype, images.shape, labels.dtype) == (torch.float32, (256, 1, 2, 2), torch.int64)
    assert (images.min(), images.max()) == (0, 1)


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    batches = make_batches(epoch=3)
    expected = visited(batches)
    assert visited(batches) == expected
    torch.manual_seed(99)
    assert visited(make_batches(epoch=3)) == expected
    batches.sampler.set_epoch(0)
    visited(batches)
    batches.sampler.set_epoch(3)
    assert visited(batches) == expected


def test_an_order_draws_none_of_trainings_noise():
    noise = torch.get_rng_state()
    visited(make_batches())
    assert torch.equal(torch.get_rng_state(), noise)


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(flat(make_batches(seed=seed, epoch=epoch))) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


@pytest.mark.parametrize("world", [1, 2])
def test_where_not_reshuffled_every_epoch_has_the_order_of_the_first(world):
    order = EpochOrder(COUNT, 3, 0, world, reshuffled=False)
    kept = order.indices().tolist()
    assert kept == flat(make_batches(seed=3, world=world))
    order.set_epoch(4)
    assert order.indices().tolist() == kept


def test_without_a_seed_every_epoch_is_in_order():
    assert flat(make_batches(seed=None, epoch=0)) == flat(make_batches(seed=None, epoch=4)) == list(range(COUNT))


@pytest.mark.parametrize("world", [2, 3, 4])
def test_shuffled_parts_of_processes_are_disjoint_and_equally_long(world):
    parts = [make_batches(seed=1, rank=rank, world=world, epoch=2) for rank in range(world)]
    numbers = [flat(part) for part in parts]
    assert {len(part) for part in numbers} == {COUNT // world}
    assert len(set().union(*numbers)) == world * (COUNT // world)
    assert {len(part) for part in parts} == {len(visited(parts[0]))}


@pytest.mark.parametrize("world", [2, 3, 4])
def test_parts_in_order_cover_every_image_once(world):
    parts = [make_batches(seed=None, rank=rank, world=world) for rank in range(world)]
    assert sorted(number for part in parts for number in flat(part)) == list(range(COUNT))
    assert [len(part) for part in parts] == [len(visited(part)) for part in parts]


def test_the_images_that_a_cut_leaves_out_change_with_the_epoch():
    left_out = {
        frozenset(range(COUNT)).difference(*(flat(make_batches(rank=rank, world=4, epoch=epoch)) for rank in range(4)))
        for epoch in range(5)
    }
    assert len(left_out) > 1


@pytest.mark.parametrize("done", range(5))
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_saved_position_continues_with_the_very_next_batch(done, epoch):
    interrupted = make_batches(epoch=epoch)
    expected = visited(make_batches(epoch=epoch))
    list(islice(interrupted, done))
    resumed = make_batches(epoch=epoch)
    resumed.load_state_dict(interrupted.state_dict())
    assert visited(resumed) == expected[done:]


def test_a_position_saved_at_the_end_of_an_epoch_continues_with_the_next_epoch():
    finished, resumed = make_batches(epoch=0), make_batches(epoch=1)
    visited(finished)
    resumed.load_state_dict(finished.state_dict())
    assert visited(resumed) == visited(make_batches(epoch=1))


def test_only_the_first_epoch_after_a_resume_is_continued():
    interrupted, resumed = make_batches(), make_batches()
    list(islice(interrupted, 2))
    resumed.load_state_dict(interrupted.state_dict())
    assert len(visited(resumed)) == 3
    assert len(visited(resumed)) == 5
    resumed.sampler.set_epoch(1)
    assert len(visited(resumed)) == 5


def test_a_position_saved_after_a_resume_counts_from_the_start_of_the_epoch():
    first, second, third = make_batches(), make_batches(), make_batches()
    expected = visited(make_batches())
    list(islice(first, 2))
    second.load_state_dict(first.state_dict())
    list(islice(second, 1))
    third.load_state_dict(second.state_dict())
    assert visited(third) == expected[3:]


def test_an_epoch_that_was_left_early_starts_from_the_beginning():
    batches = make_batches()
    expected = visited(batches)
    list(islice(batches, 2))
    assert visited(batches) == expected


def test_a_position_is_plain_data():
    """What torch.load(weights_only=True) takes."""
    batches = make_batches()
    list(islice(batches, 3))
    state = batches.state_dict()
    assert state == json.loads(json.dumps(state))


def make_mixed(rank=0, world=1):
    """Images 0 to 4 are labelled, 18 others are not; batches of 4 labelled and 5 others."""
    numbers = torch.arange(COUNT)
    order = MixedOrder(numbers[:5], numbers[5:], 4, 0, rank, world)
    pixels = numbers.to(torch.uint8).view(-1, 1, 1, 1)
    return Batches(pixels, numbers, 5, order, to_float)


def test_mixed_parts_of_processes_share_the_unlabelled_images_and_draw_their_own_labelled_ones():
    parts = [visited(make_mixed(rank=rank, world=3)) for rank in range(3)]
    others = [joined(batch[4:] for batch in part) for part in parts]
    assert [len(part) for part in others] == [6, 6, 6]
    assert sorted(joined(others)) == list(range(5, COUNT))
    assert len({tuple(joined(batch[:4] for batch in part)) for part in parts}) == 3


def test_mixed_batches_continue_in_the_middle_of_an_epoch():
    interrupted, resumed = make_mixed(), make_mixed()
    list(islice(interrupted, 2))
    resumed.load_state_dict(interrupted.state_dict())
    assert visited(resumed) == visited(make_mixed())[2:]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_batches_in_order_are_the_same_however_many_processes_share_them(world):
    """Where there are more processes than batches, the others take an empty one."""
    parts = [visited(make_batches(seed=None, rank=rank, world=world)) for rank in range(world)]
    assert {len(part) for part in parts} == {-(-5 // world)}
    dealt = [part[number] for number in range(len(parts[0])) for part in parts]
    assert dealt == visited(make_batches(seed=None)) + [[]] * (len(dealt) - 5)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_split_without_images_visits_none_on_any_process(rank):
    assert flat(make_batches(seed=None, rank=rank, world=2, count=0)) == []
