"""Printed commands, quoted for Hydra and then for bash, so that they run when pasted."""

import os
import re
import shlex
import sys

from discrete_latents.config.paths import in_grammar


def setting(name: str, path: str | os.PathLike[str]) -> str:
    """The override `name=path`, quoted for Hydra."""
    text = str(path)
    return f"{name}={in_grammar(f'./{text}' if text.startswith('~') else text)}"


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
    """A byte escaped for bash's $'…'."""
    character = chr(byte)
    if character in "'\\":
        return f"\\{character}"
    return character if character.isascii() and character.isprintable() else f"\\{byte:03o}"


def encodable(word: str) -> bool:
    """Whether stdout can encode a word."""
    try:
        word.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
