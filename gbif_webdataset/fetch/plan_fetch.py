"""Estimate what fetching will take: images by host, and from the sizes of a sample the bytes, the time and the disk."""

import statistics
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from gbif_webdataset.fetch.earlier_outcomes import EarlierOutcomes, Settlement, find_deleted_images, has_whole_file
from gbif_webdataset.fetch.fetch_options import FetchOptions
from gbif_webdataset.fetch.host_limits import parse_host
from gbif_webdataset.fetch.inaturalist import change_photo_size
from gbif_webdataset.fetch.ledger import read_manifest_urls
from gbif_webdataset.fetch.size_sample import HostAnswers, SizeSampler
from gbif_webdataset.storage.free_space import free_bytes
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.image_store import open_store
from gbif_webdataset.terms.outcomes import FetchFailure, Status

MAX_SAMPLED_HOSTS = 40


@dataclass
class HostBacklog:
    """The images of a host that remain to be fetched, the requests that they need, and a sample of their URLs.

    The sample is sorted by a pseudo-random rank of each URL.
    """

    images: int = 0
    requests: int = 0
    sample: list[tuple[int, str]] = field(default_factory=list)

    def add_url(self, url: str, images: int, max_sample: int) -> None:
        """Count a URL that so many images have. The `max_sample` URLs with the lowest ranks form the sample."""
        self.images += images
        self.requests += 1
        rank = crc32(url.encode())
        if max_sample and (len(self.sample) < max_sample or rank < self.sample[-1][0]):
            insort(self.sample, (rank, url))
            del self.sample[max_sample:]


@dataclass(frozen=True)
class HostEstimate:
    """The estimate for one host.

    `bytes` is None if no size is known. `seconds` is the time at the host's limits, `response_seconds` the time of all
    responses, one after another.
    """

    host: str
    images: int
    requests: int
    bytes: float | None
    seconds: float
    response_seconds: float
    answers: HostAnswers


@dataclass(frozen=True)
class FetchEstimate:
    """The estimate for all hosts; `hosts` starts with those that have most images.

    `settled` are the images that need no download, by outcome; `cached` are those to copy from the cache. `bytes` is
    None if no host reported a size. `seconds` is the time at the limits of `slowest_host` or, if it is empty, with
    num_workers requests at the same time. The disk of `folder` has `free` bytes, of which `min_free_bytes` stay free.
    """

    settled: Counter[str]
    hosts: list[HostEstimate]
    bytes: float | None
    seconds: float
    slowest_host: str
    folder: Path
    free: int
    min_free_bytes: int

    @property
    def remaining(self) -> int:
        """The number of images that remain to be fetched."""
        return sum(host.images for host in self.hosts)

    @property
    def unstored(self) -> int:
        """The number of images that remain to be fetched, or to be copied from the cache."""
        return self.remaining + self.settled[Status.CACHED]

    @property
    def unstored_bytes(self) -> float | None:
        """The bytes of these images, if they are as large as those to be fetched; None if no size is known."""
        return self.unstored * self.bytes / self.remaining if self.remaining and self.bytes else None


def plan_fetch(
    output: Path,
    manifests: Iterable[Path],
    options: FetchOptions,
    max_sample: int,
    announce: Callable[[int, int], None],
) -> FetchEstimate:
    """An estimate of what fetching all chunks will take; nothing is written.

    `manifests` are the chunks of the manifest in their order, and `options` those of the whole job. Up to `max_sample`
    images of each of MAX_SAMPLED_HOSTS hosts are measured; `announce` is called with the number of images and of hosts
    before the first request.
    """
    settled, backlogs = _count_images(output, manifests, options, max_sample)
    ordered = dict(sorted(backlogs.items(), key=lambda item: (-item[1].images, item[0])))
    sampled = list(ordered.items())[:MAX_SAMPLED_HOSTS]
    urls = {host: [url for _, url in backlog.sample] for host, backlog in sampled if backlog.sample}
    if urls:
        announce(sum(map(len, urls.values())), len(urls))
    answers = SizeSampler(options).sample_sizes(urls) if urls else {}
    return _estimate_all(settled, ordered, answers, options, output)


