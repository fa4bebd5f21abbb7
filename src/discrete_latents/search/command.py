"""Search for the settings of an experiment that validate best, with Optuna.

    discrete-latents-search                                    # vae_digits, search=lr_temperature, 20 trials
    discrete-latents-search experiment=vae_mnist search=estimator search.trials=50 search.workers=4
    discrete-latents-search search.space.optimizer.lr.high=0.1 '~search.space.temperature'
    discrete-latents-search search=default '+search.space.model.num_latents={low: 10, high: 40, step: 10}'

Every setting of train.py holds for all trials. Options of the group search: OPTIONS.
Settings of a search, in configs/search/default.yaml: search.trials (in all), .workers, .timeout, .metric, .direction,
.dir, .seed, .sampler, .pruner, .space. The same command again continues the study in search.dir. Trials are compared on
validation; no test image is used.
"""

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from discrete_latents.config.command_parser import CommandParser
from discrete_latents.config.compose import group_options
from discrete_latents.config.overrides import quoted
from discrete_latents.config.paths import quote_paths, verbatim
from discrete_latents.errors import UserError, fail


def search_main() -> None:
    """`discrete-latents-search`. A user's mistake is one line on stderr and exit code 1."""
    parser = CommandParser((__doc__ or "").replace("OPTIONS", ", ".join(group_options()["search"])))
    parser.add_argument("overrides", nargs="*", metavar="setting=value", help="settings, as train.py takes them")
    parser.add_argument(
        "--config-dir", type=expanded_path, help="a folder with further options of groups, DIR/search/mine.yaml"
    )
    arguments = parser.parse_intermixed_args()
    overrides = quote_paths(arguments.overrides)
    if arguments.config_dir is not None:
        overrides.append(f"hydra.searchpath=[{quoted(verbatim(f'file://{arguments.config_dir.absolute()}'))}]")
    try:
        search_for(overrides)
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        fail("a search needs optuna, which is not installed: pip install 'discrete-latents[sweep]'")
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", flush=True)
        sys.exit(130)
    except SystemExit as stop:
        if stop.code == 128 + signal.SIGTERM:
            print("stopped by SIGTERM; the same command goes on from here", flush=True)
        raise


def expanded_path(path: str) -> Path:
    return Path(path).expanduser()


def search_for(overrides: Sequence[str]) -> None:
    """Runs the trials that a search still lacks, and reports what it came to."""
    from discrete_latents.search.console import prepare_worker
    from discrete_latents.search.report import conclude
    from discrete_latents.search.settings import read_search
    from discrete_latents.search.study import open_study
    from discrete_latents.search.worker import work, work_together

    prepare_worker()
    search = read_search(overrides)
    study = open_study(search)
    until = None if search.settings.timeout is None else time.time() + search.settings.timeout
    if search.settings.workers == 1:
        work(search, study, lambda: False, until)
    else:
        work_together(search, until)
    conclude(search, study)
