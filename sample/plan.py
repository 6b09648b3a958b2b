"""The plan of the sample: its occurrences, its media, and how the server answers a request for each photo.

A seeded generator makes the same plan on every machine. Real archives are untidy, and this one is, too: each oddity is
added on purpose by a function whose name says so.
"""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Literal

from sample.taxa import ATLAS, COMMUNITY, LIGHT_TRAP, MUSEUM, REGIONS, SPECIES, Dataset, Place, Species

Fault = Literal[
    "",
    "missing",
    "gone",
    "truncated",
    "html",
    "empty",
    "thumbnail",
    "png",
    "grey",
    "cmyk",
    "rotated",
    "busy",
    "moved",
    "broken",
    "opted-out",
]

FAULTS: dict[Fault, int] = {
    "missing": 8,  # 404
    "gone": 2,  # 410
    "truncated": 5,  # 200, the body complete by its Content-Length, the file cut
    "html": 2,  # 200, image/jpeg, and a page of HTML
    "empty": 1,  # 200, no body
    "thumbnail": 6,
    "png": 3,  # a PNG under a .jpg name
    "grey": 2,
    "cmyk": 1,
    "rotated": 2,  # EXIF orientation 6
    "busy": 3,  # 503 at the first request, with Retry-After: 0, because the sample is to be quick
    "moved": 1,  # 302 to another path
    "broken": 1,  # 500, always
    "opted-out": 2,  # X-Robots-Tag: noai
}
"""The number of photos with each fault."""

GENUS_ONLY = (("Noctua pronuba", 3), ("Spilosoma lubricipeda", 2))
SIZES = ((500, 375),) * 4 + ((512, 384), (640, 480)) * 2 + ((600, 450), (480, 640), (560, 560), (800, 600), (1024, 768))
THUMBNAIL_SIZES = ((80, 60), (72, 54))
REMARKS = (
    'came to light, wing 3mm (1/8") torn',
    '"gamma" mark very faint',
    'under the "old" lamp; 2" from the bulb',
    'label reads "coll. 1911"',
)
MEDIA_LICENSES = ("http://creativecommons.org/licenses/by-nc/4.0/",) * 9 + (
    "https://creativecommons.org/licenses/by-nc/4.0/legalcode",
    "http://creativecommons.org/licenses/by/4.0/",
    "https://creativecommons.org/licenses/by/4.0/",
    "http://creativecommons.org/publicdomain/zero/1.0/legalcode",
    "http://creativecommons.org/licenses/by-nc-nd/4.0/",
    "https://creativecommons.org/licenses/by-sa/3.0/",
    "all rights reserved",
    "",
)
FORMATS = ("image/jpeg",) * 12 + ("image/jpg", "jpeg", "")


@dataclass(frozen=True)
class Photo:
    """A photo that the server serves. `size` is in pixels, without the effect of its fault."""

    path: str
    """Path and query of its URL."""
    number: int
    """Seed of everything that differs between the photos of an occurrence: framing, light, noise."""
    individual: int
    """Seed of the animal, which all photos of an occurrence share."""
    species: str
    stage: Literal["adult", "larva", "egg"]
    scene: Literal["field", "museum", "trap"]
    size: tuple[int, int]
    fault: Fault = ""


@dataclass(frozen=True)
class Medium:
    """A line of multimedia.txt. An `identifier` or `references` that starts with / is a path at the server."""

    gbif_id: str
    type: str
    format: str
    identifier: str
    references: str
    title: str
    created: str
    creator: str
    publisher: str
    license: str
    photo: Photo | None
    """None if the identifier is not the URL of a photo."""
    ragged: bool = False
    """Whether the line ends after a few fields."""


@dataclass(frozen=True)
class Occurrence:
    """A line of occurrence.txt and one of verbatim.txt. Coordinates are in decimal degrees."""

    gbif_id: str
    species: Species
    genus_only: bool
    as_synonym: bool
    dataset: Dataset
    place: Place
    recorded_by: str
    date: tuple[int, int, int]
    latitude: float
    longitude: float
    life_stage: str
    remarks: str = ""
    ragged: bool = False
    """Whether the line of occurrence.txt ends after a few fields."""

    @property
    def stage(self) -> Literal["adult", "larva", "egg"]:
        word = self.life_stage.lower()
        return "egg" if word == "egg" else "larva" if word in ("larva", "caterpillar") else "adult"


