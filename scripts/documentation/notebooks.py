"""Makes a page of each notebook in docs/notebooks: its text, its code, and what the code prints and draws here.

A notebook is a jupytext script in the percent format: `# %%` begins code, `# %% [markdown]` begins text.
"""

import ast
import contextlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"


class NotebookCell(NamedTuple):
    """text: Markdown, or Python."""

    is_code: bool
    text: str


def cells(script: str) -> list[NotebookCell]:
    """The cells of a script in the percent format."""
    found = []
    for part in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        kind, _, text = part.partition("\n")
        if "[markdown]" in kind:
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
        found.append(NotebookCell("[markdown]" not in kind, text.strip("\n")))
    return found


def executed(code: str, names: dict[str, Any]) -> str:
    """What a cell prints, and the value of its last expression, as a notebook shows it."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(tree, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None
    shown = "" if value is None or isinstance(value, Figure) else f"{value!r}\n"
    return printed.getvalue() + shown


def page(path: Path, save: Any) -> str:
    """The Markdown of a notebook. save: writes a figure, given its file's name."""
    matplotlib.use("Agg")
    lines, names, number = [], {}, 0
    for is_code, text in cells(path.read_text(encoding="utf-8")):
        if not is_code:
            lines += [text, ""]
            continue
        lines += ["```python", text, "```", ""]
        printed = executed(text, names)
        if printed.strip():
            lines += ["```text", re.sub(r"/\S*/(shipped|tmp\w*)/", "…/", printed.rstrip()), "```", ""]
        for figure in map(plt.figure, plt.get_fignums()):
            name = f"{path.stem}_{number}.png"
            save(figure, name)
            lines += [f"![figure {number + 1} of this page]({name})", ""]
            number += 1
        plt.close("all")
    lines += [f"The script is `docs/notebooks/{path.name}`; `jupytext --to ipynb` makes a notebook of it.", ""]
    return "\n".join(lines)


def write_pages() -> None:
    import mkdocs_gen_files

    def save(figure: Any, name: str) -> None:
        with mkdocs_gen_files.open(f"notebooks/{name}", "wb") as file:
            figure.savefig(file, format="png", dpi=110)

    for path in sorted(FOLDER.glob("*.py")):
        with mkdocs_gen_files.open(f"notebooks/{path.stem}.md", "w") as file:
            file.write(page(path, save))


if __name__ == "<run_path>":  # as mkdocs-gen-files runs it
    write_pages()
