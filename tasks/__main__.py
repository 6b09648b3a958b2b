"""The command `gbif-webdataset`, and `python -m tasks`: `luigi --module tasks`, and commands for Slurm and for images.

gbif-webdataset TASK --dwca archive.zip [--output DIR] [--chunks N] [LUIGI_OPTION ...]
gbif-webdataset slurm submit|status --dwca archive.zip [...]
gbif-webdataset packs list|cat|export --output DIR [...]
"""

import sys

from luigi.cmdline import luigi_run

from tasks import arrays, packs


def main() -> None:
    """Run a task, or a command for Slurm jobs or images; exit with a status other than 0 after a failure."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["slurm"]:
        arrays.main(arguments[1:])
    elif arguments[:1] == ["packs"]:
        packs.main(arguments[1:])
    else:
        luigi_run(["--module", "tasks", *(arguments or ["--help"])])


if __name__ == "__main__":
    main()
