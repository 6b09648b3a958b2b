import pytest

from gbif_webdataset.terms.checklists import BACKBONE, CATALOGUE_OF_LIFE, Checklist, Relation


@pytest.mark.parametrize(
    ("one", "other", "relation"),
    [
        (Checklist(), Checklist(), Relation.UNKNOWN),
        (Checklist(BACKBONE, "2025-03-01"), Checklist(), Relation.UNKNOWN),
        (Checklist(BACKBONE), Checklist(CATALOGUE_OF_LIFE), Relation.DIFFERENT),
        (Checklist(BACKBONE, "a"), Checklist(BACKBONE.upper(), "a"), Relation.SAME),
        (Checklist(BACKBONE, "a"), Checklist(BACKBONE, "b"), Relation.UNKNOWN),
        (Checklist(BACKBONE), Checklist(BACKBONE), Relation.UNKNOWN),
    ],
)
def test_another_release_of_a_checklist_is_unknown_and_another_checklist_different(
    one: Checklist, other: Checklist, relation: Relation
) -> None:
    assert one.compare(other) is other.compare(one) is relation


def test_messages_name_title_key_and_release() -> None:
    assert str(Checklist(BACKBONE, "2025-03-01")) == f"GBIF Backbone Taxonomy ({BACKBONE}), 2025-03-01"
    assert [str(Checklist()), str(Checklist("other"))] == ["unknown", "other"]
