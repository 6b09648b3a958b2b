"""Archives that mean harm, and archives damaged at random: one sentence, or a manifest that adds up."""

import gzip
import io
import random
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import ArchiveError, DatasetError
from gbif_webdataset.read import line_blocks, read_archive
from gbif_webdataset.read.partition_archive import Resources
from gbif_webdataset.read.select_media import Selection
from tests.support.archives import DC, GBIF, MEDIA, OCCURRENCE, gbif, meta, part, write
from tests.support.archives import lines as rows_of

ALL = Selection("acceptedTaxonKey")
MUTANTS = 600
MEMORY = 64 << 20
OCCURRENCES = [
    {"gbifID": str(n), "datasetKey": f"d{n % 3}", "acceptedTaxonKey": "5WZLF", "countryCode": "NA"} for n in range(30)
]
PHOTOS = [
    {
        "gbifID": str(n % 30),
        "type": "StillImage",
        "format": "image/jpeg",
        "identifier": f"https://photos.example/{n}.jpg",
    }
    for n in range(45)
]
Members = dict[str, bytes]


def build(archive: Path, tmp_path: Path, max_expansion: float = 200.0) -> list[dict[str, str]]:
    """The manifest's rows, once it is seen that they add up with the rejected ones."""
    folder = tmp_path / "manifest"
    counts = read_archive.build(
        archive, folder, 2, ALL, Resources(MEMORY, tmp_path / "scratch", max_expansion), lambda done, total: None
    )
    images = [row for n in range(2) for row in pq.read_table(folder / f"chunk-{n:05d}.parquet").to_pylist()]
    rejected = pq.read_table(folder / "rejected.parquet").to_pylist()
    media = [row for row in rejected if row["file"] in counts.media_files]
    assert counts.media_lines == len(images) + len(media)
    assert counts.images == [pq.read_metadata(folder / f"chunk-{n:05d}.parquet").num_rows for n in range(2)]
    assert all(row["reason"] and row["line"] > 0 and row["raw"] is not None for row in rejected)
    paths = [row["image_path"] for row in images]
    assert len({path.lower() for path in paths}) == len(paths)
    assert all(re.fullmatch(r"[A-Za-z0-9~-]+/[A-Za-z0-9~_-]+\.jpg", path) for path in paths)
    assert not list((tmp_path / "scratch").iterdir())
    return images


def members(**others: str | bytes) -> Members:
    """The members of a small archive; a keyword such as `meta_xml` takes the place of one."""
    found: dict[str, str | bytes] = {
        "meta.xml": meta(OCCURRENCE, MEDIA),
        "occurrence.txt": rows_of(OCCURRENCE, OCCURRENCES),
        "multimedia.txt": rows_of(MEDIA, PHOTOS),
    }
    found |= {name.replace("_", "."): content for name, content in others.items()}
    return {name: content if isinstance(content, bytes) else content.encode() for name, content in found.items()}


def tar(path: Path, contents: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_a_descriptor_with_entities_is_not_trusted(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    descriptor = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]>' + meta(OCCURRENCE, MEDIA).replace(
        "occurrence.txt", "&l11;"
    )
    outside = '<!doctype a SYSTEM "file:///etc/passwd">' + meta(OCCURRENCE, MEDIA)
    wide = b"\xff\xfe" + descriptor.replace('"1.0"', '"1.0" encoding="UTF-16"').encode("utf-16-le")
    for content in (descriptor, outside, wide):
        with pytest.raises(ArchiveError, match=r"a\.zip: its meta\.xml declares entities; it is not trusted"):
            build(write(tmp_path / "a.zip", members(meta_xml=content)), tmp_path)


@pytest.mark.parametrize(
    "location",
    ["../multimedia.txt", "/etc/passwd", "a/../../x", r"..\x", r"\\host\x", "http://h.example/x", "file:///etc/passwd",
     "C:/x", "C:x", "ftp:x"],
)  # fmt: skip
def test_a_location_that_leads_out_of_the_archive_is_refused(tmp_path: Path, location: str) -> None:
    descriptor = meta(OCCURRENCE, MEDIA).replace("multimedia.txt", location)
    with pytest.raises(ArchiveError, match=r"meta\.xml names .* which leads out of the archive; it is not trusted"):
        build(write(tmp_path / "a.zip", members(meta_xml=descriptor)), tmp_path)


