"""How a dataset is published."""

from dataclasses import dataclass

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.remote.store_address import HUB, StoreAddress


@dataclass(frozen=True)
class PublishOptions:
    """How to publish.

    `only` are patterns of the paths to upload; empty for all. `bytes_per_second` is the bandwidth; 0 for no limit.
    `public_url` is the address from which people read the target; empty if it has none. `retry_pause` is the first
    pause after a temporary failure, in seconds. `continues` is the id of the dataset at the target, if the user states
    that this is a newer version of it.
    """

    dry_run: bool = False
    prune: bool = False
    only: tuple[str, ...] = ()
    bytes_per_second: int = 0
    public_url: str = ""
    retry_pause: float = 0.5
    continues: str = ""


def check_options(target: StoreAddress, options: PublishOptions) -> None:
    """Raise ParameterError for options that this target does not have."""
    if options.only and options.prune:
        raise ParameterError.at("--only", "--prune has no effect with it", "leave one of them out")
    if "?" in options.public_url or "#" in options.public_url:
        problem = "has ? or #, and the paths of files are added after it"
        raise ParameterError.at("--public-url", problem, "give the address of the folder, without them")
    if target.scheme == HUB and (options.only or options.bytes_per_second):
        name = "--only" if options.only else "--bytes-per-second"
        raise ParameterError.at(name, "the Hub takes a version as one commit, at full speed", "leave it out")


def check_shards_address(target: StoreAddress, address: str) -> None:
    """Raise ParameterError if the Hub shall get shards that are at an address; empty: they are on the disk."""
    if address and target.scheme == HUB:
        problem = f"the Hub takes shards from a disk only, and those of this dataset are at {address}"
        raise ParameterError.at(target.option, problem, "leave --CreateWebDataset-to empty, or publish to a bucket")
