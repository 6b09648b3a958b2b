import csv
import hashlib
import io
import random
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFile

from gbif_webdataset.fetch import ledger
from gbif_webdataset.verify import verify_chunk as verify_module
from gbif_webdataset.verify.verify_chunk import Finding, combine, look, verify_chunk

SIZE = (61, 43)
MAX_PIXELS = 10_000
REPOSITORY = Path(__file__).parents[3]


def noise(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """An image that does not compress, so that a part of its file is a part of its pixels."""
    bands = {"RGB": 3, "L": 1, "CMYK": 4, "RGBA": 4}[mode]
    return Image.frombytes(mode, size, random.Random(1).randbytes(size[0] * size[1] * bands))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


JPEG = saved(noise(), "JPEG")
FRAMES = [Image.new("P", SIZE, color) for color in range(3)]
SOUND = {
    "jpeg": (JPEG, "JPEG", "RGB"),
    "grey jpeg": (saved(noise("L"), "JPEG"), "JPEG", "L"),
    "cmyk jpeg": (saved(noise("CMYK"), "JPEG"), "JPEG", "CMYK"),
    "progressive jpeg": (saved(noise(), "JPEG", progressive=True), "JPEG", "RGB"),
    "jpeg with bytes behind it": (JPEG + b"trailing", "JPEG", "RGB"),
    "png": (saved(noise(), "PNG"), "PNG", "RGB"),
    "transparent png": (saved(noise("RGBA"), "PNG"), "PNG", "RGBA"),
    "16-bit png": (saved(Image.new("I;16", SIZE, 40_000), "PNG"), "PNG", "I;16"),
    "palette png": (saved(noise().quantize(16), "PNG"), "PNG", "P"),
    "gif": (saved(noise().quantize(64), "GIF"), "GIF", "P"),
    "animated gif": (saved(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "GIF", "P"),
    "webp": (saved(noise(), "WEBP"), "WEBP", "RGB"),
    "tiff": (saved(noise(), "TIFF"), "TIFF", "RGB"),
    "deflated tiff": (saved(noise(), "TIFF", compression="tiff_adobe_deflate"), "TIFF", "RGB"),
    "bmp": (saved(noise(), "BMP"), "BMP", "RGB"),
}
DAMAGED = {
    f"half of a {name}": data[: len(data) // 2] for name, (data, _, _) in SOUND.items() if "animated" not in name
}
DAMAGED |= {
    "all but the end of a jpeg": JPEG[:-300],
    "a jpeg's first bytes": JPEG[:64],
    "a jpeg's header": JPEG[: JPEG.index(b"\xff\xda")],
    "a png's header": SOUND["png"][0][:33],
    "nothing": b"",
    "zeros": bytes(5000),
    "html": b"<!doctype html><title>Not found</title>" * 10,
    "json": b'{"error": "not found"}',
    "png with a wrong checksum": SOUND["png"][0][:20] + b"\xff" + SOUND["png"][0][21:],
}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_image_is_measured(tmp_path: Path, name: str) -> None:
    data, kind, mode = SOUND[name]
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    found = look(path, digest(data), MAX_PIXELS)
    assert (found.error, found.warning, found.valid) == ("", "", True)
    assert (found.format, found.mode, found.width, found.height) == (kind, mode, *SIZE)
    assert (found.stored_width, found.stored_height) == SIZE
    assert (found.file_size, found.sha256) == (len(data), digest(data))
    assert found.perceptual_hash is not None
    assert len(found.perceptual_hash) == 16


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(DAMAGED[name])
    found = look(path, digest(DAMAGED[name]), MAX_PIXELS)
    assert not found.valid
    assert found.error in {"truncated", "corrupt-data", "not-an-image"}
    assert (found.file_size, found.sha256) == (len(DAMAGED[name]), digest(DAMAGED[name]))


def test_the_codes_tell_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    codes = {}
    for name in ("half of a jpeg", "html", "nothing"):
        path.write_bytes(DAMAGED[name])
        codes[name] = look(path, digest(DAMAGED[name]), MAX_PIXELS).error
    assert codes == {"half of a jpeg": "truncated", "html": "not-an-image", "nothing": "not-an-image"}


def test_changed_and_missing_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    assert look(path, digest(JPEG), MAX_PIXELS) == Finding("missing-file")
    changed = JPEG[:-1] + b"\x00"
    path.write_bytes(changed)
    assert look(path, digest(JPEG), MAX_PIXELS) == Finding(
        "changed-file", file_size=len(changed), sha256=digest(changed)
    )


def test_the_limit_on_pixels_is_on_width_times_height(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    assert look(path, digest(JPEG), SIZE[0] * SIZE[1]).valid
    found = look(path, digest(JPEG), SIZE[0] * SIZE[1] - 1)
    assert (found.error, found.width, found.height) == ("too-many-pixels", *SIZE)


def test_a_huge_image_is_not_decoded_whatever_else_is_imported(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(huge_png(60_000, 60_000))
    code = (
        "import sys; from pathlib import Path; from gbif_webdataset.verify.verify_chunk import look; path = Path(sys.argv[1]);"
        "import hashlib; print(look(path, hashlib.sha256(path.read_bytes()).hexdigest(), 100_000_000).error)"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "a.jpg")]
    told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (told.stdout, told.stderr) == ("too-many-pixels\n", "")


class OddError(Exception):
    """What only one decoder raises."""


class OddImage(ImageFile.ImageFile):
    """A format of our own, whose decoder fails in a way of its own."""

    format = "ODD"

    def _open(self) -> None:
        self._size, self._mode = SIZE, "RGB"

    def load(self) -> None:
        raise OddError("no such luck")


@pytest.fixture
def odd_format() -> Iterator[bytes]:
    Image.register_open("ODD", OddImage, lambda prefix: prefix.startswith(b"ODDITY"))
    yield b"ODDITY" * 20
    del Image.OPEN["ODD"]
    Image.ID.remove("ODD")


@pytest.fixture
def known_odd(odd_format: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An image of the odd format, which is among those that are decoded."""
    monkeypatch.setattr(verify_module, "FORMATS", (*verify_module.FORMATS, "ODD"))
    return odd_format


MANIFEST = pa.schema([(name, pa.string()) for name in ("coreid", "identifier", "image_path", "speciesKey")])
LEDGER = pa.schema([*MANIFEST, *ledger.COLUMNS])


def write_ledger(folder: Path, files: dict[str, bytes | None], number: int = 0) -> Path:
    """A chunk's ledger and its files; None is an image that failed to come."""
    rows = []
    for name, data in files.items():
        row: dict[str, Any] = {"coreid": Path(name).stem, "identifier": f"http://a.org/{name}", "image_path": name}
        row |= {"speciesKey": "0012", "fetched_at": "2026-03-04T05:06:07Z", "final_url": "http://a.org/", "attempts": 1}
        if data is None:
            row |= {"status": "failed", "error": "not-found", "http_status": 404}
        else:
            path = folder / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            row |= {"status": "fetched", "error": "", "bytes": len(data), "sha256": digest(data)}
        rows.append(row)
    target = folder / "fetched" / f"chunk-{number:05d}.parquet"
    target.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(pa.Table.from_pylist(rows, LEDGER), target)
    return target


Verify = Callable[..., Counter[str]]


@pytest.fixture
def verified(tmp_path: Path) -> Verify:
    def run(
        files: dict[str, bytes | None],
        number: int = 0,
        workers: int = 2,
        told: list[int] | None = None,
        strict: bool = False,
    ) -> Any:
        source = write_ledger(tmp_path, files, number)
        target = tmp_path / "verified" / source.name
        seen = told if told is not None else []
        return verify_chunk(
            source, tmp_path / "images", target, workers, MAX_PIXELS, strict, lambda counts: seen.append(counts.total())
        )

    return run


def test_one_odd_failure_of_a_decoder_does_not_stop_the_rest(
    tmp_path: Path, verified: Verify, known_odd: bytes
) -> None:
    files = {f"d/{n}.jpg": known_odd if n == 3 else JPEG for n in range(8)}
    assert verified(files) == {"valid": 7, "corrupt-data": 1}
    row = pq.read_table(tmp_path / "verified/chunk-00000.parquet").to_pylist()[3]
    assert (row["valid"], row["error"], row["format"], row["width"]) == (False, "corrupt-data", "ODD", SIZE[0])


def test_the_rows_keep_their_order_and_columns_and_gain_the_findings(tmp_path: Path, verified: Verify) -> None:
    names = [f"d/{(n * 7919) % 3000:04}.jpg" for n in range(2500)]
    files: dict[str, bytes | None] = dict.fromkeys(names, JPEG)
    files |= dict.fromkeys(names[::50], b"not an image") | dict.fromkeys(names[1::50])
    told: list[int] = []
    assert verified(files, workers=4, told=told) == {"valid": 2400, "not-an-image": 50}
    assert told == list(range(1, 2451))
    table = pq.read_table(tmp_path / "verified/chunk-00000.parquet")
    came = [name for name in names if files[name] is not None]
    assert table["image_path"].to_pylist() == came
    kept = [field for field in LEDGER if field.name not in verify_module.COLUMNS.names]
    assert table.schema.equals(pa.schema([*kept, *verify_module.COLUMNS]))
    for row in table.to_pylist():
        sound = files[row["image_path"]] == JPEG
        assert (row["valid"], row["error"]) == ((True, "") if sound else (False, "not-an-image"))
        assert (row["coreid"], row["speciesKey"]) == (Path(row["image_path"]).stem, "0012")
        assert row["fetch_date"] == "2026-03-04"
        assert row["sha256"] == digest(files[row["image_path"]] or b"")


def test_a_chunk_of_which_nothing_came_has_an_empty_table(tmp_path: Path, verified: Verify) -> None:
    assert verified({"d/a.jpg": None}) == {}
    assert pq.read_table(tmp_path / "verified/chunk-00000.parquet").num_rows == 0


def test_the_same_chunk_verified_by_more_workers_is_the_same_file(tmp_path: Path, verified: Verify) -> None:
    files = {f"d/{number:02}.jpg": data for number, (data, _, _) in enumerate(SOUND.values())}
    made = []
    for workers in (1, 5):
        verified(files, workers=workers)
        made.append((tmp_path / "verified/chunk-00000.parquet").read_bytes())
    assert made[0] == made[1]


def test_warnings_and_flat_images_are_written_down_and_warnings_are_errors_where_strict(
    tmp_path: Path, verified: Verify
) -> None:
    padded = JPEG[:-2] + bytes(500) + JPEG[-2:]
    files: dict[str, bytes | None] = {"d/1.jpg": padded, "d/2.jpg": saved(Image.new("RGB", SIZE, "grey"), "PNG")}
    wanted = ("error", "warning", "flat")
    for strict, first in ((False, ("", "padding", False)), (True, ("padding", "", None))):
        verified(files, strict=strict)
        rows = pq.read_table(tmp_path / "verified/chunk-00000.parquet").to_pylist()
        assert [tuple(row[name] for name in wanted) for row in rows] == [first, ("", "", True)]


def test_only_formats_that_pillow_decodes_itself_are_opened(tmp_path: Path, odd_format: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(odd_format)
    assert look(path, digest(odd_format), MAX_PIXELS).error == "not-an-image"


def test_out_of_memory_is_not_the_images_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(SOUND["png"][0])

    def greedy(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(verify_module, "shrink_to_grey", greedy)
    with pytest.raises(MemoryError):
        look(path, digest(SOUND["png"][0]), MAX_PIXELS)


def test_the_whole_is_the_chunks_one_after_another_and_the_bad_are_listed(tmp_path: Path, verified: Verify) -> None:
    verified({"e/3.jpg": JPEG, "d/9.jpg": b"bad", 'a "b",c/1.jpg': b""}, 0)
    verified({"d/1.jpg": JPEG, "d/10.jpg": JPEG[:500], "z/1.jpg": None}, 1)
    verified({}, 2)
    chunks = [tmp_path / "verified" / f"chunk-{number:05d}.parquet" for number in range(3)]
    whole, errors = tmp_path / "verified.parquet", tmp_path / "errors.csv"
    found = combine(chunks, whole, errors, tmp_path / "scratch", "500MB")
    assert found == {"not-an-image": 2, "truncated": 1, "valid": 2}
    table = pq.read_table(whole)
    assert table.schema.equals(pq.read_schema(chunks[0]))
    assert table.equals(pa.concat_tables([pq.read_table(chunk) for chunk in chunks]))
    with errors.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["image_path", "error", "identifier"],
            ['a "b",c/1.jpg', "not-an-image", 'http://a.org/a "b",c/1.jpg'],
            ["d/10.jpg", "truncated", "http://a.org/d/10.jpg"],
            ["d/9.jpg", "not-an-image", "http://a.org/d/9.jpg"],
        ]


def test_where_all_are_sound_the_list_of_the_bad_has_its_header(tmp_path: Path, verified: Verify) -> None:
    verified({"d/1.jpg": JPEG})
    errors = tmp_path / "errors.csv"
    combine([tmp_path / "verified/chunk-00000.parquet"], tmp_path / "v.parquet", errors, tmp_path, "500MB")
    assert errors.read_text() == "image_path,error,identifier\n"
