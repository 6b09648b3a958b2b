"""Large images are decoded one at a time, by threads and processes alike."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from gbif_webdataset.images.convert import convert_to_rgb, shrink_to_grey
from gbif_webdataset.images.large_images import LARGE_PIXELS, decode_alone
from tests.support import damage

REPOSITORY = Path(__file__).parents[3]
MAX_MEGABYTES = 3_000  # of the 4 GB that verify.sbatch requests
VERIFY = """
import sys
from pathlib import Path
from tests.support import verify_run
verify_run.MAX_PIXELS = 100_000_000
files = {f"d/{path.name}": path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())}
print(dict(verify_run.VerifyRun(Path(sys.argv[2])).verify(files, workers=8)))
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024)
"""


def test_only_one_large_image_is_decoded_at_a_time() -> None:
    running: list[int] = []
    seen: list[int] = []

    def decode(is_large: bool) -> None:
        with decode_alone(is_large):
            running.append(1)
            seen.append(len(running))
            time.sleep(0.02)
            running.pop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [True] * 8))
    assert seen == [1] * 8
    other = subprocess.Popen(
        [sys.executable, "-c", "import sys;from gbif_webdataset.images.large_images import decode_alone\n"
         "with decode_alone(True): print('in', flush=True); sys.stdin.read()"],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout
    assert other.stdin
    other.stdout.readline()
    with ThreadPoolExecutor(2) as pool:
        small, large = pool.submit(decode, False), pool.submit(decode, True)
        small.result(timeout=5)
        assert not large.done()
        other.stdin.close()
        large.result(timeout=5)
    other.wait()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1", "I;16", "L"])
def test_a_large_image_looks_the_same_in_bands(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    photo = damage.draw_photos()[0].resize((640, 483))
    image = photo.convert(mode) if mode != "I;16" else photo.convert("L").convert("I").convert("I;16")
    whole = shrink_to_grey(convert_to_rgb(image), 32)
    monkeypatch.setattr("gbif_webdataset.images.convert.LARGE_PIXELS", 1_000)
    monkeypatch.setattr("gbif_webdataset.images.convert._BAND_PIXELS", 20_000)
    banded = shrink_to_grey(image, 32)
    assert banded.shape == whole.shape
    assert abs(banded.astype(int) - whole).max() <= 2


@pytest.mark.slow
def test_eight_workers_on_99_megapixels_stay_within_the_memory_of_the_job_script(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    square, wide = (9_990, 9_990), (16_383, 6_000)
    files = {
        "1.png": damage.encode(Image.new("RGBA", square, (10, 20, 30, 100)), "PNG", compress_level=1),
        "2.png": damage.encode(Image.new("P", square, 1), "PNG", compress_level=1, transparency=1),
        "3.gif": damage.encode(Image.new("P", square, 1), "GIF"),
        "4.webp": damage.encode(Image.new("RGBA", wide, (10, 20, 30, 100)), "WEBP", lossless=True, method=0),
    }
    assert square[0] * square[1] > LARGE_PIXELS
    for name, data in files.items():
        for copy in "ab":
            (folder / f"{copy}{name}").write_bytes(data)
    command = [sys.executable, "-c", VERIFY, str(folder), str(tmp_path / "output")]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    counts, megabytes = ended.stdout.splitlines()
    assert counts == "{'valid': 8}"
    assert int(megabytes) < MAX_MEGABYTES
