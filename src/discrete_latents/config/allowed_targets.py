"""What a saved configuration may name: it may be somebody else's, and building what it names would run it.

An allow list by the place of each `_target_`: a class of this package or a public one of torch or Lightning, of the
kind that the place takes. All others are refused before anything is called or a foreign module is imported. What the
user's own command line says is free, and so are the packages that it trusts.
"""

import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, get_type_hints

from discrete_latents.config.allowed_references import refused_reference
from discrete_latents.config.paths import is_path
from discrete_latents.errors import UserError
from discrete_latents.secrecy import MASK


class Allowed(NamedTuple):
    """Classes that are defined in a package and derived from a base. returned: instead, functions that return one."""

    package: str
    base: str
    returned: bool = False

    def __str__(self) -> str:
        kind = self.base.rpartition(".")[2]
        return f"{'a source of ' if self.returned else ''}{kind} in {self.package}"


NETWORK = Allowed("discrete_latents.networks", "discrete_latents.networks.Network")
ESTIMATOR = Allowed("discrete_latents.latent", "discrete_latents.latent.Estimator")
TEMPERATURE = Allowed("discrete_latents.latent.temperature", "discrete_latents.latent.Temperature")
KL = Allowed("discrete_latents.latent.kl_weight", "discrete_latents.latent.KLSchedule")
RATE = Allowed("discrete_latents.optimization", "discrete_latents.optimization.RateSchedule")
BASELINE = Allowed("discrete_latents.latent.score_function.baselines", "torch.nn.Module")
LIGHTNING = "lightning.pytorch"

PLACES: dict[str, tuple[Allowed, ...]] = {
    "model": (
        Allowed("discrete_latents.models", f"{LIGHTNING}.LightningModule"),
        Allowed("discrete_latents.priors", f"{LIGHTNING}.LightningModule"),
    ),
    "model.network": (NETWORK,),
    "model.classifier": (NETWORK,),
    "model.likelihood": (Allowed("discrete_latents.likelihoods", "discrete_latents.likelihoods.Likelihood"),),
    "model.beta": (KL,),
    "model.free_bits": (KL,),
    "model.**": (Allowed("torch.nn", "torch.nn.Module"),),
    "latent": (ESTIMATOR, Allowed("discrete_latents.quantizers", "discrete_latents.quantizers.Quantizer")),
    "latent.temperature": (TEMPERATURE,),
    "latent.baselines.*": (BASELINE,),
    "temperature": (TEMPERATURE,),
    "beta": (KL,),
    "free_bits": (KL,),
    "data": (Allowed("discrete_latents.data", f"{LIGHTNING}.LightningDataModule"),),
    "data.source": (
        Allowed("discrete_latents.data.sources", "discrete_latents.data.Splits", returned=True),
        Allowed("discrete_latents.data.omniglot_file", "discrete_latents.data.Splits", returned=True),
        Allowed("discrete_latents.priors", "discrete_latents.data.Splits", returned=True),
    ),
    "data.augmentation": (Allowed("discrete_latents.data.augmentation", "discrete_latents.data.Augmentation"),),
    "optimizer": (Allowed("discrete_latents.optimization", "discrete_latents.optimization.Optimization"),),
    "optimizer.schedule": (RATE,),
    "lr_schedule": (RATE,),
    "optimizer.algorithm": (
        Allowed("discrete_latents.optimization", "torch.optim.Optimizer"),
        Allowed("torch.optim", "torch.optim.Optimizer"),
    ),
    "trainer": (Allowed(f"{LIGHTNING}.trainer", f"{LIGHTNING}.Trainer"),),
    "trainer.strategy": (Allowed(f"{LIGHTNING}.strategies", f"{LIGHTNING}.strategies.Strategy"),),
    "trainer.profiler": (Allowed(f"{LIGHTNING}.profilers", f"{LIGHTNING}.profilers.Profiler"),),
    "trainer.plugins": (Allowed(f"{LIGHTNING}.plugins.precision", f"{LIGHTNING}.plugins.Precision"),),
    "trainer.plugins.*": (Allowed(f"{LIGHTNING}.plugins.precision", f"{LIGHTNING}.plugins.Precision"),),
    "callbacks.*": (
        Allowed("discrete_latents.callbacks", f"{LIGHTNING}.Callback"),
        Allowed(f"{LIGHTNING}.callbacks", f"{LIGHTNING}.Callback"),
    ),
    "callbacks.*.estimators.*": (ESTIMATOR,),
    "callbacks.*.estimators.*.temperature": (TEMPERATURE,),
    "callbacks.*.estimators.*.baselines.*": (BASELINE,),
    "logger.*": (
        Allowed("discrete_latents.loggers", f"{LIGHTNING}.loggers.Logger"),
        Allowed(f"{LIGHTNING}.loggers", f"{LIGHTNING}.loggers.Logger"),
    ),
}
"""Places of a configuration, `*` being any one name and `**` any names, and what may stand there."""

REACHING_OUT = {"DeepSpeedStrategy", "XLAProfiler"}
"""Public classes that read further files or open a port."""

LOGGED = re.compile(
    r"path|(save|sub)_dir|(project|experiment|run|checkpoint)?_?name|version|prefix|flush_\w+|max_queue|log_(graph|model)"
    r"|default_hp_metric|filename_suffix|purge_step|comment|notes|tags|project|group|entity|job_type|mode|offline"
    r"|lowest|highest|resume|(run_)?id|workspace|_(target|partial|convert|recursive)_"
)
"""Arguments of loggers. Others say where a logger sends its log, with which of the user's keys, and what it reads."""

UNTRUSTED = sys.stdlib_module_names | {"discrete_latents", "hydra", "lightning", "numpy", "omegaconf", "torch"}
"""Packages of which too much runs code to trust the whole of them."""

