"""Sparse posteriors, and the exact sum over their few states."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.latent import masks
from discrete_latents.latent.estimator import Estimator, Objective
from discrete_latents.latent.exact import Enumeration, expectation, number_of_configurations
from discrete_latents.latent.joint_states import likeliest
from discrete_latents.latent.law import Law, Weighted, kl_terms, logs, marginal_logits
from discrete_latents.latent.layout import one_hot


def sparsemax(scores: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """The point of the simplex nearest to the scores, max(s − τ, 0), of which some are 0 (Martins, Astudillo 2016).

    Its gradient, on the classes that are not 0, leaves out their mean.
    """
    scores = scores - scores.detach().amax(-1, keepdim=True)
    ordered = scores.sort(-1, descending=True).values
    number = torch.arange(1, scores.shape[-1] + 1, dtype=scores.dtype, device=scores.device)
    inside = 1 + number * ordered > ordered.cumsum(-1)
    threshold = (ordered.masked_fill(~inside, 0.0).sum(-1, keepdim=True) - 1) / inside.sum(-1, keepdim=True)
    return (scores - threshold).clamp(min=0.0)


class SparseSum(Estimator):
    """The bound Σ_z q(z) log p(x, z) / q(z) and its gradient, both exact, over the few states that q allows.

    It runs the objective once over all of them (Correia, Niculae, Aziz, Martins 2020): no sampling, no variance. q is
    sparse and not the softmax of the logits, which are scores. Evaluation draws from the same q. Subclasses define it
    (`states`).
    """

    unbiased = True

    @property
    def law(self) -> Law:
        return self.states

    def states(self, logits: Float[Tensor, "*S B N K"]) -> Weighted:
        raise NotImplementedError

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        return expectation(objective, self.support())

    def support(self) -> "Support":
        return Support(self.law)

    def marginals(self, logits: Float[Tensor, "*S B N K"]) -> Float[Tensor, "*S B N K"]:
        return marginal_logits(self.law, logits)

    def classification_loss(self, logits: Float[Tensor, "B K"], labels: Int[Tensor, " B"]) -> Tensor:
        """The sparsemax loss pᵀs − ‖p‖² / 2 − s_y + 1/2, with the gradient p − e_y (Martins, Astudillo 2016)."""
        logits = masks.float32_logits(logits - logits.detach().amax(-1, keepdim=True))
        p = self.marginals(logits.unsqueeze(-2)).squeeze(-2).exp()
        inside = (p * logits - p.square() / 2).sum(-1)
        return (inside - logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1) + 0.5).mean()


class Support(Enumeration):
    """Returns all states that a law allows. max_configurations: limit on ΠK^N over the calls; None: there is none."""

    def __init__(self, law: Law, max_configurations: int | None = None) -> None:
        super().__init__()
        self.law = law
        self.max_configurations = max_configurations
        self.configurations = 1

    def draw(self, logits: Tensor, prior: Tensor | None, _shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        logits = logits[(None,) * (len(self.counts) + 3 - logits.dim())]
        if (most := self.max_configurations) is not None:
            latents, classes = logits.shape[-2], logits.shape[-1]
            self.configurations = number_of_configurations(latents, classes, self.configurations, most)
        codes, log_q = self.law(logits)
        self.counts = (len(codes), *self.counts)
        self.log_q.append(log_q)
        z = one_hot(codes, logits.shape[-1], logits.dtype)
        return z, 0.0 if prior is None else kl_terms(codes, log_q, prior)[1]


class Sparsemax(SparseSum):
    """q = Π_n sparsemax(s_n), independent as ever, and the sum over the product of the classes that it allows.

    For one latent as in section 3 of the paper. A batch costs as many runs as its image with the most states has; on a
    GPU, where to read that number would wait for it, and under torch.compile K^N.

    max_configurations: limit on K^N over the `sample` calls. Raises NotDefined above it, before allocating memory.
    """

    def __init__(self, max_configurations: int = 4096) -> None:
        super().__init__()
        self.max_configurations = whole("max_configurations", max_configurations)

    def states(self, logits: Float[Tensor, "*S B N K"]) -> Weighted:
        count = number_of_configurations(logits.shape[-2], logits.shape[-1], 1, self.max_configurations)
        log_q = logs(sparsemax(logits)).flatten(0, -3)
        if masks.visible(log_q) and log_q.numel():
            allowed = (masks.untransformed(log_q) > masks.LOWEST).sum(-1).prod(-1).amax()
            count = max(1, int(masks.seen(allowed) or count))
        return shaped(*likeliest(log_q, count), logits)

    def support(self) -> Support:
        return Support(self.law, self.max_configurations)


class TopKSparsemax(SparseSum):
    """q = sparsemax of the scores Σ_n s_n(z_n) of the k joint states with the largest scores (section 4 of the paper).

    It is the nearest distribution to the scores of all K^N states that has at most k states; if it has fewer, it is the
    nearest of all. The latents depend on each other. With L layers, k^L runs.

    top: k. Raises ValueError unless it is a whole number of at least 1.
    """

    def __init__(self, top: int = 10) -> None:
        super().__init__()
        self.top = whole("top", top)

    def states(self, logits: Float[Tensor, "*S B N K"]) -> Weighted:
        scores = (logits - logits.detach().amax(-1, keepdim=True)).flatten(0, -3)
        codes, score = likeliest(scores, self.top)
        return shaped(codes, logs(sparsemax(score)), logits)


def shaped(codes: Int[Tensor, "M C N"], log_q: Float[Tensor, "M C"], like: Float[Tensor, "*S B N K"]) -> Weighted:
    """States in the shape of a law, those that cannot be replaced by the likeliest, which is first."""
    codes = torch.where((log_q > masks.LOWEST).unsqueeze(-1), codes, codes[:, :1])
    leading = like.shape[:-2]
    return codes.movedim(1, 0).unflatten(1, leading), log_q.movedim(1, 0).unflatten(1, leading)
