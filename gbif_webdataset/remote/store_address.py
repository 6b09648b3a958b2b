"""Addresses in a bucket, a repository of the Hugging Face Hub, or a folder."""

import hashlib
import importlib.util
import re
from dataclasses import dataclass, replace
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
ESCAPES = str.maketrans({"%": "%25", "?": "%3F", "#": "%23"})
"""Characters of a folder that have another meaning in an address."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
MAX_NAME_CHARACTERS = 80
INVALID = "not an address in a bucket, a repository or a folder"


@dataclass(frozen=True)
class StoreAddress:
    """Where a dataset is published, or where an input is.

    `container` is the bucket, the container, or the repository such as `me/moths`; empty for a folder. `prefix` is the
    path in it, without slashes at its ends, or the path on this machine. `endpoint` is the address of the server, or
    empty for that of the cloud. `option_name` is the option that names the address. Errors name `given_address`, if the
    address was made from one that the user has given.
    """

    scheme: str
    container: str
    prefix: str
    endpoint: str = ""
    option_name: str = "--to"
    given_address: str = ""

    @classmethod
    def parse(cls, address: str, endpoint: str = "", option_name: str = "--to") -> Self:
        """The address that a text names.

        Raises:
            ParameterError: the text is no such address, or has a secret.
        """
        parts = _split(option_name, address, f"write it like {', '.join(EXAMPLES.values())}")
        if parts.scheme not in EXAMPLES:
            remedy = did_you_mean(parts.scheme, EXAMPLES) or f"write it like {', '.join(EXAMPLES.values())}"
            raise ParameterError.at(_name_option(option_name, parts), INVALID, remedy)
        _check_no_secret(option_name, parts)
        _check_endpoint(parts.scheme, endpoint)
        path = unquote(parts.path) if parts.scheme == FOLDER else parts.path
        folders = path.strip("/").split("/") if path.strip("/") else []
        container, prefix = parts.netloc, "/".join(folders)
        if parts.scheme == HUB:
            container, prefix = "/".join(folders[:2]), "/".join(folders[2:])
        if not _is_valid(parts, folders):
            remedy = f"write it like {EXAMPLES[parts.scheme]}"
            raise ParameterError.at(option_text(option_name, address), INVALID, remedy)
        if parts.scheme == FOLDER:
            return cls(FOLDER, "", f"/{prefix}", option_name=option_name)
        return cls(parts.scheme, container, prefix, endpoint.rstrip("/"), option_name)

    def in_folder(self, prefix: str) -> "StoreAddress":
        """The address with another path in the same bucket, repository or machine."""
        return replace(self, prefix=prefix)

    @property
    def address(self) -> str:
        """The address as users type it, which `parse` reads."""
        if self.scheme == HUB:
            return f"hf://datasets/{self.container}" + (f"/{self.prefix}" if self.prefix else "")
        if self.scheme == FOLDER:
            return f"file://{self.prefix.translate(ESCAPES)}"
        return f"{self.scheme}://{self.container}" + (f"/{self.prefix}" if self.prefix else "")

    @property
    def option(self) -> str:
        """The option of the address, for errors."""
        return option_text(self.option_name, self.given_address or self.address)

    @property
    def name(self) -> str:
        """A file name for this target, such as `s3-bucket-moths-1a2b3c4d`; no other target has it."""
        digest = hashlib.sha256(f"{self.address} {self.endpoint}".encode()).hexdigest()
        words = re.sub(r"[^A-Za-z0-9._]+", "-", f"{self.scheme}-{self.container}-{self.prefix}").strip("-.")
        return f"{words[:MAX_NAME_CHARACTERS].rstrip('-')}-{digest[:8]}"


def is_store_address(text: str) -> bool:
    """Whether a text begins as an address of a bucket, a repository or a folder."""
    return text.partition("://")[0] in EXAMPLES and "://" in text


def check_packages(scheme: str, option_name: str = "--to") -> None:
    """Raise ParameterError if a package that this scheme needs is not installed."""
    if missing := [name for name in PACKAGES[scheme] if importlib.util.find_spec(name) is None]:
        extra = "hub" if scheme == HUB else "cloud"
        raise ParameterError(
            f"{option_name} {scheme}://...: the package {missing[0]} is not installed; install it with "
            f"`pip install 'gbif-webdataset[{extra}]'`, or in a checkout with `.venv/bin/pip install -e '.[{extra}]'`"
        )


def _split(option: str, address: str, remedy: str) -> SplitResult:
    """The parts of an address. Raises ParameterError if it has none, or a control character, which urlsplit drops."""
    if CONTROL.search(unquote(address)):
        raise ParameterError.at(option, "has a control character, such as a line break", "remove it")
    try:
        return urlsplit(address)
    except ValueError:  # its text may have a secret
        raise ParameterError.at(option, "not an address: the name of the server has wrong characters", remedy) from None


def _is_valid(parts: SplitResult, folders: list[str]) -> bool:
    if any(name in ("", ".", "..") for name in folders) or "\\" in parts.path:
        return False
    if parts.scheme == HUB:
        return parts.netloc == "datasets" and len(folders) >= 2
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
    parts = _split("--endpoint", endpoint, "write it like https://minio.example.org:9000")
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
