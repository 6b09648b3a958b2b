"""The file names of a chunk's tables, and of its index of packs."""

from pathlib import Path


def chunk_name(chunk: int) -> str:
    """The file name of a chunk's table, the same in `manifest`, `fetched` and `verified`."""
    return f"chunk-{chunk:05d}.parquet"


def journal_name(chunk: int) -> str:
    """The file name of a chunk's journal in `fetched`."""
    return f"chunk-{chunk:05d}.journal"


def attempts_name(chunk: int) -> str:
    """The file name of a chunk's last attempts in `fetched`."""
    return f"chunk-{chunk:05d}.attempts"


def pack_folder_name(chunk: int) -> str:
    """The name of the folder of a chunk's packs in `images`."""
    return f"chunk-{chunk:05d}"


def index_name(chunk: int) -> str:
    """The file name of the index of a chunk's packs in `images`."""
    return f"chunk-{chunk:05d}.idx"


def list_indexes(images: Path) -> list[Path]:
    """The indexes of all chunks that are packed."""
    return sorted(images.glob("chunk-*.idx"))


def list_packed_chunks(images: Path) -> list[int]:
    """The chunks that are packed: they have packs, an index, or both."""
    folders = {pack.parent for pack in images.glob("chunk-*/[0-9]*.tar")}
    names = {path.stem for path in (*list_indexes(images), *folders)}
    return sorted(parse_chunk_name(name) for name in names if name.removeprefix("chunk-").isdecimal())


def parse_chunk_name(name: str) -> int:
    """The number of the chunk whose table or index has this file name."""
    return int(name.removeprefix("chunk-").partition(".")[0])
