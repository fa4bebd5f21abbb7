"""All uses of Lightning's private API. Review this file before allowing a newer Lightning.

Written against Lightning 2.6.6. Each function or class is named after its public behaviour. Nothing here depends on
this package's models, data or settings.
"""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.core.hooks import DataHooks
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loops.fetchers import _DataFetcher, _PrefetchDataFetcher, _profile_nothing
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.optimization.automatic import Closure, ClosureResult
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection
from lightning.pytorch.trainer.connectors.signal_connector import _HandlersCompose
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn

# ---------------------------------------------------------------------------------------------------------------------
# The loop over the batches of an epoch

CALLED = {
    *("on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward"),
    *("on_before_optimizer_step", "on_train_batch_end", "training_step", "lr_scheduler_step"),
}
"""Hooks of a training batch that `FastEpochLoop` itself calls on callbacks and module."""

ELSEWHERE = {
    *("setup", "teardown", "prepare_data", "on_fit_start", "on_fit_end", "on_exception", "on_gpu"),
    *("on_train_start", "on_train_end", "on_train_epoch_start", "on_train_epoch_end"),
    *("on_sanity_check_start", "on_sanity_check_end", "on_save_checkpoint", "on_load_checkpoint"),
    *("on_validation_model_eval", "on_validation_model_train", "on_validation_model_zero_grad"),
    *("on_test_model_eval", "on_test_model_train", "on_predict_model_eval"),
    *(
        f"on_{stage}_{moment}"
        for stage in ("validation", "test", "predict")
        for moment in ("start", "end", "epoch_start", "epoch_end", "batch_start", "batch_end")
    ),
    *("validation_step", "test_step", "predict_step"),
    *("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"),
    *("configure_callbacks", "configure_model", "configure_optimizers", "configure_sharded_model"),
    *("state_dict", "load_state_dict", "state_key", "load_from_checkpoint", "save_hyperparameters"),
    *("remove_ignored_hparams", "hparams", "hparams_initial", "example_input_array", "strict_loading", "fabric"),
    *("trainer", "logger", "loggers", "current_epoch", "global_step", "global_rank", "local_rank", "device", "dtype"),
    *("device_mesh", "automatic_optimization", "log", "log_dict", "print", "all_gather", "manual_backward"),
    *("optimizers", "lr_schedulers", "toggle_optimizer", "untoggle_optimizer", "toggled_optimizer"),
    *("freeze", "unfreeze", "to_onnx", "to_tensorrt", "to_torchscript"),
}
"""Public names of `Callback` and `LightningModule` that Lightning does not call during a training batch, or that only
the module's own methods call."""


def defaults(kind: type, *without: type) -> dict[str, Any]:
    """A class's public functions in neither `CALLED` nor `ELSEWHERE`, including any that a newer Lightning adds.

    without: classes whose names are excluded.
    """
    names = {name for name in dir(kind) if not name.startswith("_")} - CALLED - ELSEWHERE
    names -= {name for other in without for name in dir(other)}
    return {name: getattr(kind, name) for name in sorted(names) if callable(getattr(kind, name))}


MODULE = defaults(pl.LightningModule, nn.Module)
"""`backward`, `optimizer_step`, `configure_gradient_clipping`, the batch transfers, …: called by Lightning's loop."""

CALLBACK = defaults(pl.Callback)

IDLE = {name: getattr(pl.LightningModule, name) for name in CALLED if hasattr(pl.Callback, name)}
"""The module's hooks that `FastEpochLoop` calls, as they are by default: they do nothing."""

DATA = {name: function for name, function in MODULE.items() if hasattr(DataHooks, name)}

STRATEGIES = (SingleDeviceStrategy, DDPStrategy)
"""Strategies from which a training batch uses only `training_step` and the defaults of `Strategy`."""

PRECISIONS = (Precision, MixedPrecision, HalfPrecision, DoublePrecision)
"""Precision plugins from which a training batch uses only the forward context, without a gradient scaler."""


def overrides(thing: object, functions: Mapping[str, Any]) -> bool:
    """Whether an object or its class overrides one of these functions."""
    return any(getattr(getattr(thing, name), "__func__", None) is not plain for name, plain in functions.items())


