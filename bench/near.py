"""Near-duplicate search in random hashes with planted near ones: seconds, peak memory, recall in a sample."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import runs
from bench.runs import BenchError
from gbif_webdataset.clean import near_duplicates
from gbif_webdataset.clean.near_duplicates import Hashes
from gbif_webdataset.storage import tables

PLANTED = 0.1  # share of hashes that are copies of another one with up to `distance` changed bits
SAMPLE = 2000  # hashes to compare with all others
SEED = 7


def bench(count: int, distance: int) -> None:
    """Search `count` hashes in another process, and compare the result with all pairs of a sample."""
    print(
        f"near: {count:,} hashes, {PLANTED:.0%} of them planted, distance {distance}, {runs.describe_load()}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hashes = _hashes(count, distance)
        pq.write_table(pa.table({"hash": hashes}), folder / "hashes.parquet")
        command = [sys.executable, "-m", "bench.near", str(folder), str(distance)]
        ended = subprocess.run(command, cwd=runs.ROOT, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise BenchError(f"{' '.join(command)} failed:\n{ended.stderr}")
        print(ended.stdout, end="", flush=True)
        found = _linked(folder)
    pairs = _all_pairs(hashes, distance)
    joined = sum(found.get(one, one) == found.get(other, other) for one, other in pairs)
    print(f"  all pairs of {SAMPLE:,} hashes with the others: {len(pairs):,} near, {joined:,} of them found "
          f"(recall {joined / max(1, len(pairs)):.4f})")  # fmt: skip


def search(folder: Path, distance: int) -> None:
    """Search the hashes of a folder as CleanDataset does, and print seconds and peak memory."""
    source = tables.parquet_source([folder / "hashes.parquet"])
    with tables.open_database(folder / "scratch", "700MB") as connection:
        begun = time.perf_counter()
        near_duplicates.link_near_hashes(connection, f"SELECT hash FROM {source}", distance)
        seconds = time.perf_counter() - begun
        connection.execute(f"COPY linked TO {tables.quote_text(str(folder / 'linked.parquet'))} (FORMAT parquet)")
        [(linked, groups)] = tables.fetch_rows(connection, "SELECT count(*), count(DISTINCT smallest) FROM linked")
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    print(f"  {seconds:.1f} s, {int(line.split()[1]) / 1024:,.0f} MiB; {linked:,} hashes in {groups:,} groups")


def _hashes(count: int, distance: int) -> Hashes:
    random = np.random.default_rng(SEED)
    hashes = random.integers(0, 1 << 64, count, np.uint64, endpoint=False)
    planted = int(count * PLANTED)
    copies = hashes[:planted].copy()
    flips = random.integers(1, distance + 1, planted)
    for number in range(distance):
        bits = np.uint64(1) << random.integers(0, 64, planted, np.uint64)
        copies ^= np.where(number < flips, bits, np.uint64(0))
    hashes[count - planted :] = copies
    return hashes


def _linked(folder: Path) -> dict[int, int]:
    table = pq.read_table(folder / "linked.parquet")
    return dict(zip(table["hash"].to_pylist(), table["smallest"].to_pylist(), strict=True))


def _all_pairs(hashes: Hashes, distance: int) -> list[tuple[int, int]]:
    pairs = []
    for one in hashes[:SAMPLE]:
        near = hashes[np.bitwise_count(hashes ^ one) <= distance]
        pairs += [(int(one), int(other)) for other in near if other != one]
    return pairs


if __name__ == "__main__":
    search(Path(sys.argv[1]), int(sys.argv[2]))
