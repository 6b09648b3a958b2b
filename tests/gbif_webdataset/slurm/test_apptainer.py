from pathlib import Path

from gbif_webdataset.slurm import apptainer

ROOT = Path(__file__).parents[3]


def test_the_definition_is_that_of_the_lock_file() -> None:
    """If this fails: make docs."""
    lock = (ROOT / "requirements.lock").read_bytes()
    assert (ROOT / "docs" / "apptainer.def").read_text() == apptainer.format_definition(lock)


def test_another_lock_file_gives_another_definition() -> None:
    definitions = {apptainer.format_definition(lock) for lock in (b"a==1 \\\n", b"a==2 \\\n", b"a==2 \\\nb==1\n")}
    assert len(definitions) == 3
    assert all("1 packages" in text for text in definitions if "2 packages" not in text)


def test_every_file_that_the_image_needs_exists() -> None:
    text = (ROOT / "docs" / "apptainer.def").read_text()
    files = text.partition("%files\n")[2].partition("\n\n")[0].splitlines()
    assert len(files) == 7
    assert all((ROOT / line.split()[0]).exists() for line in files)