@dataclass(frozen=True)
class Plan:
    """The whole sample, in the order of the lines in its files."""

    occurrences: tuple[Occurrence, ...]
    media: tuple[Medium, ...]
    photos: tuple[Photo, ...]
    """One for each path. Two media can share a photo."""


@lru_cache(maxsize=1)
def make_plan() -> Plan:
    """The plan. Each process makes it once."""
    rng = Random("moths at a light trap")
    occurrences = _with_remarks(_occurrences(rng), rng)
    media = [medium for occurrence in occurrences for medium in _media(occurrence, rng)]
    media = _with_faults(media, rng)
    media = _with_shared_urls(media)
    media = _with_missing_urls(media)
    media += _other_kinds(occurrences, rng)
    media = _with_strange_lines(media, occurrences)
    media.sort(key=lambda medium: medium.gbif_id.strip(), reverse=True)
    photos = {medium.photo.path: medium.photo for medium in media if medium.photo is not None}
    return Plan(tuple(occurrences), tuple(media), tuple(photos.values()))


def photos_by_path() -> dict[str, Photo]:
    """Every photo by its path and query."""
    return {photo.path: photo for photo in make_plan().photos}


def _occurrences(rng: Random) -> list[Occurrence]:
    wanted = [(species, False) for species in SPECIES for _ in range(species.count)]
    by_name = {species.name: species for species in SPECIES}
    wanted += [(by_name[name], True) for name, count in GENUS_ONLY for _ in range(count)]
    rng.shuffle(wanted)
    wanted.append((by_name["Noctua pronuba"], False))
    gbif_id = 4_861_000_000
    occurrences = []
    for number, (species, genus_only) in enumerate(wanted):
        gbif_id += rng.randrange(37, 90_000)
        occurrence = _occurrence(str(gbif_id), species, genus_only, rng)
        occurrences.append(replace(occurrence, ragged=number == len(wanted) - 1))
    return occurrences


def _occurrence(gbif_id: str, species: Species, genus_only: bool, rng: Random) -> Occurrence:
    if species.region == "africa":
        dataset = rng.choice((ATLAS, ATLAS, ATLAS, COMMUNITY))
    elif species.region == "america":
        dataset = rng.choice((COMMUNITY, COMMUNITY, MUSEUM))
    else:
        dataset = rng.choice((COMMUNITY,) * 5 + (MUSEUM, MUSEUM, LIGHT_TRAP, LIGHT_TRAP, LIGHT_TRAP))
    place = rng.choice(REGIONS[species.region])
    year = rng.randrange(1908, 1990) if dataset is MUSEUM else rng.randrange(2015, 2025)
    month = rng.randint(*species.months)
    day = rng.randint(1, calendar.monthrange(year, month)[1])
    stages: tuple[str, ...] = ("Adult",) * 10 + ("ADULT",) * 3 + ("",) * 7
    if dataset is COMMUNITY and species.count > 12 and not genus_only:
        stages += ("Larva", "caterpillar", "Larva", "Egg")
    return Occurrence(
        gbif_id=gbif_id,
        species=species,
        genus_only=genus_only,
        as_synonym=bool(species.synonym[0]) and not genus_only and rng.random() < 0.15,
        dataset=dataset,
        place=place,
        recorded_by=rng.choice(place.people),
        date=(year, month, day),
        latitude=round(place.latitude + rng.uniform(-0.3, 0.3), 6),
        longitude=round(place.longitude + rng.uniform(-0.4, 0.4), 6),
        life_stage=rng.choice(stages),
    )


