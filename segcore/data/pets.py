"""Oxford-IIIT Pet in its official layout (Parkhi et al., "Cats and Dogs", CVPR 2012)."""

from pathlib import Path

from segcore.data.archives import ARCHIVES, unpack
from segcore.data.index import Item
from segcore.errors import MissingDataError, UserError

OFFICIAL_PAGE = "https://www.robots.ox.ac.uk/~vgg/data/pets/"
# The folder that torchvision.datasets.OxfordIIITPet makes below its root.
TORCHVISION_FOLDER = "oxford-iiit-pet"
LISTS = ("trainval", "test")


def find_layout(root: Path, cache_dir: Path, *, partial: bool = False) -> Path | None:
    """The folder that holds `images/` and `annotations/`: in `root`, below it, or unpacked from its two archives.

    Returns None where there is nothing of the dataset.  Raises UserError where there is only one of the archives,
    unless `partial` says that this counts as nothing.
    """
    folders = (root, root / TORCHVISION_FOLDER)
    for folder in folders:
        if (folder / "images").is_dir() and (folder / "annotations").is_dir():
            return folder
    for folder in folders:
        present = [name for name in ARCHIVES if (folder / name).is_file()]
        if len(present) == len(ARCHIVES):
            return unpack(tuple(folder / name for name in ARCHIVES), cache_dir)
        if present and not partial:
            missing = next(name for name in ARCHIVES if name not in present)
            raise UserError(f"{folder}: {present[0]} is there but {missing} is missing; get it from {OFFICIAL_PAGE}")
    return None


def missing_data(root: Path) -> MissingDataError:
    """The error for a data folder with nothing in it: how to get the data, how to run without."""
    return MissingDataError(
        f"data.root={root}: no Oxford-IIIT Pet there (neither images/ and annotations/ nor the archives "
        f"{' and '.join(ARCHIVES)}). To get it, set data.download=true, or put the two archives from {OFFICIAL_PAGE} "
        "into that folder. To run without it, use --preset demo or data.format=synthetic"
    )


def list_items(layout: Path) -> tuple[Item, ...]:
    """The items that `annotations/trainval.txt` and then `annotations/test.txt` name, in their order.

    Files that no list names are ignored.  Raises UserError for a missing or an empty list, a name that stands twice
    and a name that is not a plain file name.
    """
    items = [item for part in LISTS for item in _read_list(layout, part)]
    refuse_repeated([(item.name, item.part) for item in items], layout / "annotations")
    return tuple(items)


def refuse_repeated(names: list[tuple[str, str]], folder: Path) -> None:
    """Raises UserError if a name stands in the lists twice; names: (name, the list's name without .txt)."""
    first: dict[str, str] = {}
    for name, part in names:
        if name in first:
            raise UserError(
                f"{folder}: {name} stands in {first[name]}.txt and again in {part}.txt; a picture must stand once, or "
                "training and test share it. Remove one of the lines"
            )
        first[name] = part


def read_lines(path: Path) -> list[list[str]]:
    """The columns of each line of a list file; comments (#) and blank lines left out.

    Raises UserError where the file is missing, unreadable, no UTF-8 text or without a line, or a name leads to another
    folder.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the list cannot be read ({error}); get the data again or mend the file") from error
    if "\0" in text:
        number = len(text[: text.index("\0") + 1].splitlines())
        raise UserError(f"{path}, line {number}: a NUL byte, as UTF-16 has them; save the list as UTF-8 text")
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise UserError(f"{path}: the list names no image")
    for name in (column for columns in lines for column in columns):
        if name in (".", "..") or "/" in name or "\\" in name or not name.isprintable():
            raise UserError(
                f"{path}: {name!r} is not a plain file name; a list must not lead to other folders, nor "
                "hold characters that cannot be seen"
            )
    return lines


def _read_list(layout: Path, part: str) -> list[Item]:
    annotations = layout / "annotations"
    return [
        Item(
            name=name,
            image=layout / "images" / f"{name}.jpg",
            mask=annotations / "trimaps" / f"{name}.png",
            part=part,
            # Without the class columns, the name need not hold the breed.
            breed=name.rpartition("_")[0] if columns and "_" in name else None,
        )
        for name, *columns in read_lines(annotations / f"{part}.txt")
    ]