def _count_images(
    output: Path, manifests: Iterable[Path], options: FetchOptions, max_sample: int
) -> tuple[Counter[str], dict[str, HostBacklog]]:
    """The number of settled images by outcome, and the remaining images by host."""
    settled: Counter[str] = Counter()
    backlogs: dict[str, HostBacklog] = {}
    for chunk, manifest in enumerate(manifests):
        settled_in_chunk, urls = _count_chunk(output, manifest, chunk, options)
        settled += settled_in_chunk
        for url, images in urls.items():
            host = parse_host(url)
            if host not in backlogs:
                backlogs[host] = HostBacklog()
            backlogs[host].add_url(url, images, max_sample)
    return settled, backlogs


def _count_chunk(output: Path, manifest: Path, chunk: int, options: FetchOptions) -> tuple[Counter[str], Counter[str]]:
    """The images of a chunk that fetch_chunk would keep or copy, by outcome, and the others by URL."""
    store, earlier = open_store(output / "images", chunk), EarlierOutcomes.load(output / "fetched", chunk)
    deleted = find_deleted_images(output / "deleted.csv", earlier, options)
    settlement = Settlement(earlier, store, options, deleted)
    settled: Counter[str] = Counter()
    urls: Counter[str] = Counter()
    cache = ImageReader(options.cache) if isinstance(options.cache, Path) else None  # no request for each image
    if cache:
        cache.find_places([path for path, _ in read_manifest_urls(manifest)])
    for path, identifier in read_manifest_urls(manifest):
        url = change_photo_size(identifier, options.inaturalist_size)
        outcome = earlier.find(url, path)
        if outcome and settlement.is_settled(outcome):
            settled[outcome.error or Status.FETCHED] += 1
        elif any(has_whole_file(other, store) for other in earlier.find_downloaded(url)):
            settled[Status.FETCHED] += 1
        elif cache and url == identifier and cache.has_image(path):
            settled[Status.CACHED] += 1
        else:
            urls[url] += 1
    return settled, urls


def _estimate_all(
    settled: Counter[str],
    backlogs: Mapping[str, HostBacklog],
    answers: Mapping[str, HostAnswers],
    options: FetchOptions,
    output: Path,
) -> FetchEstimate:
    """Add up the hosts. A host without an answer counts as an average host."""
    average = _Average.of(answers.values())
    hosts = [
        _estimate_host(host, backlog, answers.get(host, HostAnswers()), options, average)
        for host, backlog in backlogs.items()
    ]
    sizes = [host.bytes for host in hosts if host.bytes is not None]
    slowest = max(hosts, key=lambda host: host.seconds, default=None)
    slowest_seconds = slowest.seconds if slowest else 0.0
    worker_seconds = sum(host.response_seconds for host in hosts) / options.workers
    return FetchEstimate(
        settled,
        hosts,
        sum(sizes) if len(sizes) == len(hosts) else None,
        max(slowest_seconds, worker_seconds),
        slowest.host if slowest and slowest_seconds >= worker_seconds else "",
        output,
        free_bytes(output),
        options.min_free_bytes,
    )


@dataclass(frozen=True)
class _Average:
    """The mean size of an image in bytes, None if it is not known, and the median seconds of an answer."""

    size: float | None
    seconds: float

    @classmethod
    def of(cls, answers: Iterable[HostAnswers]) -> "_Average":
        """The averages over the answers of several hosts."""
        sizes: list[int] = []
        seconds: list[float] = []
        for host in answers:
            sizes += host.sizes
            seconds += host.seconds
        return cls(statistics.fmean(sizes) if sizes else None, statistics.median(seconds) if seconds else 0.0)


def _estimate_host(
    host: str, backlog: HostBacklog, answers: HostAnswers, options: FetchOptions, all_hosts: _Average
) -> HostEstimate:
    limits = options.hosts.find_limits(host)
    interval = 1 / limits.requests_per_second if limits.requests_per_second else 0.0
    own = _Average.of([answers])
    size = own.size if answers.sizes else all_hosts.size
    latency = own.seconds if answers.seconds else all_hosts.seconds
    share = answers.available_share
    is_blocked = set(answers.failures) == {FetchFailure.BLOCKED_ADDRESS} and not share
    return HostEstimate(
        host,
        backlog.images,
        backlog.requests,
        0.0 if not share else None if size is None else backlog.images * share * size,
        0.0 if is_blocked else backlog.requests * max(interval, latency / limits.connections),
        0.0 if is_blocked else backlog.requests * latency,
        answers,
    )