def test_the_metadata_document_is_not_looked_for_outside(tmp_path: Path) -> None:
    (tmp_path / "secret.xml").write_text("checklistKey: d7dddbf4-2cf0-4f39-9b2a-bb099caae36c")
    (tmp_path / "folder").mkdir()
    descriptor = meta(OCCURRENCE, MEDIA).replace("<archive ", '<archive metadata="../secret.xml" ')
    for name, content in members(meta_xml=descriptor).items():
        (tmp_path / "folder" / name).write_bytes(content)
    counts = read_archive.build(
        tmp_path / "folder", tmp_path / "m", 1, ALL, Resources(MEMORY, tmp_path), lambda a, b: None
    )
    assert counts.checklist is None


def test_links_in_a_tar_are_not_followed_and_nothing_of_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text(rows_of(MEDIA, PHOTOS))
    (tmp_path / "work").mkdir()
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        with tarfile.open(tmp_path / "work" / "a.tar", "w") as archive:
            for name, content in {**members(), "../escaped.txt": b"x", "/tmp/escaped.txt": b"x"}.items():
                info = tarfile.TarInfo(name)
                if name == "multimedia.txt":
                    info.type, info.linkname = kind, str(tmp_path / "secret.txt")
                    archive.addfile(info)
                else:
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        with pytest.raises(ArchiveError, match=r"meta\.xml names multimedia\.txt, which is not in the archive"):
            build(tmp_path / "work" / "a.tar", tmp_path)
    assert not (tmp_path / "escaped.txt").exists()


def test_members_beyond_the_archive_are_not_written(tmp_path: Path) -> None:
    contents = {**members(), "../escaped.txt": b"x", "../../escaped.txt": b"x"}
    for archive in (tar(tmp_path / "a.tar.gz", contents), write(tmp_path / "a.zip", contents)):
        assert len(build(archive, tmp_path)) == 45
    assert not (tmp_path / "escaped.txt").exists()
    assert not (tmp_path.parent / "escaped.txt").exists()


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in members().items():
        (folder / name).write_bytes(content)
    assert len(build(folder, tmp_path)) == 45
    (folder / "multimedia.txt").rename(tmp_path / "multimedia.txt")
    (folder / "multimedia.txt").symlink_to(tmp_path / "multimedia.txt")
    with pytest.raises(ArchiveError, match=r"meta\.xml names multimedia\.txt, which is not in the archive"):
        build(folder, tmp_path)
    (folder / "multimedia.txt").unlink()
    (folder / "multimedia.txt").symlink_to("multimedia.txt")
    with pytest.raises(ArchiveError, match=r"not in the archive"):
        build(folder, tmp_path)


def test_a_member_that_expands_a_thousandfold_is_refused_until_it_is_allowed(tmp_path: Path) -> None:
    contents = members(verbatim_txt=b"0" * (8 << 20))
    for archive in (write(tmp_path / "a.zip", contents), tar(tmp_path / "a.tar.gz", contents)):
        sentence = rf"{archive.name}: .*expands .*more than max_expansion 200.*; raise that if you trust"
        with pytest.raises(ArchiveError, match=sentence):
            build(archive, tmp_path)
        assert len(build(archive, tmp_path, 5000)) == 45


def test_a_tar_that_claims_more_than_it_can_hold_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("multimedia.txt")
    info.size = 1 << 50
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + b"gbifID\tidentifier\n")
    (tmp_path / "a.tar.gz").write_bytes(packed.getvalue())
    with pytest.raises(ArchiveError, match=r"a\.tar\.gz: expands more than max_expansion 200 times"):
        build(tmp_path / "a.tar.gz", tmp_path)


@pytest.mark.parametrize("place", [0, 7, 29])
def test_a_field_of_three_megabytes_is_read(tmp_path: Path, place: int) -> None:
    noise = "".join(random.Random(1).choices("abcdefgh", k=3_000_000))
    remarks = [{**row, "occurrenceRemarks": noise if n == place else ""} for n, row in enumerate(OCCURRENCES)]
    photos = [{**row, "references": noise if n == place else ""} for n, row in enumerate(PHOTOS)]
    images = build(gbif(tmp_path / "a.zip", remarks, photos), tmp_path)
    assert len(images) == 45
    assert [row["identifier"] for row in images if row["mediaReferences"] == noise] == [PHOTOS[place]["identifier"]]