def _with_remarks(occurrences: list[Occurrence], rng: Random) -> list[Occurrence]:
    """Give a few occurrences remarks with quotes, which small downloads enclose and double."""
    remarks = dict(zip(rng.sample(range(len(occurrences) - 1), len(REMARKS)), REMARKS, strict=True))
    return [replace(occurrence, remarks=remarks.get(i, "")) for i, occurrence in enumerate(occurrences)]


def _media(occurrence: Occurrence, rng: Random) -> list[Medium]:
    """The photos of an occurrence: zero to five, most often one."""
    roll = rng.random()
    count = sum(roll > limit for limit in (0.08, 0.72, 0.89, 0.96, 0.99))
    if occurrence.ragged or occurrence.species.count <= 2:
        count = 1 if occurrence.ragged else 3
    year, month, day = occurrence.date
    license_url = rng.choice(MEDIA_LICENSES)
    media = []
    for index in range(count):
        path = _path(occurrence, index, rng)
        photo = Photo(
            path,
            rng.randrange(2**31),
            int(occurrence.gbif_id) % 2**31,
            occurrence.species.name,
            occurrence.stage,
            _scene(occurrence.dataset),
            rng.choice(SIZES),
        )
        page = path.split("/original")[0].replace("/photos/", "/photo-pages/") if "/photos/" in path else ""
        media.append(
            Medium(
                occurrence.gbif_id,
                "StillImage",
                rng.choice(FORMATS),
                path,
                page,
                f"{occurrence.species.name} 🦋" if rng.random() < 0.05 else "",
                f"{year}-{month:02}-{day:02}T{rng.randrange(20, 24)}:{rng.randrange(60):02}:{rng.randrange(60):02}Z",
                occurrence.recorded_by,
                occurrence.dataset.publisher,
                license_url,
                photo,
            )
        )
    return media


def _scene(dataset: Dataset) -> Literal["field", "museum", "trap"]:
    return "museum" if dataset is MUSEUM else "trap" if dataset is LIGHT_TRAP else "field"


def _path(occurrence: Occurrence, index: int, rng: Random) -> str:
    """Path and query at which the dataset's publisher serves a photo. URLs of the atlas differ only in their query."""
    folder = occurrence.dataset.folder
    year, month, day = occurrence.date
    if occurrence.dataset is MUSEUM:
        return f"/{folder}/MOTN-ENT-{int(occurrence.gbif_id) % 1_000_000:06}_{'dvlhx'[index]}.jpg"
    if occurrence.dataset is LIGHT_TRAP:
        trap = 1 + int(occurrence.gbif_id) % 7
        return f"/{folder}/trap-{trap:02}/{year}{month:02}{day:02}/{rng.randrange(10**6):06}-{index}.jpg"
    if occurrence.dataset is ATLAS:
        return f"/{folder}/image?id={int(occurrence.gbif_id) % 10**7}&n={index + 1}"
    suffix = rng.choice(("jpg", "jpg", "jpeg"))
    query = f"?{rng.randrange(1_430_000_000, 1_730_000_000)}" if rng.random() < 0.8 else ""
    return f"/{folder}/photos/{rng.randrange(10**6, 4 * 10**8)}/original.{suffix}{query}"


def _with_faults(media: list[Medium], rng: Random) -> list[Medium]:
    """Give each fault to as many photos as FAULTS says. Photos of the rarest species get none."""
    rare = {species.name for species in SPECIES if species.count <= 2}
    able = [
        i
        for i, medium in enumerate(media)
        if medium.photo is not None and medium.photo.species not in rare and medium.photo.scene != "museum"
    ]
    faults = [fault for fault, count in FAULTS.items() for _ in range(count)]
    for i, fault in zip(rng.sample(able[:-1], len(faults)), faults, strict=True):
        photo = media[i].photo
        if photo is None:
            continue
        size = rng.choice(THUMBNAIL_SIZES) if fault == "thumbnail" else photo.size
        path = photo.path
        if fault == "png" and ".jpeg" in path:
            path = path.replace(".jpeg", ".jpg")
        media[i] = replace(media[i], identifier=path, photo=replace(photo, path=path, size=size, fault=fault))
    return media


