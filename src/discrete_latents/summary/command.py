"""Add up finished runs: one table of means and standard errors over seeds, and a report to open in a browser.

    discrete-latents-summarize logs/vae_digits/multiruns/STAMP
    discrete-latents-summarize logs --by latent model.network.hidden --metrics nll accuracy --output results

Reads every results.json at or below the paths, evaluations too. Prints a table, and writes summary.csv, summary.md and
summary.html (one file that loads nothing) into the folder that the paths have in common.

Runs are grouped by the settings in which they differ, seeds apart, or by the keys of --by: of results.json, of the
configuration (model.network.hidden), or of its groups (model/network). Evaluations are never averaged with runs. Of
runs with the same settings and seed the newest counts. Runs that do not count (failed, unfinished, damaged, repeated)
are listed with the reason. Results of papers stand beside runs of the same settings.
"""

from pathlib import Path

from discrete_latents.config.command_parser import CommandParser
from discrete_latents.errors import UserError, fail


def summarize_main() -> None:
    """`discrete-latents-summarize`. A user's mistake is one line on stderr and exit code 1."""
    parser = CommandParser(__doc__)
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("logs")], help="folders of runs")
    parser.add_argument("--by", nargs="+", metavar="KEY", help="settings to group by, instead of those that differ")
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="nll, test/nll, seconds, …, instead of all tested")
    parser.add_argument("--output", type=Path, help="folder of the files, instead of the one that the paths share")
    arguments = parser.parse_args()
    from discrete_latents.summary.summary import summarize

    try:
        summarize(arguments.paths, arguments.by, arguments.metrics, arguments.output)
    except (UserError, OSError) as error:
        fail(str(error))