class ExactEpochLoop(_TrainingEpochLoop):
    """Lightning's loop over the batches of an epoch, with three exceptions.

    A run which is resumed where max_steps stopped it trains on no further batch. Training is not stopped while
    gradients are kept for a later step, which would be lost. A validation that was cut begins again on resume.
    """

    @property
    def done(self) -> bool:
        if self.validates_again or (not self.restarting and gradients_are_kept(self.trainer)):
            return False
        return (self.restarting and self.global_step == self.max_steps) or super().done

    @property
    def validates_again(self) -> bool:
        """Whether the run was saved by `restart_validation`, and nothing has been done since it was resumed."""
        return self.restarting and self.val_loop.restarted_mid_evaluation and validation_follows(self.trainer)

    def _should_check_val_fx(self, data_fetcher: _DataFetcher) -> bool:
        trainer, stops = self.trainer, self.trainer.should_stop  # Lightning validates before it stops
        trainer.should_stop = stops and not gradients_are_kept(trainer)
        try:
            return super()._should_check_val_fx(data_fetcher)
        finally:
            trainer.should_stop = stops

    def reset(self) -> None:
        super().reset()
        if self.restarted_on_last and self.done:  # saved at a validation, before the step was counted for loggers
            self._batches_that_stepped += 1
        if self.val_loop.restarted_mid_evaluation:
            self.val_loop.batch_progress.reset()


class ExactFitLoop(_FitLoop):
    """Lightning's loop over epochs, except that a run which is resumed within an epoch goes on there, whatever limits
    training: with max_steps Lightning begins the epoch again. Where nothing is left to train, the epoch ends as it
    would have, with its hooks and its metrics."""

    def _iteration_based_training(self) -> bool:
        return False

    @property
    def done(self) -> bool:
        progress: Any = self.epoch_progress.current
        within_epoch = self.restarting and progress.processed != self.max_epochs and self.max_batches != 0
        if within_epoch or not super().done:
            return False
        progress.completed = progress.processed  # a checkpoint of an epoch's end is written before Lightning counts it
        return True


def use_exact_loops(trainer: pl.Trainer) -> None:
    """Makes a resumed run equal to one that was never stopped. Call before `fit`."""
    former = trainer.fit_loop
    fit = ExactFitLoop(trainer, former.min_epochs, former.max_epochs)
    fit.epoch_loop = ExactEpochLoop(trainer, former.min_steps, former.max_steps)
    trainer.fit_loop = fit


class NotedResults(_ResultCollection):
    """The values passed to `log`. `changed`: whether any were since the trainer's metrics were last made of them."""

    changed = True

    def update_metrics(self, *arguments: Any) -> None:
        self.changed = True
        super().update_metrics(*arguments)  # type: ignore[attr-defined]

    def reset(self, *arguments: Any, **named: Any) -> None:
        self.changed = True
        super().reset(*arguments, **named)


Hook = TypeVar("Hook", bound=Callable[..., Any])


def steady(hook: Hook) -> Hook:
    """Marks a hook of a training batch, of a callback or a module, or a `training_step`, that keeps none of its
    arguments and changes nothing which others look up: settings of the trainer, its callbacks, which hooks there are,
    attributes of the module that are no tensors. Where all that a batch calls is marked, `FastEpochLoop` looks these up
    once for many batches, and so does a compiled step (`nothing_changed`)."""
    hook.steady = True  # type: ignore[attr-defined]
    return hook


UNCHANGED: ContextVar[bool] = ContextVar("unchanged", default=False)


def nothing_changed() -> bool:
    """Whether, since the last training step of this thread, nothing has run but what is `steady`."""
    return UNCHANGED.get()


def is_steady(function: Any) -> bool:
    return getattr(function, "steady", False)


class Audience(NamedTuple):
    """Who hears a hook: callbacks, by their functions, and the module, unless its own does nothing."""

    callbacks: list[Callable[..., Any]]
    own: Callable[..., Any] | None

    @property
    def steady(self) -> bool:
        return all(map(is_steady, self.callbacks)) and (self.own is None or is_steady(self.own))


class Parts(NamedTuple):
    """What an optimiser step is made of. alone: without other processes. plain: without anything between the loop and
    the module's `training_step`. index: whether that takes `batch_idx` too."""

    model: pl.LightningModule
    optimizer: torch.optim.Optimizer
    alone: bool
    plain: bool
    index: bool


