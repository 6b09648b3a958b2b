"""The estimate of fetching as text for the terminal."""

from collections.abc import Iterable

from gbif_webdataset.fetch.host_limits import format_host
from gbif_webdataset.fetch.plan_fetch import FetchEstimate, HostEstimate
from gbif_webdataset.fetch.reachability import describe_network_remedy
from gbif_webdataset.fetch.size_sample import HostAnswers
from gbif_webdataset.formatting import format_count, format_estimate, format_size
from gbif_webdataset.terms.outcomes import Status, is_temporary

MAX_SHOWN_HOSTS = 20


def format_fetch_estimate(estimate: FetchEstimate) -> str:
    """How many images remain at which hosts, how many bytes and how much time they take, and whether they fit."""
    fetched, cached = estimate.settled[Status.FETCHED], estimate.settled[Status.CACHED]
    temporary = sum(number for code, number in estimate.settled.items() if is_temporary(code))
    failed = estimate.settled.total() - fetched - cached - temporary
    remaining = estimate.remaining
    hosts = format_count(len(estimate.hosts), "host")
    counts = [
        f"{remaining + estimate.settled.total():,} images in the manifest: {fetched:,} are already fetched",
        f"{cached:,} come from cache_path" if cached else "",
        f"{failed:,} failed permanently" if failed else "",
        f"{temporary:,} failed and may succeed in a later run" if temporary else "",
        f"{remaining:,} remain to be fetched from {hosts}" if remaining else "none remains to be fetched",
    ]
    lines = [", ".join(filter(None, counts))]
    if remaining:
        lines += [_format_table(estimate), *_format_totals(estimate)]
    if is_offline([host.answers for host in estimate.hosts]):
        lines.append(f"WARNING: no connection to any host could be made: {describe_network_remedy()}")
    return "\n".join(lines)


def is_offline(answers: Iterable[HostAnswers]) -> bool:
    """Whether hosts were asked, and no connection to any of them was made."""
    asked = [host for host in answers if host.failures or host.sizes or host.without_size]
    return bool(asked) and all(host.is_unreachable for host in asked)


def _format_table(estimate: FetchEstimate) -> str:
    """A table of the hosts with most images, one line for the other hosts, and one for all hosts."""
    shown, others = estimate.hosts[:MAX_SHOWN_HOSTS], estimate.hosts[MAX_SHOWN_HOSTS:]
    rows: list[tuple[str, ...]] = [("host", "images", "image size", "total size", "time", "answers to test requests")]
    rows += [_make_row(format_host(host.host), [host], host.seconds, _format_answers(host.answers)) for host in shown]
    if others:
        name = f"{format_count(len(others), 'host')} more"
        rows.append(_make_row(name, others, max(host.seconds for host in others), ""))
    rows.append(_make_row("all", estimate.hosts, estimate.seconds, ""))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        f"  {row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:5], widths[1:], strict=True))
        + f"  {row[5]}".rstrip()
        for row in rows
    )


def _make_row(name: str, hosts: list[HostEstimate], seconds: float, answers: str) -> tuple[str, ...]:
    images = sum(host.images for host in hosts)
    sizes = [host.bytes for host in hosts if host.bytes is not None]
    total = sum(sizes) if len(sizes) == len(hosts) else None
    each, all_bytes = ("?", "?") if total is None else (format_size(round(total / images)), format_size(round(total)))
    return name, f"{images:,}", each, all_bytes, format_estimate(seconds), answers


def _format_answers(answers: HostAnswers) -> str:
    """A host's answers, such as '4 sizes, not-found 1'."""
    parts = [f"{len(answers.sizes)} sizes"] if answers.sizes else []
    parts += [f"without a size {answers.without_size}"] if answers.without_size else []
    parts += [f"{code} {number}" for code, number in answers.failures.most_common()]
    return ", ".join(parts) or "not asked"


def _format_totals(estimate: FetchEstimate) -> list[str]:
    """One line each for the bytes, the time and the disk, and a warning if the images do not fit."""
    limit = f"the request rate of {format_host(estimate.slowest_host)}" if estimate.slowest_host else "num_workers"
    time = f"time   about {format_estimate(estimate.seconds)}, limited by {limit}"
    disk = f"disk   {format_size(estimate.free)} free at {estimate.folder}"
    disk += (
        f"; min_free_bytes keeps {format_size(estimate.min_free_bytes)} of it free" if estimate.min_free_bytes else ""
    )
    if estimate.bytes is None:
        return ["bytes  unknown: no host reported a size", time, disk]
    if estimate.bytes and estimate.seconds:
        time += f"; needs a connection of {format_size(round(estimate.bytes / estimate.seconds))} per second"
    total, sample = format_size(round(estimate.bytes)), sum(len(host.answers.sizes) for host in estimate.hosts)
    images = format_count(sample, "image")
    lines = [f"bytes  about {total}, estimated from {images}; shards on this disk need additional space", time, disk]
    usable = estimate.free - estimate.min_free_bytes
    if estimate.bytes > usable:
        lines.append(
            f"WARNING: {total} do not fit, as only {format_size(max(0, usable))} may be filled: free some space, "
            "choose another --output, or fetch less, for example with --FetchChunk-inaturalist-size large"
        )
    return lines
