"""The fast loop over batches against Lightning's own: nobody who is called or logged to may see a difference."""

from collections.abc import Callable, Iterator
from functools import partial, wraps
from itertools import pairwise
from typing import Any, ClassVar

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, GradientAccumulationScheduler, LearningRateMonitor, Timer
from lightning.pytorch.callbacks import StochasticWeightAveraging as Averaging
from lightning.pytorch.core.hooks import CheckpointHooks, DataHooks, ModelHooks
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.loops.progress import _BaseProgress
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from discrete_latents import callbacks, lightning_internals, models
from discrete_latents.lightning_internals import (
    CALLBACK,
    IDLE,
    MODULE,
    FastEpochLoop,
    count_manual_steps,
    is_steady,
    use_fast_epoch_loop,
)
from discrete_latents.search import trial_report
from discrete_latents.training import compile_choice, early_stop, nonfinite, run_time
from tests.helpers.fitting import quiet_trainer
from tests.helpers.tables import one_in, rest_is_slow

BATCHES, EPOCHS = 7, 2

pytestmark = [pytest.mark.filterwarnings("ignore:.*")]

# Witnesses


def functions(*kinds: type) -> list[str]:
    """Public methods of classes, without properties."""
    names = {(kind, name) for kind in kinds for name in vars(kind) if not name.startswith("_")}
    return sorted({name for kind, name in names if callable(getattr(kind, name))})


OF_CALLBACKS = functions(pl.Callback)
OF_STEPS = [
    *("training_step", "validation_step", "backward", "optimizer_step", "optimizer_zero_grad", "lr_scheduler_step"),
    *("configure_optimizers", "configure_callbacks", "configure_gradient_clipping", "clip_gradients", "forward"),
]
OF_MODULES = sorted({*functions(ModelHooks, DataHooks, CheckpointHooks), *OF_STEPS} - {"configure_sharded_model"})
"""Of which Lightning refuses the last beside `configure_model`, its newer name."""


class Record:
    """What hooks were called with, and the state of training at each call."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def note(self, who: str, hook: str, trainer: pl.Trainer | None, *arguments: Any) -> None:
        self.seen.append((who, hook, tuple(map(digest, arguments)), state(trainer)))


def state(trainer: pl.Trainer | None) -> Any:
    """Everything of a trainer that a hook can look at and that is no clock."""
    if trainer is None or trainer.strategy.lightning_module is None:
        return None
    model = trainer.lightning_module
    kinds = ("callback", "logged", "progress_bar") if trainer.state.stage else ()
    metrics = [getattr(trainer, f"{kind}_metrics") for kind in kinds]
    return (
        trainer.global_step,
        trainer.current_epoch,
        trainer.fit_loop.batch_idx,
        trainer.fit_loop.total_batch_idx,
        trainer.is_last_batch,
        trainer.should_stop,
        trainer.received_sigterm,
        str(trainer.state.stage),
        repr(counters(trainer.fit_loop)),
        [[group["lr"] for group in optimizer.param_groups] for optimizer in trainer.optimizers],
        [digest(optimizer.state_dict()["state"]) for optimizer in trainer.optimizers],
        [(digest(parameter), digest(parameter.grad)) for parameter in model.parameters()],
        model._current_fx_name,
        digest(metrics),
        torch.get_rng_state().sum().item(),
    )


def counters(loop: Any) -> list[Any]:
    """What a loop and those within it count: `state_dict` has the same, and takes ten times as long."""
    parts = [part for part in vars(loop).values() if isinstance(part, _BaseProgress)]
    inner = [counters(part) for part in vars(loop).values() if isinstance(part, _Loop)]
    return [*parts, loop.on_save_checkpoint(), *inner]


def digest(value: Any) -> Any:
    """A value that can be compared: tensors to the bit, and objects by their kind."""
    if isinstance(value, torch.Tensor):
        raw = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        return str(value.dtype), tuple(value.shape), value.requires_grad, hash(raw)
    if isinstance(value, dict):
        return [(str(key), digest(part)) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [digest(part) for part in value]
    return value if isinstance(value, int | float | str | None) else type(value).__name__


def witness(kind: type, hooks: list[str], record: Record, trainer_of: Callable[..., Any]) -> type:
    """A subclass that notes the calls of hooks, and overrides nothing else."""

    def method(name: str) -> Callable[..., Any]:
        plain = getattr(kind, name)

        def noting(self: Any, *arguments: Any, **named: Any) -> Any:
            record.note(kind.__name__, name, trainer_of(self, *arguments), *arguments, *named.values())
            return plain(self, *arguments, **named)

        # Lightning looks at the arguments that `training_step` takes, and takes other wrapped hooks for what they wrap.
        return wraps(plain)(noting) if name == "training_step" else noting

    return type("Witness", (kind,), {name: method(name) for name in hooks if hasattr(kind, name)})


def is_trainer(thing: Any) -> bool:
    return isinstance(thing, pl.Trainer)


class Told(pl.Callback):
    """A callback that overrides nothing."""


class Regression(pl.LightningModule):
    """A module that is quick to train, with noise in it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 1)

    def loss(self, batch: Any) -> torch.Tensor:
        x, y = batch[0], batch[1]
        return (self.layer(x + 0.1 * torch.randn_like(x)) - y).square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Rows(Logger):
    """Rows in memory, and how often they were saved."""

    name, version = "rows", ""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Any] = []

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        self.rows.append((step, dict(metrics)))

    def save(self) -> None:
        self.rows.append("saved")


