"""Pictures: which files are written, when, how large, and that training does not notice."""

import jaxtyping
import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from discrete_latents.callbacks import Pictures
from discrete_latents.callbacks.pictures import LINE, arrange, code_use, render
from discrete_latents.data import ImageData, Images, Splits, digit_counts, digits
from discrete_latents.latent import GumbelSoftmax
from discrete_latents.likelihoods import Bernoulli, Gaussian, Poisson
from discrete_latents.models import CategoricalVAE
from discrete_latents.models.latent_model import Caption
from discrete_latents.networks import MLP
from discrete_latents.optimization import Optimization
from tests.helpers.fitting import quiet_trainer

K = 3


def large():
    """Random images of 28×28."""
    grey = torch.randint(0, 256, (30, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Splits(*[Images(grey, torch.zeros(30, dtype=torch.long))] * 3)


def make(source=digits, binarization="fixed", likelihood=None):
    torch.manual_seed(0)
    data = ImageData("images", source, binarization, batch_size=500)
    data.setup()
    model = CategoricalVAE(
        data.image_shape,
        num_latents=4,
        num_classes=K,
        network=MLP([]),
        estimator=GumbelSoftmax(),
        likelihood=likelihood or Bernoulli(),
        optimization=Optimization(torch.optim.Adam),
        eval_samples=1,
    )
    model.kind = data.values.kind
    model.set_base_rate(data.mean_image)
    return model, data


def make_trainer(*callbacks, max_epochs=1, logger=False):
    return quiet_trainer(
        max_epochs=max_epochs,
        callbacks=list(callbacks),
        logger=logger,
        log_every_n_steps=1,
    )


def read(path):
    with Image.open(path) as picture:
        return pil_to_tensor(picture)


def sizes(folder):
    """Height and width of every PNG."""
    return {path.name: tuple(read(path).shape[1:]) for path in folder.glob("*.png")}


def cut(picture, height, width):
    """The grid of a picture, which its words stand above and to the left of."""
    return picture[:, -height:, -width:]


def grid(rows, columns, side=56):
    return rows * (side + 2) + 2, columns * (side + 2) + 2


@pytest.mark.parametrize("source", [digits, large], ids=["8x8", "28x28"])
@pytest.mark.parametrize("count", [10, 5])
def test_testing_writes_pictures_and_enlarges_small_images(source, count, tmp_path):
    model, data = make(source)
    make_trainer(Pictures(str(tmp_path / "images"), count=count)).test(model, data, verbose=False)
    grids = {"reconstructions": grid(2, count), "samples": grid(8, 10), "classes": grid(min(count, 8), K)}
    lines = {"reconstructions": 1, "samples": 1, "classes": 2}
    names = {*grids, "code_use"}
    written = {path.name for path in (tmp_path / "images").iterdir()}
    assert written == {f"{name}.{kind}" for name in names for kind in ("png", "pdf")}
    assert all(path.read_bytes().startswith(b"%PDF") for path in (tmp_path / "images").glob("*.pdf"))
    for name, (height, width) in grids.items():
        picture = read(tmp_path / "images" / f"{name}.png")
        assert picture.shape[1] == height + lines[name] * LINE
        assert picture.shape[2] >= width
        images = cut(picture, height, width)
        assert (images[:, :2] == 128).all()  # the frame
        assert (images[:, :, :2] == 128).all()
        assert (images[:, -2:] == 128).all()
        above = picture[0, :LINE].float()
        assert above.max() == 255 > 100 > above.min()  # the title


@pytest.mark.parametrize("caption", [Caption("a title"), Caption("", ("first", "second")), Caption("t", (), "abc")])
def test_words_stand_around_a_grid_and_change_none_of_it(caption):
    rows = torch.rand(2, 3, 1, 56, 56)
    bare, worded = (pil_to_tensor(render(rows, each)) for each in (None, caption))
    assert tuple(bare.shape[1:]) == grid(2, 3)
    assert torch.equal(cut(worded, *grid(2, 3)), bare)
    added = [there - here for there, here in zip(worded.shape[1:], bare.shape[1:], strict=True)]
    assert added[0] == LINE * (bool(caption.title) + bool(caption.columns))
    assert (added[1] > 0) == bool(caption.rows)


@pytest.mark.parametrize(("latents", "classes"), [(4, 3), (200, 2), (1, 1000)])
def test_the_use_of_codes_is_white_for_none_and_black_for_the_most(latents, classes):
    counts = torch.zeros(latents, classes)
    counts[:, 0] = 30
    counts[0, :2] = torch.tensor([20.0, 10.0])  # two thirds and one third of the images
    picture = pil_to_tensor(code_use(counts))[0]
    height, width = max(1, min(24, 320 // classes)), max(2, min(24, 640 // latents))
    cells = cut(picture[None], height * classes, width * latents)[0, height // 2 :: height, width // 2 :: width]
    assert cells.shape == (classes, latents)
    wanted = 255 * (1 - counts.T / counts.max())
    assert (cells.float() - wanted).abs().max() <= 0.5


def test_nothing_was_drawn_is_all_white():
    assert (cut(pil_to_tensor(code_use(torch.zeros(2, 3))), 72, 48) == 255).all()


def test_a_long_title_is_not_cut():
    rows = torch.rand(1, 1, 1, 56, 56)
    width = render(rows, Caption("a title that is longer than the picture is wide")).width
    assert width > render(rows, Caption("a title that is longer")).width > grid(1, 1)[1]


def first_row(path, count):
    """The 8×8 images in the first row of a picture: the middle of each enlarged pixel."""
    picture = cut(read(path), *grid(2, count))
    return torch.stack([picture[0, 2:58, 2 + 58 * n : 58 + 58 * n][3::7, 3::7] for n in range(count)])


@pytest.mark.parametrize("binarization", ["fixed", "grey", "dynamic"])
@pytest.mark.parametrize("split", ["test", "val"])
def test_the_first_row_shows_the_first_images_of_the_tested_split(binarization, split, tmp_path):
    model, data = make(binarization=binarization)
    data.test_split = split
    make_trainer(Pictures(str(tmp_path), count=6)).test(model, data, verbose=False)
    assert torch.equal(first_row(tmp_path / "reconstructions.png", 6), data.pixels[split][:6, 0])


def test_pictures_of_training_are_of_validation_images_every_so_many_epochs(tmp_path):
    model, data = make()
    path, written = tmp_path / "reconstructions.png", []

    class Look(pl.Callback):
        def on_train_epoch_end(self, trainer, *_):
            written.append(path.exists() and torch.equal(first_row(path, 4), data.pixels["val"][:4, 0]))
            path.unlink(missing_ok=True)

    make_trainer(Pictures(str(tmp_path), every_n_epochs=2, count=4), Look(), max_epochs=5).fit(model, data)
    assert written == [False, True, False, True, False]


def test_zero_epochs_is_never_in_training(tmp_path):
    model, data = make()
    make_trainer(Pictures(str(tmp_path / "images"), every_n_epochs=0), max_epochs=2).fit(model, data)
    assert not (tmp_path / "images").exists()


def test_later_pictures_replace_earlier_ones(tmp_path):
    model, data = make()
    pictures = Pictures(str(tmp_path))
    make_trainer(pictures).test(model, data, verbose=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        model.output_bias += 1
    make_trainer(pictures).test(model, data, verbose=False)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    same = {name for name in after if after[name] == before[name]}
    assert same == {"code_use.png", "code_use.pdf"}  # the decoder has changed, and the codes have not


def test_the_same_model_gives_the_same_pictures(tmp_path):
    model, data = make()
    for folder, seed in (("one", 1), ("two", 2)):
        torch.manual_seed(seed)
        make_trainer(Pictures(str(tmp_path / folder))).test(model, data, verbose=False)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_pictures_do_not_disturb_the_noise_of_training(tmp_path):
    weights = []
    for callbacks in ([], [Pictures(str(tmp_path), every_n_epochs=1)]):
        model, data = make(binarization="dynamic")
        make_trainer(*callbacks, max_epochs=3).fit(model, data)
        weights.append(model.state_dict())
    assert (tmp_path / "samples.png").exists()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_writing_leaves_the_random_state_and_the_gradients(tmp_path):
    model, data = make()
    pictures = Pictures(str(tmp_path))
    trainer = make_trainer(pictures)
    trainer.fit(model, data)
    noise = torch.get_rng_state()
    gradients = [parameter.grad for parameter in model.parameters()]
    pictures.write(trainer, model, "val")
    assert torch.equal(torch.get_rng_state(), noise)
    assert all(before is after.grad for before, after in zip(gradients, model.parameters(), strict=True))
    assert model.training


def test_tensorboard_shows_the_pictures_too(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model, data = make()
    logger = TensorBoardLogger(tmp_path, name="tensorboard", version="")
    make_trainer(Pictures(str(tmp_path / "images")), logger=logger).test(model, data, verbose=False)
    logger.finalize("success")
    events = EventAccumulator(logger.log_dir).Reload()
    names = ("reconstructions", "samples", "classes", "code_use")
    assert set(events.Tags()["images"]) == {f"images/{name}" for name in names}


def test_images_are_enlarged_pixel_by_pixel_and_parted_by_grey():
    rows = torch.rand(2, 3, 1, 20, 20)
    picture = arrange(rows)
    assert picture.shape == (3, *grid(2, 3, side=60))
    assert torch.equal(picture[:, 2 + 62 : 62 + 62, 2:62][:, 1::3, 1::3], rows[1, 0].expand(3, 20, 20))
    assert torch.equal(picture[:, 2:62, 2 + 124 : 62 + 124][:, ::3, ::3], rows[0, 2].expand(3, 20, 20))
    assert (picture[:, 62:64] == 0.5).all()


def test_images_that_are_large_enough_stay_as_they_are():
    rows = torch.rand(1, 2, 3, 64, 64)
    assert torch.equal(arrange(rows)[:, 2:66, 2:66], rows[0, 0])


def test_values_outside_0_to_1_are_cut():
    rows = torch.tensor([-3.0, 4.0]).view(1, 2, 1, 1, 1).expand(1, 2, 1, 56, 56)
    picture = arrange(rows)
    assert (picture[:, 2:58, 2:58] == 0).all()
    assert (picture[:, 2:58, 60:116] == 1).all()


@pytest.mark.parametrize("value", [-1, 2.5, "10", None], ids=repr)
def test_a_number_of_epochs_that_cannot_be_is_named(value, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=rf"^every_n_epochs must be a whole number of at least 0, got {value!r}$"):
        Pictures("images", every_n_epochs=value)


def test_pictures_of_vectors_are_figures_of_their_features(tmp_path):
    model, data = make(digit_counts, None, Poisson())
    make_trainer(Pictures(str(tmp_path))).test(model, data, verbose=False)
    assert set(sizes(tmp_path)) == {"reconstructions.png", "samples.png", "classes.png", "code_use.png"}
    assert {path.stem for path in tmp_path.glob("*.pdf")} == {path.stem for path in tmp_path.glob("*.png")}
    vectors = read(tmp_path / "reconstructions.png")[0].float()
    assert vectors.min() < 30
    assert vectors.max() > 225


@pytest.mark.parametrize("change", [lambda x: x * 1.0 - 8, lambda x: x * 100.0 - 7])
def test_numbers_of_another_range_are_shown_in_full(change, tmp_path):
    """The first row is the images, black to white as their grey values are."""

    def numbers() -> Splits:
        return Splits(*(Images(change(x.view(-1, 1, 8, 8)), labels) for x, labels in digit_counts()))

    model, data = make(numbers, None, Gaussian())
    make_trainer(Pictures(str(tmp_path), count=6)).test(model, data, verbose=False)
    shown = first_row(tmp_path / "reconstructions.png", 6).float()
    torch.testing.assert_close(shown, digits().test.x[:6, 0].float(), rtol=0, atol=1)
