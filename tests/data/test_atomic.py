import errno
import shutil
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Lock

import pytest

from segcore.data.atomic import build_once, remove_abandoned
from segcore.errors import UserError
from segcore.leases import make_lease

Usage = namedtuple("Usage", "total used free")


def test_of_many_callers_one_builds_and_all_get_the_folder(tmp_path: Path) -> None:
    builders = []

    def build(folder: Path) -> None:
        builders.append(folder)
        time.sleep(0.1)
        (folder / "content").write_text("whole")

    def call(_: int) -> str:
        folder = build_once(tmp_path / "cache" / "key", is_complete=Path.is_dir, build=build, needed=1)
        return (folder / "content").read_text()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(call, range(4))) == ["whole"] * 4
    assert len(builders) == 1


def test_an_incomplete_folder_is_built_anew(tmp_path: Path) -> None:
    target = tmp_path / "key"
    target.mkdir()
    (target / "stray").touch()
    build_once(
        target,
        is_complete=lambda folder: (folder / "content").exists(),
        build=lambda folder: (folder / "content").touch(),
        needed=1,
    )
    assert [path.name for path in target.iterdir()] == ["content"]


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(tmp_path / "key", is_complete=Path.is_dir, build=build, needed=1)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_build_removes_only_the_folders_that_it_made(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        raise UserError("no")

    (tmp_path / "before").mkdir()
    with pytest.raises(UserError, match="no"):
        build_once(tmp_path / "before" / "new" / "newer" / "key", is_complete=Path.is_dir, build=build, needed=1)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "before"]


def test_a_failed_build_leaves_what_others_put_beside_it(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (tmp_path / "new" / "other").touch()
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        build_once(tmp_path / "new" / "key", is_complete=Path.is_dir, build=build, needed=1)
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "other"]


def test_who_waits_while_a_build_fails_builds_alone(tmp_path: Path) -> None:
    building, calls = Lock(), count()

    def build(folder: Path) -> None:
        assert building.acquire(blocking=False), "two build at once"
        try:
            time.sleep(0.02)
            if next(calls) < 5:
                raise UserError("no")
            (folder / "content").write_text("whole")
        finally:
            building.release()

    def call(_: int) -> str:
        try:
            folder = build_once(tmp_path / "new" / "key", is_complete=Path.is_dir, build=build, needed=1)
        except UserError as error:
            return str(error)
        return (folder / "content").read_text()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(call, range(8))) == ["no"] * 5 + ["whole"] * 3


def test_a_target_that_may_not_be_looked_at_names_the_setting(tmp_path: Path) -> None:
    def is_complete(folder: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(folder))

    with pytest.raises(UserError, match=r"denied.*data\.cache_dir"):
        build_once(tmp_path / "new" / "key", is_complete=is_complete, build=lambda folder: None, needed=1)
    assert list(tmp_path.iterdir()) == []


def test_no_space_before_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10, 10, 2**20))
    with pytest.raises(UserError, match=rf"{tmp_path}: no space left; about 3 MiB.*data\.cache_dir"):
        build_once(tmp_path / "key", is_complete=Path.is_dir, build=lambda folder: None, needed=3 * 2**20)
    assert list(tmp_path.iterdir()) == []


def test_no_space_during_the_build(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").touch()
        with Path("/dev/full").open("w") as full:
            full.write("does not fit")

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(UserError, match="no space left") as error:
        build_once(tmp_path / "key", is_complete=Path.is_dir, build=build, needed=1)
    assert isinstance(error.value.__cause__, OSError)
    assert error.value.__cause__.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*cannot be written.*data\.cache_dir"):
        build_once(tmp_path / "file" / "key", is_complete=Path.is_dir, build=lambda folder: None, needed=1)


def test_only_the_folders_of_dead_builders_are_removed(tmp_path: Path) -> None:
    (tmp_path / "dead.1.partial").mkdir()
    (tmp_path / "alive.1.partial").mkdir()
    with make_lease(tmp_path / "alive.lock"), ThreadPoolExecutor(1) as other:
        other.submit(remove_abandoned, tmp_path).result()
    assert not (tmp_path / "dead.1.partial").exists()
    assert (tmp_path / "alive.1.partial").exists()