def data() -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4 * BATCHES - 1, 3, generator=generator)  # the last batch is smaller
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4)


class Given:
    """A loader of batches that are what they are."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


class Endless(IterableDataset):
    """Batches of which nobody knows how many there are."""

    def __iter__(self) -> Iterator[Any]:
        yield from data()


@pytest.fixture
def fast(monkeypatch):
    """Counts the batches that the fast loop takes itself."""
    taken = []
    optimize = FastEpochLoop.optimize
    monkeypatch.setattr(FastEpochLoop, "optimize", lambda self, *batch: taken.append(1) or optimize(self, *batch))
    return taken


def fit(
    loop: str,
    *,
    module: type = Regression,
    callback_hooks: list[str] = OF_CALLBACKS,
    module_hooks: list[str] = (),
    callbacks: Callable[[], list[pl.Callback]] = list,
    loader: Callable[[], Any] = data,
    datamodule: Callable[[], Any] | None = None,
    resume: Any = None,
    raises: type[BaseException] | None = None,
    **settings: Any,
) -> tuple[Any, ...]:
    """Everything that was seen of a fit by a loop: "lightning", "fast", or "steady", where all hooks count as such."""
    record, rows = Record(), Rows()
    model = witness(module, list(module_hooks), record, lambda self, *_: self._trainer)()
    told = witness(Told, callback_hooks, record, lambda self, *given: next(filter(is_trainer, given), None))()
    trainer = quiet_trainer(
        callbacks=[told, *callbacks()],
        logger=rows,
        num_sanity_val_steps=1,
        **{"max_epochs": EPOCHS, "log_every_n_steps": 3} | settings,
    )
    if loop != "lightning":
        use_fast_epoch_loop(trainer)
    torch.manual_seed(2)
    given = {"datamodule": datamodule()} if datamodule else {"train_dataloaders": loader(), "val_dataloaders": data()}
    try:
        with pytest.MonkeyPatch.context() as patch:
            if loop == "steady":
                patch.setattr(lightning_internals, "is_steady", lambda _: True)
            trainer.fit(model, **given, ckpt_path=resume, weights_only=False)
        assert raises is None
    except BaseException as error:
        if raises is None or not isinstance(error, raises):
            raise
    end = [trainer.global_step, trainer.current_epoch, str(trainer.state.status), digest(model.state_dict())]
    return record.seen, rows.rows, end, digest(trainer.fit_loop.state_dict()), digest(dict(trainer.callback_metrics))


def assert_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    for number, (first, second) in enumerate(zip(one[0], other[0], strict=False)):
        assert first == second, f"call {number}"
    assert len(one[0]) == len(other[0])
    assert one[1:] == other[1:]


# Hooks


def test_lightning_has_no_hook_that_this_knows_nothing_of():
    """Where a newer Lightning has, it is left to Lightning's own loop until it is sorted."""
    assert set(MODULE) == {
        *("backward", "clip_gradients", "configure_gradient_clipping", "optimizer_step", "optimizer_zero_grad"),
        *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"),
    }
    assert not CALLBACK


@pytest.mark.parametrize("hook", one_in(4, OF_CALLBACKS))
def test_a_callback_with_one_hook_sees_what_it_sees_in_lightning(hook, fast):
    seen = [fit(loop, callback_hooks=[hook]) for loop in ("lightning", "fast")]
    assert_same(*seen)
    assert len(fast) == EPOCHS * BATCHES


@pytest.mark.parametrize("hook", one_in(6, OF_MODULES))
def test_a_module_with_one_hook_sees_what_it_sees_in_lightning(hook, fast):
    seen = [fit(loop, callback_hooks=[], module_hooks=[hook]) for loop in ("lightning", "fast")]
    assert_same(*seen)
    assert len(fast) == (0 if hook in MODULE else EPOCHS * BATCHES)