class FastEpochLoop(ExactEpochLoop):
    """Lightning's loop over the batches of an epoch, with the same behaviour, at a tenth of its cost per batch.

    In every batch, Lightning enters a profiler context and writes a debug line per hook, inspects the signature of
    `training_step` and makes metrics of all values that were ever logged. This loop only calls the hooks that are
    overridden, in Lightning's order, with the same arguments and counters, makes metrics after a batch that logged, and
    takes gradients that are known (`known_gradients`). A batch that needs more (`is_plain`) runs Lightning's own
    `advance`. In both cases Lightning handles validation, stops, signals and the epoch's end, in `on_advance_end` and
    `run`.

    Where all hooks are `steady`, all of that is looked at once, for as many batches as come before the next that
    Lightning has something to do after (`is_amid`).
    """

    step_signature: tuple[Any, bool] = (None, False)

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self._results = NotedResults(training=True)
        self.listeners: dict[str, list[Callable[..., Any]]] = {}
        self.listening: list[pl.Callback] = []
        self.parts: Parts | None = None
        self.audiences: dict[str, Audience] = {}
        """Of every hook, and the parts, while all are steady."""

    @property
    def global_step(self) -> int:
        """Lightning's, which every callback asks for, without its way to the module."""
        return self._steps.completed if self.parts is not None else super().global_step

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        if type(self.trainer.profiler) is PassThroughProfiler:  # type: ignore[attr-defined]
            data_fetcher._start_profiler = data_fetcher._stop_profiler = _profile_nothing

    def reset(self) -> None:
        super().reset()
        self.listeners.clear()
        self._results.changed = True

    def is_plain(self, data_fetcher: _DataFetcher) -> bool:
        """Whether this batch needs none of the features that only Lightning's own `advance` supports.

        These are a restart within an epoch, manual optimisation, `dataloader_iter`, accumulated, clipped or scaled
        gradients, a profiler, another strategy or precision, and overridden hooks that `hook` does not call.
        """
        trainer, strategy = self.trainer, self.trainer.strategy
        model, precision = strategy.lightning_module, strategy.precision_plugin
        callbacks = trainer.callbacks if CALLBACK else []  # type: ignore[attr-defined]
        return (
            not self.restarting
            and type(data_fetcher) is _PrefetchDataFetcher
            and model is not None
            and model.automatic_optimization
            and not self.automatic_optimization._skip_backward
            and trainer.accumulate_grad_batches == 1
            and not trainer.gradient_clip_val
            and type(trainer.profiler) is PassThroughProfiler  # type: ignore[attr-defined]
            and type(strategy) in STRATEGIES
            and getattr(strategy, "_model_averager", None) is None
            and type(precision) in PRECISIONS
            and getattr(precision, "scaler", None) is None
            and len(strategy.optimizers) == 1
            and not isinstance(strategy.optimizers[0], LightningOptimizer)
            and not overrides(model, MODULE)
            and not (trainer.datamodule and overrides(trainer.datamodule, DATA))  # type: ignore[attr-defined]
            and not any(overrides(callback, CALLBACK) for callback in callbacks)
        )

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Trains on one batch, or on several where all hooks are steady.

        Raises StopIteration at the epoch's end: no batch is left, or the module's `on_train_batch_start` returned -1.
        """
        if not self.is_plain(data_fetcher):
            super().advance(data_fetcher)
            return
        if self.val_loop.restarting:
            self.val_loop.restarting = False
        before = UNCHANGED.set(False)
        try:
            self.look_ahead()
            self.train_on_next(data_fetcher)
            while self.parts is not None and self.is_amid():
                UNCHANGED.set(True)
                self._batches_that_stepped += 1
                self.train_on_next(data_fetcher)
        finally:
            UNCHANGED.reset(before)
            self.parts = None

    def train_on_next(self, data_fetcher: _DataFetcher) -> None:
        """Trains on one batch. Raises like `advance`."""
        trainer, progress, results = self.trainer, self.batch_progress, self._results
        if trainer.world_size > 1:
            self._broadcast_sigterm_tensor()
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        batch = self.transferred(batch)
        progress.increment_ready()
        connector = trainer._logger_connector
        connector._first_loop_iter = connector._first_loop_iter is None
        results.batch, results.batch_size, results.dataloader_idx = batch, None, None
        outputs, ends_epoch = None, False
        if batch is None:
            self._warning_cache.warn("train_dataloader yielded None. If this was on purpose, ignore this warning...")
        elif ends_epoch := self.hook("on_train_batch_start", batch, batch_idx) == -1:
            progress.increment_by(0, is_last_batch=True)
        else:
            progress.increment_started()
            outputs = self.optimize(batch, batch_idx)
        progress.increment_processed()
        if trainer.lr_scheduler_configs:
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
            if self._num_ready_batches_reached():
                self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        if ends_epoch:
            raise StopIteration
        self.hook("on_train_batch_end", outputs, batch, batch_idx)
        if results.changed:
            results.changed = False
            connector.on_batch_end()
        results.batch = results.batch_size = None
        progress.increment_completed()
        if results and self.logs_now():
            connector.update_train_step_metrics()

    def logs_now(self) -> bool:
        """Whether Lightning may write metrics after this batch; it looks further."""
        trainer, every = self.trainer, self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        due = every and (self._batches_that_stepped + 1) % every == 0
        return bool(due or trainer.should_stop or trainer.fast_dev_run)  # type: ignore[attr-defined]

    def look_ahead(self) -> None:
        """Looks up what the coming batches call, if all of it is steady."""
        model = self.trainer.strategy.lightning_module
        if model is None or not is_steady(model.training_step) or self.trainer.lr_scheduler_configs:
            return
        self.audiences = {name: self.audience(name) for name in IDLE}
        if all(audience.steady for audience in self.audiences.values()):
            self.parts = self.looked_up()

    def looked_up(self) -> Parts:
        strategy = self.trainer.strategy
        model = strategy.lightning_module
        assert model is not None
        alone = type(strategy) is SingleDeviceStrategy
        plain = alone and strategy.model is model and type(strategy.precision_plugin) is Precision
        return Parts(model, strategy.optimizers[0], alone, plain, self.takes_batch_idx(model))

    def is_amid(self) -> bool:
        """Whether the next batch follows on this one, and Lightning has nothing to do in between."""
        trainer, progress = self.trainer, self.batch_progress
        return not (
            trainer.should_stop
            or progress.is_last_batch
            or trainer.received_sigterm
            or 0 <= self.max_steps <= self._steps.completed
            or progress.current.ready == trainer.num_training_batches
            or self.may_validate()
        )

    def may_validate(self) -> bool:
        """Whether this batch may be followed by a validation, which Lightning then decides."""
        trainer = self.trainer
        every = trainer.val_check_batch
        return (
            type(every) is not int
            or self.batch_progress.current.ready % every == 0
            or trainer.check_val_every_n_epoch is None
            or getattr(trainer, "_val_check_time_interval", None) is not None
        )

    @property
    def _steps(self) -> Any:
        """The counts of optimiser steps, `ready` and `completed`."""
        return self.automatic_optimization.optim_progress.optimizer.step.total

    def _should_accumulate(self) -> bool:
        """Lightning asks three times a batch, and looks at the strategy and at what is left of the epoch."""
        return self.trainer.accumulate_grad_batches != 1 and super()._should_accumulate()

    def _should_check_val_fx(self, data_fetcher: _DataFetcher) -> bool:
        """Lightning first looks, at every batch, for what the module overrides; most batches are amid an epoch."""
        amid = not (self.trainer.should_stop or self.batch_progress.is_last_batch or self.may_validate())
        validates = not amid and super()._should_check_val_fx(data_fetcher)
        self._results.changed |= validates  # its metrics may have the names of those of training
        return validates

    def transferred(self, batch: Any) -> Any:
        """The batch, converted for the precision and moved to the device."""
        strategy = self.trainer.strategy
        batch = strategy.precision_plugin.convert_input(batch)
        device = strategy.root_device
        if type(batch) in (tuple, list) and all(type(part) is Tensor and part.device == device for part in batch):
            return batch
        return strategy.batch_to_device(batch, dataloader_idx=0)

    def hook(self, name: str, *arguments: Any) -> Any:
        """Calls a hook of every callback, then of the module; returns the module's result. `log` reads its name."""
        callbacks, own = self.audience(name) if self.parts is None else self.audiences[name]
        if not callbacks and own is None:
            return None
        trainer = self.trainer
        model = trainer.strategy.lightning_module if self.parts is None else self.parts.model
        attributes = vars(model)  # a module's own __setattr__ takes a microsecond
        outer, attributes["_current_fx_name"] = attributes["_current_fx_name"], name
        for function in callbacks:
            function(trainer, model, *arguments)
        answer = own(*arguments) if own is not None else None
        attributes["_current_fx_name"] = outer
        return answer

    def audience(self, name: str) -> Audience:
        own = getattr(self.trainer.strategy.lightning_module, name)
        idle = not callable(own) or getattr(own, "__func__", None) is IDLE[name]
        return Audience(self.listeners_of(name), None if idle else own)

    def listeners_of(self, name: str) -> list[Callable[..., Any]]:
        """The callbacks' own versions of a hook: of this epoch, and of the callbacks that the trainer has now."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        if callbacks != self.listening:
            self.listening = list(callbacks)
            self.listeners.clear()
        if name not in self.listeners:
            functions = [getattr(callback, name) for callback in callbacks]
            plain = getattr(pl.Callback, name)
            self.listeners[name] = [
                function
                for function in functions
                if callable(function) and getattr(function, "__func__", None) is not plain
            ]
        return self.listeners[name]

    def optimize(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """An optimiser step with Lightning's closure: `training_step`, zero gradients, backward.

        Returns the `outputs` of `on_train_batch_end`: the detached loss and whatever else `training_step` returned.
        """
        parts = self.parts or self.looked_up()
        progress, attributes = self.automatic_optimization.optim_progress.optimizer, vars(parts.model)
        outputs: dict[str, Any] = {}

        def gradients() -> None:
            nonlocal outputs
            loss, outputs = self.training_step(parts, batch, batch_idx)
            progress.zero_grad.increment_ready()
            self.hook("on_before_zero_grad", parts.optimizer)
            progress.zero_grad.increment_started()
            parts.optimizer.zero_grad()
            progress.zero_grad.increment_completed()
            if loss is not None:
                self.backward(parts, loss)

        def closure() -> Tensor | None:
            (gradients if torch.is_grad_enabled() else torch.enable_grad()(gradients))()
            self.hook("on_before_optimizer_step", parts.optimizer)
            return outputs.get("loss")

        progress.step.increment_ready()
        outer, attributes["_current_fx_name"] = attributes["_current_fx_name"], "optimizer_step"
        parts.optimizer.step(closure=closure)  # type: ignore[arg-type]
        attributes["_current_fx_name"] = outer
        progress.step.increment_completed()
        return outputs

    def training_step(self, parts: Parts, batch: Any, batch_idx: int) -> tuple[Tensor | None, dict[str, Any]]:
        """The loss of `training_step`, None where it skips the batch, and the outputs."""
        arguments: Any = {"batch": batch, "batch_idx": batch_idx} if parts.index else {"batch": batch}
        if not parts.alone:
            result = self.automatic_optimization._training_step(arguments)
        else:
            attributes = vars(parts.model)
            outer, attributes["_current_fx_name"] = attributes["_current_fx_name"], "training_step"
            step = parts.model.training_step if parts.plain else self.trainer.strategy.training_step
            output = step(*arguments.values())
            attributes["_current_fx_name"] = outer
            if isinstance(output, Tensor):  # not divided by the number of accumulated batches, 1
                return output, {"loss": output.detach() if self.parts else output.detach().clone()}
            result = ClosureResult.from_training_step_output(output)
        if result.closure_loss is None:
            Closure.warning_cache.warn(
                "`training_step` returned `None`. If this was on purpose, ignore this warning..."
            )
            return None, {}
        return result.closure_loss, result.asdict()

    def backward(self, parts: Parts, loss: Tensor) -> None:
        attributes = vars(parts.model)
        outer, attributes["_current_fx_name"] = attributes["_current_fx_name"], "backward"
        self.hook("on_before_backward", loss)
        if not (parts.alone and take_known_gradients(loss)):
            loss.backward()
        self.hook("on_after_backward")
        attributes["_current_fx_name"] = outer

    def takes_batch_idx(self, model: pl.LightningModule) -> bool:
        """Whether `training_step` takes `batch_idx` as well."""
        step, answer = self.step_signature
        if step != model.training_step:
            step, answer = model.training_step, is_param_in_hook_signature(model.training_step, "batch_idx", min_args=2)
            self.step_signature = step, answer
        return answer


def take_known_gradients(loss: Tensor) -> bool:
    """Gives parameters the gradients of a loss whose `grad_fn` has them ready, in `known_gradients()`, as
    `loss.backward()` would, without a call of autograd. False where the loss has none, or something else than the
    gradients is asked of autograd: hooks of a parameter, or to find anomalies."""
    known = getattr(loss.grad_fn, "known_gradients", None)
    if known is None or torch.is_anomaly_enabled():
        return False
    pairs = list(known())
    if any(parameter._backward_hooks or parameter._post_accumulate_grad_hooks for parameter, _ in pairs):
        return False
    for parameter, gradient in pairs:
        if gradient is None or not parameter.requires_grad:
            continue
        if gradient.stride() != parameter.stride():
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    return True


def use_fast_epoch_loop(trainer: pl.Trainer) -> None:
    """Makes the trainer use `FastEpochLoop`. Call before `fit`."""
    fit = trainer.fit_loop
    fit.epoch_loop = FastEpochLoop(trainer, fit.min_steps, fit.max_steps)


# ---------------------------------------------------------------------------------------------------------------------
# Progress of training


def is_last_batch(trainer: pl.Trainer) -> bool:
    """Whether the current training batch is the last of its epoch."""
    return trainer.fit_loop.epoch_loop.batch_progress.is_last_batch


def optimizer_steps_now(trainer: pl.Trainer) -> bool:
    """Whether the present training batch ends with an optimiser step, and not with gradients that are kept for one."""
    return trainer.accumulate_grad_batches == 1 or not trainer.fit_loop.epoch_loop._should_accumulate()


def gradients_are_kept(trainer: pl.Trainer) -> bool:
    """Whether, between two training batches, gradients are kept for a later optimiser step: no checkpoint has them."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return trainer.accumulate_grad_batches > 1 and not (progress.is_last_batch or optimizer_steps_now(trainer))


