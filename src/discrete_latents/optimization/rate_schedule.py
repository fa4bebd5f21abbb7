"""Learning rates over training: pure functions of the optimiser step and the number of steps in all.

A schedule returns the multiplier of `optimizer.lr`. It has no state, so a resumed run has the rate of one that was
never stopped, and a run that is resumed with more epochs has that of the longer run.
"""

import math

from discrete_latents.checks import positive, share, whole


class RateSchedule:
    """A multiplier that rises linearly to 1 in the first `warmup` steps. Subclasses define what comes `after`.

    Raises ValueError unless warmup is a whole number of at least 0.
    """

    needs_end = False
    """Whether the multiplier depends on how long training is."""

    def __init__(self, warmup: int = 0) -> None:
        self.warmup = whole("warmup", warmup, least=0)

    def factor(self, step: int, total_steps: float) -> float:
        """The multiplier at an optimiser step, counted from 0. total_steps: infinite if training has no end."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        rest = step - self.warmup
        return self.after(rest, min(1.0, rest / max(total_steps - self.warmup, 1)))

    def after(self, step: int, progress: float) -> float:
        """The multiplier after the warm-up. step: since then. progress: the share of the steps since then, 0 to 1."""
        raise NotImplementedError


class ConstantRate(RateSchedule):
    """1 after the warm-up."""

    def after(self, step: int, progress: float) -> float:
        return 1.0


class LinearRate(RateSchedule):
    """1 for a fraction `hold` of the steps after the warm-up, then linear to 0 at the last step. hold = 1: constant.

    Raises ValueError unless 0 ≤ hold ≤ 1.
    """

    def __init__(self, hold: float = 0.5, warmup: int = 0) -> None:
        super().__init__(warmup)
        if isinstance(hold, bool) or not isinstance(hold, int | float) or not 0 <= hold <= 1:
            raise ValueError(f"hold must be a number between 0 and 1, got {hold!r}")
        self.hold = hold
        self.needs_end = hold < 1

    def after(self, step: int, progress: float) -> float:
        return 1.0 if self.hold == 1 else min(1.0, max(0.0, (1 - progress) / (1 - self.hold)))


class CosineRate(RateSchedule):
    """Half a cosine from 1 to `minimum` at the last step (Loshchilov, Hutter 2017).

    Raises ValueError unless 0 ≤ minimum < 1.
    """

    needs_end = True

    def __init__(self, minimum: float = 0.0, warmup: int = 0) -> None:
        super().__init__(warmup)
        self.minimum = share("minimum", minimum)

    def after(self, step: int, progress: float) -> float:
        return self.minimum + (1 - self.minimum) * (1 + math.cos(math.pi * progress)) / 2


class StepRate(RateSchedule):
    """Multiplied by `gamma` every `every` steps after the warm-up.

    Raises ValueError unless gamma > 0 and every ≥ 1.
    """

    def __init__(self, every: int = 1000, gamma: float = 0.5, warmup: int = 0) -> None:
        super().__init__(warmup)
        self.every = whole("every", every)
        self.gamma = positive("gamma", gamma)

    def after(self, step: int, progress: float) -> float:
        return self.gamma ** (step // self.every)
