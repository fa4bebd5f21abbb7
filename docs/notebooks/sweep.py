# %% [markdown]
# # A sweep, read back
#
# `python train.py -m latent=gumbel_softmax,st_gumbel seed=0,1` leaves a folder of runs. Here four short ones are
# trained from Python instead; reading them back is the same.

# %%
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np

import discrete_latents

folder = Path(mkdtemp())
short = ["trainer.max_epochs=25", "eval_samples=20", "+trainer.enable_progress_bar=false"]
for latent in ("gumbel_softmax", "st_gumbel"):
    for seed in (0, 1):
        words = [f"latent={latent}", f"seed={seed}", f"hydra.run.dir={folder}/{latent}_{seed}"]
        with redirect_stdout(StringIO()):  # each run closes with a table
            discrete_latents.train([*short, *words])

# %% [markdown]
# A run's folder is all that is needed. `results` is results.json, `history` is metrics.csv.

# %%
runs = [discrete_latents.load_run(path.parent) for path in sorted(folder.glob("*/results.json"))]
by_latent = {}
for run in runs:
    by_latent.setdefault(run.results["latent"], []).append(run)
for latent, members in by_latent.items():
    values = np.array([run.results["metrics"]["test/nll"] for run in members])
    print(f"{latent:12} nll {values.mean():.2f} ± {values.std(ddof=1) / len(values) ** 0.5:.2f}, {len(values)} seeds")

# %% [markdown]
# `discrete-latents-summarize FOLDER` makes the same table, with a page that has curves and pictures.

# %%
figure, axis = plt.subplots(figsize=(6, 3.2))
for colour, (latent, members) in zip(("#3f86c8", "#dd7a35"), by_latent.items(), strict=True):
    for number, run in enumerate(members):
        values = run.history["val/nelbo"]
        shown = ~np.isnan(values)
        label = latent if number == 0 else None
        axis.plot(run.history["step"][shown], values[shown], color=colour, lw=1, label=label)
axis.set(xlabel="step", ylabel="val/nelbo, nats")
axis.legend(frameon=False)
figure.tight_layout()
