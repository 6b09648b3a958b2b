from pathlib import Path

import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.storage import free_space
from gbif_webdataset.storage.free_space import FreeSpaceGuard, free_bytes


def test_a_folder_that_does_not_exist_yet_has_the_free_space_of_its_parent(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "dataset" / "images") == pytest.approx(free_bytes(tmp_path), rel=0.01)


def test_the_guard_passes_while_enough_is_free(tmp_path: Path) -> None:
    FreeSpaceGuard(tmp_path, 1).check()


def test_the_guard_names_the_option_the_folder_and_what_is_free(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=rf"^--FetchChunk-min-free-bytes {1 << 60}: only .*B are free in {tmp_path}; "):
        FreeSpaceGuard(tmp_path, 1 << 60).check()


def test_the_disk_is_queried_at_most_once_per_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[Path] = []
    now = 100.0

    def count_query(folder: Path) -> int:
        queries.append(folder)
        return 2

    monkeypatch.setattr(free_space, "free_bytes", count_query)
    monkeypatch.setattr("time.monotonic", lambda: now)
    guard = FreeSpaceGuard(tmp_path, 1)
    for now in (100.0, 100.5, 100.9, 101.1, 101.2):  # noqa: B007
        guard.check()
    assert queries == [tmp_path, tmp_path]


def test_a_full_disk_is_reported_at_every_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_space, "free_bytes", lambda folder: 0)
    guard = FreeSpaceGuard(tmp_path, 1)
    for _ in range(2):
        with pytest.raises(FetchError, match="only 0 bytes are free"):
            guard.check()
