"""The images of a dataset, whichever store it has: list them, show one, or copy some to files.

gbif-webdataset packs list --output DIR [--where SQL]
gbif-webdataset packs cat --output DIR IMAGE
gbif-webdataset packs export --output DIR FOLDER [--where SQL]

IMAGE is a path below images/, as in the column image_path. --where selects images by an SQL condition on the columns of
the verified tables, or of the ledgers if not all chunks are verified, such as "countryCode = 'CA' AND valid = 'true'".
All columns are text; write numbers as TRY_CAST(width AS INT) >= 500.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from gbif_webdataset.errors import explain
from gbif_webdataset.export.export_images import export_images, list_images, read_image
from gbif_webdataset.formatting import format_count, format_size
from gbif_webdataset.storage.paths import DatasetPaths
from tasks.framework.messages import print_text

LINES = 1_000
"""Lines that are printed at once."""


def main(command_line: Sequence[str]) -> None:
    """Run the command line."""
    arguments = _parse(command_line)
    try:
        _run(arguments, DatasetPaths.under(Path(arguments.output).expanduser()))
    except BrokenPipeError:  # the reader, such as `head`, needs no more lines
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        sys.exit(f"ERROR: {sentence}")


def _parse(command_line: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gbif-webdataset packs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|cat|export")
    listing = actions.add_parser("list", help="print the size in bytes and the path of each image")
    showing = actions.add_parser("cat", help="write the bytes of an image to the standard output")
    copying = actions.add_parser("export", help="copy images to files below a folder")
    showing.add_argument("image", help="path of the image below images/")
    copying.add_argument("folder", help="folder for the files; it may exist")
    for action in (listing, copying):
        action.add_argument("--where", default="", metavar="SQL", help="SQL condition; without it, all images")
    for action in (listing, showing, copying):
        action.add_argument("--output", required=True, metavar="DIR", help="folder of the dataset")
    return parser.parse_args(command_line)


def _run(arguments: argparse.Namespace, paths: DatasetPaths) -> None:
    if arguments.action == "list":
        images = list_images(paths, arguments.where)
        while some := list(islice(images, LINES)):
            print_text("\n".join(f"{image.bytes:>12} {image.path}" for image in some))
    elif arguments.action == "cat":
        sys.stdout.buffer.write(read_image(paths, arguments.image))
        sys.stdout.flush()
    else:
        folder = Path(arguments.folder).expanduser()
        sizes = [image.bytes for image in export_images(paths, folder, arguments.where)]
        print_text(f"{format_count(len(sizes), 'image')} ({format_size(sum(sizes))}) copied to {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
