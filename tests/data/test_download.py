import hashlib
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import URLError

import pytest
from torchvision.datasets import OxfordIIITPet, utils

from segcore.data import DataIndex, download
from segcore.errors import UserError

Find = Callable[..., DataIndex]
Make = Callable[..., Path]


def test_addresses_and_sums_are_torchvisions() -> None:
    assert [(download.URL + name, md5) for name, md5 in download.MD5.items()] == list(OxfordIIITPet._RESOURCES)


def serve(monkeypatch: pytest.MonkeyPatch, fetch: Callable[[str, Path], None]) -> list[str]:
    fetched: list[str] = []

    def download_url(url: str, root: str, *, filename: str, md5: str) -> None:
        assert (url, md5) == (download.URL + filename, download.MD5[filename])
        fetched.append(filename)
        fetch(filename, Path(root) / filename)

    monkeypatch.setattr(utils, "download_url", download_url)
    return fetched


def test_only_missing_archives_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = serve(monkeypatch, lambda name, path: path.touch())
    (tmp_path / "images.tar.gz").write_text("old")
    download.download_archives(tmp_path)
    assert fetched == ["annotations.tar.gz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations.tar.gz", "images.tar.gz"]
    assert (tmp_path / "images.tar.gz").read_text() == "old"


@pytest.mark.parametrize("error", [URLError("no route to host"), RuntimeError("File not found or corrupted.")])
def test_a_failure_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, find: Find, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(name: str, path: Path) -> None:
        path.write_text("half of it")
        raise error

    serve(monkeypatch, fail)
    with pytest.raises(UserError, match=r"data\.download=true.*Try again.*https://.*--preset demo"):
        find(tmp_path / "root", download=True)
    assert list((tmp_path / "root").iterdir()) == []


@pytest.fixture
def server(tmp_path: Path, make_pets: Make, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serves a small dataset's two archives on this machine in place of the official address."""
    source, served = make_pets(tmp_path / "source"), tmp_path / "served"
    served.mkdir()
    for part in ("images", "annotations"):
        with tarfile.open(served / f"{part}.tar.gz", "w:gz") as archive:
            archive.add(source / part, part)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=served)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(download, "URL", f"http://127.0.0.1:{server.server_port}/")
        sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in served.iterdir()}
        monkeypatch.setattr(download, "MD5", sums)
        yield
        server.shutdown()


@pytest.mark.usefixtures("server")
def test_downloaded_archives_are_unpacked_and_found(tmp_path: Path, find: Find) -> None:
    index = find(tmp_path / "root", download=True)
    assert len(index.items) == 10
    assert all(item.image.is_file() and item.mask.is_file() for item in index.items)
    assert find(tmp_path / "root") == index


@pytest.mark.usefixtures("server")
def test_a_wrong_sum_is_refused(tmp_path: Path, find: Find) -> None:
    download.MD5["annotations.tar.gz"] = "0" * 32
    with pytest.raises(UserError, match="corrupted"):
        find(tmp_path / "root", download=True)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["images.tar.gz"]
