"""The definition of an Apptainer image with the locked dependencies: docs/apptainer.def.

python -m gbif_webdataset.slurm.apptainer requirements.lock > docs/apptainer.def
"""

import hashlib
import re
import sys
from pathlib import Path

PYTHON = "3.12"
_DEFINITION = """\
# An Apptainer image of this project, for clusters whose Python is too old. Build it in the checkout, on a machine with
# internet access, and copy the image to the cluster:
#     apptainer build gbif-webdataset.sif docs/apptainer.def
# This file is made from requirements.lock ({packages} packages) by `make docs`.
Bootstrap: docker
From: python:{python}-slim-bookworm

%files
    requirements.lock /source/requirements.lock
    pyproject.toml /source/pyproject.toml
    README.md /source/README.md
    LICENSE /source/LICENSE
    gbif_webdataset /source/gbif_webdataset
    tasks /source/tasks
    sbatch /source/sbatch

%post
    echo "{sha256}  /source/requirements.lock" | sha256sum --check
    python -m pip install --no-cache-dir --require-hashes -r /source/requirements.lock
    python -m pip install --no-cache-dir --no-deps /source
    rm -r /source

%environment
    export PYTHONNOUSERSITE=1

%test
    gbif-webdataset ReportDataset --help > /dev/null

%runscript
    exec gbif-webdataset "$@"
"""
_PIN = re.compile(rb"^[\w.-]+==", re.MULTILINE)


def format_definition(lock: bytes) -> str:
    """Return the definition for the content of requirements.lock. Its build fails if the file is another one."""
    return _DEFINITION.format(packages=len(_PIN.findall(lock)), python=PYTHON, sha256=hashlib.sha256(lock).hexdigest())


if __name__ == "__main__":
    print(format_definition(Path(sys.argv[1]).read_bytes()), end="")
