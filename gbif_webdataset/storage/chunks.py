"""File names of a chunk."""


def chunk_name(chunk: int) -> str:
    """The file name of a chunk's table in every stage."""
    return f"chunk-{chunk:05d}.parquet"


def journal_name(chunk: int) -> str:
    """The file name of a chunk's journal in `fetched`."""
    return f"chunk-{chunk:05d}.journal"
