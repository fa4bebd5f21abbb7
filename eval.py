"""Evaluate a finished run: `python eval.py run=RUN_DIR`; `python eval.py --help` says more."""

from discrete_latents.start import start_eval

if __name__ == "__main__":
    start_eval()
