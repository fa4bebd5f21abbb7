"""Commands as they are printed: quoted for Hydra, then for bash, so that they run as they are pasted."""

import os
import re
import shlex
import sys

from discrete_latents.config.paths import in_grammar


def setting(name: str, path: str | os.PathLike[str]) -> str:
    """`name=path`, as the command line takes it."""
    text = str(path)
    return f"{name}={in_grammar(f'./{text}' if text.startswith('~') else text)}"


def command(*words: str) -> str:
    """A command line for bash, on one line of plain characters, whatever the words are.

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
    """A byte within bash's $'…'."""
    character = chr(byte)
    if character in "'\\":
        return f"\\{character}"
    return character if character.isascii() and character.isprintable() else f"\\{byte:03o}"


def encodable(word: str) -> bool:
    """Whether the terminal shows a word as it is."""
    try:
        word.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
