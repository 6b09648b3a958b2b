"""How a dataset is published."""

from dataclasses import dataclass

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.remote.store_address import HUB, StoreAddress


@dataclass(frozen=True)
class PublishOptions:
    """How to publish.

    `only` are patterns of the paths to upload; empty for all. `bytes_per_second` is the bandwidth; 0 for no limit.
    `public_url` is the address from which people read the target; empty if it has none. `retry_pause` is the first
    pause after a temporary failure, in seconds.
    """

    dry_run: bool = False
    prune: bool = False
    only: tuple[str, ...] = ()
    bytes_per_second: int = 0
    public_url: str = ""
    retry_pause: float = 0.5


def check_options(target: StoreAddress, options: PublishOptions) -> None:
    """Raise ParameterError for options that this target does not have."""
    if target.scheme == HUB and target.prefix:
        problem = "a dataset is published to a repository, not to a folder in it"
        raise ParameterError.at(target.option, problem, f"write hf://datasets/{target.container}")
    if target.scheme == HUB and (options.only or options.bytes_per_second):
        name = "--only" if options.only else "--bytes-per-second"
        raise ParameterError.at(name, "the Hub takes a version as one commit, at full speed", "leave it out")
