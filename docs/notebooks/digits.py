# %% [markdown]
# # Digits in a notebook
#
# Train a VAE with 20 latents of 10 classes on 8×8 digits, look at it, and change how its gradient is estimated. Nothing
# is downloaded. A run is a folder, as `python train.py` leaves it.

# %%
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np

import discrete_latents
from discrete_latents.data import digits

folder = Path(mkdtemp())
short = ["trainer.max_epochs=25", "eval_samples=50", "+trainer.enable_progress_bar=false"]
run = discrete_latents.train([*short, f"hydra.run.dir={folder}/gumbel_softmax"])

# %% [markdown]
# ## What came out
#
# `nelbo` is the negative bound of one sample, `nll` that of 50, both in nats: lower is better. The words are the
# settings of the command line: `discrete_latents.train(["latent=rloo"])` is `python train.py latent=rloo`.

# %%
for name in ("test/nelbo", "test/nll"):
    print(name, round(run.results["metrics"][name], 2))

# %%
steps, values = run.history["step"], run.history["val/nelbo"]
shown = ~np.isnan(values)
figure, axis = plt.subplots(figsize=(6, 3))
axis.plot(steps[shown], values[shown])
axis.set(xlabel="step", ylabel="val/nelbo, nats")
figure.tight_layout()

# %% [markdown]
# ## Images, codes, images
#
# `encode` gives the class of each latent, `decode` draws E[x | z], `sample` draws codes of the prior first.

# %%
images = digits().test.grey[:10] / 255
codes = run.encode(images)
print(codes[0])

rows = {"image": images, "decoded": run.decode(codes), "samples": run.sample(10)}
figure, axes = plt.subplots(len(rows), 10, figsize=(7, 2.3))
for across, (name, row) in zip(axes, rows.items(), strict=True):
    across[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axis, image in zip(across, row, strict=True):
        axis.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
figure.tight_layout()

# %% [markdown]
# ## Another estimator
#
# `latent=` is all that changes. The model, the data and the evaluation stay.

# %%
other = discrete_latents.train([*short, "latent=rloo", f"hydra.run.dir={folder}/rloo"])
for each in (run, other):
    print(f"{each.results['latent']:16} nll {each.results['metrics']['test/nll']:.2f}")

# %% [markdown]
# After 25 epochs RLOO has hardly begun: soft samples learn faster, and `python train.py` trains for 150. One seed says
# little; [a sweep, read back](sweep.md) has several.