def training_ends(trainer: pl.Trainer) -> bool:
    """Whether training ends with the present batch, whatever is left of its epoch: for max_steps, or for a callback."""
    loop = trainer.fit_loop
    return trainer.global_step == trainer.max_steps or (trainer.should_stop and loop._can_stop_early)


def validation_follows(trainer: pl.Trainer) -> bool:
    """Whether validation runs between the current training batch and the next."""
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None
    return trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


def restart_validation(trainer: pl.Trainer) -> None:
    """Makes a checkpoint that is written within a validation one from which that validation begins again."""
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.reset()
    progress.increment_ready()
    progress.increment_started()


@contextmanager
def epoch_goes_on(trainer: pl.Trainer) -> Iterator[None]:
    """Counts the epoch that has just ended as one that goes on, for a checkpoint of an epoch that was cut."""
    progress: Any = trainer.fit_loop.epoch_progress
    progress.total.processed -= 1
    progress.current.processed -= 1
    try:
        yield
    finally:
        progress.increment_processed()


def log_epoch(trainer: pl.Trainer) -> None:
    """Sends a training epoch's logged values to the loggers now, not after the last `on_train_epoch_end`."""
    loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
    connector.on_epoch_end()
    loop._batches_that_stepped -= 1  # the step that Lightning logs for an epoch
    connector.update_train_epoch_metrics()
    loop._batches_that_stepped += 1


