"""Shows the doctests of docstrings as code."""

import re

from griffe import Extension, Object

DOCTEST = re.compile(r"(?:^|(?<=\n))>>> .*(?:\n.+)*")


class Doctests(Extension):
    """Puts each block that starts with `>>>`, to the next blank line, between the fences of a console."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        if obj.docstring and ">>> " in obj.docstring.value:
            obj.docstring.value = DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
