from gbif_webdataset.remote.store_errors import StoreError


def test_a_missing_object_is_named_with_the_remedy() -> None:
    assert str(StoreError.missing("--to s3://b/x", "train/train-000000.tar")) == (
        "--to s3://b/x: train/train-000000.tar is missing, which dataset.json lists; restore it, or delete dataset.json "
        "there to publish the dataset as a new one"
    )