@pytest.mark.parametrize(("enclosed", "quote"), [("", ""), ("&quot;", '"'), ("&quot;", "")])
def test_a_line_of_twenty_megabytes_is_one_sentence(tmp_path: Path, enclosed: str, quote: str) -> None:
    noise = "".join(random.Random(1).choices("abcdefgh", k=1 << 16)) * 320
    descriptor = meta(OCCURRENCE, MEDIA).replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{enclosed}"')
    contents = members(meta_xml=descriptor)
    contents["multimedia.txt"] += f"1\tStillImage\t{quote}{noise}".encode()
    with pytest.raises(ArchiveError, match=r"multimedia\.txt: a (line|record) is longer than 16 MiB"):
        build(write(tmp_path / "a.zip", contents), tmp_path)


def test_a_quote_that_never_ends_is_one_sentence_soon(tmp_path: Path) -> None:
    descriptor = meta(OCCURRENCE, MEDIA).replace('fieldsEnclosedBy=""', 'fieldsEnclosedBy="&quot;"')
    contents = members(meta_xml=descriptor)
    noise = "".join(random.Random(1).choices("abcdefgh", k=1000))
    contents["multimedia.txt"] += b'1\t"' + "".join(f"{n} {noise[n % 900 :][:16]}\n" for n in range(800_000)).encode()
    with pytest.raises(ArchiveError, match=r"multimedia\.txt: a record is longer than 16 MiB"):
        build(write(tmp_path / "a.zip", contents), tmp_path)


@pytest.mark.parametrize("enclosed", ["", "&quot;"])
def test_a_file_of_a_million_columns_is_refused(tmp_path: Path, enclosed: str) -> None:
    descriptor = meta(OCCURRENCE, MEDIA).replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{enclosed}"')
    wide = ("\t" * 1_000_000 + "\n") * 2 + "1" + "\t" * 1_000_000 + "\n"
    archive = write(tmp_path / "a.zip", members(meta_xml=descriptor, multimedia_txt="1" + wide))
    with pytest.raises(ArchiveError, match=r"multimedia\.txt: has 1,000,001 columns"):
        build(archive, tmp_path, 5000)


def test_keys_and_ids_choose_no_place_outside_and_no_other_images_place(tmp_path: Path) -> None:
    keys = ["../../x", "/etc", "", ".", "..", "con", "d1", "D1", "dé", "a\\b", "~root", "d1/", "%2e%2e", "x" * 500]
    ids = [
        "a/b",
        "A/B",
        "ab",
        "aB",
        "../1",
        "/1",
        "1",
        "1_1",
        "\u0131",
        "i",
        "I",
        "\u0130",
        "é",
        "e\u0301",
        "-rf",
        "\u202e1",
    ]
    occurrences = [{"gbifID": f"{key}{n}", "datasetKey": keys[n % len(keys)]} for n, key in enumerate(ids * 4)]
    occurrences += [{"gbifID": key, "datasetKey": keys[n % len(keys)]} for n, key in enumerate(ids)]
    photos = [{**PHOTOS[0], "gbifID": row["gbifID"]} for row in occurrences]
    photos += [{**row, "identifier": "https://photos.example/other.jpg"} for row in photos]
    images = build(gbif(tmp_path / "a.zip", occurrences, photos), tmp_path)
    assert len(images) == len(photos)
    root = tmp_path / "images"
    assert all((root / row["image_path"]).resolve().is_relative_to(root) for row in images)
    assert max(len(row["image_path"]) for row in images) < 230


def test_an_encrypted_zip_is_one_sentence(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.zip", members()).read_bytes())
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        starts = [info.header_offset for info in archive.infolist()]
    central = [at.start() for at in re.finditer(rb"PK\x01\x02", data)]
    for at in [*(start + 6 for start in starts), *(start + 8 for start in central)]:
        data[at] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ArchiveError, match=r"a\.zip: encrypted; give the archive as GBIF sends it"):
        build(tmp_path / "a.zip", tmp_path)


