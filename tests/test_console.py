"""What is printed: literally, in any encoding, into any stream."""

import io
import subprocess
import sys

import pytest
from rich.table import Table

from discrete_latents import secrecy
from discrete_latents.console import QuietStream, console
from discrete_latents.errors import fail
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.results_table import show, show_sweep
from discrete_latents.runs.train_log import Record, RecordedStream
from tests.helpers.tables import rest_is_slow

TEXTS = ["[csv]", "a[/b]", "[bold]x[/bold]", "[link=x]", "[/]", ":smile:", "[red", "\\[x]", "[@click=f()]", "é ${x}"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_users_text_is_no_markup(text, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "300")
    results = {
        "experiment": "a title of words and",
        "latent": text,
        "data": {"name": "y", "binarization": "fixed"},
        "metrics": {f"test/{text}/nll": 1.0},
        "eval_samples": 5,
    }
    folder = tmp_path / text.replace("/", "∕")
    (folder / "checkpoints").mkdir(parents=True)
    show(results, RunDirectory(folder), tmp_path)
    show_sweep(text, [(0, f"paths.data_dir={text}", {}, f"failed: {text}")])
    table = Table(title=text)
    table.add_column(text)
    console().print(table)
    said = capsys.readouterr().out
    assert f"words and · {text}" in " ".join(said.split())
    assert f"test/{text}/nll" in said
    assert f"{folder.name}/checkpoints\n" in said
    assert f"paths.data_dir={text}" in said
    assert f"failed: {text}" in said


class Broken(io.StringIO):
    """A stream of which nobody reads the end, or whose device is full."""

    def write(self, _):
        raise BrokenPipeError

    def flush(self):
        raise OSError(28, "No space left on device")


def test_a_stream_that_cannot_be_written_is_dropped():
    stream = QuietStream(Broken())
    for _ in range(2):
        assert stream.write("text") == 4
        stream.writelines(["a", "b"])
        stream.flush()


@pytest.mark.parametrize(
    ("encoding", "said"), [("ascii", b"\\xe9\\u65e5 \\U0001f642"), ("latin-1", b"\xe9\\u65e5 \\U0001f642")]
)
def test_what_an_encoding_lacks_is_escaped(encoding, said):
    buffer = io.BytesIO()
    stream = QuietStream(io.TextIOWrapper(buffer, encoding))
    stream.write("é日 🙂")
    stream.flush()
    assert buffer.getvalue() == said


def observe(stream, seen):
    """As W&B does, to record what is printed."""
    put = stream.write

    def write(text):
        written = put(text)
        seen.append(text[:written])
        return written

    stream.write = write


def test_who_observes_a_stream_sees_no_secret_and_all_else(monkeypatch, tmp_path):
    monkeypatch.setattr(secrecy, "known", set())
    secrecy.learn({"token": "correct-horse"})
    printed, first, second, record = io.StringIO(), [], [], Record(tmp_path / "train.log")
    stream = QuietStream(printed)
    observe(stream, first)
    recorded = RecordedStream(stream, record)
    observe(recorded, second)
    print("by correct-horse battery", file=recorded)
    assert [printed.getvalue(), *map("".join, (first, second, record.kept))] == ["by *** battery\n"] * 4


PRINTING = """
from discrete_latents.console import console, protect_streams
protect_streams()
from rich.table import Table
table = Table(title="é · [csv]")
for _ in range(3000):
    print("é" * 50)
    console().print(table)
open("done", "w").write("completed")
"""


@pytest.mark.parametrize(
    "how",
    rest_is_slow(["PROGRAM | head -2", "PROGRAM > /dev/full", "PROGRAM >&-", "PROGRAM 2>&1 | true", "PROGRAM"], 2),
)
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_no_terminal_makes_a_command_fail(how, encoding, tmp_path):
    program = f"set -o pipefail; PYTHONIOENCODING={encoding} {sys.executable} -c '{PRINTING}'"
    done = subprocess.run(["bash", "-c", how.replace("PROGRAM", program)], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "done").read_text() == "completed"


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\x1b[31mred", "a\tb", "\u2028", "é"])
def test_an_error_is_one_line(text, capsys):
    with pytest.raises(SystemExit):
        fail(f"resume = {text} is nothing")
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.rstrip("\n").isprintable()
