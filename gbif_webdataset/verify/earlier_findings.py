"""Results of an earlier verification, which images with the same bytes keep."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.image_store import ImageStore
from gbif_webdataset.terms.outcomes import Defect
from gbif_webdataset.verify.finding import Finding

FIELDS = tuple(Finding.__dataclass_fields__)


class EarlierFindings:
    """The findings in a verified table that was made with the same options, by the SHA-256 of the image.

    Without a table there are none.
    """

    def __init__(self, verified: Path | None) -> None:
        self._rows: pa.Table | None = None
        self._positions: dict[bytes, int] = {}
        if verified is not None and set(FIELDS) <= set(arrow.read_parquet_schema(verified).names):
            rows = arrow.read_parquet(verified, list(FIELDS))
            of_bytes = pc.not_equal(rows.column("error"), arrow.to_scalar(str(Defect.CHANGED_FILE)))
            self._rows = rows.filter(pc.and_(of_bytes, pc.is_valid(rows.column("sha256"))))
            digests = self._rows.column("sha256").to_pylist()
            self._positions = {bytes.fromhex(digest): position for position, digest in enumerate(digests)}

    def find(self, images: Sequence[tuple[str, str]], store: ImageStore) -> list[Finding | None]:
        """For the path of each image and the SHA-256 of its download, the earlier finding; None if there is none.

        An image that the store lacks, or has in another size than the bytes that were checked, has none.
        """
        positions = [self._positions.get(bytes.fromhex(sha256)) for _, sha256 in images]
        taken = [position for position in positions if position is not None]
        if self._rows is None or not taken:
            return [None] * len(images)
        rows = iter(self._rows.take(arrow.to_typed_array(taken, pa.int64())).to_pylist())
        findings = [None if position is None else Finding(**next(rows)) for position in positions]
        return [
            finding if finding is not None and store.size(path) == finding.file_size else None
            for (path, _), finding in zip(images, findings, strict=True)
        ]
