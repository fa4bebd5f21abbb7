"""Evaluate a finished run: `python eval.py run=RUN_DIR`; `python eval.py --help` says more."""

from discrete_latents.cli import eval_main

if __name__ == "__main__":
    eval_main()
