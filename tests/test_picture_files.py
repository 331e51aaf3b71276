from pathlib import Path

import pytest

from segcore.errors import UserError
from segcore.picture_files import check_folders, find_pictures, plan_jobs


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_a_folder_gives_its_own_pictures_in_order(tmp_path: Path) -> None:
    folder = touch(tmp_path / "pets", "b.JPG", "a.png", "notes.txt", ".hidden.jpg")
    touch(folder / "deeper", "c.jpg")
    assert [path.name for path in find_pictures([folder])] == ["a.png", "b.JPG"]


def test_a_file_is_taken_as_it_is_and_once(tmp_path: Path) -> None:
    folder = touch(tmp_path, "a.jpg", "odd.dat")
    found = find_pictures([folder / "odd.dat", folder, folder / "a.jpg"])
    assert [path.name for path in found] == ["odd.dat", "a.jpg"]


def test_missing_paths_and_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file or folder"):
        find_pictures([tmp_path / "absent"])
    with pytest.raises(UserError, match="no picture lies in this folder"):
        find_pictures([touch(tmp_path / "empty", "notes.txt")])


def test_names_that_occur_twice_become_distinct() -> None:
    sources = [Path(path) for path in ("a/cat.png", "b/Cat.jpg", "a/cat_2.png", "c/cat.jpg", "a/dog.png")]
    assert [job.name for job in plan_jobs(sources, None)] == ["cat", "Cat_3", "cat_2", "cat_4", "dog"]


def test_truth_has_the_name_of_the_picture(tmp_path: Path) -> None:
    truth = touch(tmp_path / "masks", "cat.gif", "cat.png", "dog.gif")
    jobs = plan_jobs([Path("a/cat.jpg"), Path("b/cat.jpg"), Path("dog.jpg"), Path("bird.jpg")], truth)
    assert [job.truth and job.truth.name for job in jobs] == ["cat.png", "cat.png", "dog.gif", None]


def test_truth_that_is_missing_or_fits_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        plan_jobs([Path("cat.jpg")], tmp_path / "absent")
    with pytest.raises(UserError, match=r"no mask there.*cat\.png"):
        plan_jobs([Path("cat.jpg")], touch(tmp_path / "masks", "dog.png"))


def test_output_among_the_pictures_is_refused(tmp_path: Path) -> None:
    folder, truth = touch(tmp_path / "pets", "cat.jpg"), touch(tmp_path / "masks", "cat.png")
    jobs = plan_jobs(find_pictures([folder]), truth)
    for output in (folder, truth):
        with pytest.raises(UserError, match="lies there"):
            check_folders(output, jobs)
    check_folders(tmp_path / "predictions", jobs)
