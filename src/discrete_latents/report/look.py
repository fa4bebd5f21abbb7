"""What all pages look like: one style, one frame, which runs its own script alone and can load nothing."""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

HERE = Path(__file__).parent
LOOK = (HERE / "look.css").read_text(encoding="utf-8")


def render_page(template: Path, scripts: Sequence[Path], data: Any, **values: Any) -> str:
    """A page from a template that extends page.html.jinja. All values are escaped.

    scripts: run in this order, as one; the page's policy names its hash, so that it runs no other. data: what they
    read, as JSON.
    """
    loader = jinja2.FileSystemLoader([template.parent, HERE])
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    script = "\n".join(path.read_text(encoding="utf-8") for path in scripts)
    page = environment.get_template(template.name).render(
        look=LOOK,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=json.dumps(data).replace("<", "\\u003c"),
        **values,
    )
    return page.encode("utf-8", errors="backslashreplace").decode()
