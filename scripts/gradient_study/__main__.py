"""Study the gradients of estimators against the exact gradient, on a VAE small enough to enumerate.

    python -m scripts.gradient_study                     # writes results/gradient_study.json, .md and .png
    python -m scripts.gradient_study --classes 2         # Bernoulli latents: disarm too
    python -m scripts.gradient_study --config-dir DIR    # also the estimators of DIR/latent/*.yaml (PYTHONPATH=…)
    python -m scripts.gradient_study --run RUN_DIR       # a trained run, instead of training a model
    python -m scripts.gradient_study --repeats 500 --epochs 0 3 --temperatures 0.5 1 --output /tmp/study

Trains the VAE on digits with `exact`. After each of the given epochs, measures every estimator on the same validation
images: `repeats` draws g of the gradient of an image's bound for its logits, against g*, by enumeration.

    bias      ‖E g − g*‖ / ‖g*‖ over all images. Its noise is about `floor`, √(variance / repeats): the bias of an
              unbiased estimator is its floor
    sd        √variance = √(E‖g − E g‖²) / ‖g*‖: bias² + sd² is the relative mean squared error of a draw
    snr       ‖E g‖ / sd, corrected for the noise of the mean; none for a gradient without noise
    cosine    between a draw and g*, and between the mean of all draws and g*; mean over images

At the last model, estimators with a temperature are also measured over a grid of temperatures.

Estimators with learned parts (baselines, critics, τ and η of rebar and relax) first train these alone for `tuning`
steps of Adam, on training images and the frozen model. An estimator of several samples, such as vimco, has its own
bound and is compared with the exact gradient of that bound. nvil rescales its gradient, which is unbiased in direction
only.
"""

import time
from pathlib import Path

from discrete_latents.config.command_parser import CommandParser, positive_number, whole_number
from discrete_latents.errors import UserError, fail
from scripts.gradient_study import COPIES


def main() -> None:
    parser = CommandParser(__doc__)
    add = parser.add_argument
    add("--latents", type=whole_number(), default=2, help="number of latents")
    add("--classes", type=whole_number(2), default=4, help="classes of a latent")
    add("--hidden", type=whole_number(), nargs="*", default=[32], help="hidden widths")
    epochs = [0, 1, 3, 10, 30, 100]
    add("--epochs", type=whole_number(0), nargs="+", default=epochs, help="epochs after which to measure")
    add("--run", type=Path, help="a run directory to study, instead of a new model")
    add("--temperature", type=positive_number, default=0.5, help="τ over training, where the YAML leaves it open")
    grid = [0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0]
    add("--temperatures", type=positive_number, nargs="+", default=grid, help="grid of τ at the last model")
    add("--repeats", type=whole_number(), default=5000, help=f"draws of each gradient, rounded up to {COPIES}s")
    add("--images", type=whole_number(), default=20, help="validation images")
    add("--tuning", type=whole_number(), default=200, help="training steps of learned parts")
    add("--seed", type=whole_number(0), default=0, help="of the model and of the draws")
    add("--config-dir", type=Path, help="a folder with latent/*.yaml of your own")
    add("--output", type=Path, default=Path("results"), help="folder of the report")
    arguments = parser.parse_args()
    import torch
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from discrete_latents.config.composition_errors import composition_error
    from scripts.gradient_study.report import write_study
    from scripts.gradient_study.study import study

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        results = study(arguments)
        seconds = round(time.perf_counter() - started, 1)
        write_study(arguments.output, {"settings": settings, "seconds": seconds} | results)
    except (UserError, OSError) as error:
        fail(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        fail(composition_error(f"{error}\n{error.__cause__ or ''}", []))


if __name__ == "__main__":
    main()
