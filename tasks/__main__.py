"""The command `gbif-webdataset`, and `python -m tasks`: `luigi --module tasks`, and the Slurm commands.

gbif-webdataset TASK --dwca archive.zip [--output DIR] [--chunks N] [LUIGI_OPTION ...]
gbif-webdataset slurm submit|status --dwca archive.zip [...]
"""

import sys

from luigi.cmdline import luigi_run

from tasks import arrays


def main() -> None:
    """Run a task, or submit or show Slurm jobs; exit with a status other than 0 after a failure."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["slurm"]:
        arrays.main(arguments[1:])
    else:
        luigi_run(["--module", "tasks", *(arguments or ["--help"])])


if __name__ == "__main__":
    main()
