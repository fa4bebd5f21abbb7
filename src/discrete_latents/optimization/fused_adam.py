"""Adam by torch's fused kernel, without what torch does around it at every step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Adam
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks


class Moments(NamedTuple):
    """A group's parameters and their state, as the kernel takes them. steps: the elements of `counts`."""

    parameters: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]
    counts: Tensor


class FusedAdam(Adam):
    """`torch.optim.Adam(fused=True)`: the same numbers, bit for bit, and the same state.

    torch collects and groups all parameters at every step, in Python, which takes longer than the kernel. Here this is
    done once, and the parameters' counts of steps are one tensor. A step that needs more than the kernel (a parameter
    without a gradient, several devices or dtypes, `amsgrad`, a gradient scaler, a learning rate in a tensor) is torch's
    own.

    decoupled_weight_decay: AdamW.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            fused=True,
            decoupled_weight_decay=decoupled_weight_decay,
        )
        self.moments: list[Moments] = []

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.moments = []
        super().load_state_dict(state_dict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        self.moments = []
        super().add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        if not set_to_none:
            super().zero_grad(set_to_none)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        hooked = self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks
        hooked = hooked or _global_optimizer_pre_hooks or _global_optimizer_post_hooks
        watched = hooked or torch.autograd.profiler._is_profiler_enabled
        return self.watched_step(closure) if watched else self.unwatched_step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch does not wrap it

    def unwatched_step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            loss = (closure if torch.is_grad_enabled() else torch.enable_grad()(closure))()
        gradients = [[parameter.grad for parameter in moments.parameters] for moments in self.moments]
        if not gradients or any(gradient is None for group in gradients for gradient in group) or self.is_scaled():
            super().step()
            self.moments = self.collected()
            return loss
        with torch.no_grad():
            for group, moments, given in zip(self.param_groups, self.moments, gradients, strict=True):
                moments.counts.add_(1)
                decoupled = group["decoupled_weight_decay"]
                kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_  # type: ignore[attr-defined]
                kernel(
                    moments.parameters,
                    given,  # type: ignore[arg-type]
                    moments.means,
                    moments.squares,
                    [],
                    moments.steps,
                    lr=group["lr"],
                    beta1=group["betas"][0],
                    beta2=group["betas"][1],
                    weight_decay=group["weight_decay"],
                    eps=group["eps"],
                    amsgrad=False,
                    maximize=group["maximize"],
                )
        return loss

    watched_step = Adam.profile_hook_step(unwatched_step)
    """With the step's hooks, and its name in a profile, as torch makes of any `step`, which takes 20 µs."""

    def is_scaled(self) -> bool:
        """Whether a gradient scaler has handed over its scale."""
        return getattr(self, "grad_scale", None) is not None or getattr(self, "found_inf", None) is not None

    def collected(self) -> list[Moments]:
        """What the kernel takes, by group; empty where it does not take all parameters of the groups at once."""
        found = []
        for group in self.param_groups:
            parameters = group["params"]
            states = [self.state.get(parameter, {}) for parameter in parameters]
            kinds = {(parameter.device, parameter.dtype) for parameter in parameters}
            if group["amsgrad"] or isinstance(group["lr"], Tensor) or len(kinds) != 1 or not all(states):
                return []
            means, squares, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
            counts = torch.stack(steps)
            for state, count in zip(states, counts.unbind(), strict=True):
                state["step"] = count
            found.append(Moments(parameters, means, squares, list(counts.unbind()), counts))
        return found
