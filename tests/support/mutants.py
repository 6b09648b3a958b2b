"""Small archives with errors, made by chance from a seed."""

import bz2
import gzip
import lzma
import random
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.support.archives import (
    GBIF,
    MEDIA,
    make_download,
    make_medium,
    make_occurrence,
    make_part,
    write_folder,
    write_tar,
    write_zip,
)

OCCURRENCES = [make_occurrence(n, datasetKey=f"d{n % 3}", countryCode="NA") for n in range(30)]
PHOTOS = [make_medium(n % 30, f"https://photos.example/{n}.jpg") for n in range(45)]
METADATA = """<?xml version="1.0" encoding="utf-8"?><eml packageId="10.15468/dl.abcdef"><dataset><title>Moths</title>
<abstract><para>A dataset matching the query: Moths</para></abstract></dataset></eml>"""


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def edit(data: bytes, rng: random.Random) -> bytes:
    """Insert, remove or double bytes, or replace them by bytes with a meaning."""
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


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def swap_values(data: bytes, rng: random.Random) -> bytes:
    """Swap two values or two names of a descriptor, or replace one."""
    values = sorted(set(re.findall(rb'"[^"]*"|<\w+|\b\w+=', data))) or [b"<"]
    one, other = (
        rng.choice(values),
        rng.choice([*values, b'""', b'"-1"', b'"99999999999999999999"', b'"utf-16"', b'"|"']),
    )
    return (
        data.replace(one, b"\0").replace(other, one).replace(b"\0", other)
        if rng.random() < 0.5
        else data.replace(one, other, 1)
    )


def grow(data: bytes, rng: random.Random) -> bytes:
    """Repeat a part so often that it has up to 4 MB."""
    at = rng.randrange(len(data))
    part = data[at : at + rng.choice((1, 2, 10, 100))]
    size = rng.choice((10_000, 300_000, 4_000_000))
    return data[:at] + part * (size // len(part)) + data[at:]


def rename_encoding(data: bytes, rng: random.Random) -> bytes:
    """Name another encoding in the document, or in one of its parts."""
    label = rng.choice(
        (b"punycode", b"utf-7", b"utf-16", b"utf-32", b"latin1", b"big5", b"idna", b"zip", b"koi8-r", b"x")
    )
    if data.startswith(b"<?xml") or rng.random() < 0.5:
        return b'<?xml version="1.0" encoding="' + label + b'"?>' + data.partition(b"?>")[2]
    return data.replace(b'encoding="UTF-8"', b'encoding="' + label + b'"', rng.choice((1, 9)))


def nest(data: bytes, rng: random.Random) -> bytes:
    """Put elements, deep or many, or entities into a document."""
    many = rng.choice((50, 2_000, 200_000))
    added = rng.choice(
        (b"<a>" * many, b"<a/>" * many, b"<a>" * many + b"</a>" * many, b'<a b="' + b"c" * many + b'"/>')
    )
    entities = (
        b"<!DOCTYPE a [" + b"".join(b'<!ENTITY e%d "&e%d;&e%d;">' % (n, n - 1, n - 1) for n in range(1, 40)) + b"]>"
    )
    at = data.find(b">", rng.randrange(len(data))) + 1
    return entities + data if rng.random() < 0.2 else data[:at] + added + data[at:]


def add_headers(data: bytes, rng: random.Random) -> bytes:
    """Put headers of long names, extended headers or sparse files before the members of a tar."""
    kinds = (
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.GNUTYPE_SPARSE,
    )
    headers = bytearray()
    for _ in range(rng.choice((1, 3, 500))):
        info = tarfile.TarInfo("x")
        info.type, info.size = rng.choice(kinds), rng.choice((0, 30, 60_000, 1 << 20, 3 << 30))
        content = rng.choice((b"30 path=occurrence.txt" + b"x" * 7 + b"\n", b"1" * 200, b"11 size=99\n", b"x"))
        headers += info.tobuf(tarfile.GNU_FORMAT) + content.ljust(min(info.size, 1 << 20), b"\0")
        headers += bytes(-len(headers) % 512)
    return bytes(headers) + data


DOCUMENTS = ("meta.xml", "metadata.xml")
MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip_bits, edit, truncate)


