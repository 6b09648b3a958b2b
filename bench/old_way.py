"""What the scripts did before, at its shortest, to compare with.

python -m bench.old_way load ARCHIVE.zip
python -m bench.old_way verify IMAGES -j N    decode every file with Pillow, a pool of processes
"""

import sys
from collections.abc import Callable
from multiprocessing import Pool
from pathlib import Path

COLUMNS = ["id", "datasetKey", "speciesKey", "familyKey", "orderKey", "acceptedTaxonKey", "lifeStage"]
COLUMNS += ["decimalLatitude", "decimalLongitude", "eventDate"]


def load(archive: str) -> int:
    """Load and join media and occurrences with pandas; the images that it keeps."""
    import pandas as pd
    from dwca.read import DwCAReader

    with DwCAReader(archive) as reader:
        media, occurrences = (
            reader.pd_read(name, parse_dates=True, on_bad_lines="skip", low_memory=False)
            for name in ("multimedia.txt", "occurrence.txt")
        )
    images = pd.merge(media[["coreid", "identifier"]], occurrences[COLUMNS], left_on="coreid", right_on="id")
    images["count"] = images.groupby("coreid").cumcount()
    return len(images)


def verify(images: str, _: str = "-j", jobs: str = "2") -> int:
    """Decode the images below a folder; how many they are."""
    paths = sorted(str(path) for path in Path(images).rglob("*.jpg"))
    with Pool(int(jobs)) as pool:
        return len(pool.map(_check, paths))


def _check(path: str) -> bool:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    try:
        Image.open(path).convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return False
    return True


STAGES: dict[str, Callable[..., int]] = {"load": load, "verify": verify}

if __name__ == "__main__":
    print(STAGES[sys.argv[1]](*sys.argv[2:]))