def count_manual_steps(checkpoint: dict[str, Any]) -> None:
    """Moves a checkpoint's step count from manual to automatic optimisation.

    Lightning counts the two separately; otherwise `global_step` would start from 0.
    """
    done, loops = checkpoint["global_step"], checkpoint["loops"]["fit_loop"]
    steps = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]
    if steps["total"]["completed"] != done:
        steps["total"] = {"ready": done, "completed": done}


def saved_loops(trainer: pl.Trainer) -> dict[str, Any]:
    """The counts of a trainer's loops as a checkpoint holds them in `loops.fit_loop`."""
    return trainer.fit_loop.state_dict()


def steps_in_loops(loops: Mapping[str, Any]) -> set[int]:
    """The optimiser steps in such counts, by automatic and by manual optimisation."""
    automatic = loops.get("epoch_loop.automatic_optimization.optim_progress", {}).get("optimizer", {}).get("step", {})
    manual = loops.get("epoch_loop.manual_optimization.optim_step_progress", {})
    return {steps["total"]["completed"] for steps in (automatic, manual) if steps}


def attached_trainer(module: pl.LightningModule) -> pl.Trainer | None:
    """`module.trainer`, or None if the module has none."""
    return module._trainer


# ---------------------------------------------------------------------------------------------------------------------
# Signals to stop