# Settings


class Logs(Regression):
    """Logs in every way that there is, in some of the steps."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if self.trainer.global_step % 2:
            self.log("odd", loss, prog_bar=True)
            self.log("unseen", loss, logger=False)
        self.log("every", loss, on_step=True, on_epoch=True)
        return {"loss": loss, "more": loss.detach() * 2}

    def on_before_optimizer_step(self, optimizer):
        self.log("norm", self.layer.weight.grad.norm())

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.log("more", outputs["more"])

    def on_train_epoch_end(self):
        self.log("epoch_end", torch.tensor(1.0))


class LogsSeldom(Regression):
    """Logs once an epoch, under the name of a metric of the validation too."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if batch_idx == 2:
            self.log("val/loss", loss, prog_bar=True, on_epoch=True)
        return loss


class Scheduled(Regression):
    scheduler, settings = torch.optim.lr_scheduler.StepLR, {"step_size": 2}
    every: ClassVar[dict[str, Any]] = {"interval": "step"}

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        schedule = {"scheduler": self.scheduler(optimizer, **self.settings), **self.every}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class ByEpoch(Scheduled):
    every: ClassVar[dict[str, Any]] = {"interval": "epoch"}


class Plateau(Scheduled):
    scheduler, settings = torch.optim.lr_scheduler.ReduceLROnPlateau, {"patience": 0, "factor": 0.5}
    every: ClassVar[dict[str, Any]] = {"interval": "step", "monitor": "val/loss", "frequency": 3, "strict": False}


class Skips(Regression):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx in (1, 4) else loss


class EndsEpochs(Regression):
    def on_train_batch_start(self, batch, batch_idx):
        return -1 if batch_idx == 4 else None


class WithoutIndex(Regression):
    def training_step(self, batch):
        return self.loss(batch)


class LineSearch(Regression):
    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), max_iter=3)


class Manual(Regression):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss, optimizer = self.loss(batch), self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


class Iterates(Regression):
    def training_step(self, dataloader_iter):
        batch, _, _ = next(dataloader_iter)
        return self.loss(batch)


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return data()

    val_dataloader = train_dataloader


class Moving(Data):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return [part + 1 for part in batch]


class Stop(pl.Callback):
    """Asks for a stop in a hook, at a step."""

    def __init__(self, hook, step=3):
        def stop(trainer, *_):
            trainer.should_stop |= trainer.global_step == step

        setattr(self, hook, stop)


class Late(Timer):
    """A step takes a second."""

    def on_train_batch_end(self, trainer, *_):
        self.time_elapsed = lambda *_: float(trainer.global_step)
        super().on_train_batch_end(trainer, *_)


class Logged(pl.Callback):
    def on_train_batch_start(self, trainer, model, *_):
        model.log("start", float(trainer.global_step))

    def on_train_batch_end(self, trainer, model, *_):
        model.log("end", float(trainer.global_step))


class Changes(pl.Callback):
    """Changes what the fast loop depends on, in the middle of an epoch."""

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        if batch_idx == 1:
            trainer.accumulate_grad_batches = 2
        if batch_idx == 3:
            trainer.accumulate_grad_batches = 1
            trainer.gradient_clip_val = 0.01
        if batch_idx == 4:
            trainer.gradient_clip_val = None
            model.optimizer_zero_grad = lambda *_: None
        if batch_idx == 5:
            del model.optimizer_zero_grad
            trainer.callbacks.append(Logged())


class Raises(pl.Callback):
    def __init__(self, hook):
        def fail(trainer, *_):
            if trainer.global_step == 4:
                raise ZeroDivisionError

        setattr(self, hook, fail)


def at(kind: type, hook: str) -> list[pl.Callback]:
    return [kind(hook)]


def case(name: str, count: int = EPOCHS * BATCHES, **settings: Any) -> Any:
    """count: of the batches that the fast loop takes itself."""
    return pytest.param(settings, count, id=name)


CHANGES = partial(list, [Changes()])
BEFORE, AFTER = "on_train_batch_start", "on_train_batch_end"
WITHIN = ["on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"]

