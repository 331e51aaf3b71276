"""A user's own data: a folder of images and one of masks with the same names."""

from collections.abc import Iterable
from pathlib import Path

from segcore.data.index import Item
from segcore.data.pets import read_lines, refuse_repeated
from segcore.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
LISTS = ("train", "val", "test")
LAYOUT = (
    "data.format=folders wants images/NAME.jpg and masks/NAME.png (images in any picture format, masks in any but "
    "JPEG, which changes their pixels; mask pixels 0 are background, all others foreground; of a palette mask, the "
    "index counts)"
)


def list_items(root: Path) -> tuple[Item, ...]:
    """The images of `root/images`, each with the mask of the same name in `root/masks`.

    With the lists `train.txt`, `val.txt` and `test.txt` in `root` (a name a line, with or without suffix), what they
    name, in their order, `part` being the list; else every image, sorted by name, `part` being empty.  Raises
    UserError where a folder is missing or empty, where only some of the lists are there, where two pictures have the
    same name, and where a name is listed twice.
    """
    for folder in (root / "images", root / "masks"):
        if not folder.is_dir():
            raise UserError(f"data.root={root}: the folder {folder.name}/ is missing. {LAYOUT}")
    images, masks = _by_stem(root / "images"), _by_stem(root / "masks")
    if not images:
        raise UserError(f"{root / 'images'}: no picture there. {LAYOUT}")
    names = _listed(root, images) if _has_lists(root) else [(name, "") for name in sorted(images)]
    return tuple(
        Item(
            name=name,
            # Where there is none, a name that does not exist: the item is then skipped with that reason.
            image=images.get(name, root / "images" / name),
            mask=masks.get(name, root / "masks" / f"{name}.png"),
            part=part,
            breed=None,
        )
        for name, part in names
    )


def _has_lists(root: Path) -> bool:
    missing = [f"{part}.txt" for part in LISTS if not (root / f"{part}.txt").is_file()]
    if missing and len(missing) < len(LISTS):
        raise UserError(
            f"data.root={root}: {', '.join(missing)} missing beside the other lists; give all of train.txt, val.txt "
            "and test.txt, or none for a split by data.test_fraction and data.validation_fraction"
        )
    return not missing


def _listed(root: Path, images: dict[str, Path]) -> list[tuple[str, str]]:
    stems = {path.name: stem for stem, path in images.items()}
    names = []
    for part in LISTS:
        # Unlike the official lists, a line is one name, which may hold blanks.
        for columns in read_lines(root / f"{part}.txt"):
            line = " ".join(columns)
            names.append((stems.get(line, line), part))
    refuse_repeated(names, root)
    return names


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _pictures(folder):
        if not path.name.isprintable():  # it would steer a terminal, or stop at the first file that is UTF-8
            raise UserError(f"{folder}: {path.name!r} holds characters that cannot be seen; rename it")
        if path.stem in found:
            raise UserError(f"{folder}: {found[path.stem].name} and {path.name} have the same name; remove one of them")
        found[path.stem] = path
    return found


def _pictures(folder: Path) -> Iterable[Path]:
    return (
        path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
