"""Draws a real terminal session as docs/terminal.svg.

python -m scripts.documentation.terminal                       # python train.py, as the README shows it
python -m scripts.documentation.terminal train.py latent=rloo
"""

import os
import pty
import sys
import tempfile
from pathlib import Path

import pyte
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).parents[2]
COLUMNS, LINES = 80, 200


def recorded(command: list[str]) -> bytes:
    """Everything that a command writes to its terminal, which is 80 columns wide."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"COLUMNS": str(COLUMNS), "LINES": "40", "TERM": "xterm-256color"}
        os.execv(sys.executable, [sys.executable, *command])
    output = b""
    try:
        while part := os.read(terminal, 4096):
            output += part
    except OSError:  # the command has ended
        pass
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit(f"{' '.join(command)} ended with exit code {status}:\n{output.decode()}")
    return output


def drawn(output: bytes) -> list[Text]:
    """The lines that stand on the screen in the end, with their colours."""
    screen = pyte.Screen(COLUMNS, LINES)
    pyte.ByteStream(screen).feed(output)
    lines = []
    for row in range(LINES):
        line = Text()
        for column in range(COLUMNS):
            cell = screen.buffer[row][column]
            line.append(cell.data, Style(color=color(cell.fg), bold=cell.bold))
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return lines


def color(name: str) -> Color | None:
    if name == "default":
        return None
    plain = {"brown": "yellow"}.get(name.removeprefix("bright"), name.removeprefix("bright"))
    known = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
    return Color.parse(plain) if plain in known else Color.parse(f"#{name}")


def main() -> None:
    words = sys.argv[1:] or ["train.py"]
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(ROOT / words[0], Path(folder) / words[0])
        os.chdir(folder)
        output = recorded(words)
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text(f"$ python {' '.join(words)}", "bold"))
    for line in drawn(output):
        console.print(line, no_wrap=True, overflow="crop")
    (ROOT / "docs" / "terminal.svg").write_text(console.export_svg(title="discrete_latents"))


if __name__ == "__main__":
    main()
