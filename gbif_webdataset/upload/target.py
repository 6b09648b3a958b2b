"""The address of a published dataset: a bucket, a repository of the Hugging Face Hub, or a folder."""

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

from gbif_webdataset.errors import ParameterError, did_you_mean, option_text

EXAMPLES = {
    "s3": "s3://bucket/prefix",
    "gs": "gs://bucket/prefix",
    "az": "az://container/prefix",
    "hf": "hf://datasets/me/moths",
    "file": "file:///mnt/x",
}
"""An address of each scheme."""
HUB, FOLDER = "hf", "file"
PACKAGES = {"s3": ("obstore", "boto3"), "gs": ("obstore",), "az": ("obstore",), HUB: ("huggingface_hub",), FOLDER: ()}
"""The packages that each scheme needs."""
MAX_NAME_CHARACTERS = 80


@dataclass(frozen=True)
class PublishTarget:
    """Where a dataset is published.

    `container` is the bucket, the container, or the repository such as `me/moths`; empty for a folder. `prefix` is the
    path in it, without slashes at its ends, or the path of the folder. `endpoint` is the address of the server, or
    empty for that of the cloud.
    """

    scheme: str
    container: str
    prefix: str
    endpoint: str = ""

    @classmethod
    def parse(cls, address: str, endpoint: str = "") -> Self:
        """The target of the values of --to and --endpoint.

        Raises:
            ParameterError: the address cannot be a target, or a package for it is not installed.
        """
        parts = urlsplit(address)
        if parts.scheme not in EXAMPLES:
            remedy = did_you_mean(parts.scheme, EXAMPLES) or f"write it like {', '.join(EXAMPLES.values())}"
            raise ParameterError.at(_name_option("--to", parts), "not an address to publish to", remedy)
        _check_no_secret("--to", parts)
        _check_endpoint(parts.scheme, endpoint)
        path = unquote(parts.path) if parts.scheme == FOLDER else parts.path
        folders = path.strip("/").split("/") if path.strip("/") else []
        container, prefix = parts.netloc, "/".join(folders)
        if parts.scheme == HUB:
            container, prefix = prefix, ""
        if not _is_valid(parts, folders):
            problem = "not an address to publish to"
            raise ParameterError.at(option_text("--to", address), problem, f"write it like {EXAMPLES[parts.scheme]}")
        check_packages(parts.scheme)
        if parts.scheme == FOLDER:
            return cls(FOLDER, "", f"/{prefix}")
        return cls(parts.scheme, container, prefix, endpoint.rstrip("/"))

    @property
    def address(self) -> str:
        """The address as users type it."""
        if self.scheme == HUB:
            return f"hf://datasets/{self.container}"
        return f"{self.scheme}://{self.container}" + (
            f"/{self.prefix}" if self.container and self.prefix else self.prefix
        )

    @property
    def option(self) -> str:
        """The option of the address, for errors."""
        return option_text("--to", self.address)

    @property
    def name(self) -> str:
        """A file name for this target, such as `s3-bucket-moths-1a2b3c4d`; no other target has it."""
        digest = hashlib.sha256(f"{self.address} {self.endpoint}".encode()).hexdigest()
        words = re.sub(r"[^A-Za-z0-9._]+", "-", f"{self.scheme}-{self.container}-{self.prefix}").strip("-.")
        return f"{words[:MAX_NAME_CHARACTERS].rstrip('-')}-{digest[:8]}"


def check_packages(scheme: str) -> None:
    """Raise ParameterError if a package that this scheme needs is not installed."""
    if missing := [name for name in PACKAGES[scheme] if importlib.util.find_spec(name) is None]:
        extra = "hub" if scheme == HUB else "cloud"
        raise ParameterError(
            f"--to {scheme}://...: the package {missing[0]} is not installed; install it with "
            f"`pip install 'gbif-webdataset[{extra}]'`, or in a checkout with `.venv/bin/pip install -e '.[{extra}]'`"
        )


def _is_valid(parts: SplitResult, folders: list[str]) -> bool:
    if any(name in ("", ".", "..") for name in folders) or "\\" in parts.path:
        return False
    if parts.scheme == HUB:
        return parts.netloc == "datasets" and len(folders) == 2
    if parts.scheme == FOLDER:
        return parts.netloc in ("", "localhost") and bool(folders)
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]+", parts.netloc) is not None


def _check_no_secret(option: str, parts: SplitResult) -> None:
    """Raise ParameterError for a user name, a password or a token in an address; the error does not repeat it."""
    if "@" in parts.netloc or parts.query or parts.fragment:
        problem = "has a user, a password, a token or another text after ? or #, which would be recorded"
        remedy = "leave it out and give the credentials as the cloud's own tools take them (docs/publishing.md)"
        raise ParameterError.at(_name_option(option, parts), problem, remedy)


def _check_endpoint(scheme: str, endpoint: str) -> None:
    if not endpoint:
        return
    parts = urlsplit(endpoint)
    _check_no_secret("--endpoint", parts)
    if scheme == FOLDER:
        raise ParameterError.at(option_text("--endpoint", endpoint), "a folder has no endpoint", "leave it out")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        remedy = "write it like https://minio.example.org:9000"
        raise ParameterError.at(_name_option("--endpoint", parts), "not the address of a server", remedy)


def _name_option(option: str, parts: SplitResult) -> str:
    """An option with its value, without anything that may be a secret."""
    host = parts.netloc.rpartition("@")[2]
    return option_text(option, f"{parts.scheme}://{host}{parts.path}" if parts.scheme else parts.path)
