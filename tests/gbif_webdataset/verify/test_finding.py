from gbif_webdataset.terms.outcomes import DecoderWarning, Defect
from gbif_webdataset.verify.finding import Finding


def test_an_image_is_valid_unless_it_has_an_error() -> None:
    assert Finding().valid
    assert Finding(warning=DecoderWarning.PADDING).valid
    assert not Finding(error=Defect.TRUNCATED).valid
