"""Reproduce a table of a paper: train and test every cell, and compare with what the paper reports.

    python -m scripts.reproduce jang_table1                                # all 28 cells, three seeds
    python -m scripts.reproduce jang_table1 --only 'VAE' --seeds 0 --jobs 2
    python -m scripts.reproduce jang_table1 trainer=gpu                    # settings of train.py, for all runs
    python -m scripts.reproduce jang_table1 --jobs 0                       # the table of completed runs, none started
    python -m scripts.reproduce rodeo_dynamic --budget 0.01                # a share of its steps; more continues them
    python -m scripts.reproduce ablation --budget 0.1                      # one factor at a time on the open cells
    python -m scripts.reproduce jang_figure5                               # Figure 5: the cost of marginalisation
    python -m scripts.reproduce toys --only 'arm|rloo'                     # one latent, every estimator; minutes

Writes TABLE.json, TABLE.md, and TABLE_paired.md of the differences between estimators, into the output folder, and
keeps the results of other machines that are there. The tables are in scripts/reproduce/tables, their experiments in
configs/experiment/paper. Some tables choose a setting first, by short runs on validation images. Completed runs in
logs/reproduce/TABLE are not repeated, stopped runs are resumed, and several calls at once share the work.

jang_figure5 times a training step of the semi-supervised model, `gumbel_softmax` against `exact`, on one thread. toys
measures bias, variance and final loss of every estimator on small objectives; what toys.json has is not repeated.
"""

from argparse import Namespace
from pathlib import Path

from discrete_latents.config.command_parser import CommandParser, positive_number, whole_number
from discrete_latents.errors import UserError, fail
from scripts.reproduce.table import table_names

FIGURE_5 = "jang_figure5"
TOYS = "toys"
OF_TABLES = ("only", "budget", "seeds", "jobs", "runs", "overrides")
OF_FIGURE_5 = ("classes", "batch_size", "repeats")
OF_TOYS = ("only", "budget")


def command_parser() -> CommandParser:
    parser = CommandParser(__doc__)
    add = parser.add_argument
    add("table", choices=[*table_names(), FIGURE_5, TOYS], help="what to reproduce: %(choices)s", metavar="TABLE")
    add("--output", type=Path, default=Path("results"), help="folder of the files")
    add = parser.add_argument_group("tables").add_argument
    add("overrides", nargs="*", metavar="key=value", help="settings of train.py, for every run")
    add("--only", metavar="REGEX", default="", help="the cells whose 'row, column' matches; the estimators of toys")
    add("--budget", type=positive_number, default=1.0, metavar="SHARE", help="of the steps or epochs of each run")
    add("--seeds", nargs="+", type=whole_number(0), metavar="SEED", help="instead of the table's seeds")
    add("--jobs", type=whole_number(0), default=1, help="runs at once, of one thread each if several; 0: none")
    add("--runs", type=Path, default=Path("logs/reproduce"), help="folder of the runs")
    add = parser.add_argument_group(FIGURE_5).add_argument
    add("--classes", type=whole_number(2), nargs="+", default=[5, 10, 20, 50, 100, 1000], help="numbers of classes")
    add("--batch-size", type=whole_number(), default=100, help="unlabelled images of a step")
    add("--repeats", type=whole_number(2), default=15, help="timed steps of each estimator")
    return parser


def main() -> None:
    parser = command_parser()
    arguments = parser.parse_intermixed_args()
    refuse_unused(parser, arguments)
    if arguments.table == FIGURE_5:
        from scripts.reproduce.class_scaling import measure_all

        measure_all(arguments.output, arguments.classes, arguments.batch_size, arguments.repeats)
        return
    try:
        if arguments.table == TOYS:
            from scripts.reproduce.toys import measure_toys

            measure_toys(arguments.output, arguments.only, arguments.budget)
        else:
            from scripts.reproduce.reproduction import reproduce

            reproduce(arguments)
    except UserError as error:
        fail(str(error))


def refuse_unused(parser: CommandParser, arguments: Namespace) -> None:
    """Ends the command where an argument was given that what is reproduced does not use."""
    used = {FIGURE_5: OF_FIGURE_5, TOYS: OF_TOYS}.get(arguments.table, OF_TABLES)
    for name in dict.fromkeys([*OF_TABLES, *OF_FIGURE_5]):
        if name in used:
            continue
        given = getattr(arguments, name)
        if given not in ([], parser.get_default(name)):
            option = given[0] if name == "overrides" else f"--{name.replace('_', '-')}"
            parser.error(f"{option} is not used by {arguments.table}")


if __name__ == "__main__":
    main()
