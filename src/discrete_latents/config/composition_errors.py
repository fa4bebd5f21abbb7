"""One line for each configuration that Hydra cannot compose, instead of its own report."""

import re
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.config.additions import missing_arguments
from discrete_latents.config.aliases import meant
from discrete_latents.config.compose import group_options, known_settings
from discrete_latents.config.migration import RENAMED
from discrete_latents.config.overrides import value_of
from discrete_latents.config.printed_command import shell_word
from discrete_latents.config.saved import saved_settings
from discrete_latents.errors import UserError, suggest


@contextmanager
def one_line_errors(config_name: str, settings: Iterable[str] = ()) -> Iterator[None]:
    """Turns Hydra's errors into a UserError of one line. Arguments: as for `composition_mistake`."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(composition_mistake(error, config_name, settings)) from error


def composition_mistake(error: Exception, config_name: str, settings: Iterable[str] = ()) -> str:
    """Hydra's report on the command line, in one line.

    settings: names to suggest from; by default those of the configuration that the command line composes.
    """
    options = group_options()
    known = set(settings) or saved_settings() or known_settings(config_name, options, sys.argv[1:])
    words, message = sys.argv[1:], f"{error}\n{error.__cause__ or ''}"
    return composition_error(message, options.keys() | known, options, words, missing_arguments(config_name, words))


def composition_error(
    message: str,
    settings: Iterable[str],
    options: Mapping[str, Iterable[str]] | None = None,
    overrides: Iterable[str] = (),
    addable: Container[str] = (),
) -> str:
    """Hydra's report on an override that it cannot apply, in one line.

    settings: dotted keys and groups to suggest from. options: of each group. overrides: all that were given, since
    Hydra does not always name the one. addable: settings that the configuration lacks and an object of it takes.
    """
    if "Config group override must be a string" in message:
        given = [override.lstrip("+").partition("=") for override in overrides]
        for group, _, option in given:
            if option not in (options or {}).get(group, [option]):
                return f"{group} = {option} is not an option: {suggest(option, (options or {})[group])}"
            if group not in (options or {}) and (hint := meant(group)):
                return f"{group} is not a setting: {hint}"
    if match := re.search(r"Could not find 'hydra/launcher/(joblib|submitit)\w*'", message):
        return (
            f"launcher needs hydra-{match[1]}-launcher, which is not installed: pip install 'discrete-latents[sweep]'"
        )
    if match := re.search(r"Could not (?:find|load) '(.+)/([^/']*)'", message):
        group, option = match.groups()
        listed = message.partition("Available options")[2].partition("Config search path")[0]
        known = re.findall(r"^\t(.+)$", listed, re.MULTILINE) or (options or {}).get(group, [])
        return f"{group} = {option} is not an option: {meant(group) or suggest(option, known)}"
    if match := re.search(r"An item is already at '([\w./@-]+)'", message):
        return f"{match[1]} is a setting already: change it without the +"
    if match := re.search(r"Could not (?:override|delete(?: from config\.)?) '?([\w./@-]+)", message):
        name = match[1].removesuffix(".")
        if name in (options or {}) and "delete" in match[0]:
            return f"~{name} leaves out what is not there: no option of {name} is chosen"
        if name in (options or {}):
            return f"{name} is a group that this command does not take"
        if name in RENAMED:
            return f"{name} is not a setting: it is {RENAMED[name]} now"
        if "override" in match[0] and name in addable:
            plus = shell_word(f"+{name}={value_of(name, overrides)}")
            return f"{name} is not in this configuration: add it with a plus, as {plus}"
        return f"{name} is not a setting: {meant(name) or suggest(name, settings)}"
    if match := re.search(r"Key '([\w.-]+)' is not in struct\s+full_key: ([\w.-]+)", message):
        return f"{match[2]} is not a setting: {suggest(match[2], settings)}"
    return " ".join(message.split())
