import pytest

from analysis.reporting.folder import LIST, FolderError, replaced


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_new_report_replaces_the_old_one_and_leaves_the_users_files(tmp_path):
    output = tmp_path / "report"
    with replaced(output) as folder:
        write(folder, page="1", figures__old="1")
    write(output, figures__mine="mine")
    with replaced(output) as folder:
        write(folder, page="2", figures__new="2")
    assert content(output) == {
        "page": "2",
        "figures/new": "2",
        "figures/mine": "mine",
        LIST: "figures/new\npage\n",
    }
    assert list(tmp_path.iterdir()) == [output]


def test_a_part_of_a_report_is_replaced_alone(tmp_path):
    output = tmp_path / "report"
    with replaced(output) as folder:
        write(folder, page="1", figures__a="1", figures__b="1")
    with replaced(output, lambda name: name.startswith("figures/")) as folder:
        write(folder, figures__a="2")
    assert content(output) == {"page": "1", "figures/a": "2", LIST: "figures/a\npage\n"}


def test_an_error_leaves_everything_as_it_was(tmp_path):
    output = tmp_path / "report"
    with replaced(output) as folder:
        write(folder, page="1")
    with pytest.raises(ZeroDivisionError), replaced(output) as folder:
        write(folder, page="2")
        raise ZeroDivisionError
    assert content(output) == {"page": "1", LIST: "page\n"}
    assert list(tmp_path.iterdir()) == [output]


def test_what_is_no_report_is_not_touched(tmp_path):
    write(tmp_path, other__thesis="years of work", file="text")
    with pytest.raises(FolderError, match="holds other files than a report; name a folder that is new or empty"):
        replaced(tmp_path / "other").__enter__()
    with pytest.raises(FolderError, match="is a file"):
        replaced(tmp_path / "file").__enter__()
    assert content(tmp_path) == {"other/thesis": "years of work", "file": "text"}
    (tmp_path / "empty").mkdir()
    with replaced(tmp_path / "empty") as folder:
        write(folder, page="1")
    assert (tmp_path / "empty" / "page").read_text() == "1"