def test_nul_bytes_are_spaces_and_lose_no_line(tmp_path: Path) -> None:
    contents = members()
    contents["multimedia.txt"] = contents["multimedia.txt"].replace(b"photos.example/3.", b"photos.example/\x003.")
    contents["multimedia.txt"] += b"\0\0\0\n1\tStillImage\n"
    images = build(write(tmp_path / "a.zip", contents), tmp_path)
    assert len(images) == 45
    contents["meta.xml"] = contents["meta.xml"].replace(b"Occurrence", b"Occur\0rence")
    with pytest.raises(ArchiveError, match=r"its meta\.xml can't be understood"):
        build(write(tmp_path / "b.zip", contents), tmp_path)


@pytest.mark.parametrize("encoding", ["base64", "rot13", "zip", "hex", "idna", "undefined", "klingon", "ü", "punycode"])
def test_an_encoding_that_is_none_is_one_sentence(tmp_path: Path, encoding: str) -> None:
    descriptor = meta(OCCURRENCE, MEDIA).replace('encoding="UTF-8"', f'encoding="{encoding}"')
    with pytest.raises(DatasetError, match=r"a\.zip: ") as raised:
        build(write(tmp_path / "a.zip", members(meta_xml=descriptor)), tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-32"])
@pytest.mark.parametrize("enclosed", ["", "&quot;"])
def test_a_file_without_the_byte_order_that_its_encoding_wants_is_one_sentence(
    tmp_path: Path, encoding: str, enclosed: str
) -> None:
    descriptor = meta(OCCURRENCE, MEDIA).replace('encoding="UTF-8"', f'encoding="{encoding}"')
    descriptor = descriptor.replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{enclosed}"')
    more = part("extension", f"{GBIF}Image", "multimedia.txt", MEDIA)
    for text in (descriptor, descriptor.replace("</archive>", more + "</archive>")):
        with pytest.raises(ArchiveError, match=rf"^multimedia\.txt: is not in {encoding}, which meta\.xml names"):
            build(write(tmp_path / "a.zip", members(meta_xml=text)), tmp_path)


@pytest.mark.parametrize("encoding", ["utf-7", "unicode_escape", "raw_unicode_escape"])
def test_an_encoding_that_makes_halves_of_characters_loses_no_line(tmp_path: Path, encoding: str) -> None:
    halves = {"utf-7": "+2AA-"}.get(encoding, "\\ud800")
    for enclosed in ("", "&quot;"):
        descriptor = meta(OCCURRENCE, MEDIA).replace('encoding="UTF-8"', f'encoding="{encoding}"')
        descriptor = descriptor.replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{enclosed}"')
        contents = members(meta_xml=descriptor)
        contents["multimedia.txt"] += f"1\tStillImage\t\thttps://photos.example/x\t{halves}\t\t\n".encode()
        assert len(build(write(tmp_path / "a.zip", contents), tmp_path)) in (45, 46)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('<coreid index="0"/>', '<coreid index="-1"/>'),
        ('<field index="3"', '<field index="-3"'),
        ('<field index="3"', '<field index="300000000000"'),
        ('<field index="3"', '<field index="3x"'),
        ('ignoreHeaderLines="1"', 'ignoreHeaderLines="-1"'),
        ('ignoreHeaderLines="1"', 'ignoreHeaderLines="one"'),
        ("<location>multimedia.txt</location>", "<location/>"),
        ("<location>multimedia.txt</location>", ""),
        ("<files>", "<file>"),
        (f'term="{DC}type"', ""),
        ('<coreid index="0"/>', ""),
        ("</archive>", ""),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="||"'),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="\\n"'),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="\\x"'),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="¬"'),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="\\u0000"'),
        ('fieldsEnclosedBy=""', 'fieldsEnclosedBy="\\t"'),
        ('fieldsEnclosedBy=""', 'fieldsEnclosedBy="\\r"'),
        ('fieldsEnclosedBy=""', 'fieldsEnclosedBy="ab"'),
        ("<core ", "<kern "),
        ("<archive ", "<archiv "),
    ],
)
def test_a_descriptor_that_makes_no_sense_is_one_sentence(tmp_path: Path, old: str, new: str) -> None:
    good = meta(OCCURRENCE, MEDIA)
    assert old in good
    with pytest.raises(ArchiveError, match=r"a\.zip: .*meta\.xml|multimedia\.txt: has 7 columns"):
        build(write(tmp_path / "a.zip", members(meta_xml=good.replace(old, new))), tmp_path)


