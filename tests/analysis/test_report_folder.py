import pytest

from analysis.reporting.folder import HEADER, LIST, FolderError, replaced

REFUSED = "holds other files than a report; name a folder that is new or empty"


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def listed(*names):
    return {LIST: "\n".join([HEADER, *names, ""])}


@pytest.fixture
def output(tmp_path):
    """A folder with a report of a page and a figure."""
    with replaced(tmp_path / "report") as folder:
        write(folder, {"index.html": "1", "figures/old.png": "1"})
    return tmp_path / "report"


def test_a_new_report_replaces_the_old_one_and_leaves_the_users_files(output, tmp_path):
    write(output, {"figures/mine.png": "mine", "notes/a.txt": "mine"})
    (output / "empty").mkdir()
    (output / "link").symlink_to(tmp_path)
    (output / "nowhere").symlink_to("absent")
    with replaced(output) as folder:
        write(folder, {"index.html": "2", "figures/new.png": "2"})
    own = {"index.html": "2", "figures/new.png": "2"}
    mine = {"figures/mine.png": "mine", "notes/a.txt": "mine"}
    assert content(output) == own | mine | listed("figures/new.png", "index.html")
    assert (output / "empty").is_dir()
    assert (output / "link").readlink() == tmp_path and (output / "nowhere").is_symlink()
    assert list(tmp_path.iterdir()) == [output]


def test_a_part_of_a_report_is_replaced_alone(output):
    with replaced(output, lambda name: name.startswith("figures/")) as folder:
        write(folder, {"figures/a.png": "2"})
    assert content(output) == {"index.html": "1", "figures/a.png": "2"} | listed("figures/a.png", "index.html")


def test_an_error_leaves_everything_as_it_was(output, tmp_path):
    before = content(output)
    for place in (output, tmp_path / "new"):
        with pytest.raises(ZeroDivisionError), replaced(place) as folder:
            write(folder, {"index.html": "2"})
            raise ZeroDivisionError
    assert content(output) == before
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.tex": "years of work"},
        {"contents.txt": "thesis.tex\nchapter1.tex\n", "thesis.tex": "years of work"},
        {LIST: "thesis.tex\n", "thesis.tex": "years of work"},
        {LIST: "", "thesis.tex": "years of work"},
        listed("thesis.tex") | {"thesis.tex": "years of work"},
        listed("figures/../thesis.tex") | {"thesis.tex": "years of work", "figures/a.txt": ""},
        listed("tables/../../other.tex"),
    ],
)
def test_what_is_no_report_is_not_touched(tmp_path, files):
    output = tmp_path / "own"
    write(output, files)
    write(tmp_path, {"other.tex": "years of work"})
    with pytest.raises(FolderError, match=REFUSED):
        replaced(output).__enter__()
    assert content(output) == files
    assert content(tmp_path)["other.tex"] == "years of work"


@pytest.mark.parametrize("name", ["report.md", "tables/loss_results.tex", "tables"])
def test_a_users_file_where_the_report_writes_is_not_overwritten(output, name):
    write(output, {name: "mine"})
    before = content(output)
    with pytest.raises(FolderError, match=f"has a {name} that is not the report's"), replaced(output) as folder:
        write(folder, {"index.html": "2", "report.md": "2", "tables/loss_results.tex": "2"})
    assert content(output) == before


def test_a_file_is_no_folder_and_an_empty_folder_is_taken(tmp_path):
    write(tmp_path, {"file": "text"})
    with pytest.raises(FolderError, match="is a file"):
        replaced(tmp_path / "file").__enter__()
    (tmp_path / "empty").mkdir()
    with replaced(tmp_path / "empty") as folder:
        write(folder, {"index.html": "1"})
    assert (tmp_path / "empty" / "index.html").read_text() == "1"
