"""Pictures to measure with: real ones of full size where there are any, else synthetic ones."""

from pathlib import Path

from segcore.data import find_data

SYNTHETIC_IMAGES = 400


def find_pictures(root: Path, cache: Path) -> tuple[Path, tuple[str, ...]]:
    """A folder with `images/` and `annotations/`, and the names of its images in a fixed order, training ones first.

    root: Oxford-IIIT Pet or a part of it, unpacked or as its archives; where it is missing, pictures are drawn below
    `cache`.
    """
    index = find_data(
        root=root,
        format="pets" if root.exists() else "synthetic",
        download=False,
        synthetic_images=SYNTHETIC_IMAGES,
        validation_fraction=0.2,
        test_fraction=0.2,
        split_seed=42,
        cache_dir=cache,
    )
    order = (*index.train, *index.validation, *index.test)
    return index.root, tuple(index.items[position].name for position in order)