CASES = [
    case("nothing"),
    case("logging", module=Logs),
    case("logging every step", module=Logs, log_every_n_steps=1),
    case("logging once an epoch", module=LogsSeldom, val_check_interval=3),
    case("logging by a callback", callbacks=lambda: [Logged()]),
    case("no logging", module=Logs, log_every_n_steps=0),
    case("rate monitor", module=Scheduled, callbacks=lambda: [LearningRateMonitor()], log_every_n_steps=1),
    case("schedule by step", module=Scheduled),
    case("schedule by epoch", module=ByEpoch),
    case("schedule by plateau", module=Plateau, val_check_interval=2),
    case("skipped steps", module=Skips),
    case("epochs ended by a hook", 2 * 4, module=EndsEpochs),
    case("no batch_idx", module=WithoutIndex),
    case("LBFGS", module=LineSearch),
    case("manual", 0, module=Manual),
    case("dataloader_iter", 0, module=Iterates),
    case("accumulation", 0, accumulate_grad_batches=2),
    case("accumulation from the second epoch", BATCHES, callbacks=lambda: [GradientAccumulationScheduler({1: 2})]),
    case("clipping", 0, gradient_clip_val=0.1),
    case("clipping by value", 0, gradient_clip_val=0.1, gradient_clip_algorithm="value"),
    case("averaging", callbacks=lambda: [Averaging(0.05, swa_epoch_start=1)], count=BATCHES * EPOCHS, module=ByEpoch),
    case("early stopping", callbacks=lambda: [EarlyStopping("val/loss", patience=0, mode="max")], max_epochs=4),
    case("changes", 2 * 3, callbacks=CHANGES),
    case("max_steps", 9, max_epochs=-1, max_steps=9),
    case("val_check_interval", val_check_interval=3),
    case("val_check_interval, a share", val_check_interval=0.3),
    case("val_check_interval over epochs", val_check_interval=5, check_val_every_n_epoch=None),
    case("check_val_every_n_epoch", check_val_every_n_epoch=2),
    case("no validation", limit_val_batches=0),
    case("limit_train_batches", 10, limit_train_batches=5),
    case("limit_train_batches, a share", 6, limit_train_batches=0.5),
    case("overfit_batches", 4, overfit_batches=2),
    case("fast_dev_run", 3, fast_dev_run=3),
    case("max_time", 3, callbacks=lambda: [Late({"seconds": 3})]),
    case("min_steps", 7, callbacks=lambda: [Stop("on_train_batch_end")], min_steps=7, max_epochs=3),
    case("min_epochs", 14, callbacks=lambda: [Stop("on_train_batch_end")], min_epochs=2, max_epochs=3),
    *(case(f"stop in {hook}", 4, callbacks=partial(at, Stop, hook)) for hook in (BEFORE, *WITHIN)),
    case(f"stop in {AFTER}", 3, callbacks=partial(at, Stop, AFTER)),
    *(case(f"error in {hook}", 5, callbacks=partial(at, Raises, hook), raises=ZeroDivisionError) for hook in WITHIN),
    *(
        case(f"error in {hook}", 4, callbacks=partial(at, Raises, hook), raises=ZeroDivisionError)
        for hook in (BEFORE, AFTER)
    ),
    case("batches without a number", loader=lambda: DataLoader(Endless(), batch_size=None)),
    case("batches in tuples", loader=lambda: Given([(x, y) for x, y in data()])),
    case("batches in dictionaries", loader=lambda: Given([{0: x, 1: y} for x, y in data()])),
    case("batches of None", 2 * 6, loader=lambda: Given([*list(data())[:-1], None])),
    case("data module", datamodule=Data),
    case("data module with a transfer", 0, datamodule=Moving),
    case("64-true", precision="64-true"),
    case("bf16-mixed", precision="bf16-mixed"),
    case("bf16-true", precision="bf16-true"),
    case("profiler", 0, profiler="simple"),
    case("anomalies detected", detect_anomaly=True),
]


@pytest.mark.parametrize(("settings", "count"), one_in(5, CASES))
def test_callbacks_and_modules_with_every_hook_that_it_calls_see_what_they_see_in_lightning(settings, count, fast):
    hooks = [hook for hook in OF_MODULES if hook not in MODULE]
    seen = [fit(loop, module_hooks=hooks, **settings) for loop in ("lightning", "fast")]
    assert_same(*seen)
    assert len(fast) == count
    if settings.get("callbacks") is not CHANGES:  # which no steady hook does
        assert_same(seen[0], fit("steady", module_hooks=hooks, **settings))
        assert len(fast) == 2 * count


@pytest.mark.parametrize(
    "settings",
    rest_is_slow(
        [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.1}, {"val_check_interval": 3}, {"module": Logs}], 1
    ),
    ids=str,
)
def test_with_every_hook_there_is_the_batches_are_lightnings_own(settings, fast):
    seen = [fit(loop, module_hooks=OF_MODULES, **settings) for loop in ("lightning", "fast")]
    assert_same(*seen)
    assert not fast