def heeded_signals(trainer: pl.Trainer, *ours: Callable[..., None]) -> dict[str, signal.Signals]:
    """The signals that Lightning handles, or would if one of our handlers did not: `stop` is SIGTERM, `requeue` is
    SLURM's warning before the time limit."""
    environment = trainer._accelerator_connector.cluster_environment
    signals = {"stop": signal.SIGTERM}
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue and environment.requeue_signal:
        signals["requeue"] = environment.requeue_signal
    now = {name: signal.getsignal(number) for name, number in signals.items()}
    return {name: signals[name] for name, at in now.items() if isinstance(at, _HandlersCompose) or at in ours}


def use_given_sigterm_handler(trainer: pl.Trainer) -> None:
    """Makes the trainer call the SIGTERM handler that it finds and nothing else, until a callback replaces it.

    Lightning's own only notes the signal, which validation and testing ignore, and may wait for other processes."""
    trainer._signal_connector._sigterm_notifier_fn = lambda *_: None  # type: ignore[method-assign]


def before_each_batch(trainer: pl.Trainer, function: Callable[[], None]) -> None:
    """With several processes, calls a function in each of them before each training batch, in place of Lightning's
    SIGTERM check."""
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = function  # type: ignore[method-assign]


def set_received_sigterm(trainer: pl.Trainer, received: bool) -> None:
    """Sets `trainer.received_sigterm`, so that Lightning raises SIGTERMException after this batch or epoch."""
    trainer._signal_connector.received_sigterm = received


