"""The file names of a chunk's tables."""


def chunk_name(chunk: int) -> str:
    """The file name of a chunk's table, the same in `manifest`, `fetched` and `verified`."""
    return f"chunk-{chunk:05d}.parquet"


def journal_name(chunk: int) -> str:
    """The file name of a chunk's journal in `fetched`."""
    return f"chunk-{chunk:05d}.journal"


def attempts_name(chunk: int) -> str:
    """The file name of a chunk's last attempts in `fetched`."""
    return f"chunk-{chunk:05d}.attempts"


def parse_chunk_name(name: str) -> int:
    """The number of the chunk whose table has this file name."""
    return int(name.removeprefix("chunk-").removesuffix(".parquet"))
