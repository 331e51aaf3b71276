import io
import re

import pytest
from rich.console import Console

from segcore.errors import UserError
from segcore.execution import folder as folders
from segcore.execution import listing, request
from segcore.execution.attempts import start_attempt
from segcore.execution.listing import list_ablations
from segcore.execution.planning import Lookup, make_plans
from segcore.execution.request import Request, find_file
from segcore.plan import Facts


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the ablation files and of the runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(listing, "EXPERIMENTS", tmp_path)
    monkeypatch.setattr(request, "EXPERIMENTS", tmp_path)
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    return tmp_path


@pytest.fixture
def with_data(monkeypatch):
    """As if every dataset were there."""
    monkeypatch.setattr(Lookup, "facts", lambda self, config: Facts("content", "float32"))


def listed(**request):
    console = Console(file=io.StringIO(), width=160)
    console.print(list_ablations(Request([], **request)))
    return re.sub(r" +\n", "\n", console.file.getvalue())


def row(text, file):
    line = next(line for line in text.splitlines() if line.strip().startswith(file))
    return re.split(r"  +", line.strip())


def test_arms_seeds_and_finished_runs(folder, with_data, write_ablation):
    path = write_ablation()
    (plan,) = make_plans(Request([path]), Lookup())
    start_attempt(plan.runs[0], "float32").set_state("finished")
    start_attempt(plan.runs[1], "float32").set_state("failed", "because")
    question = "Is a large rate better than a small one?"
    assert row(listed(), "small") == ["small", question, "large, small", "2 x 2", "1"]
    assert row(listed(seeds=[1, 2, 3]), "small")[-2:] == ["2 x 3", "1"]
    assert row(listed(preset="demo"), "small")[-2:] == ["2 x 2", "0"]


def test_other_states_are_told_below(folder, with_data, write_ablation):
    (plan,) = make_plans(Request([write_ablation()]), Lookup())
    for run, state in zip(plan.runs, ("interrupted", "finished", "lost", "interrupted"), strict=True):
        start_attempt(run, "float32").set_state(state, None if state == "finished" else "because")
    lines = listed().splitlines()
    first = next(number for number, line in enumerate(lines) if line.strip().startswith("small"))
    assert [line.split()[-2:] for line in lines[first + 1 : first + 3]] == [["1", "lost"], ["2", "interrupted"]]


def test_without_data_the_reason_stands_once(folder, write_ablation):
    write_ablation()
    write_ablation("other.yaml", name="other")
    text = listed()
    assert row(text, "other")[-2:] == ["2 x 2", "?"]
    assert text.count("data.root=data/oxford-iiit-pet") == 1
    assert "? What is finished is not known. data.root" in text


def test_a_reason_of_one_file_names_it(folder, with_data, write_ablation):
    write_ablation()
    write_ablation("other.yaml", name="other", factor="scheduler.gamma",
                   arms={"a": {"scheduler.gamma": 0.9}, "b": {"scheduler.gamma": 0.8}}, hypotheses=None)  # fmt: skip
    text = listed().replace("\n", " ")
    assert re.search(r"\? What is finished of other is not known\. \S*other\.yaml: arms 'a' and 'b' are the same", text)


def test_broken_files_and_doubled_names_are_told(folder, with_data, write_ablation):
    write_ablation()
    write_ablation("copy.yaml")
    (folder / "broken.yaml").write_text("name: broken\n")
    text = listed()
    assert row(text, "broken") == ["broken", "cannot be used, see below"]
    assert re.search(r"broken\.yaml: title is missing", text)
    assert "copy.yaml and small.yaml have the same name, small; each needs one of its own" in text


def test_a_bare_name_is_a_file_of_the_experiments(folder, write_ablation):
    path = write_ablation("small_rates.yaml")
    assert find_file(str(path)) == path
    assert find_file("small_rates").resolve() == path
    with pytest.raises(UserError, match="small_rate: there is no such file; did you mean small_rates"):
        find_file("small_rate")
    with pytest.raises(UserError, match=r"elsewhere/Small_rates.yaml: there is no such file; did you mean small_rates"):
        find_file("elsewhere/Small_rates.yaml")
    with pytest.raises(UserError, match=f"{folder}: is a folder, and not an ablation file"):
        find_file(str(folder))
    with pytest.raises(UserError, match=r"optimizer.lr: there is no such file; .* value: optimizer.lr=VALUE"):
        find_file("optimizer.lr")