# ---------------------------------------------------------------------------------------------------------------------
# How a trainer was set up


def starts_by_forking(trainer: pl.Trainer) -> bool:
    """Whether training runs in processes that `multiprocessing` spawns or forks: ddp_spawn, ddp_fork, ddp_notebook."""
    return isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints and loggers


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, except that only `write_last` writes last.ckpt, and that a checkpoint which a better
    one replaces is deleted only after that: every file that last.ckpt knows of exists."""

    replaced: tuple[str, ...] = ()

    def _save_last_checkpoint(self, trainer: pl.Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """Does nothing: Lightning would write last.ckpt only with a new best checkpoint."""

    def write_last(self, trainer: pl.Trainer) -> None:
        """Writes last.ckpt for the current state if `save_last` is set."""
        if self.save_last:
            super()._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
            self.delete_replaced(trainer)

    def _remove_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        self.replaced += (filepath,)
        if not self.save_last:
            self.delete_replaced(trainer)

    def delete_replaced(self, trainer: pl.Trainer) -> None:
        for path in self.replaced:
            if path not in (*self.best_k_models, self.best_model_path, self.last_model_path):
                super()._remove_checkpoint(trainer, path)
        self.replaced = ()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.delete_replaced(trainer)

    def state_dict(self) -> dict[str, Any]:
        """With the checkpoints that are to be deleted once this state is written: a kill may come in between."""
        return super().state_dict() | {"replaced": list(self.replaced)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.replaced = tuple(state_dict.get("replaced", ()))

    def is_saved(self, trainer: pl.Trainer) -> bool:
        """Whether the most recent checkpoint, best or last, is of the current global step."""
        return self._last_global_step_saved == trainer.global_step


class ExactWeightAveraging(WeightAveraging):
    """Lightning's WeightAveraging of the parameters, except for four things: a test measures the average, where
    Lightning loads the weights before averaging; buffers stay the model's own, also in validation; the average is on
    the model's device; and it can begin anew from the present weights."""

    def __init__(self, average: Callable[[list[Tensor], list[Tensor], Tensor], None]) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=average)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self._average_model is not None
        self._average_model.to(pl_module.device)

    def begin_anew(self) -> None:
        """Makes the next update take the weights as they are."""
        assert self._average_model is not None
        self._average_model.n_averaged.zero_()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    @torch.no_grad()
    def _swap_models(self, pl_module: pl.LightningModule) -> None:
        assert self._average_model is not None
        for average, current in zip(self._average_model.module.parameters(), pl_module.parameters(), strict=True):
            kept = average.clone()
            average.copy_(current)
            current.copy_(kept)

    @torch.no_grad()
    def _copy_average_to_current(self, pl_module: pl.LightningModule) -> None:
        assert self._average_model is not None
        for average, current in zip(self._average_model.module.parameters(), pl_module.parameters(), strict=True):
            current.copy_(average)


def wandb_settings(logger: WandbLogger) -> dict[str, Any]:
    """The arguments that Lightning will pass to `wandb.init`."""
    return logger._wandb_init


def begun_experiment(logger: WandbLogger) -> Any:
    """A logger's W&B run, or None if it has not started; `logger.experiment` would start it."""
    return logger._experiment
