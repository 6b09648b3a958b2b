"""Outcomes of images for the ledger."""

from gbif_webdataset.fetch.ledger import Outcome


def make_outcome(path: str = "d/a.jpg", url: str = "http://a.org/a", **changes: object) -> Outcome:
    values = {"status": "fetched", "http_status": 200, "attempts": 1, "bytes": 3, "sha256": "00"} | changes
    return Outcome(path, url, **values)  # type: ignore[arg-type]
