"""The data module: what training, validation and testing read in each mode of binarisation."""

import jaxtyping
import lightning.pytorch as pl
import pytest
import torch

from discrete_latents.data import Augmentation, ImageData, Images, Splits, digit_counts, digits, torchvision_images
from discrete_latents.data.binarization import MODES
from tests.helpers.fitting import quiet_trainer

SIZES = {"train": 30, "val": 20, "test": 10}


def greys() -> Splits:
    """Small images of all shades, another set for each split, the first pixel black and the last white."""
    generator = torch.Generator().manual_seed(3)
    grey = torch.randint(0, 256, (sum(SIZES.values()), 1, 6, 6), generator=generator, dtype=torch.uint8)
    grey[..., 0, 0], grey[..., -1, -1] = 0, 255
    labels = torch.arange(len(grey)) % 10
    return Splits(*map(Images, grey.split(list(SIZES.values())), labels.split(list(SIZES.values()))))


def make_data(binarization="fixed", **settings):
    data = ImageData("greys", greys, binarization, **settings)
    data.setup()
    return data


def images(loader):
    return torch.cat([images for images, _ in loader])


def loaders(data):
    return {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("split", SIZES)
def test_every_split_gives_floats_in_0_to_1(mode, split):
    pixels = images(loaders(make_data(mode))[split])
    assert pixels.shape == (SIZES[split], 1, 6, 6)
    assert pixels.dtype == torch.float32
    assert (pixels.min(), pixels.max()) == (0, 1)
    assert (pixels.frac() == 0).all() == (mode != "grey")


@pytest.mark.parametrize("split", ["val", "test"])
def test_validation_and_test_are_binarised_once_whatever_the_training_mode(split):
    """The trap: test data binarised anew at every evaluation."""
    dynamic, fixed = loaders(make_data("dynamic"))[split], loaders(make_data("fixed"))[split]
    noise = torch.get_rng_state()
    first = images(dynamic)
    assert torch.equal(images(dynamic), first)
    assert torch.equal(torch.get_rng_state(), noise)
    assert torch.equal(images(fixed), first)
    torch.manual_seed(99)
    assert torch.equal(images(loaders(make_data("dynamic", seed=5))[split]), first)


def test_dynamic_training_images_are_drawn_anew_whenever_they_are_read():
    loader = make_data("dynamic").train_dataloader()
    first, second = images(loader), images(loader)
    mixed = (first != second).float().mean()
    assert 0.2 < mixed < 0.45  # 1/3 on average over all shades
    grey = images(make_data("grey").train_dataloader())  # in the same order
    assert (first[grey == 0] == 0).all()
    assert (first[grey == 1] == 1).all()


@pytest.mark.parametrize("mode", ["fixed", "threshold", "grey"])
def test_other_training_images_are_the_same_in_every_epoch_and_run(mode):
    loader = make_data(mode).train_dataloader()
    first = images(loader)
    assert torch.equal(images(loader), first)
    assert torch.equal(images(make_data(mode).train_dataloader()), first)


@pytest.mark.parametrize("mode", ["threshold", "grey"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_images_of_a_mode_without_noise_are_that_modes(mode, split):
    grey = getattr(greys(), split).grey
    expected = (grey > 127).float() if mode == "threshold" else grey / 255
    assert torch.equal(images(loaders(make_data(mode))[split]), expected)


def test_a_first_batch_for_a_look_is_not_drawn_anew():
    data = make_data("dynamic")
    first, again = (next(iter(data.batches("train", 4)))[0] for _ in range(2))
    assert torch.equal(first, again)


def test_the_mean_image_is_that_of_the_training_images_strictly_inside_0_to_1():
    data = make_data("threshold")
    train = (greys().train.grey > 127).float()
    torch.testing.assert_close(data.mean_image, (train.sum(0) + 1) / 32)
    assert 0 < data.mean_image.min() < data.mean_image.max() < 1


def test_the_mean_image_of_dynamic_data_is_of_the_grey_values():
    torch.testing.assert_close(make_data("dynamic").mean_image, ((greys().train.grey / 255).sum(0) + 1) / 32)


def test_only_training_is_shuffled():
    data = make_data(batch_size=7, eval_batch_size=6)
    labels = {split: torch.cat([labels for _, labels in loader]) for split, loader in loaders(data).items()}
    assert not torch.equal(labels["train"], greys().train.labels)
    assert torch.equal(labels["val"], greys().val.labels)
    assert torch.equal(labels["test"], greys().test.labels)


def test_each_split_has_its_batch_size():
    sizes = {
        split: [len(labels) for _, labels in loader]
        for split, loader in loaders(make_data(batch_size=12, eval_batch_size=8)).items()
    }
    assert sizes == {"train": [12, 12, 6], "val": [8, 8, 4], "test": [8, 2]}


def test_testing_can_read_the_validation_images():
    data = make_data()
    data.test_split = "val"
    assert torch.equal(images(data.test_dataloader()), images(data.val_dataloader()))


def test_setting_up_again_changes_nothing():
    data = make_data()
    pixels = dict(data.pixels)
    data.setup("test")
    assert all(data.pixels[split] is pixels[split] for split in SIZES)


class Reader(pl.LightningModule):
    """Trains nothing, and keeps the images that it is given, epoch by epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.read: dict[int, list[torch.Tensor]] = {}

    def training_step(self, batch, batch_idx):
        self.read.setdefault(self.current_epoch, []).append(batch[0])
        return self.weight * 0

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_trainer_gives_every_epoch_its_own_order():
    data, reader = make_data("grey", batch_size=4), Reader()
    trainer = quiet_trainer(
        max_epochs=3,
    )
    trainer.fit(reader, data)
    loader, read = make_data("grey", batch_size=4).train_dataloader(), []
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        read.append(torch.cat(reader.read[epoch]))
        assert torch.equal(read[-1], images(loader))
    assert not torch.equal(read[0], read[1])
    assert not torch.equal(read[1], read[2])


def test_the_digits_fit_in():
    data = ImageData("digits", digits)
    assert str(data) == repr(data) == "digits: not read"
    data.setup()
    assert data.image_shape == (1, 8, 8)
    assert [len(data.pixels[split]) for split in SIZES] == [1297, 250, 250]
    assert str(data) == "digits: 1297 train, 250 val, 250 test, x (1, 8, 8) binary"


@pytest.mark.mnist
def test_fixed_binarised_mnist_is_the_same_as_ever(mnist_root):
    """Published comparisons are on these very pixels."""
    data = ImageData("mnist", lambda: torchvision_images("MNIST", str(mnist_root)))
    data.setup()
    assert data.image_shape == (1, 28, 28)
    assert {split: int((pixels == 255).sum()) for split, pixels in data.pixels.items()} == {
        "train": 5_132_805,
        "val": 1_012_913,
        "test": 1_038_358,
    }


def test_an_unknown_mode_is_named_with_those_that_are():
    with pytest.raises(ValueError, match=r"^binarization must be one of fixed, dynamic, threshold, grey, got 'soft'$"):
        ImageData("digits", digits, binarization="soft")


@pytest.mark.parametrize("setting", ["batch_size", "eval_batch_size", "labelled", "labelled_batch_size"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "10", True], ids=repr)
def test_a_batch_size_that_cannot_be_is_named(setting, value, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=f"^{setting} must be a whole number of at least 1, got {value!r}$"):
        ImageData("digits", digits, **{setting: value})


def test_no_binarisation_of_grey_values_is_grey():
    data = make_data(None)
    assert data.description == {"name": "greys", "binarization": "grey"}
    assert torch.equal(images(data.val_dataloader()), images(make_data("grey").val_dataloader()))


def test_counts_are_read_as_whole_numbers_and_are_not_binarised():
    data = ImageData("counts", digit_counts, None)
    data.setup()
    assert data.description == {"name": "counts", "binarization": "none"}
    assert data.values == ("whole", 0, 16)
    assert data.image_shape == (64,)
    assert images(data.val_dataloader()).dtype == torch.int64
    assert torch.equal(images(data.val_dataloader()), digit_counts().val.x)


@pytest.mark.parametrize("mode", ["grey", "fixed", "dynamic"])
def test_float_images_are_augmented_as_bytes_are(mode):
    """Up to the rounding of bytes: a shift alone moves the same pixels."""
    words = {"labelled": 10, "labelled_batch_size": 4, "batch_size": 5, "augmentation": Augmentation(shift=2)}

    def floats() -> Splits:
        return Splits(*(Images(x / 255, labels) for x, labels in greys()))

    read = []
    for source in (greys, floats):
        data = ImageData("greys", source, mode, **words)
        data.setup()
        torch.manual_seed(1)
        read.append(images(data.train_dataloader()))
    assert torch.equal(*read)


@pytest.mark.parametrize("mode", ["grey", "fixed", "threshold"])
def test_all_images_are_augmented_where_none_is_labelled(mode):
    """In training; validation and the test have the images as they are."""
    data, plain = (ImageData("greys", greys, mode, batch_size=5, augmentation=each) for each in (mirror, None))
    data.setup()
    plain.setup()
    assert torch.equal(images(data.train_dataloader()), images(plain.train_dataloader()).flip(-1))
    assert torch.equal(images(data.test_dataloader()), images(plain.test_dataloader()))


def mirror(x):
    return x.flip(-1)


def test_turned_floats_are_not_rounded():
    x = torch.rand(5, 1, 8, 8)
    turned = Augmentation(degrees=20.0)(x)
    assert turned.dtype == torch.float32
    assert ((turned > 0) & (turned < 1)).float().mean() > 0.5


@pytest.mark.parametrize(
    ("augmentation", "x", "said"),
    [
        (Augmentation(shift=1), torch.rand(30, 12), "augmentation must be null for vectors, got one for 12 features"),
        (Augmentation(degrees=9.0), torch.arange(30 * 36).view(30, 1, 6, 6), "degrees and zoom must be 0 for "),
        (Augmentation(zoom=0.1), torch.arange(30 * 36).view(30, 1, 6, 6), "degrees and zoom must be 0 for "),
    ],
)
def test_what_cannot_be_augmented_is_refused(augmentation, x, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    labels = torch.arange(30) % 3
    data = ImageData("x", lambda: Splits(*[Images(x, labels)] * 3), None, labelled=6, augmentation=augmentation)
    with pytest.raises(ValueError, match=f"^{said}"):
        data.setup()
