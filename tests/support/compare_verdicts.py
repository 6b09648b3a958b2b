"""Compare the verdict of verifying with Pillow's and libjpeg-turbo's, for the test images of these projects.

python -m tests.support.compare_verdicts FOLDER...

It prints a table of the files about which they disagree. docs/verifying.md explains the disagreements. libjpeg-turbo's
verdict is that of its program djpeg, for JPEGs. Folders to use: Tests/images of Pillow's source
(`pip download --no-binary :all: --no-deps pillow==11.3.0`) and testimages of libjpeg-turbo's (`apt-get source`).
"""

import hashlib
import os
import resource
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gbif_webdataset.images.signatures import HEAD_BYTES, identify_image
from gbif_webdataset.verify.check_image import check_image

MAX_PIXELS = 100_000_000
MAX_MEMORY = 4 << 30  # bytes; Pillow alone would use all that the machine has for some files
TEXTS = {".txt", ".md", ".icc", ".py", ".json", ".scan", ".desc"}
DJPEG = {0: "sound", 1: "error", 2: "warning"}  # by exit status


@dataclass(frozen=True)
class Verdicts:
    """The verdicts about a file: `ours` is `valid` or an error; `pillows` the format that it decoded, or its error.

    `djpegs` is one of DJPEG, or empty for other formats. A warning of djpeg agrees with both verdicts.
    """

    path: Path
    kind: str
    ours: str
    warning: str
    pillows: str
    is_decoded: bool
    djpegs: str

    @property
    def is_agreement(self) -> bool:
        """Whether all find the file sound, or none does."""
        is_valid = self.ours == "valid"
        return is_valid == self.is_decoded and self.djpegs != ("error" if is_valid else "sound")


def compare(path: Path) -> Verdicts:
    """The verdicts about a file."""
    data = path.read_bytes()
    found = check_image(data, hashlib.sha256(data).hexdigest(), MAX_PIXELS)
    kind = identify_image(data[:HEAD_BYTES]) or ""
    try:
        with Image.open(path) as image:
            image.load()
            pillows, is_decoded = str(image.format), True
    except Exception as fault:
        pillows, is_decoded = f"{type(fault).__name__}: {fault}".replace(str(path), path.name), False
    djpegs = ask_djpeg(path) if kind == "jpeg" else ""
    return Verdicts(path, kind, found.error or "valid", found.warning, pillows, is_decoded, djpegs)


def ask_djpeg(path: Path) -> str:
    """The verdict of djpeg, one of DJPEG."""
    command = ["djpeg", "-outfile", os.devnull, str(path)]
    return DJPEG[subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode]


def compare_all(folders: list[Path]) -> Iterator[Verdicts]:
    """The verdicts about each file in folders that has not the ending of a text."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix.lower() not in TEXTS:
                yield compare(path)


def main() -> None:
    """The command line."""
    folders = [Path(name) for name in sys.argv[1:]]
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    counts: Counter[str] = Counter()
    print("| file | bytes start like | verifying | Pillow | djpeg |\n|---|---|---|---|---|")
    for verdicts in compare_all(folders):
        counts["agree" if verdicts.is_agreement else "disagree"] += 1
        if not verdicts.is_agreement:
            ours = f"{verdicts.ours} ({verdicts.warning})" if verdicts.warning else verdicts.ours
            name, pillows = "/".join(verdicts.path.parts[-2:]), verdicts.pillows.replace("|", " ")
            print(f"| {name} | {verdicts.kind or '-'} | {ours} | {pillows} | {verdicts.djpegs} |", flush=True)
    print(f"\n{counts['agree']:,} files agree, {counts['disagree']:,} do not")


if __name__ == "__main__":
    main()
