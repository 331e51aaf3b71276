"""The official archives of Oxford-IIIT Pet, fetched and checked by torchvision."""

import tempfile
from pathlib import Path

from segcore.data.archives import ARCHIVES
from segcore.data.atomic import OUT_OF_SPACE, no_space
from segcore.data.pets import OFFICIAL_PAGE
from segcore.errors import UserError

URL = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"
# As in torchvision.datasets.OxfordIIITPet.
MD5 = {"images.tar.gz": "5c4f3ee8e5d25df40f4fd59a7f44e54c", "annotations.tar.gz": "95a8c909bbe2e81eed6a22bccdf3f68f"}
BYTES = 811_000_000


def download_archives(root: Path) -> None:
    """Puts the two archives into `root`, each only when its MD5 sum is right; what is there already is kept.

    Raises UserError where the network, the sum or the folder fails; nothing half-made stays.
    """
    # Here, because it takes as long to import as torch and nearly no run downloads.
    from torchvision.datasets.utils import download_url

    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as aside:
            for name in ARCHIVES:
                if not (root / name).is_file():
                    download_url(URL + name, aside, filename=name, md5=MD5[name])
                    (Path(aside) / name).replace(root / name)
    # torchvision raises RuntimeError for a wrong sum, URLError, an OSError, for the network.
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in OUT_OF_SPACE:
            raise no_space(root, BYTES, "data.root") from error
        raise UserError(
            f"data.download=true: {', '.join(ARCHIVES)} could not be fetched from {URL} to {root} ({error}). Try "
            f"again, or get them by other means from {OFFICIAL_PAGE} and put them into data.root={root}; to run "
            "without, use --preset demo or data.format=synthetic"
        ) from error
