"""Large objects of S3, which are sent in parts. Parts that a failed or killed run has sent are not sent again.

Unfinished uploads cost money until somebody aborts them, and only boto3 lists them.
"""

import hashlib
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from gbif_webdataset.remote.local_file import RecordedFile
from gbif_webdataset.remote.store_address import StoreAddress

PART_BYTES = 32 << 20
FORBIDDEN, MISSING = 403, 404


class S3Parts:
    """The uploads in parts below a target's prefix. Errors are those of boto3."""

    def __init__(self, target: StoreAddress) -> None:
        import boto3
        from botocore.config import Config

        # Some servers of S3 do not know the checksums of boto3. The caller repeats requests, and counts them.
        config = Config(retries={"total_max_attempts": 1}, request_checksum_calculation="when_required")
        self._client = boto3.Session().client("s3", endpoint_url=target.endpoint or None, config=config)
        self._bucket, self._prefix = target.container, f"{target.prefix}/" if target.prefix else ""

    def put(self, name: str, file: RecordedFile) -> None:
        """Write an object, which exists completely or not at all.

        Raises:
            DamagedFileError: the file differs from its record.
        """
        place = {"Bucket": self._bucket, "Key": self._prefix + name}
        uploads = self._list_uploads([name])
        if uploads:
            upload = {**place, "UploadId": uploads[-1]["UploadId"]}
            self._abort(uploads[:-1])
            sent = self._list_parts(upload)
        elif self._is_stored(place, file):  # the answer to the end of the upload was lost
            return
        else:
            created = self._client.create_multipart_upload(**place, ContentType=file.media_type)
            upload, sent = {**place, "UploadId": created["UploadId"]}, {}
        tags = {}
        for number, block in enumerate(replace(file, pace=None).iterate(PART_BYTES), 1):
            tag = f'"{_digest(block).hexdigest()}"'
            if sent.get(number) != (len(block), tag):
                if file.pace:
                    file.pace(len(block))
                tag = self._client.upload_part(**upload, PartNumber=number, Body=block)["ETag"]
            tags[number] = tag
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in tags.items()]
        self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    def copy(self, source: str, name: str) -> None:
        """Let the server copy an object to another name, in parts if it is large."""
        place = {"Bucket": self._bucket, "Key": self._prefix + source}
        self._client.copy(place, self._bucket, self._prefix + name)

    def abort(self, names: Collection[str]) -> None:
        """Abort the unfinished uploads of these objects; a name with a slash at its end stands for all below it."""
        try:
            uploads = self._list_uploads(names)
        except self._client.exceptions.ClientError as error:
            if _find_status(error) == FORBIDDEN:  # an upload in parts begins with this request, so there is none
                return
            raise
        self._abort(uploads)

    def _is_stored(self, place: dict[str, str], file: RecordedFile) -> bool:
        """Whether an object has the bytes of the file, by its ETag.

        The ETag is made from the MD5 of all bytes, or of the parts; a bucket that encrypts has others.
        """
        try:
            found = self._client.head_object(**place)
        except self._client.exceptions.ClientError as error:
            if _find_status(error) == MISSING:
                return False
            raise
        if found["ContentLength"] != file.size:
            return False
        whole, digests = _digest(b""), []
        for block in replace(file, pace=None).iterate(PART_BYTES):
            whole.update(block)
            digests.append(_digest(block).digest())
        tags = (whole.hexdigest(), f"{_digest(b''.join(digests)).hexdigest()}-{len(digests)}")
        return found["ETag"].strip('"') in tags

    def _abort(self, uploads: list[dict[str, Any]]) -> None:
        for one in uploads:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=one["Key"], UploadId=one["UploadId"])

    def _list_uploads(self, names: Collection[str]) -> list[dict[str, Any]]:
        """The unfinished uploads of these objects, the oldest first."""
        keys = {self._prefix + name for name in names}
        folders = tuple(key for key in keys if key.endswith("/"))
        prefix = next(iter(keys)) if len(keys) == 1 else self._prefix
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix)
        try:
            found = [one for page in pages for one in page.get("Uploads", ())]
        except self._client.exceptions.NoSuchUpload:  # what rclone answers if no upload has ever been started
            return []
        uploads = [one for one in found if one["Key"] in keys or one["Key"].startswith(folders)]
        return sorted(uploads, key=lambda one: one["Initiated"])

    def _list_parts(self, upload: dict[str, str]) -> dict[int, tuple[int, str]]:
        """Size and ETag of each part that the target has."""
        pages = self._client.get_paginator("list_parts").paginate(**upload)
        return {one["PartNumber"]: (one["Size"], one["ETag"]) for page in pages for one in page.get("Parts", ())}


def _digest(data: bytes) -> Any:
    """The MD5, of which S3 makes ETags."""
    return hashlib.md5(data, usedforsecurity=False)


def _find_status(error: Any) -> int:
    """The HTTP status in an error of boto3."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
