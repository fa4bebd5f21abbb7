"""The public door: train a run or load one, see what it came to, and encode, decode, sample and classify with it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.cli import eval_main, train_main
from discrete_latents.config.allowed_targets import Own, check_trust, nothing, packages_to_trust
from discrete_latents.config.migration import upgraded
from discrete_latents.config.paths import path_override
from discrete_latents.config.printed_command import trust_words
from discrete_latents.config.saved import checked_config
from discrete_latents.data.model_inputs import read_codes, read_x
from discrete_latents.embedded import run_command
from discrete_latents.errors import UserError
from discrete_latents.likelihoods.base import KINDS
from discrete_latents.models import LatentModel
from discrete_latents.runs.checkpoints import check_weights, read_checkpoint, weights_in
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.history import History, read_history
from discrete_latents.runs.metrics import position
from discrete_latents.runs.results_table import number, title
from discrete_latents.runs.shared import find_run
from discrete_latents.training.build import build_data, make_model
from discrete_latents.training.foreign import has_fixed_weights


class Run:
    """A trained model with its configuration and what its run directory holds, as `train_run` and `load_run` return it.
    One that is no LatentModel is in `model`, and the methods on images and codes raise TypeError.

    Images go in as tensors or NumPy arrays, (n, C, H, W) of the size that the model was trained on, or (n, H, W) where
    C is 1, and vectors as (n, D): grey values as uint8, bool or floats in [0, 1], whatever the training data had; real
    and whole numbers where the training data were such. They come out as float tensors of that shape, on the CPU. Each
    method works in batches of `batch_size`, on the model's device. It raises ValueError for images or codes of another
    type, range or shape, and TypeError where the model has no use for it.
    """

    def __init__(
        self,
        model: LatentModel | Any,
        config: DictConfig,
        batch_size: int = 500,
        directory: str | Path | RunDirectory = ".",
        trust: Sequence[str] = (),
    ) -> None:
        """model: or the UserError that says why it cannot be loaded, which `model` then raises. trust: as of
        `load_run`, for `evaluate`."""
        self.loaded = model
        self.config = config
        self.batch_size = whole("batch_size", batch_size)
        files = directory if isinstance(directory, RunDirectory) else RunDirectory(directory)
        self.files = files if files.borrowed else RunDirectory(files.folder.absolute())
        self.trust = tuple(trust)

    @property
    def model(self) -> LatentModel | Any:
        if isinstance(self.loaded, UserError):
            raise self.loaded
        return self.loaded

    @property
    def directory(self) -> Path:
        return self.files.folder

    @property
    def results(self) -> dict[str, Any]:
        """What results.json holds: metrics, settings, times.

        >>> sorted(load_run(vae_run).results["metrics"])[:3]
        ['test/code_usage', 'test/kl', 'test/nelbo']
        """
        return self.files.read_results()

    @property
    def history(self) -> History:
        """What was logged, NumPy arrays by name: a row for each logged step. `pandas.DataFrame(run.history)` works.

        >>> [len(column) for column in load_run(vae_run).history.values()][:2]
        [2, 2]
        """
        return read_history(self.files.metrics)

    def plot(self, *names: str) -> Any:
        """A matplotlib figure of logged values over the steps; of the bounds where no names are given."""
        return self.history.plot(names)

    def pictures(self) -> dict[str, Image.Image]:
        """The pictures of the run by their names, as "samples"."""
        pictures = {}
        for path in sorted(self.files.images.glob("*.png")):
            with Image.open(path) as picture:
                pictures[path.stem] = picture.copy()
        return pictures

    @property
    def data(self) -> Any:
        """The data module that the run was trained with, set up anew."""
        if self.prepared is None:
            config = self.config.copy()
            config.paths.output_dir = str(self.directory)
            self.prepared = build_data(config)
        return self.prepared

    prepared: Any = None

    def evaluate(self, m: int | None = None, split: str = "test", ckpt: str = "best") -> dict[str, float]:
        """The metrics of hard samples, as `python eval.py` has them, which writes them into the run's `evaluations`;
        nowhere where the run ships with the package or is a download.

        m: samples of the nll; None for the run's own `eval_samples`. split: "test" or "val". ckpt: "best" or "last".
        """
        words = [path_override("run", self.directory), f"split={split}", f"ckpt={ckpt}"]
        words += [] if m is None else [f"eval_samples={whole('m', m)}"]
        words += trust_words(self.trust)
        with TemporaryDirectory() as folder:
            if self.files.borrowed:
                words.append(path_override("hydra.run.dir", Path(folder, "evaluation")))
            return RunDirectory(run_command("eval", eval_main, words)).read_results()["metrics"]

    def __repr__(self) -> str:
        try:
            results = self.results
        except UserError:
            results = {}
        metrics = results.get("metrics", {})
        first = sorted(metrics, key=position)[:2]
        found = ", ".join(f"{name} {number(name, metrics[name])}" for name in first) or results.get(
            "status", "no results"
        )
        seed = f", seed {results['seed']}" if "seed" in results else ""
        return f"Run({title(results) or type(self.loaded).__name__}{seed}: {found}; in {self.directory})"

    def encode(self, images: Tensor | np.ndarray) -> Tensor:
        """The most probable code of each image: class indices, (n, N).

        >>> run = load_run(vae_run)
        >>> run.encode(images).shape
        torch.Size([30, 20])
        """
        return self.batched(self.call("encode_codes"), self.pixels(images))

    def decode(self, codes: Tensor | np.ndarray) -> Tensor:
        """E[x | z] of class indices, whole numbers from 0 to K − 1, (n, N).

        >>> run = load_run(vae_run)
        >>> run.decode(run.encode(images)).shape
        torch.Size([30, 1, 8, 8])
        """
        function = self.call("decode_codes")
        return self.batched(function, read_codes(codes, self.model.num_latents, self.model.num_classes))

    def sample(self, count: int) -> Tensor:
        """E[x | z] for `count` samples z of the prior, (count, C, H, W).

        >>> load_run(vae_run).sample(3).shape
        torch.Size([3, 1, 8, 8])
        """
        sizes = torch.full((whole("count", count),), 1).split(self.batch_size)
        return torch.cat([self.call("sample")(len(size)).cpu() for size in sizes])

    def complete(self, images: Tensor | np.ndarray, count: int = 1) -> Tensor:
        """`count` sampled completions of each image, (n, count, C, H, W): the given part as it is, E[x | h] in the
        rest, whatever was there.

        >>> load_run(sbn_run).complete(images, count=4).shape
        torch.Size([30, 4, 1, 8, 8])
        """
        return self.batched(self.call("complete"), self.pixels(images), count=whole("count", count), dim=1)

    def classify(self, images: Tensor | np.ndarray) -> Tensor:
        """Class probabilities q(y | x), (n, K).

        >>> probabilities = load_run(ssl_run).classify(images)
        >>> probabilities.shape
        torch.Size([30, 10])
        >>> bool((probabilities.sum(-1) - 1).abs().max() < 1e-5)
        True
        """
        return self.batched(self.call("classify"), self.pixels(images)).softmax(-1)

    def call(self, method: str) -> Callable[..., Tensor]:
        """A method of the model, without gradients."""
        if not isinstance(self.model, LatentModel) or not hasattr(self.model, method):
            raise TypeError(f"a {type(self.model).__name__} does not {method.split('_')[0]}")
        return torch.no_grad()(getattr(self.model, method))

    def pixels(self, images: Tensor | np.ndarray) -> Tensor:
        """Images as the model reads them."""
        x = read_x(images, tuple(self.model.mean_image.shape), self.model.kind)
        if self.model.kind == "whole" and len(x):
            self.model.likelihood.check(self.model.kind, x.min().item(), x.max().item())
        return x.to(self.model.mean_image.dtype) if x.is_floating_point() else x

    def batched(self, function: Callable[..., Tensor], inputs: Tensor, dim: int = 0, **arguments: int) -> Tensor:
        """A function's results over all inputs; `dim` is the dimension of its batch, made the first."""
        batches = inputs.to(self.model.device).split(self.batch_size)
        return torch.cat([function(batch, **arguments).cpu().movedim(dim, 0) for batch in batches])


