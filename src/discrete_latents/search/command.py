"""The command line of scripts/search.py."""

import argparse
import sys
import time
from pathlib import Path

from discrete_latents.config.compose import group_options
from discrete_latents.config.overrides import quoted
from discrete_latents.config.paths import quote_paths, verbatim
from discrete_latents.errors import UserError, fail
from discrete_latents.search.console import prepare, say
from discrete_latents.search.report import conclude
from discrete_latents.search.settings import read
from discrete_latents.search.study import open_study
from discrete_latents.search.worker import work, work_together

HELP = """\
Search for the settings with the best validation, of any experiment.

  python scripts/search.py                                     # vae_digits, search=lr_temperature, 20 trials
  python scripts/search.py experiment=vae_mnist search=estimator search.trials=50 search.workers=4
  python scripts/search.py search.space.optimizer.lr.high=0.1 '~search.space.temperature'
  python scripts/search.py search=default '+search.space.model.num_latents={low: 10, high: 40, step: 10}'

Every setting of train.py holds for all trials. Options of the group search: OPTIONS.
Settings of a search, in configs/search/default.yaml: search.trials (in all), .workers, .timeout, .metric, .direction,
.dir, .seed, .sampler, .pruner, .space. The same command again goes on with the study in search.dir. Test images are
left alone: hyper-parameters are chosen on validation.
"""


def main() -> None:
    """Runs a search, and says what it came to. A user's mistake is one line on stderr and exit code 1."""
    options = ", ".join(group_options()["search"])
    parser = argparse.ArgumentParser(
        description=HELP.replace("OPTIONS", options), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="setting=value", help="as for train.py")
    parser.add_argument(
        "--config-dir",
        type=lambda path: Path(path).expanduser(),
        help="a folder with further options of groups, DIR/search/mine.yaml",
    )
    prepare()
    arguments = parser.parse_intermixed_args()
    words = quote_paths(arguments.words)
    if arguments.config_dir is not None:
        words.append(f"hydra.searchpath=[{quoted(verbatim(f'file://{arguments.config_dir.absolute()}'))}]")
    try:
        search = read(words)
        study = open_study(search)
        until = None if search.settings.timeout is None else time.time() + search.settings.timeout
        if search.settings.workers == 1:
            work(search, study, lambda: False, until)
        else:
            work_together(search, until)
        conclude(search, study)
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        sys.exit(130)