def write_hostile_mutant(folder: Path, seed: int) -> Path:
    """A small archive whose descriptor, metadata, rows or container were changed to do harm."""
    rng = random.Random(seed)
    contents = make_download(OCCURRENCES, PHOTOS, metadata_xml=METADATA, citations_txt="Cite 10.15468/dl.abcdef\n")
    contents["meta.xml"] = contents["meta.xml"].replace(b"<archive ", b'<archive metadata="metadata.xml" ')
    if rng.random() < 0.3:
        contents["meta.xml"] = contents["meta.xml"].replace(b'fieldsEnclosedBy=""', b'fieldsEnclosedBy="&quot;"')
    name = rng.choice((*DOCUMENTS, *DOCUMENTS, "occurrence.txt", "multimedia.txt", "citations.txt", ""))
    for _ in range(rng.choice((0, 1, 1, 2)) if name else 0):
        if not contents[name]:
            break
        changes = (*MUTATIONS, grow, *((rename_encoding, nest, swap_values) if name in DOCUMENTS else ()))
        contents[name] = rng.choice(changes)(contents[name], rng)
    archive = folder / f"a.{rng.choice(('zip', 'zip', 'tar', 'tar.gz', 'tar.bz2', 'tar.xz', 'folder'))}"
    if archive.suffix == ".folder":
        return write_folder(archive, contents)
    if archive.suffix == ".zip":
        write_zip(
            archive,
            contents,
            rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)),
        )
    else:
        data = write_tar(folder / "plain", contents, "w").read_bytes()
        data = add_headers(data, rng) if not name and rng.random() < 0.5 else data
        pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.get(archive.suffix[1:])
        archive.write_bytes(pack(data) if pack else data)
    if not name or rng.random() < 0.1:
        archive.write_bytes(rng.choice(MUTATIONS)(archive.read_bytes(), rng))
    return archive


def write_mutant(path: Path, seed: int) -> Path:
    """A small archive with an error in its container, its descriptor or its rows."""
    rng = random.Random(seed)
    contents = make_download(OCCURRENCES, PHOTOS)
    if rng.random() < 0.3:
        contents["meta.xml"] = contents["meta.xml"].replace(b'fieldsEnclosedBy=""', b'fieldsEnclosedBy="&quot;"')
    if rng.random() < 0.2:
        row_type = rng.choice((f"{GBIF}Multimedia", f"{GBIF}Image", "http://eol.org/schema/media/Document"))
        extension = make_part("extension", row_type, "more.txt", MEDIA).encode()
        contents["meta.xml"] = contents["meta.xml"].replace(b"</archive>", extension + b"</archive>")
        contents["more.txt"] = contents["multimedia.txt"][: rng.choice((0, 40, 500))]
    if rng.random() < 0.1:
        old = rng.choice(("occurrence.txt", "multimedia.txt"))
        contents[old] = contents[old].replace(b"\n", b"\r")
    where = rng.choice(("container", "container", "meta.xml", "meta.xml", "occurrence.txt", "multimedia.txt"))
    if where != "container":
        change = swap_values if where == "meta.xml" and rng.random() < 0.5 else rng.choice(MUTATIONS)
        contents[where] = change(contents[where], rng)
    kind = rng.choice(("zip", "zip", "tar", "tar.gz"))
    archive = path.with_name(f"a.{kind}")
    if kind == "zip":
        packing = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        write_zip(archive, contents, rng.choice(packing))
    else:
        write_tar(archive, contents, "w:gz" if kind == "tar.gz" else "w")
    if where == "container":
        archive.write_bytes(rng.choice(MUTATIONS)(archive.read_bytes(), rng))
    return archive
