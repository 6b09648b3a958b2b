from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.support.damage import encode
from tests.support.verify_run import VerifyRun

JPEG = encode(Image.linear_gradient("L").resize((61, 43)).convert("RGB"), "JPEG")


@pytest.fixture
def run(tmp_path: Path) -> VerifyRun:
    return VerifyRun(tmp_path)


def test_the_chunks_follow_one_another_and_unusable_images_are_listed(run: VerifyRun) -> None:
    run.verify({"e/3.jpg": JPEG, "d/9.jpg": b"bad", 'a "b",c/1.jpg': b""}, 0)
    run.verify({"d/1.jpg": JPEG, "d/10.jpg": JPEG[:-100], "z/1.jpg": None}, 1)
    run.verify({}, 2)
    assert run.combine(3) == {"not-an-image": 2, "truncated": 1, "valid": 2}
    verified = pq.read_table(run.output / "verified.parquet")
    assert verified.schema.equals(run.table(0).schema)
    assert verified.equals(pa.concat_tables([run.table(chunk) for chunk in range(3)]))
    assert run.errors() == [
        ["image_path", "error", "identifier"],
        ['a "b",c/1.jpg', "not-an-image", 'http://a.org/a "b",c/1.jpg'],
        ["d/10.jpg", "truncated", "http://a.org/d/10.jpg"],
        ["d/9.jpg", "not-an-image", "http://a.org/d/9.jpg"],
    ]


def test_errors_csv_has_only_its_header_if_all_images_can_be_used(run: VerifyRun) -> None:
    run.verify({"d/1.jpg": JPEG})
    run.combine()
    assert run.errors() == [["image_path", "error", "identifier"]]