def saved_shape(run: RunDirectory, weights: Mapping[str, Tensor]) -> list[int]:
    """The shape of x that a model was trained on. Raises UserError for weights that do not tell it."""
    if "mean_image" not in weights:
        raise UserError(f"{run} is not the directory of a run of a LatentModel: its weights do not tell the shape of x")
    return list(weights["mean_image"].shape)


def train_run(overrides: Sequence[str] = (), trust: Sequence[str] = ()) -> Run:
    """Trains and tests a run in this process, as `python train.py OVERRIDES` does; also from a notebook.

    overrides: settings and options, as ["experiment=vae_mnist", "latent=rloo", "seed=1"]; with "resume=RUN_DIR", a run
    goes on. trust: packages of your own that a resumed run's configuration may name.

    The same checks are made and the same files are written, in the folder that `hydra.run.dir` names, which eval.py,
    `resume=` and `load_run` read. Exported as `discrete_latents.train`. Raises UserError with the one line of a
    mistake, and KeyboardInterrupt with the command that goes on.
    """
    words = [*overrides] if not isinstance(overrides, str) else overrides
    if not isinstance(words, str):
        words += trust_words(check_trust(tuple(trust)))
    run = RunDirectory(run_command("train", train_main, words))
    saved = upgraded(run.read_config())
    own = tuple(sorted(packages_to_trust(OmegaConf.to_container(saved))))
    try:
        return loaded(run, "best", "cpu", own, lambda *_: True)
    except UserError as error:  # a module of one's own, or a run that was not trained
        return Run(error, saved, directory=run.folder, trust=own)


