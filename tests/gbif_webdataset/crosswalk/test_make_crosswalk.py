import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.archives import find_case
from tests.support.manifests import make_manifest
from tests.support.taxonomies import (
    A,
    B,
    C,
    D,
    Taxon,
    make_crosswalk_of,
    occurrences,
    plan_taxonomies,
    read_crosswalk,
    write_archives,
    write_official_table,
    write_pair,
)


def found_rows(path: Path) -> set[tuple[str, str, str]]:
    return {(row["old_key"], row["new_key"], row["kind"]) for row in read_crosswalk(path)}


def test_every_planned_change_of_300_taxa_is_found_in_spite_of_wrong_labels(tmp_path: Path) -> None:
    pair = plan_taxonomies()
    old, new = write_pair(tmp_path, pair)
    path = make_crosswalk_of(tmp_path, old, new)
    assert found_rows(path) == pair.rows
    evidence = {row["evidence"] for row in read_crosswalk(path) if row["kind"] not in ("gone", "new")}
    assert evidence == {"occurrences"}


def test_shuffled_rows_more_workers_and_less_memory_give_the_same_bytes(tmp_path: Path) -> None:
    pair = plan_taxonomies()
    old, new = write_pair(tmp_path, pair)
    (tmp_path / "shuffled").mkdir()
    shuffled = write_pair(tmp_path / "shuffled", pair, seed=5)
    first = make_crosswalk_of(tmp_path, old, new).read_bytes()
    assert make_crosswalk_of(tmp_path, shuffled[0], shuffled[1], workers=2, memory="60MB").read_bytes() == first


def test_manifests_of_datasets_count_and_other_rows_of_their_chunks_give_the_same_bytes(tmp_path: Path) -> None:
    pair = plan_taxonomies()
    paths = write_pair(tmp_path, pair)
    datasets = []
    for archive in paths:
        dataset = tmp_path / archive.stem
        dataset.mkdir()
        make_manifest(archive, dataset).folder.rename(dataset / "manifest")
        datasets.append(dataset)
    expected = make_crosswalk_of(tmp_path, *paths).read_bytes()
    assert make_crosswalk_of(tmp_path, *datasets).read_bytes() == expected
    chunk = datasets[1] / "manifest" / "chunk-00000.parquet"
    table = pq.read_table(chunk)
    order = list(range(table.num_rows))
    random.Random(0).shuffle(order)
    pq.write_table(table.take(pa.array(order)), chunk)
    assert make_crosswalk_of(tmp_path, *datasets).read_bytes() == expected


def test_parts_that_together_lack_the_share_are_ambiguous(tmp_path: Path) -> None:
    old = occurrences((A, 10))
    new = occurrences((C, 5), (D, 3), (B, 2))
    rows = read_crosswalk(make_crosswalk_of(tmp_path, *write_archives(tmp_path, old, new)))
    assert [(row["new_key"], row["kind"], row["shared_occurrences"], row["share"]) for row in rows if row["old_key"]] \
        == [("X1", "ambiguous", "5", "0.5"), ("X2", "ambiguous", "3", "0.3")]  # fmt: skip


def test_the_official_table_counts_where_too_few_occurrences_are_shared_and_the_name_after_it(tmp_path: Path) -> None:
    old_eus, new_eus = Taxon("3", "Eus eus"), Taxon("X3", "Eus eus")
    paths = write_archives(tmp_path, occurrences((A, 2), (old_eus, 2)), occurrences((C, 2), (new_eus, 2), first=3))
    table = write_official_table(tmp_path / "gbif-col265.tsv.gz", [("1", "X1"), ("2", "X2"), ("8", "X9")])
    rows = read_crosswalk(make_crosswalk_of(tmp_path, *paths, table))
    assert [(row["old_key"], row["new_key"], row["kind"], row["evidence"]) for row in rows] == [
        ("1", "X1", "renamed", "table"),
        ("3", "X3", "renamed", "name"),
    ]


def test_homonyms_of_other_kingdoms_are_not_the_same_taxon(tmp_path: Path) -> None:
    bird, plant = Taxon("1", "Oenanthe oenanthe"), Taxon("X1", "Oenanthe oenanthe", "Plantae")
    rows = read_crosswalk(
        make_crosswalk_of(tmp_path, *write_archives(tmp_path, occurrences((bird, 3)), occurrences((plant, 3), first=9)))
    )
    assert [(row["old_key"], row["new_key"], row["kind"]) for row in rows] == [("1", "", "gone"), ("", "X1", "new")]


def test_the_backbone_and_the_catalogue_of_life_are_joined_by_their_occurrences(tmp_path: Path) -> None:
    old = find_case("archives/taxonomy-old-backbone.zip")
    new = find_case("archives/taxonomy-new-col-checklistkey.zip")
    assert found_rows(make_crosswalk_of(tmp_path, old, new)) == {
        ("1809380", "GJ3L", "renamed"),
        ("1773697", "7F6E4", "renamed"),
        ("1920496", "6E4", "renamed"),
    }
