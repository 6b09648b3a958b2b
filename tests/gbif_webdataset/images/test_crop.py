import pytest

from gbif_webdataset.images.crop import Frame, box_to_pixels, fit_frame

WHOLE = (0, 0, 400, 300)


@pytest.mark.parametrize(
    ("mode", "size", "side", "expected"),
    [
        ("shorter", (400, 300), 0, (400, 300)),
        ("shorter", (400, 300), 100, (133, 100)),
        ("shorter", (300, 1200), 100, (100, 400)),
        ("shorter", (400, 300), 300, (400, 300)),
        ("longer", (400, 300), 100, (100, 75)),
        ("longer", (300, 1200), 100, (25, 100)),
        ("longer", (400, 300), 400, (400, 300)),
        ("longer", (4000, 3), 100, (100, 1)),
        ("square", (400, 300), 100, (100, 100)),
        ("square", (40, 30), 100, (100, 100)),
    ],
)
def test_resize_mode_decides_which_side_gets_the_requested_length(
    mode: str, size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    assert fit_frame(size, None, side, mode).size == expected


def test_square_crops_the_centre() -> None:
    assert fit_frame((400, 300), None, 100, "square") == Frame((50, 0, 350, 300), (100, 100))
    assert fit_frame((300, 401), None, 100, "square") == Frame((0, 50, 300, 350), (100, 100))


def test_square_crops_the_centre_of_the_box() -> None:
    assert fit_frame((400, 300), (0.5, 0, 1, 1), 100, "square") == Frame((200, 50, 400, 250), (100, 100))


@pytest.mark.parametrize(
    ("size", "side", "mode", "enlarged"),
    [((90, 90), 100, "square", True), ((100, 100), 100, "square", False), ((90, 80), 100, "longer", False)],
)
def test_only_a_small_square_is_enlarged(size: tuple[int, int], side: int, mode: str, enlarged: bool) -> None:
    assert fit_frame(size, None, side, mode).is_enlarged is enlarged


def test_a_box_has_at_least_one_pixel_per_side() -> None:
    assert box_to_pixels((0.9999, 0.9999, 1.0, 1.0), 40, 30) == (39, 29, 40, 30)
    assert box_to_pixels((0.0, 0.0, 0.001, 0.001), 40, 30) == (0, 0, 1, 1)
    assert box_to_pixels((0.0, 0.0, 1.0, 1.0), 400, 300) == WHOLE
