import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from gbif_webdataset.verify import verify_chunk as verify_module
from tests.support import damage
from tests.support.verify_run import LEDGER, VerifyRun, sha256_of

SIZE = (61, 43)
JPEG = damage.encode(Image.linear_gradient("L").resize(SIZE).convert("RGB"), "JPEG")
REPOSITORY = Path(__file__).parents[3]
VERIFY_IMPATIENTLY = """
import sys
from pathlib import Path
from gbif_webdataset.errors import explain
from gbif_webdataset.storage.file_store import FileStore
from gbif_webdataset.verify import decoding_watch, verify_chunk
decoding_watch.MAX_DECODING_SECONDS = 1.0
output = Path(sys.argv[1])
ledger, target = output / "fetched/chunk-00000.parquet", output / "verified/chunk-00000.parquet"
options = verify_chunk.VerifyOptions(10_000, workers=4)
try:
    verify_chunk.verify_chunk(ledger, FileStore(output / "images"), target, options, lambda counts: None)
except Exception as error:
    sys.exit(explain(error))
"""


@pytest.fixture
def run(tmp_path: Path) -> VerifyRun:
    return VerifyRun(tmp_path)


def test_a_decoder_that_fails_on_one_image_does_not_stop_the_chunk(run: VerifyRun, listed_odd_format: bytes) -> None:
    files = {f"d/{n}.jpg": listed_odd_format if n == 3 else JPEG for n in range(8)}
    assert run.verify(files) == {"valid": 7, "corrupt-data": 1}
    row = run.table().to_pylist()[3]
    assert (row["valid"], row["error"], row["format"], row["width"]) == (False, "corrupt-data", "ODD", 61)


def test_a_decoder_that_hangs_fails_the_chunk_and_ends_the_process(run: VerifyRun) -> None:
    names = [f"d/{number:02}.jpg" for number in range(40)]
    run.verify(dict.fromkeys(names, JPEG))
    undisturbed = (run.output / "verified/chunk-00000.parquet").read_bytes()
    (run.output / "images/d/17.jpg").unlink()
    os.mkfifo(run.output / "images/d/17.jpg")  # the image is read for ever, as nobody writes to the pipe
    command = [sys.executable, "-c", VERIFY_IMPATIENTLY, str(run.output)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert re.fullmatch(r".*images/d/17\.jpg: this image has been decoded for more than .* hangs; .*\n", ended.stderr)
    assert (run.output / "verified/chunk-00000.parquet").read_bytes() == undisturbed
    assert [path.name for path in (run.output / "verified").iterdir()] == ["chunk-00000.parquet"]


def test_rows_keep_their_order_and_columns_and_gain_the_findings(run: VerifyRun) -> None:
    names = [f"d/{(n * 7919) % 3000:04}.jpg" for n in range(2500)]
    files: dict[str, bytes | None] = dict.fromkeys(names, JPEG)
    files |= dict.fromkeys(names[::50], b"not an image") | dict.fromkeys(names[1::50])
    assert run.verify(files, workers=4) == {"valid": 2400, "not-an-image": 50}
    assert run.progress == list(range(1, 2451))
    table = run.table()
    assert table["image_path"].to_pylist() == [name for name in names if files[name] is not None]
    ledger_columns = [field for field in LEDGER if field.name not in verify_module.COLUMNS.names]
    assert table.schema.equals(pa.schema([*ledger_columns, *verify_module.COLUMNS]))
    for row in table.to_pylist():
        is_valid = files[row["image_path"]] == JPEG
        assert (row["valid"], row["error"]) == ((True, "") if is_valid else (False, "not-an-image"))
        assert (row["coreid"], row["speciesKey"]) == (Path(row["image_path"]).stem, "0012")
        assert row["fetch_date"] == "2026-03-04"
        assert row["sha256"] == sha256_of(files[row["image_path"]] or b"")


def test_a_chunk_without_downloaded_images_has_an_empty_table(run: VerifyRun) -> None:
    assert run.verify({"d/a.jpg": None}) == {}
    assert run.table().num_rows == 0


def test_the_number_of_workers_does_not_change_the_table(run: VerifyRun) -> None:
    kinds = {**damage.encode_jpegs(0), **damage.encode_other_formats(0)}
    tables = []
    for workers in (1, 5):
        run.verify({f"d/{number:02}.jpg": data for number, data in enumerate(kinds.values())}, workers=workers)
        tables.append((run.output / "verified/chunk-00000.parquet").read_bytes())
    assert tables[0] == tables[1]


def test_warnings_and_flat_images_are_recorded_and_with_strict_warnings_are_errors(run: VerifyRun) -> None:
    padded = JPEG[:-2] + bytes(500) + JPEG[-2:]
    flat = damage.encode(Image.new("RGB", SIZE, "grey"), "PNG")
    for strict, first in ((False, ("", "padding", False)), (True, ("padding", "", None))):
        run.verify({"d/1.jpg": padded, "d/2.jpg": flat}, strict=strict)
        rows = run.table().select(["error", "warning", "flat"]).to_pylist()
        assert [tuple(row.values()) for row in rows] == [first, ("", "", True)]


def test_verifying_does_not_import_pandas(run: VerifyRun) -> None:
    run.verify({"d/1.jpg": JPEG, "d/2.jpg": b"not an image", "d/3.jpg": None})
    code = (
        "import sys; from pathlib import Path; from gbif_webdataset.storage.file_store import FileStore; from gbif_webdataset.verify import verify_chunk, verify_images;"
        "output = Path(sys.argv[1]); source = output / 'fetched/chunk-00000.parquet'; target = output / 'again.parquet';"
        "options = verify_chunk.VerifyOptions(10_000);"
        "verify_chunk.verify_chunk(source, FileStore(output / 'images'), target, options, lambda counts: None);"
        "verify_images.combine_chunks([target], output / 'v.parquet', output / 'e.csv', output / 'scratch', '500MB');"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(run.output)], cwd=REPOSITORY, check=False).returncode == 0