def load_run(
    path: str | Path, ckpt: str = "best", device: str | torch.device = "cpu", trust: Sequence[str] = ()
) -> Run:
    """The model of a run, in evaluation mode. Needs no data set.

    path: a run's directory or export; hf://OWNER/NAME, an export on the Hugging Face Hub, where huggingface_hub is
    installed; or "vae_digits", a small run that ships with this package.
    ckpt: "best" by validation, or "last". trust: packages of your own that the run's configuration may name.
    The run may be somebody else's: nothing in a checkpoint is executed, and the configuration may name the classes of
    this package, and the public ones of torch and Lightning where they belong; `config/allowed_targets.py` lists them.
    Raises UserError for a configuration that names anything else, before anything is called, and for a directory that
    is no run or has no such checkpoint.

    >>> run = load_run(vae_run)
    >>> run.model.num_latents, run.model.num_classes
    (20, 10)
    """
    return loaded(find_run(path), ckpt, device, check_trust(tuple(trust) if not isinstance(trust, str) else trust))


def loaded(run: RunDirectory, ckpt: str, device: str | torch.device, trust: tuple[str, ...], own: Own = nothing) -> Run:
    """As `load_run`. own: settings that may name anything."""
    checkpoint = run.checkpoint(ckpt)
    config = checked_config(run, trust, own, secrets=False)
    content = read_checkpoint(checkpoint)
    weights = weights_in(content, checkpoint)
    model = make_model(config, lambda: saved_shape(run, weights))
    if not isinstance(model, LatentModel):
        if has_fixed_weights(model):
            check_weights(checkpoint, weights, model, OmegaConf.select(config, "trainer.precision"))
        model.load_state_dict(weights)
        return Run(model.to(device).eval(), config, directory=run, trust=trust)
    saved_shape(run, weights)
    model.kind = str(content.get("kind", model.kind))
    if model.kind not in KINDS:
        raise UserError(f"{checkpoint} is not a checkpoint of a run: its kind must be one of {', '.join(KINDS)}")
    with model.evaluation_noise(), torch.no_grad():  # a learned baseline takes its shape from the first batch
        model((torch.zeros(1, *model.mean_image.shape), torch.zeros(1, dtype=torch.int64)))
    check_weights(checkpoint, weights, model, OmegaConf.select(config, "trainer.precision"))
    if weights["mean_image"].dtype == torch.float64:  # trained with 64-true; float32 holds those of lower precision
        model.double()
    model.load_state_dict(weights)
    return Run(model.to(device).eval(), config, directory=run, trust=trust)
