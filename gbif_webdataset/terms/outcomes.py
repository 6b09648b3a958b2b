"""What can become of an image when it is fetched or verified: the columns `status`, `error` and `warning`."""

from gbif_webdataset.terms.codes import Code


class Status(Code):
    """The column `status` of the ledger."""

    FETCHED = "fetched", "downloaded"
    CACHED = "cached", "copied from cache_path"
    FAILED = "failed", "not downloaded, for the reason in the column error"


class FetchFailure(Code):
    """The column `error` of the ledger. Other HTTP statuses than these are written as `http-<status>`."""

    NOT_FOUND = "not-found", "HTTP 404: the host does not have the image"
    GONE = "gone", "HTTP 410: the host no longer has the image"
    LEGAL_REASONS = "http-451", "HTTP 451: the host may not show the image for legal reasons"
    FORBIDDEN = "forbidden", "HTTP 403: the host refuses access"
    UNAUTHORIZED = "unauthorized", "HTTP 401: the host asks for a login"
    REQUEST_TIMEOUT = "http-408", "HTTP 408: the host waited too long for the request, even after retries"
    TOO_EARLY = "http-425", "HTTP 425: the host asks to send the request again, even after retries"
    TOO_MANY_REQUESTS = "too-many-requests", "HTTP 429: too many requests, even after retries"
    SERVER_ERROR = "server-error", "HTTP 5xx: an error of the server, even after retries"
    TIMEOUT = "timeout", "no answer in time, even after retries"
    TOO_SLOW = "too-slow", "the download took longer than max_seconds_per_image"
    CONNECTION = "connection", "the connection failed or broke, even after retries"
    NAME_NOT_RESOLVED = "name-not-resolved", "the host's name could not be resolved, even after retries"
    BAD_URL = "bad-url", "the archive's URL is not valid, so nothing was requested"
    BAD_REDIRECT = "bad-redirect", "the host redirects to a URL that is not valid, or neither http nor https"
    TOO_MANY_REDIRECTS = "too-many-redirects", "the host redirects too often"
    HOST_UNAVAILABLE = "host-unavailable", "the host failed too often or asked for a long pause, so it was not asked"
    TLS = "tls", "no encrypted connection could be made, or it broke, even after retries"
    BAD_CERTIFICATE = "bad-certificate", "the host's TLS certificate is not valid"
    BLOCKED_ADDRESS = "blocked-address", "the host's address is not public"
    TOO_LARGE = "too-large", "the image is larger than max_image_bytes"
    EMPTY = "empty", "the host sent an empty answer"
    NOT_AN_IMAGE = "not-an-image", "the bytes are not an image"
    BAD_ENCODING = "bad-encoding", "the host sent an encoding that is unknown, damaged, or not the one that it names"
    TRUNCATED = "truncated", "the image ends early, even after retries"
    OPTED_OUT = "opted-out", "the host asks not to use its images for machine learning (X-Robots-Tag, tdm-reservation)"


PERMANENT_FAILURES = frozenset(
    {
        FetchFailure.NOT_FOUND,
        FetchFailure.GONE,
        FetchFailure.LEGAL_REASONS,
        FetchFailure.OPTED_OUT,
        FetchFailure.NOT_AN_IMAGE,
        FetchFailure.BLOCKED_ADDRESS,
        FetchFailure.BAD_URL,
    }
)
"""Failures that no run retries, unless the option that caused them changes."""

REFUSALS = frozenset({FetchFailure.UNAUTHORIZED, FetchFailure.FORBIDDEN})
"""Failures that one later run retries. After it they are permanent."""

LIMIT_FAILURES = frozenset({FetchFailure.TOO_SLOW, FetchFailure.TOO_LARGE})
"""Failures that a later run retries if their limit has been raised."""

RETRIED_AT_ONCE = frozenset(
    {
        FetchFailure.TIMEOUT,
        FetchFailure.CONNECTION,
        FetchFailure.NAME_NOT_RESOLVED,
        FetchFailure.TLS,
        FetchFailure.REQUEST_TIMEOUT,  # RFC 9110, 15.5.9
        FetchFailure.TOO_EARLY,  # RFC 8470, 5.2
        FetchFailure.TOO_MANY_REQUESTS,
        FetchFailure.SERVER_ERROR,
        FetchFailure.TRUNCATED,
    }
)
"""Temporary failures that the same run retries, too."""


_NOT_TEMPORARY = PERMANENT_FAILURES | REFUSALS | LIMIT_FAILURES | {"", *Status}


def is_temporary(code: str) -> bool:
    """Whether later runs retry images with this `error`. Every code that is not listed here is temporary."""
    return code not in _NOT_TEMPORARY


class Defect(Code):
    """The column `error` of the verified tables: why an image cannot be used."""

    MISSING_FILE = "missing-file", "the file is missing"
    CHANGED_FILE = "changed-file", "the file differs from what was downloaded"
    NOT_AN_IMAGE = "not-an-image", "the bytes are not an image"
    UNSUPPORTED_FORMAT = "unsupported-format", "an image of a format that cannot be decoded here, such as HEIC"
    TOO_MANY_PIXELS = "too-many-pixels", "the image has more than max_pixels pixels"
    TOO_COMPLEX = "too-complex", "the file has too many scans, tiles, chunks or bytes of metadata to be decoded"
    TRUNCATED = "truncated", "the image ends early"
    CORRUPT_DATA = "corrupt-data", "the decoder found damage"


class DecoderWarning(Code):
    """The column `warning` of the verified tables: irregularities of images that every viewer shows correctly.

    With `strict` they make an image invalid and stand in the column `error`.
    """

    JFIF_REVISION = "jfif-revision", "a JPEG with an unknown JFIF revision"
    STRAY_BYTES = "stray-bytes", "a JPEG with stray bytes in its header"
    PADDING = "padding", "a JPEG with padding before its end"
    DECODER_WARNING = "decoder-warning", "a JPEG that the decoder warns about for another reason, without loss of data"


NO_DAMAGE = frozenset({Defect.UNSUPPORTED_FORMAT, Defect.TOO_MANY_PIXELS, Defect.TOO_COMPLEX})
"""Errors of sound files. The images are left out of the dataset, and their files are kept."""

WITHOUT_FILE = frozenset({Defect.MISSING_FILE, Defect.CHANGED_FILE})
"""Errors of images whose downloaded bytes are lost. The images are downloaded again."""

DELETED_UNDAMAGED = frozenset({*NO_DAMAGE, Defect.CORRUPT_DATA})
"""Errors for which versions before 0.5 deleted sound files. These images are downloaded again."""