def _has_no_fault(medium: Medium) -> bool:
    """Whether this is a photo without a fault. Other oddities are added to such media only."""
    return medium.photo is not None and not medium.photo.fault


def _with_shared_urls(media: list[Medium]) -> list[Medium]:
    """Let pairs of occurrences share a URL (two pairs of one species, two not), and one occurrence have a URL twice."""
    media = list(media)
    plain = [i for i, medium in enumerate(media) if _has_no_fault(medium)]
    pairs: list[tuple[int, int]] = []
    for same_species in (True, True, False, False):
        first = plain[17 * (len(pairs) + 1)]
        second = next(
            i
            for i in plain
            if i > first + 20
            and media[i].gbif_id != media[first].gbif_id
            and i not in {j for p in pairs for j in p}
            and (_species_of(media[i]) == _species_of(media[first])) is same_species
        )
        pairs.append((first, second))
    for first, second in pairs:
        media[second] = replace(media[second], identifier=media[first].identifier, photo=media[first].photo)
    twice = next(i for i in plain if i > 200 and _is_alone(media, i))
    media.insert(twice + 1, media[twice])
    return media


def _species_of(medium: Medium) -> str:
    return medium.photo.species if medium.photo is not None else ""


def _is_alone(media: Sequence[Medium], index: int) -> bool:
    """Whether it is the only medium of its occurrence and the only one with its URL."""
    same = [m for m in media if m.gbif_id == media[index].gbif_id or m.identifier == media[index].identifier]
    return len(same) == 1


def _with_missing_urls(media: list[Medium]) -> list[Medium]:
    """Let three media have an empty identifier and a page in references, one an ftp:// URL, and one a relative URL."""
    able = [i for i, medium in enumerate(media) if _has_no_fault(medium) and _is_alone(media, i)]
    chosen = [able[k * len(able) // 6] for k in range(1, 6)]
    for i in chosen[:3]:
        media[i] = replace(media[i], identifier="", references=f"/museum/specimens/{media[i].gbif_id}", photo=None)
    media[chosen[3]] = replace(media[chosen[3]], identifier="ftp://ftp.moths.example/plates/IMG_0412.jpg", photo=None)
    media[chosen[4]] = replace(media[chosen[4]], identifier="images/IMG_2207.jpg", photo=None)
    return media


def _other_kinds(occurrences: Sequence[Occurrence], rng: Random) -> list[Medium]:
    """Media that are not photos: sounds, films, 3D models and web pages."""
    kinds = (
        [("Sound", "audio/mpeg", "/inaturalist/sounds/{}.mp3")] * 3
        + [("MovingImage", "video/mp4", "/lantern/films/{}.mp4")] * 3
        + [("InteractiveResource", "text/html", "/museum/models/{}.html")] * 2
        + [("StillImage", "text/html", "/museum/specimens/{}")] * 4
    )
    chosen = rng.sample(occurrences[:-1], len(kinds))
    return [
        Medium(
            occurrence.gbif_id,
            kind,
            media_format,
            path.format(occurrence.gbif_id),
            "",
            "",
            "",
            occurrence.recorded_by,
            occurrence.dataset.publisher,
            occurrence.dataset.license_url,
            None,
        )
        for occurrence, (kind, media_format, path) in zip(chosen, kinds, strict=True)
    ]


def _with_strange_lines(media: list[Medium], occurrences: Sequence[Occurrence]) -> list[Medium]:
    """Add a line with too few fields, a line of an occurrence that does not exist, and an id followed by a space."""
    whole = [
        i
        for i, medium in enumerate(media)
        if _has_no_fault(medium) and _is_alone(media, i) and medium.gbif_id != occurrences[-1].gbif_id
    ]
    short, spaced = whole[40], whole[80]
    media[short] = replace(media[short], ragged=True, photo=None)
    media[spaced] = replace(media[spaced], gbif_id=media[spaced].gbif_id + " ")
    orphan = replace(
        media[whole[120]], gbif_id="4860999999", identifier="/inaturalist/photos/777/original.jpg", photo=None
    )
    return [*media, orphan]
