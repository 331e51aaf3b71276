"""Names from an ablation file that mean something elsewhere: on a terminal, in MLflow, in a path."""

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

import call
import runner
from analysis.terminal import show_verdicts
from analysis.verdicts import judge
from segcore import tracking
from segcore.errors import UserError
from segcore.execution.costs import weigh_arms
from segcore.execution.overview import arms_table
from segcore.execution.pace import Paces
from segcore.execution.planning import describe_experiment
from segcore.execution.terminal import results_tables
from segcore.tracking.folder import read_run
from segcore.tracking.records import params_of, tags_of
from segcore.wording import plain_markdown
from tests.execution.conftest import SIZES, finish, make_plan

__all__ = ["finish", "make_plan"]

TITLE = "[red]Title[/red] [/x] [link=file:///etc/passwd]here[/link]"
QUESTION = "<img src=x onerror=alert(1)> *really* [x](javascript:y)?"
ARMS = {"[bold]a[/bold]": {"optimizer.lr": 1e-3}, "../../b' OR 1=1 `c` | $x$": {"optimizer.lr": 1e-4}}
FIRST, SECOND = ARMS
CLAIM = {"claim": "<b>[green]wins[/green]</b> _now_", "better": FIRST, "than": SECOND, "margin": 0.01}


@pytest.fixture
def hostile(make_plan):
    claims = [CLAIM | {"metric": metric} for metric in ("test/dice_per_image", "train_seconds")]
    report = {"section": "[3](x) <i>"}
    return make_plan(title=TITLE, question=QUESTION, arms=ARMS, hypotheses=claims, report=report)


def render(*objects):
    console = Console(file=io.StringIO(), width=400)
    for item in objects:
        console.print(item)
    return console.file.getvalue()


def test_on_the_terminal_they_are_shown_as_they_are(hostile, finish):
    for run in hostile.runs:
        finish(run)
    verdicts = judge(call.definition_of(hostile), call.frame_of(hostile))
    closing = " ".join(render(results_tables(hostile), show_verdicts(verdicts)).split())
    for name in (TITLE, QUESTION, FIRST, SECOND):
        assert name in closing
    plan = render(
        arms_table(weigh_arms(hostile, [], Paces({}, {}), SimpleNamespace(sizes=lambda config: SIZES), set()))
    )
    assert FIRST in plan
    assert SECOND in plan


@pytest.mark.parametrize("key", ["title", "question", "claim", "section", "arm"])
def test_what_steers_a_terminal_is_refused(write_ablation, key):
    text = "fine\x1b]0;evil\x07"
    changes = {
        "title": {"title": text},
        "question": {"question": text},
        "claim": {"hypotheses": [CLAIM | {"claim": text, "metric": "val/loss", "better": "large", "than": "small"}]},
        "section": {"report": {"section": text}},
        "arm": {"arms": ARMS | {text: {"optimizer.lr": 1e-5}}},
    }[key]
    result = CliRunner().invoke(runner.app, [str(write_ablation(**changes)), "--dry-run"])
    assert result.exit_code == 2
    assert re.search(r"small\.yaml, line \d+: .*U\+001B", result.stderr)
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("name", ["../../evil", "a/b", "a b", "<b>", "", ".", "x'", "a\n"])
def test_a_name_that_would_become_a_path_is_refused(make_plan, name):
    with pytest.raises(UserError, match=r"name = .*letters, digits"):
        make_plan(name=name)


def test_descriptions_in_mlflow_show_them_as_they_are(hostile):
    description = describe_experiment(hostile.ablation).description
    for text in (TITLE, QUESTION, CLAIM["claim"], "[3](x) <i>"):
        assert text not in description
        assert plain_markdown(text) in description
    assert "<" not in description
    assert json.loads(describe_experiment(hostile.ablation).definition)["title"] == TITLE


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("lr 1e-3, seed 42: val/dice_per_image", "lr 1e-3, seed 42: val/dice_per_image"),
        ("a *b* _c_ [d](e) `f` | ~g~", r"a \*b\* \_c\_ \[d\](e) \`f\` \| \~g\~"),
        ("<b>&amp;\n# x", r"&lt;b\>&amp;amp; \# x"),
    ],
)
def test_plain_markdown(text, markdown):
    assert plain_markdown(text) == markdown


def test_an_experiment_and_its_runs_are_found_by_hostile_names(hostile, finish, tmp_path, monkeypatch, empty_database):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    experiment = describe_experiment(hostile.ablation)
    client = tracking.tracking_client()
    for run in hostile.runs[:2]:
        folder = finish(run)
        folder.write("data", folder.read("data") | {"name": "d", "root": "r", "skipped": []})
        delivery = tracking.Delivery(
            folder.path, experiment, run.arm, run.seed, "optimizer.lr", run.fingerprint, hostile.plan
        )
        assert tracking.deliver(delivery, client)
        assert tracking.deliver(delivery, client)  # found again: the second time says nothing twice
    (found,) = client.search_experiments(filter_string="name = 'small'")
    runs = client.search_runs([found.experiment_id])
    assert sorted(run.data.tags["arm"] for run in runs) == sorted(ARMS)
    for run in hostile.runs[:2]:
        with pytest.raises(UserError, match=r"has no best\.safetensors"):
            tracking.open_run(f"small/{run.name}")


def test_params_and_tags_hold_no_credentials(hostile, finish):
    folder = finish(hostile.runs[0])
    settings = folder.path / "settings.yaml"
    settings.write_text(settings.read_text().replace("root: data/oxford-iiit-pet", "root: https:/me:swordfish@host/d"))
    request = {"overrides": "data.root=https://me:swordfish@host/d?token=swordfish"}
    folder.write("run", folder.read("run") | {"request": request})
    folder.write("state", folder.read("state") | {"state": "failed", "reason": "s3://me:swordfish@bucket is away"})
    files = read_run(folder.path)
    said = params_of(files) | tags_of(files, {"name": "a", "arm": "a", "seed": "1"}, None)
    assert "swordfish" not in str(said)
    assert said["data.root"] == "https:/host/d"
    assert said["reason"] == "s3://bucket is away"


def test_a_message_holds_no_credentials_of_the_command_line(hostile):
    with pytest.raises(UserError) as caught:
        call.make_plans(
            call.Request(
                [Path(hostile.ablation.source)], ("data.root=https://me:swordfish@host/d", "data.format=pets")
            ),
            call.Lookup(may_download=False),
        )
    assert "swordfish" not in str(caught.value)
