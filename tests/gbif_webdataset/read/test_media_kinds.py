import json
from pathlib import Path

import pytest

from gbif_webdataset.read.media_kinds import is_other_kind
from tests.support.archives import find_case
from tests.support.manifests import make_manifest

IMAGES = [
    "StillImage", "still_image", "Still Images", "STILLIMAGE", "dcmitype:StillImage", "http://purl.org/dc/dcmitype/Image",
    "image/jpeg", "image/jpg", "image/jpeg; charset=binary", "jpg", "JPEG image", "photo", "Fotografía", "Foto's", "Bild",
    "imagen fija", "Image|StillImage", "Image;Sound", "Video still", "photomicrograph", "application/x-jpg", "drawing",
]  # fmt: skip
OTHERS = [
    "Sound", "audio/mpeg", "mp3", "Ton", "Sonido", "son", "Sound recording", "MovingImage", "Moving Image", "moving_image",
    "MOVINGIMAGE", "http://purl.org/dc/dcmitype/MovingImage", "Imagen en movimiento", "image animée", "Bewegtbild", "Film",
    "video/mp4", "Vidéo", "Text", "text/html; charset=utf-8", "application/pdf", "PDF", "Dataset", "InteractiveResource",
    "Software", "model/gltf-binary", "3D model", "web page",
]  # fmt: skip
UNKNOWN = [
    "",
    "PhysicalObject",
    "Event",
    "Collection",
    "specimen",
    "application/octet-stream",
    "x" * 100_000,
    "-" * 5_000,
]


@pytest.mark.parametrize("text", IMAGES)
def test_words_for_images_are_images(text: str) -> None:
    assert not is_other_kind(text, None)
    assert not is_other_kind(None, text)


@pytest.mark.parametrize("text", OTHERS)
def test_words_for_other_media_are_not_images_in_either_column(text: str) -> None:
    assert is_other_kind(text, "image/jpeg")
    assert is_other_kind("StillImage", text)


@pytest.mark.parametrize("text", UNKNOWN)
def test_words_that_name_neither_reject_nothing(text: str) -> None:
    assert not is_other_kind(text, text)
    assert not is_other_kind(None, None)


def test_type_or_format_decides_about_the_media_of_a_public_archive(tmp_path: Path) -> None:
    expected = json.loads(find_case("archives/media-types.want.json").read_text(encoding="utf-8"))
    manifest = make_manifest(find_case("archives/media-types.zip"), tmp_path)
    assert set(manifest.values("coreid")) == {key for key, (_, _, _, is_image) in expected.items() if is_image}
    assert set(manifest.reasons) == {"not-still-image"}
