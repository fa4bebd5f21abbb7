"""Printed commands, quoted for Hydra and then for bash, so that they run when pasted."""

import os
import re
import shlex
import sys
from collections.abc import Collection
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from discrete_latents.config.paths import in_grammar
from discrete_latents.secrecy import masked_override

INSTALLED = "discrete-latents-"
"""What the names of the installed commands begin with."""


def setting(name: str, path: str | os.PathLike[str]) -> str:
    """The override `name=path`, quoted for Hydra."""
    text = str(path)
    return f"{name}={in_grammar(f'./{text}' if text.startswith('~') else text)}"


def program(name: str) -> tuple[str, ...]:
    """The words that start train or eval: the installed command where this is one, else the checkout's script."""
    installed = Path(sys.argv[0]).name.startswith(INSTALLED)
    return (f"{INSTALLED}{name}",) if installed else ("python", f"{name}.py")


def trust_words(packages: Collection[str]) -> list[str]:
    """The override that trusts packages; none for none."""
    return [f"trust=[{','.join(sorted(packages))}]"] if packages else []


def given_command() -> str:
    """The command that was given, without secrets; for a job of a sweep, the one that trains it alone."""
    job = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    words = list(HydraConfig.get().overrides.task) if job else [*given]
    return command(*program("train"), *map(masked_override, words))


given: list[str] = []
"""The words of this process's command line, before anything of it was put in another way."""


def command(*words: str) -> str:
    """A bash command on one line of printable characters, for any words.

    >>> print(command("python", "train.py", setting("resume", "logs/a=b"), setting("paths.data_dir", "data")))
    python train.py "resume='logs/a=b'" paths.data_dir=data
    """
    return " ".join(shell_word(word) for word in words)


def shell_word(word: str) -> str:
    """One word for bash."""
    if not (word.isprintable() and encodable(word)):
        return f"$'{''.join(map(bash_escape, os.fsencode(word)))}'"
    if "'" in word and not re.search(r'["$`\\!]', word):
        return f'"{word}"'
    return shlex.quote(word)


def bash_escape(byte: int) -> str:
    """A byte escaped for bash's $'…', in which ! stands for a former command where \\' comes before it."""
    character = chr(byte)
    if character in "'!" or not (character.isascii() and character.isprintable()):
        return f"\\{byte:03o}"
    return "\\\\" if character == "\\" else character


def encodable(word: str) -> bool:
    """Whether stdout can encode a word."""
    try:
        word.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
