"""The methods of the old scripts, as short as possible, to compare with.

python -m bench.old_way load ARCHIVE.zip                load and join with pandas
python -m bench.old_way fetch URLS.txt OUT [-j N]       a GET for each URL, in a pool of processes
python -m bench.old_way verify IMAGES [-j N]            decode every file with Pillow, in a pool of processes
python -m bench.old_way shards IMAGES OUT [--size 450]  resize and write tars, in one process
python -m bench.old_way all ARCHIVE.zip OUT             all of them, with deleting, cleaning and splitting in between
"""

import argparse
import itertools
from multiprocessing import Pool
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["id", "datasetKey", "speciesKey", "familyKey", "orderKey", "acceptedTaxonKey", "lifeStage"]
COLUMNS += ["decimalLatitude", "decimalLongitude", "eventDate"]


def load(archive: str) -> "pd.DataFrame":
    """Load and join media and occurrences with pandas."""
    import pandas as pd
    from dwca.read import DwCAReader

    with DwCAReader(archive) as reader:
        media, occurrences = (
            reader.pd_read(name, parse_dates=True, on_bad_lines="skip", low_memory=False)
            for name in ("multimedia.txt", "occurrence.txt")
        )
    images = pd.merge(media[["coreid", "identifier"]], occurrences[COLUMNS], left_on="coreid", right_on="id")
    images["count"] = images.groupby("coreid").cumcount()
    return images


def fetch(listing: str, out: str, jobs: int) -> int:
    """Fetch the URLs of a text file, one in each line, to 0.jpg, 1.jpg and so on. Returns their number."""
    folder, urls = Path(out), Path(listing).read_text().split()
    folder.mkdir(parents=True, exist_ok=True)
    with Pool(jobs) as pool:
        pool.map(_get, [(url, folder / f"{number}.jpg") for number, url in enumerate(urls)])
    return len(urls)


def _get(job: tuple[str, Path]) -> None:
    import requests

    url, path = job
    try:
        path.write_bytes(requests.get(url, timeout=(30, 300)).content)
    except (requests.RequestException, OSError) as error:
        print(url, error)


def verify(images: str, jobs: int) -> list[Path]:
    """Decode the JPEGs below a folder. Returns the valid ones."""
    paths = sorted(Path(images).rglob("*.jpg"))
    with Pool(jobs) as pool:
        return list(itertools.compress(paths, pool.map(_check, paths)))


def _check(path: Path) -> bool:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    try:
        Image.open(path).convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def shards(images: str, out: str, size: int) -> int:
    """Resize the JPEGs below `images` to a shorter side of `size` pixels, and write tars. Returns their number."""
    import numpy as np
    import webdataset
    from PIL import Image

    Path(out).mkdir(parents=True, exist_ok=True)
    paths = sorted(Path(images).rglob("*.jpg"))
    with webdataset.ShardWriter(f"{out}/train-%06d.tar", maxsize=100 << 20, verbose=0) as sink:
        for path in paths:
            image = Image.open(path).convert("RGB")
            scale = size / min(image.size)
            resized = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
            sink.write({"__key__": path.stem, "jpg": np.asarray(resized), "cls": 0})
    return len(paths)


def run_all(archive: str, out: str, jobs: int, size: int) -> int:
    """The whole job: load, fetch, verify and delete, clean, split, shards. Returns the number of samples."""
    images = load(archive).dropna(subset="identifier").reset_index()
    folder, listing = Path(out) / "images", Path(out) / "urls.txt"
    listing.write_text("\n".join(images["identifier"]))
    fetch(str(listing), str(folder), jobs)
    valid = set(verify(str(folder), jobs))
    for path in set(folder.iterdir()) - valid:
        path.unlink()
    is_valid = [folder / f"{number}.jpg" in valid for number in range(len(images))]
    clean = images[is_valid].drop_duplicates("identifier").sample(frac=1, random_state=42)
    clean["place"] = clean.groupby("acceptedTaxonKey").cumcount()
    clean.to_csv(Path(out) / "splits.csv")
    return shards(str(folder), str(Path(out) / "shards"), size)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["load", "fetch", "verify", "shards", "all"])
    parser.add_argument("source")
    parser.add_argument("out", nargs="?", default="")
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("--size", type=int, default=450)
    arguments = parser.parse_args()
    if arguments.stage == "load":
        print(len(load(arguments.source)))
    elif arguments.stage == "all":
        print(run_all(arguments.source, arguments.out, arguments.jobs, arguments.size))
    elif arguments.stage == "verify":
        print(len(verify(arguments.source, arguments.jobs)))
    elif arguments.stage == "shards":
        print(shards(arguments.source, arguments.out, arguments.size))
    else:
        print(fetch(arguments.source, arguments.out, arguments.jobs))


if __name__ == "__main__":
    main()
