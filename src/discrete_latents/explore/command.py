"""Explore a trained model by hand: one HTML file that needs no network, no server and no Python.

    discrete-latents-explore RUN_DIR
    discrete-latents-explore vae_digits

Click the class of each latent and see what the decoder draws; sketch an image and see its code. The page has the
networks' weights in it and runs them itself. The run: as load_run takes it. It must be a CategoricalVAE of images with
MLP, linear or CNN networks.
"""

from pathlib import Path

from discrete_latents.config.command_parser import CommandParser
from discrete_latents.errors import UserError, fail


def explore_main() -> None:
    """`discrete-latents-explore`. A user's mistake is one line on stderr and exit code 1."""
    parser = CommandParser(__doc__)
    parser.add_argument("run", help="the directory of a run, an export, hf://OWNER/NAME or vae_digits")
    parser.add_argument("--output", type=Path, help="the file, instead of RUN_DIR/explorer.html")
    parser.add_argument("--ckpt", default="best", help="best or last")
    parser.add_argument("--trust", nargs="+", metavar="PACKAGE", default=[], help="your own that the run may name")
    arguments = parser.parse_args()
    from discrete_latents.api import load_run
    from discrete_latents.explore.page import write_explorer

    try:
        run = load_run(arguments.run, arguments.ckpt, trust=arguments.trust)
        path = arguments.output or (Path("explorer.html") if run.files.borrowed else run.files.explorer)
        write_explorer(run, path)
        print(path)
    except (UserError, OSError) as error:
        fail(str(error))
