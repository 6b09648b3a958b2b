"""Run a benchmark: this tool and other ways in turn; print the median of each, their ratio, and peak memory.

python -m bench [read] [--occurrences 200000 [--varied] | --archive ARCHIVE.zip] [--rounds 5] [--old SCRIPT]
python -m bench fetch [--images 6000] [--workers 16] [--rounds 5] [--old SCRIPT]
python -m bench fetch --latency 50 --workers 64
python -m bench fetch --costs
python -m bench verify [--share 1.0] [--rounds 5] [--old SCRIPT]
python -m bench shards [--rounds 5] [--old SCRIPT]
python -m bench hosts [--images 2000000]
python -m bench chain [--images 20000] [--rounds 5] [--old SCRIPT]
python -m bench memory
python -m bench split [--classes 3000] [--occurrences 200000]
python -m bench near [--hashes 1000000] [--distance 6]
python -m bench crosswalk [--occurrences 4000000]
python -m bench page [--samples 10000000] [--classes 10000]
python -m bench slurm
python -m bench publish [--objects 1000] [--rounds 5]
python -m bench store [--images 6000] [--rounds 5] [--cold]
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench import (
    chain,
    chunk,
    crosswalk,
    fetch,
    hosts,
    memory,
    near,
    page,
    publish,
    read,
    shards,
    slurm,
    split,
    store,
    verify,
)
from bench.runs import BenchError


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", choices=BENCHMARKS, default="read")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--old", default="", help="Python script to compare with. It is called with the stage and its input."
    )
    reading = parser.add_argument_group("read, split")
    reading.add_argument("--occurrences", type=int, default=200_000, help="size of an archive made from the sample")
    reading.add_argument("--varied", action="store_true", help="give each occurrence values of its own")
    reading.add_argument("--archive", type=Path, help="archive to read instead")
    fetching = parser.add_argument_group("fetch")
    fetching.add_argument("--images", type=int, help="default: 6000; chain: 20000; hosts: 2000000")
    fetching.add_argument("--workers", type=int, default=16, help="threads in each process")
    fetching.add_argument(
        "--latency", type=float, help="milliseconds until each answer; measures one process of this tool only"
    )
    fetching.add_argument(
        "--costs",
        action="store_true",
        help="measure the share of the ledger and of complete-or-absent files in the time",
    )
    verifying = parser.add_argument_group("verify")
    verifying.add_argument("--share", type=float, default=1.0, help="share of the photos to verify, from 0 to 1")
    searching = parser.add_argument_group("near")
    searching.add_argument("--hashes", type=int, default=1_000_000)
    searching.add_argument("--distance", type=int, default=6, help="maximum number of bits in which near hashes differ")
    drawing = parser.add_argument_group("page")
    drawing.add_argument("--samples", type=int, default=10_000_000)
    uploading = parser.add_argument_group("publish")
    uploading.add_argument("--objects", type=int, default=1_000, help="objects of 1 MB")
    parser.add_argument(
        "--cold",
        action="store_true",
        help="store: verify small photos on a disk that is mounted again before each run; needs root",
    )
    parser.add_argument("--classes", type=int, help="split, page: number of classes (default: 3000 and 10000)")
    return parser.parse_args()


def _read(arguments: argparse.Namespace) -> None:
    read.bench(arguments.archive, arguments.occurrences, arguments.rounds, arguments.old, varied=arguments.varied)


def _fetch(arguments: argparse.Namespace) -> None:
    images, workers, rounds = arguments.images or FETCHED_IMAGES, arguments.workers, arguments.rounds
    if arguments.costs:
        chunk.bench_costs(images, workers, rounds)
    elif arguments.latency:
        chunk.bench_latency(images, workers, rounds, arguments.latency / 1000)
    else:
        fetch.bench(images, workers, rounds, arguments.old)


FETCHED_IMAGES, CHAIN_IMAGES, SIMULATED_IMAGES = 6_000, 20_000, 2_000_000
BENCHMARKS: dict[str, Callable[[argparse.Namespace], None]] = {
    "read": _read,
    "fetch": _fetch,
    "verify": lambda arguments: verify.bench(arguments.rounds, arguments.old, arguments.share),
    "shards": lambda arguments: shards.bench(arguments.rounds, arguments.old),
    "hosts": lambda arguments: hosts.bench(arguments.images or SIMULATED_IMAGES),
    "chain": lambda arguments: chain.bench(arguments.images or CHAIN_IMAGES, arguments.rounds, arguments.old),
    "memory": lambda arguments: memory.bench(),
    "split": lambda arguments: split.bench_all(arguments.classes or 3_000, arguments.occurrences),
    "near": lambda arguments: near.bench(arguments.hashes, arguments.distance),
    "crosswalk": lambda arguments: crosswalk.bench(arguments.occurrences),
    "page": lambda arguments: page.bench(arguments.samples, arguments.classes or 10_000),
    "slurm": lambda arguments: slurm.bench(),
    "publish": lambda arguments: publish.bench(arguments.objects, arguments.rounds),
    "store": lambda arguments: (store.bench_cold if arguments.cold else store.bench)(
        arguments.images or FETCHED_IMAGES, arguments.rounds
    ),
}


def main() -> None:
    """The command line."""
    arguments = _parse()
    try:
        BENCHMARKS[arguments.stage](arguments)
    except BenchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