def test_a_member_without_a_name_does_no_harm(tmp_path: Path) -> None:
    with zipfile.ZipFile(write(tmp_path / "a.zip", members()), "a") as archive:
        archive.writestr("x", b"")
    data = (tmp_path / "a.zip").read_bytes()
    at = data.rindex(b"PK\1\2")
    nameless = data[:at] + data[at:].replace(b"\1\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0", 1)
    (tmp_path / "a.zip").write_bytes(nameless)
    try:
        assert len(build(tmp_path / "a.zip", tmp_path)) == 45
    except ArchiveError as error:
        assert "damaged" in str(error)


def flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def edited(data: bytes, rng: random.Random) -> bytes:
    """Bytes put in, taken out, doubled, or changed for such as mean something."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, length = rng.randrange(len(data) + 1), rng.choice((0, 1, 1, 3, 40))
        signs = (
            b"\t",
            b"\n",
            b"\r",
            b"\r\n",
            b'"',
            b'""',
            b"\0",
            b"\xff",
            b"\xef\xbb\xbf",
            b"&",
            b"<",
            b">",
            b"1",
            b" ",
            b"",
        )
        put = rng.choice((*signs, data[at : at + 30]))
        data = data[:at] + put + data[at + length :]
    return data


def cut_short(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def swapped(data: bytes, rng: random.Random) -> bytes:
    """Two attributes' values, or two names, of a descriptor in each other's place; or one made something else."""
    values = sorted(set(re.findall(rb'"[^"]*"|<\w+|\w+=', data)))
    one, other = (
        rng.choice(values),
        rng.choice([*values, b'""', b'"-1"', b'"99999999999999999999"', b'"utf-16"', b'"|"']),
    )
    return (
        data.replace(one, b"\0").replace(other, one).replace(b"\0", other)
        if rng.random() < 0.5
        else data.replace(one, other, 1)
    )


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flipped, edited, cut_short)


def mutant(path: Path, seed: int) -> Path:
    """A small archive that went wrong somewhere: its container, its descriptor, or its rows."""
    rng = random.Random(seed)
    contents = members()
    if rng.random() < 0.3:
        contents["meta.xml"] = contents["meta.xml"].replace(b'fieldsEnclosedBy=""', b'fieldsEnclosedBy="&quot;"')
    if rng.random() < 0.2:
        row_type = rng.choice((f"{GBIF}Multimedia", f"{GBIF}Image", "http://eol.org/schema/media/Document"))
        extension = part("extension", row_type, "more.txt", MEDIA).encode()
        contents["meta.xml"] = contents["meta.xml"].replace(b"</archive>", extension + b"</archive>")
        contents["more.txt"] = contents["multimedia.txt"][: rng.choice((0, 40, 500))]
    if rng.random() < 0.1:
        old = rng.choice(("occurrence.txt", "multimedia.txt"))
        contents[old] = contents[old].replace(b"\n", b"\r")
    where = rng.choice(("container", "container", "meta.xml", "meta.xml", "occurrence.txt", "multimedia.txt"))
    if where != "container":
        change = swapped if where == "meta.xml" and rng.random() < 0.5 else rng.choice(MUTATIONS)
        contents[where] = change(contents[where], rng)
    kind = rng.choice(("zip", "zip", "tar", "tar.gz"))
    archive = path.with_name(f"a.{kind}")
    if kind == "zip":
        packing = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        with zipfile.ZipFile(archive, "w", rng.choice(packing)) as file:
            for name, content in contents.items():
                file.writestr(name, content)
    else:
        tar(archive, contents, "w:gz" if kind == "tar.gz" else "w")
    if where == "container":
        archive.write_bytes(rng.choice(MUTATIONS)(archive.read_bytes(), rng))
    return archive


def test_a_mutated_archive_ends_in_a_manifest_that_adds_up_or_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_blocks, "BLOCK", 256)
    ends: Counter[str] = Counter()
    for seed in range(MUTANTS):
        archive = mutant(tmp_path / "a", seed)
        try:
            build(archive, tmp_path)
            ends["manifest"] += 1
        except DatasetError as error:
            assert "\n" not in str(error), f"mutant {seed}: {error!r}"
            assert "bug" not in str(error), f"mutant {seed}: {error!r}"
            ends["sentence"] += 1
        except BaseException as error:
            error.add_note(f"mutant {seed}")
            raise
        archive.unlink()
    assert ends["manifest"] > sum(ends.values()) // 5
    assert ends["sentence"] > sum(ends.values()) // 5