@pytest.mark.parametrize(
    ("settings", "advances"),
    [
        ({}, [7, 7]),
        ({"val_check_interval": 3}, [3, 3, 1, 3, 3, 1]),
        ({"max_epochs": -1, "max_steps": 9}, [7, 2]),
        ({"callbacks": partial(list, [Stop("on_before_backward")])}, [4]),
        ({"module": Scheduled}, [1] * 14),
        ({"callbacks": partial(list, [Told(), Logged()])}, [7, 7]),
    ],
    ids=["plain", "validation", "max_steps", "stop", "scheduled", "told"],
)
def test_steady_batches_are_taken_together_up_to_where_lightning_has_to_act(settings, advances, fast, monkeypatch):
    done = [0]
    advance = FastEpochLoop.advance
    monkeypatch.setattr(FastEpochLoop, "advance", lambda self, data: advance(self, data) or done.append(len(fast)))
    fit("steady", **settings)
    assert [later - earlier for earlier, later in pairwise(done)] == advances
    fast.clear(), done.clear()
    fit("fast", **settings)
    assert done == [*range(1, len(fast) + 1)]


def test_hooks_of_this_package_are_steady_so_that_none_takes_the_saving_from_a_run():
    own = [
        vars(module).values() for module in (callbacks, compile_choice, early_stop, nonfinite, run_time, trial_report)
    ]
    kinds = {kind for found in own for kind in found if isinstance(kind, type) and issubclass(kind, pl.Callback)}
    hooks = [(kind, name) for kind in kinds - {pl.Callback} for name in IDLE]
    hooks = [(kind, name) for kind, name in hooks if getattr(kind, name) is not getattr(pl.Callback, name)]
    assert len(hooks) > 5
    assert [f"{kind.__name__}.{name}" for kind, name in hooks if not is_steady(getattr(kind, name))] == []
    assert all(is_steady(kind.training_step) for kind in vars(models).values() if isinstance(kind, type))


# Checkpoints


class Saves(pl.Callback):
    """A checkpoint a batch and one in the middle of each step."""

    def __init__(self, folder):
        self.folder = folder

    def on_before_optimizer_step(self, trainer, *_):
        trainer.save_checkpoint(self.folder / f"within_{trainer.global_step}.ckpt")

    def on_train_batch_end(self, trainer, *_):
        trainer.save_checkpoint(self.folder / f"after_{trainer.global_step}.ckpt")

    def on_validation_end(self, trainer, *_):
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.folder / f"validated_{trainer.global_step}.ckpt")


@pytest.mark.parametrize(
    "settings", rest_is_slow([{}, {"val_check_interval": 3}, {"max_epochs": -1, "max_steps": 9}], 1), ids=str
)
def test_checkpoints_are_lightnings_to_the_last_counter_and_go_on_in_either(settings, tmp_path, fast):
    for loop in ("lightning", "fast"):
        (tmp_path / loop).mkdir()
        fit(loop, module=Scheduled, callbacks=lambda loop=loop: [Saves(tmp_path / loop)], **settings)
    names = sorted(path.name for path in (tmp_path / "lightning").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "fast").iterdir())
    for name in names:
        one, other = (torch.load(tmp_path / loop / name, weights_only=False) for loop in ("lightning", "fast"))
        assert digest(one) == digest(other), name
    taken = len(fast)
    for name in ("within_4.ckpt", "after_5.ckpt", next(name for name in names if name.startswith("validated"))):
        resumed = {"module": Scheduled, "resume": tmp_path / "fast" / name}
        seen = [fit(loop, **resumed, **settings) for loop in ("lightning", "fast")]
        assert_same(*seen)
    assert len(fast) > taken


def test_a_checkpoint_of_manual_optimisation_goes_on_where_it_stood(tmp_path):
    """Such are those of runs of before November 2026."""

    class Counted(Regression):
        def on_load_checkpoint(self, checkpoint):
            count_manual_steps(checkpoint)

    for module in (Manual, Regression):
        (tmp_path / module.__name__).mkdir()
        fit("lightning", module=module, callbacks=lambda module=module: [Saves(tmp_path / module.__name__)])
    path = tmp_path / "Manual" / "after_9.ckpt"
    expected = fit("fast", module=Counted, resume=tmp_path / "Regression" / "after_9.ckpt")
    found = fit("fast", module=Counted, resume=path)
    assert expected[2][0] == found[2][0] == EPOCHS * BATCHES
    starts = [[call[3][0] for call in seen[0] if call[1] == "on_train_batch_start"] for seen in (found, expected)]
    assert starts[0] == starts[1] == list(range(9, EPOCHS * BATCHES))
