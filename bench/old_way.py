"""What the scripts did before, at its shortest, to compare with.

python -m bench.old_way load ARCHIVE.zip
"""

import sys

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


if __name__ == "__main__":
    print({"load": load}[sys.argv[1]](*sys.argv[2:]))
