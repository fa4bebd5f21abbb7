# %% [markdown]
# # Look at a trained model
#
# The run is the one that ships with the package: 20 latents of 10 classes, trained on 8×8 digits. Put a folder of your
# own in its place.

# %%
import matplotlib.pyplot as plt
import torch

from discrete_latents import load_run
from discrete_latents.data import digits

run = load_run("vae_digits")
train, test = digits().train, digits().test
run

# %% [markdown]
# ## Codes
#
# An image becomes 20 whole numbers, and these become an image again.

# %%
images = test.grey[:10] / 255
codes = run.encode(images)
print(codes[:3])


def show(rows, titles=()):
    """Rows of images, (columns, 1, 8, 8) each, with a title at the left of each row."""
    figure, axes = plt.subplots(len(rows), len(rows[0]), figsize=(len(rows[0]) * 0.7, len(rows) * 0.75), squeeze=False)
    for i, row in enumerate(rows):
        for axis, image in zip(axes[i], row, strict=True):
            axis.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        if titles:
            axes[i, 0].set_ylabel(titles[i], rotation=0, ha="right", va="center")
    figure.tight_layout()


show([images, run.decode(codes)], ["image", "decoded"])

# %% [markdown]
# ## Samples
#
# Codes of the prior, decoded.

# %%
torch.manual_seed(0)
samples = run.sample(20)
show([samples[:10], samples[10:]])

# %% [markdown]
# ## Which latent says what
#
# The mutual information, in bits, of each latent's class and the digit, from counts over the training images. A latent
# that the decoder ignores has none.

# %%
every, labels = run.encode(train.grey / 255), train.labels
information = []
for latent in range(every.shape[1]):
    counts = torch.zeros(10, 10).index_put_((every[:, latent], labels), torch.ones(len(labels)), accumulate=True)
    joint = counts / counts.sum()
    independent = joint.sum(1, keepdim=True) * joint.sum(0)
    information.append(torch.special.xlogy(joint, joint / independent.clamp(min=1e-12)).sum().item() / 0.6931)

figure, axis = plt.subplots(figsize=(7, 2.2))
axis.bar(range(len(information)), information)
axis.set(xlabel="latent", ylabel="bits about the digit", xticks=range(len(information)))
figure.tight_layout()

# %% [markdown]
# ## The classes of a latent
#
# The latent that says most takes each of its classes, while the others stay.

# %%
best = max(range(len(information)), key=information.__getitem__)
rows = []
for code in codes[:4]:
    varied = code.repeat(10, 1)
    varied[:, best] = torch.arange(10)
    rows.append(run.decode(varied))
show(rows, [f"image {i}" for i in range(4)])

# %% [markdown]
# ## From one image to another
#
# Discrete codes have no points between them: one latent after the other takes the class that it has in the other image,
# the latents that say most first.

# %%
order = sorted(range(len(information)), key=information.__getitem__, reverse=True)
first, last = codes[0], codes[3]
path = [first.clone()]
for latent in order:
    if first[latent] != last[latent]:
        path.append(path[-1].clone())
        path[-1][latent] = last[latent]
print(f"{len(path) - 1} of {len(order)} latents differ")
show([run.decode(torch.stack(path))])
