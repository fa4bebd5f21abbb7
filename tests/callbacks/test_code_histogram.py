"""The histogram of code usage: of which counts, when, and that training does not notice."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from discrete_latents.callbacks import CodeHistogram
from discrete_latents.data import ImageData, digits
from discrete_latents.latent import GumbelSoftmax
from tests.helpers.fitting import make_model, quiet_trainer


class Counts(pl.Callback):
    """The share of images that drew each class of each latent, at the end of each evaluation."""

    def __init__(self) -> None:
        self.shares: dict[str, list[torch.Tensor]] = {"val": [], "test": []}

    def on_validation_epoch_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.shares["val"].append(pl_module.code_usage.counts / 250)

    def on_test_epoch_end(self, trainer, pl_module):
        self.shares["test"].append(pl_module.code_usage.counts / 250)


def fit_and_test(*callbacks, logger):
    torch.manual_seed(0)
    model, data = make_model(GumbelSoftmax()), ImageData("digits", digits)
    data.setup()
    trainer = quiet_trainer(
        max_epochs=2,
        limit_train_batches=5,
        callbacks=list(callbacks),
        logger=logger,
        log_every_n_steps=1,
    )
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    return model, dict(trainer.callback_metrics)


def test_it_shows_how_often_each_class_of_each_latent_was_drawn(tmp_path):
    logger, counts = TensorBoardLogger(tmp_path, name="", version=""), Counts()
    fit_and_test(counts, CodeHistogram(), logger=logger)
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0}).Reload()
    assert [event.step for event in events.Histograms("val/code_shares")] == [
        event.step for event in events.Scalars("val/nelbo")
    ]
    for split, times in (("val", 2), ("test", 1)):
        shown = [event.histogram_value for event in events.Histograms(f"{split}/code_shares")]
        assert len(shown) == len(counts.shares[split]) == times
        for histogram, shares in zip(shown, counts.shares[split], strict=True):
            assert histogram.num == 2 * 3
            assert (histogram.min, histogram.max) == pytest.approx((shares.min().item(), shares.max().item()))
            assert histogram.sum == pytest.approx(2)  # of each of two latents, all images
            assert histogram.sum_squares == pytest.approx(shares.square().sum().item())


def test_training_and_the_other_metrics_do_not_notice(tmp_path):
    plain, metrics = fit_and_test(logger=False)
    shown, others = fit_and_test(CodeHistogram(), logger=TensorBoardLogger(tmp_path))
    assert all(torch.equal(value, shown.state_dict()[name]) for name, value in plain.state_dict().items())
    assert metrics.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in metrics.items())
