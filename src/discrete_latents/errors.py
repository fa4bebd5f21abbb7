"""A user's mistake, said in one line: which setting, what it was, what is allowed."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in settings, files or arguments; shown as one line, without a traceback, with exit code 1."""


def suggest(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names, in words: those that end alike, then those that look alike."""
    known = sorted(known)
    alike = [other for other in known if other.split(".")[-1] == name.split(".")[-1]]
    nearest = list(dict.fromkeys(alike + get_close_matches(name, known, n=3, cutoff=0.6)))[:3]
    if nearest:
        return f"did you mean {' or '.join(nearest)}?"
    return f"known: {', '.join(known)}" if len(known) <= 20 else "`--help` lists what there is"


def composition_error(
    message: str,
    settings: Iterable[str],
    options: Mapping[str, Iterable[str]] | None = None,
    words: Iterable[str] = (),
) -> str:
    """Hydra's report of an override that does not fit, in one line.

    settings: all dotted keys and groups that could have been meant. options: those of each group. words: the overrides,
    of which Hydra does not always say the one.
    """
    if "Config group override must be a string" in message:
        given = [word.lstrip("+").partition("=") for word in words]
        for group, _, option in given:
            if option not in (options or {}).get(group, [option]):
                return f"{group} = {option} is not an option: {suggest(option, (options or {})[group])}"
    if match := re.search(r"Could not find 'hydra/launcher/(joblib|submitit)\w*'", message):
        return (
            f"launcher needs hydra-{match[1]}-launcher, which is not installed: pip install 'discrete-latents[sweep]'"
        )
    if match := re.search(r"Could not (?:find|load) '(.+)/([^/']*)'", message):
        group, option = match.groups()
        listed = message.partition("Available options")[2].partition("Config search path")[0]
        known = re.findall(r"^\t(.+)$", listed, re.MULTILINE) or (options or {}).get(group, [])
        return f"{group} = {option} is not an option: {suggest(option, known)}"
    if match := re.search(r"An item is already at '([\w./@-]+)'", message):
        return f"{match[1]} is a setting already: change it without the +"
    if match := re.search(r"Could not (?:override|delete from config\.) '?([\w./@-]+)", message):
        name = match[1].removesuffix(".")
        if name in (options or {}):
            return f"{name} is a group that this command does not take"
        return f"{name} is not a setting: {suggest(name, settings)}"
    if match := re.search(r"Key '([\w.-]+)' is not in struct\s+full_key: ([\w.-]+)", message):
        return f"{match[2]} is not a setting: {suggest(match[2], settings)}"
    return " ".join(message.split())
