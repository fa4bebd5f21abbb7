"""Whatever a run's settings and folders are called, no cell of a table ends early or is taken for a formula."""

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

from discrete_latents.errors import one_line
from discrete_latents.summary.finished_runs import FinishedRun
from discrete_latents.summary.html_report import pictures, texts
from discrete_latents.summary.text_report import as_text, code_span, escaped

HOSTILE = st.text(st.sampled_from("`|\\\n\r\t *_<>[]=+-@'\"a1ä"), min_size=1, max_size=20) | st.text(min_size=1)


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
def test_a_cell_of_the_markdown_table_holds_its_text(text):
    text = text.strip() or "x"
    page = f"| {escaped('a')} | b |\n| :-- | --: |\n| {code_span(text)} | 1 |\n"
    tokens = [token for token in MarkdownIt("commonmark").enable("table").parse(page) if token.type == "inline"]
    assert len(tokens) == 4
    (code,) = tokens[2].children or []
    assert (code.type, code.content.strip()) == ("code_inline", one_line(text).strip())
    assert tokens[3].content == "1"


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
def test_a_remark_is_one_line_of_plain_text(text):
    tokens = MarkdownIt("commonmark").parse(f"- x{escaped(text)}x")
    (inline,) = [token for token in tokens if token.type == "inline"]
    assert {token.type for token in inline.children or []} <= {"text", "text_special"}
    assert "".join(token.content for token in inline.children or []) == f"x{one_line(text)}x"


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
def test_no_cell_of_the_csv_is_a_formula(text):
    file = io.StringIO(newline="")
    csv.writer(file).writerow([as_text(text), as_text(-1.5), as_text(None)])
    (row,) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert row[0].lstrip()[:1] not in tuple("=+-@")
    assert row[0][:1] not in tuple("\t\r")
    assert row[0] in (text, f"'{text}")
    assert row[1:] == ["-1.5", ""]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", '=HYPERLINK("http://x")'])
def test_a_formula_gets_an_apostrophe(text):
    assert as_text(text) == f"'{text}"


def test_a_report_shows_no_file_of_another_folder(tmp_path):
    run, secret = tmp_path / "run", tmp_path / "secret"
    (run / "images").mkdir(parents=True)
    (run / ".hydra").mkdir()
    secret.write_text('{"secret of": "the reader"}')
    picture = tmp_path / "private.png"
    Image.new("L", (2, 2)).save(picture)
    Image.new("L", (2, 2)).save(run / "images" / "own.png")
    (run / "images" / "text.png").write_text("no picture")
    (run / "images" / "far.png").symlink_to(secret)
    (run / "images" / "private.png").symlink_to(picture)
    (run / "images" / "broken.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(run / "images" / "pipe.png")
    (run / "results.json").symlink_to(secret)
    (run / ".hydra" / "config.yaml").symlink_to(secret)
    found = FinishedRun(run, run, {}, {}, [], [])
    assert [name for name, _ in pictures(found)] == ["own"]
    assert texts(found) == {}
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "images").symlink_to(Path("..") / "run" / "images")
    assert pictures(FinishedRun(tmp_path / "linked", tmp_path / "linked", {}, {}, [], [])) == []
