"""One report of an ablation whose every name is hostile, made by the command in processes of its own."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from analysis.reporting.folder import HEADER, LIST
from tests.fabricate import fabricate_ablation

ROOT = Path(__file__).resolve().parents[2]
FIRST, SECOND = r"a|b_c & 100% #1 $x$ \y {z}", "<script>alert(1)</script>"
DEFINITION = {
    "name": "hostile",
    "title": "<b>Title</b> & *more*",
    "question": "Is `<i>` | _better_ than $2^3$?",
    "report": {"section": "3.2", "figures": [{"numbers": [6, 7], "arms": [FIRST, SECOND]}]},
    "settings": {"model.name": "resnet34_unet"},
    "factor": "optimizer.lr",
    "arms": {FIRST: {"optimizer.lr": 1e-3}, SECOND: {"optimizer.lr": 1e-4}},
    "seeds": [1, 2],
    "hypotheses": [
        {
            "claim": "<img src=x onerror=alert(1)> {{ 7 * 7 }} wins",
            "better": FIRST,
            "than": SECOND,
            "metric": "test/dice_per_image",
            "margin": 0.005,
        },
        {"claim": "half the time", "same": [FIRST, SECOND], "metric": "train_seconds", "margin": 0.1, "ratio": True},
    ],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory, empty_database):
    """Two arms, two seeds, with names that mean something to HTML, Markdown and LaTeX."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copy(empty_database, folder / "mlflow.db")
    (folder / "experiments").mkdir()
    source = folder / "experiments" / "hostile.yaml"
    source.write_text(yaml.safe_dump(DEFINITION, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        fabricate_ablation(folder, source, preset="demo", seeds=(1, 2), epochs=6, num_images=8)
    return folder


def command(folder, output, seed):
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment |= {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", "analysis.report", "--output", output]
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def report(project):
    done = command(project, "report", "1")
    assert (done.returncode, done.stdout) == (0, "report/index.html\n"), done.stderr
    return project / "report"


def test_the_same_runs_give_the_same_bytes(project, report):
    assert command(project, "again", "2").returncode == 0
    files = {path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()}
    assert {"index.html", "report.md", "methods.tex", "deviations.tex", "tables/claims.tex"} <= files
    assert {"tables/hostile_results.tex", "figures/fig06_hostile_loss.pdf", "figures/fig07_hostile_dice.png"} <= files
    assert {name: (project / "again" / name).read_bytes() for name in files} == {
        name: (report / name).read_bytes() for name in files
    }
    header, *listed = (report / LIST).read_text().splitlines()
    assert header == HEADER
    assert set(listed) == files - {LIST}


def test_nothing_tells_where_it_was_made(project, report):
    for name in ("index.html", "report.md", "methods.tex", "deviations.tex", "tables/claims.tex"):
        assert str(project) not in (report / name).read_text()


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def values(self, attribute):
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


def test_the_page_shows_hostile_names_as_they_are(report):
    page = Page((report / "index.html").read_text())
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "link"})
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    for text in (FIRST, SECOND, DEFINITION["title"], DEFINITION["question"], DEFINITION["hypotheses"][0]["claim"]):
        assert text in page.text


def test_the_page_needs_nothing_but_itself(report):
    page = Page((report / "index.html").read_text())
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) > 8
    assert all(picture["src"].startswith("data:image/") and picture["alt"] for picture in pictures)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for link in page.values("href"):
        assert link[1:] in ids if link.startswith("#") else (report / link).is_file(), link
    assert "@import" not in page.text and "url(" not in page.text


def test_markdown_tables_keep_their_columns(report):
    text = (report / "report.md").read_text()
    tables = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    assert len(tables) == 5
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    assert "<script" not in text and "<img" not in text
    for link in re.findall(r"\]\((\S+?)\)", text):
        assert (report / link).is_file()


@pytest.mark.parametrize("name", ["methods.tex", "deviations.tex", "tables/claims.tex", "tables/hostile_results.tex"])
def test_latex_is_well_formed(report, name):
    text = (report / name).read_text()
    bare = re.sub(r"^ *%.*$|(?<!\\)%$|\\[\\{}$%&#_]", "", text, flags=re.MULTILINE)
    assert bare.count("{") == bare.count("}")
    assert re.findall(r"\\begin\{(\w+\*?)\}", text) == re.findall(r"\\end\{(\w+\*?)\}", text)[::-1]
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
    assert not re.search(r"(?<!\\)[#%]", bare)
    layout = r"\\ifdim\\width>|>\{\\raggedright"
    assert not re.search(r"[<>|±−]", re.sub(layout, "", text))


def test_latex_rows_have_as_many_cells_as_columns(report):
    text = (report / "tables" / "hostile_results.tex").read_text()
    columns = re.search(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", text)[1]
    rows = [line for line in text.splitlines() if line.endswith(r" \\") and "shortstack" not in line]
    assert len(rows) == 3
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1
    assert r"a\textbar{}b\_c \& 100\% \#1 \$x\$ \textbackslash{}y \{z\} & " in rows[0]
    assert rows[2].startswith("(every pixel pet) & 0.")
    assert rows[1].startswith(r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{} & ")
    assert "{array,booktabs,graphicx}" in text and r"\toprule" in text and r"\bottomrule" in text