Own = Callable[[tuple[str, ...], Any], bool]
"""Whether the setting at a place, with this value, is the user's own."""


def nothing(place: tuple[str, ...], value: Any) -> bool:
    return False


def check_saved(settings: Any, trust: Collection[str] = (), own: Own = nothing, secrets: bool = True) -> None:
    """Raises UserError for the first thing that a saved configuration, as plain settings, may not have.

    trust: packages of the user's own. own: what the user gives himself, which is not checked. secrets: refuse those
    that were masked.
    """
    for name in ("hydra", "defaults"):
        if name in settings and not own((name,), settings[name]):
            raise UserError(f"{name} is refused: a saved configuration has no such settings; they would change Hydra")
    for place, value in values_by_place((), settings):
        name = ".".join(place)
        if own(place, value):
            continue
        if place[-1] == "_target_":
            check_target(place[:-1], value, trust)
        elif isinstance(value, str) and (reference := refused_reference(value)):
            raise UserError(
                f"{name} = {shortened(value)} is refused: a saved configuration resolves no {shortened(reference)}; "
                "give the setting again"
            )
        elif secrets and value == MASK:
            raise UserError(f"{name} is a secret, which is not saved with a run: give it again, as {name}=…")
        elif isinstance(value, str) and is_path(name) and re.search("://|::", value):
            raise UserError(f"{name} = {shortened(value)} is refused: it must be a folder or file of this machine")
        elif place[0] == "logger" and len(place) > 2 and value is not None and not LOGGED.fullmatch(place[2]):
            raise UserError(f"{name} is refused: a saved configuration does not set it for a logger; give it again")


def values_by_place(place: tuple[str, ...], node: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All values of plain settings, each with its place; a `_target_` is one whatever it holds."""
    if isinstance(node, dict):
        for key, value in node.items():
            inner = (*place, str(key))
            yield from [(inner, value)] if key == "_target_" else values_by_place(inner, value)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from values_by_place((*place, str(index)), value)
    else:
        yield place, node


def check_target(place: tuple[str, ...], target: Any, trust: Collection[str]) -> None:
    """Raises UserError unless a `_target_` may stand at a place. Imports nothing but the packages that it may be of."""
    allowed = allowed_at(place)
    name = ".".join((*place, "_target_"))
    if isinstance(target, str) and re.fullmatch(r"\w+(\.\w+)+", target):
        trusted = target.partition(".")[0] in trust
        if trusted or any(target.startswith(f"{room(kind.package)}.") for kind in allowed):
            try:
                found = located(target)
            except Exception as error:  # whatever importing raises
                raise UserError(f"{name} = {shortened(target)} names nothing that can be imported") from error
            if trusted and str(getattr(found, "__module__", "")).partition(".")[0] in trust:
                return
            if any(is_of(found, kind) for kind in allowed):
                return
    kinds = f"must be {' or '.join(map(str, allowed))}" if allowed else "may not be there"
    raise UserError(
        f"{name} = {shortened(target)} is refused: in a saved configuration it {kinds}; trust=[PACKAGE] allows a "
        "package of your own"
    )


def room(package: str) -> str:
    """The folder of a package whose modules may be imported to look for a class."""
    return ".".join(package.split(".")[:2])


def located(name: str) -> Any:
    """The object of a dotted name, found as Hydra finds it: attributes first. Raises whatever importing raises."""
    parts = name.split(".")
    found: Any = import_module(parts[0])
    for index, part in enumerate(parts[1:], 2):
        if isinstance(found, ModuleType) and not hasattr(found, part):
            found = import_module(".".join(parts[:index]))
        else:
            found = getattr(found, part)
    return found


def allowed_at(place: Sequence[str]) -> tuple[Allowed, ...]:
    for pattern, kinds in PLACES.items():
        parts = pattern.split(".")
        if parts[-1] == "**" and len(place) > 1 and list(place[: len(parts) - 1]) == parts[:-1]:
            return kinds
        if len(parts) == len(place) and all(part in ("*", given) for part, given in zip(parts, place, strict=True)):
            return kinds
    return ()


def is_of(found: Any, kind: Allowed) -> bool:
    """Whether an object is a class, or a function, of a kind; a public one where the package is not this one."""
    name, module = getattr(found, "__name__", ""), f"{getattr(found, '__module__', '')}."
    if not module.startswith(f"{kind.package}."):
        return False
    base = located(kind.base)
    if kind.returned:
        return inspect.isfunction(found) and get_type_hints(found).get("return") is base
    if not (inspect.isclass(found) and issubclass(found, base)):
        return False
    public = name in getattr(import_module(kind.package), "__all__", (name,))
    return module.startswith("discrete_latents.") or (public and name not in REACHING_OUT)


def check_trust(packages: Any) -> tuple[str, ...]:
    """The packages that the user trusts. Raises UserError for what is no such list, or names a library."""
    named = [packages] if isinstance(packages, str) else packages
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) and name.isidentifier() for name in named):
        raise UserError(f"trust must be a list of packages of your own, as [my_package], got {packages!r}")
    for name in named:
        if name in UNTRUSTED:
            raise UserError(f"trust must name packages of your own, got {name}, much of which runs code or reads files")
    return tuple(named)


def packages_to_trust(settings: Any) -> set[str]:
    """The user's own packages that a configuration names: `trust` must name them where it is a saved one."""
    named = [(place, value) for place, value in values_by_place((), settings) if place[-1] == "_target_"]
    packages = set()
    for place, value in named:
        try:
            check_target(place[:-1], value, ())
        except UserError:
            packages.add(str(value).partition(".")[0])
    return {package for package in packages - UNTRUSTED if package.isidentifier()}


def shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
