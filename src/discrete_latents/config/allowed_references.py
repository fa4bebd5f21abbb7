"""What the `${…}` of a saved configuration may refer to: its own settings, and nothing of the environment."""

import re
from typing import Any

VARIABLE = "DISCRETE_LATENTS_DATA"
"""The only variable that the project's own configurations read."""

ALLOWED = re.compile(
    r"[\w.]+"  # another setting
    r"|experiment_name:"
    r"|now:[%\w :-]*"
    r"|hydra:(?:runtime\.(?:output_dir|cwd|choices\.[\w/]+)|job\.(?:num|name|id)|(?:run|sweep)\.dir|sweep\.subdir)"
    rf"|oc\.env:{VARIABLE}(?:,[^${{}}]*)?",
    re.ASCII,
)


def refused_reference(text: str) -> str | None:
    """The first `${…}` in a setting's text that a saved configuration may not have; None where all are allowed.

    One inside another is refused: what it names shows only when it is resolved.

    >>> refused_reference("${paths.output_dir}/images"), refused_reference("as ${oc.env:HOME} is")
    (None, '${oc.env:HOME}')
    """
    for opening in re.finditer(r"(\\*)\$\{", text):
        if len(opening[1]) % 2:  # escaped: plain text
            continue
        inner = text[opening.end() :].partition("}")
        if not inner[1] or ALLOWED.fullmatch(inner[0]) is None:
            return f"${{{inner[0]}{inner[1]}"
    return None


def without_refused(node: Any) -> Any:
    """Plain settings in which what may not be resolved is text."""
    if isinstance(node, dict):
        return {key: without_refused(value) for key, value in node.items()}
    if isinstance(node, list):
        return [without_refused(value) for value in node]
    if isinstance(node, str) and refused_reference(node) is not None:
        return re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", node)
    return node
