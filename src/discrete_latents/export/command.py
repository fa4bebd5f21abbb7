"""Export a trained run: a folder that can be given away, without the optimiser's state, logs, paths and secrets.

    discrete-latents-export RUN_DIR my_model
    discrete-latents-export RUN_DIR my_model --onnx

The folder has model.safetensors, the configuration, results.json and a README.md. It is read as a run is, also from the
Hugging Face Hub once it is uploaded: load_run("my_model"), load_run("hf://OWNER/NAME"), python eval.py run=my_model,
and weights=my_model for a new run. --onnx adds encoder.onnx and decoder.onnx, which need nothing of this package.
"""

from pathlib import Path

from discrete_latents.config.command_parser import CommandParser
from discrete_latents.errors import UserError, fail


def export_main() -> None:
    """`discrete-latents-export`. A user's mistake is one line on stderr and exit code 1."""
    parser = CommandParser(__doc__)
    parser.add_argument("run", help="the directory of a run")
    parser.add_argument("folder", nargs="?", type=Path, help="a new folder, instead of RUN_DIR/export")
    parser.add_argument("--ckpt", default="best", help="best or last")
    parser.add_argument("--onnx", action="store_true", help="the encoder and the decoder as ONNX too")
    parser.add_argument("--trust", nargs="+", metavar="PACKAGE", default=[], help="your own that the run may name")
    arguments = parser.parse_args()
    from discrete_latents.api import load_run
    from discrete_latents.export.run_export import export_run

    try:
        run = load_run(arguments.run, arguments.ckpt, trust=arguments.trust)
        folder = arguments.folder or (Path("export") if run.files.borrowed else run.directory / "export")
        for path in export_run(run, folder, arguments.onnx):
            print(path)
    except (UserError, OSError) as error:
        fail(str(error))
