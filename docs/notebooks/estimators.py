# %% [markdown]
# # Estimators against the exact gradient
#
# A toy that can be enumerated: three latents of four classes, and an objective with products of latents. Bias and noise
# of each estimator's gradient are measured against the exact one.

# %%
import matplotlib.pyplot as plt
import torch

from discrete_latents.latent import RLOO, Exact, GumbelSoftmax, Reinforce, ReinMax, STGumbel, StraightThrough

torch.manual_seed(0)
logits = torch.randn(1, 3, 4).requires_grad_()
prior = torch.zeros(3, 4)
weight, target = torch.randn(12, 8), torch.randn(8)


def objective(sample):
    """log p(x | z) of one image, for every estimator."""
    z = sample(logits, prior=prior).flatten(-2)
    return -(torch.tanh(z @ weight) - target).square().sum(-1)


def gradient(estimator):
    return torch.autograd.grad(estimator(objective).sum(), logits)[0].flatten()


exact = gradient(Exact())
exact

# %% [markdown]
# ## Bias and noise
#
# Over 400 draws: the distance of the mean gradient from the exact one, which is bias plus what is left of the noise,
# and the standard deviation of a single gradient. Both relative to the length of the exact gradient.

# %%
estimators = {
    "Reinforce": Reinforce(),
    "RLOO, 4 draws": RLOO(draws=4),
    "StraightThrough": StraightThrough(),
    "ReinMax": ReinMax(),
    "STGumbel, τ = 1": STGumbel(temperature=1.0),
    "STGumbel, τ = 0.3": STGumbel(temperature=0.3),
    "GumbelSoftmax, τ = 1": GumbelSoftmax(temperature=1.0),
    "GumbelSoftmax, τ = 0.3": GumbelSoftmax(temperature=0.3),
}
draws = 400
found = {}
for name, estimator in estimators.items():
    gradients = torch.stack([gradient(estimator) for _ in range(draws)])
    noise = gradients.var(0).sum().sqrt() / exact.norm()
    bias = (gradients.mean(0) - exact).norm() / exact.norm()
    found[name] = bias.item(), noise.item()
    print(f"{name:24} bias {bias:.2f}, of which noise explains {noise / draws**0.5:.2f}; noise {noise:.2f}")

# %% [markdown]
# The unbiased ones, `Reinforce` and `RLOO`, show no more bias than their noise explains. A lower temperature trades the
# bias of Gumbel-Softmax for noise.

# %%
figure, axis = plt.subplots(figsize=(7, 3.6))
for name, (bias, noise) in found.items():
    axis.plot(noise, bias, "o", color="#3f86c8")
    side = -1 if "τ = 1" in name else 1
    place = {"xytext": (6 * side, 3), "textcoords": "offset points", "ha": "left" if side > 0 else "right"}
    axis.annotate(name, (noise, bias), fontsize=8, **place)
axis.set(xlabel="noise of one gradient", ylabel="distance of the mean from exact", xscale="log")
axis.margins(x=0.5, y=0.12)
figure.tight_layout()
