"""Run a benchmark: this tool and other ways in turn; print the median of each, their ratio, and peak memory.

python -m bench [read] [--occurrences 200000 [--varied] | --archive ARCHIVE.zip] [--rounds 5] [--old SCRIPT]
python -m bench fetch [--images 6000] [--workers 16] [--rounds 5] [--old SCRIPT]
python -m bench fetch --latency 50 --workers 64
python -m bench fetch --costs
python -m bench verify [--share 1.0] [--rounds 5] [--old SCRIPT]
python -m bench shards [--rounds 5] [--old SCRIPT]
python -m bench split [--classes 3000] [--occurrences 200000]
python -m bench near [--hashes 1000000] [--distance 6]
python -m bench page [--samples 10000000] [--classes 10000]
python -m bench slurm
"""

import argparse
import sys
from pathlib import Path

from bench import chunk, fetch, near, page, read, shards, slurm, split, verify
from bench.runs import BenchError


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = ["read", "fetch", "verify", "split", "shards", "near", "page", "slurm"]
    parser.add_argument("stage", nargs="?", choices=stages, default="read")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--old", default="", help="Python script to compare with. It is called with the stage and its input."
    )
    reading = parser.add_argument_group("read, split")
    reading.add_argument("--occurrences", type=int, default=200_000, help="size of an archive made from the sample")
    reading.add_argument("--varied", action="store_true", help="give each occurrence values of its own")
    reading.add_argument("--archive", type=Path, help="archive to read instead")
    fetching = parser.add_argument_group("fetch")
    fetching.add_argument("--images", type=int, default=6000)
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
    parser.add_argument("--classes", type=int, help="split, page: number of classes (default: 3000 and 10000)")
    return parser.parse_args()


def _bench_fetch(arguments: argparse.Namespace) -> None:
    if arguments.costs:
        chunk.bench_costs(arguments.images, arguments.workers, arguments.rounds)
    elif arguments.latency:
        chunk.bench_latency(arguments.images, arguments.workers, arguments.rounds, arguments.latency / 1000)
    else:
        fetch.bench(arguments.images, arguments.workers, arguments.rounds, arguments.old)


def main() -> None:
    """The command line."""
    arguments = _parse()
    try:
        if arguments.stage == "read":
            read.bench(
                arguments.archive, arguments.occurrences, arguments.rounds, arguments.old, varied=arguments.varied
            )
        elif arguments.stage == "verify":
            verify.bench(arguments.rounds, arguments.old, arguments.share)
        elif arguments.stage == "split":
            split.bench_all(arguments.classes or 3_000, arguments.occurrences)
        elif arguments.stage == "near":
            near.bench(arguments.hashes, arguments.distance)
        elif arguments.stage == "shards":
            shards.bench(arguments.rounds, arguments.old)
        elif arguments.stage == "page":
            page.bench(arguments.samples, arguments.classes or 10_000)
        elif arguments.stage == "slurm":
            slurm.bench()
        else:
            _bench_fetch(arguments)
    except BenchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
