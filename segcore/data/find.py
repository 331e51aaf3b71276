"""From the data settings to the items of a dataset, whatever form it comes in."""

from pathlib import Path

from segcore.data import folders, pets
from segcore.data.atomic import root_errors
from segcore.data.download import download_archives
from segcore.data.fingerprint import content_fingerprint
from segcore.data.index import DataIndex, Item, MaskFormat, split
from segcore.data.synthetic import generate
from segcore.errors import UserError

FORMATS = ("pets", "folders", "synthetic")
# The official lists, those of a user's own data, and no list.
LISTED = ("trainval", "train", "val", "test", "")


def find_data(
    *,
    root: Path,
    format: str,
    download: bool,
    synthetic_images: int,
    validation_fraction: float,
    test_fraction: float,
    split_seed: int,
    cache_dir: Path,
) -> DataIndex:
    """The items, parts and fingerprint of the dataset that the settings below `data` name.

    format: `pets`, the official layout or its archives in `root` (below `cache_dir` once unpacked), downloaded to
    `root` if missing and `download`; `folders`, a user's own `root/images` and `root/masks`; `synthetic`,
    `synthetic_images` drawn below `cache_dir`, `root` unused.  validation_fraction: of what is not for testing.
    test_fraction: only for `folders` without lists.  Both draws use `split_seed` and all names, before unreadable
    ones are skipped.  Raises UserError for missing or unreadable data, bad lists, bad archives, too few images and a
    cache that cannot be written.
    """
    if format not in FORMATS:
        raise UserError(f"data.format={format} is not known; choose one of {', '.join(FORMATS)}")
    mask_format: MaskFormat = "binary" if format == "folders" else "trimap"
    with root_errors(root):
        if format == "folders":
            layout, items = root, folders.list_items(root)
        elif format == "synthetic":
            layout = generate(synthetic_images, cache_dir)
            items = pets.list_items(layout)
        else:
            layout = _find_pets(root, download, cache_dir)
            items = pets.list_items(layout)
    test, train, validation = _parts(items, validation_fraction, test_fraction, split_seed)
    return DataIndex(
        name=layout.name if format == "synthetic" else root.resolve().name,
        root=layout,
        items=items,
        train=train,
        validation=validation,
        test=test,
        mask_format=mask_format,
        fingerprint=content_fingerprint(items, mask_format, layout, cache_dir),
    )


def _find_pets(root: Path, download: bool, cache_dir: Path) -> Path:
    layout = pets.find_layout(root, cache_dir, partial=download)
    if layout is None and download:
        download_archives(root)
        layout = pets.find_layout(root, cache_dir)
    if layout is None:
        raise pets.missing_data(root)
    return layout


def _parts(
    items: tuple[Item, ...], validation_fraction: float, test_fraction: float, seed: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Test, train and validation: as listed, or drawn where a list is missing."""
    listed = {part: tuple(i for i, item in enumerate(items) if item.part == part) for part in LISTED}
    if listed["train"]:
        return listed["test"], listed["train"], listed["val"]
    rest, test = listed["trainval"], listed["test"]
    if not test:
        rest, test = split(listed[""], fraction=test_fraction, seed=seed, setting="data.test_fraction")
    return test, *split(rest, fraction=validation_fraction, seed=seed, setting="data.validation_fraction")
