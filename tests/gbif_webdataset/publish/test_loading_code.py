"""The code that loads a dataset: its shards as ranges, and paths as strings of Python. tests/end_to_end/ runs it."""

import ast
from pathlib import Path

import pytest

from gbif_webdataset.publish.description import Shard
from gbif_webdataset.publish.loading_code import LoadingCode, collapse_range, write_loading_code


def make_shards(**counts: int) -> list[Shard]:
    return [
        Shard(split, f"{split}/{split}-{number:06d}.tar", 10, 10_240, "")
        for split, count in counts.items()
        for number in range(count)
    ]


def blocks(code: LoadingCode) -> list[str]:
    return [code.webdataset, code.hugging_face, code.hugging_face_stream]


@pytest.mark.parametrize(
    ("paths", "collapsed"),
    [
        (["train/train-000000.tar"], "train/train-000000.tar"),
        ([f"train/train-{n:06d}.tar" for n in range(8)], "train/train-{000000..000007}.tar"),
        ([f"val/val-{n:06d}.tar" for n in range(1_000_001)], "val/val-{000000..1000000}.tar"),
    ],
)
def test_several_shards_are_a_range_and_one_is_its_path(paths: list[str], collapsed: str) -> None:
    assert collapse_range(paths) == collapsed


def test_a_range_is_expanded_by_webdataset_to_the_shards() -> None:
    shardlists = pytest.importorskip("webdataset.shardlists")
    paths = [shard.path for shard in make_shards(train=12)]
    assert shardlists.expand_urls(collapse_range(paths)) == paths


def test_each_line_names_the_folder_and_the_shards_of_this_dataset() -> None:
    code = write_loading_code("data/archive/shards", make_shards(train=8, val=1, test=2), ["jpg"])
    assert code.webdataset_line == (
        'wds.WebDataset("data/archive/shards/train/train-{000000..000007}.tar", shardshuffle=100)'
    )
    assert code.hugging_face_line == 'load_dataset("data/archive/shards", split="train")'
    assert 'val = wds.WebDataset("data/archive/shards/val/val-000000.tar", shardshuffle=False)' in code.webdataset
    assert "test-{000000..000001}.tar" in code.webdataset
    assert 'data_files={"train": "data/archive/shards/train/train-*.tar"}' in code.hugging_face_stream


def test_images_of_several_formats_are_merged() -> None:
    one, several = (write_loading_code("x", make_shards(train=1), kinds) for kinds in (["webp"], ["jpg", "png"]))
    assert 'to_tuple("webp", "cls")' in one.webdataset
    assert "map(" not in "".join(blocks(one))
    assert 'to_tuple("jpg;png", "cls")' in several.webdataset
    for block in blocks(several)[1:]:
        assert 'lambda row: {"image": row["jpg"] or row["png"]}' in block


def test_without_train_the_first_split_takes_its_place() -> None:
    code = write_loading_code("x", make_shards(val=1, test=1), ["jpg"])
    assert code.webdataset_line == 'wds.WebDataset("x/val/val-000000.tar", shardshuffle=False)'
    assert code.hugging_face_line == 'load_dataset("x", split="validation")'
    assert 'for image, label in val.decode("pil")' in code.webdataset


@pytest.mark.parametrize(
    "folder", ["a b/é", "quo\"te's", "back\\slash\\n", "new\nline", "ctrl\x1b[2J", "\udcff", "[x]*?"]
)
def test_any_folder_is_a_string_of_python_that_means_the_folder(folder: str) -> None:
    code = write_loading_code(folder, make_shards(train=1), ["jpg", "png"])
    for block in [*blocks(code), code.webdataset_line, code.hugging_face_line]:
        ast.parse(block)
        assert block.isprintable() or "\n" in block
        assert "\x1b" not in block
    texts = {node.value for node in ast.walk(ast.parse(code.hugging_face)) if isinstance(node, ast.Constant)}
    assert folder in texts


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("s3://bucket/moths", "pipe:aws s3 cp s3://bucket/moths/train/train-{000000..000007}.tar -"),
        ("s3://bucket", "pipe:aws s3 cp s3://bucket/train/train-{000000..000007}.tar -"),
        ("s3://bucket/my moths", "pipe:aws s3 cp 's3://bucket/my moths/train/train-{000000..000007}.tar' -"),
        ("gs://bucket/moths", "pipe:gcloud storage cat gs://bucket/moths/train/train-{000000..000007}.tar"),
        (
            "az://container/moths",
            "pipe:az storage blob download --container-name container --name moths/train/train-{000000..000007}.tar "
            "--no-progress --output none --file /dev/stdout",
        ),
        ("file:///mnt/my%20moths", "/mnt/my moths/train/train-{000000..000007}.tar"),
    ],
)
def test_shards_at_an_address_are_read_by_the_tools_of_the_cloud(address: str, line: str) -> None:
    code = write_loading_code("data/shards", make_shards(train=8, val=1), ["jpg", "png"], address=address)
    assert code.webdataset_line == f'wds.WebDataset("{line}", shardshuffle=100)'
    assert f"train = {code.webdataset_line}" in code.webdataset
    for block in [*blocks(code), code.hugging_face_line]:
        ast.parse(block)
    files = f"{address.removeprefix('file://').replace('%20', ' ')}/train/train-??????.tar"
    assert f'data_files={{"train": "{files}"}}' in code.hugging_face_line
    assert f"samples = {code.webdataset_line}" in code.hugging_face
    assert 'from_directory("data/shards")' in code.hugging_face
    assert 'lambda row: {"image": row["jpg"] or row["png"]}' in code.hugging_face


@pytest.mark.parametrize(
    ("folder", "address", "start", "end"),
    [
        ("/mnt/a{1,2}\\b", "", "/mnt/a{1,2}\\b/", ""),
        ("x", "file:///mnt/a{1,2}", "/mnt/a{1,2}/", ""),
        ("x", "s3://bucket/a{1,2}", "pipe:aws s3 cp 's3://bucket/a{1,2}/", "' -"),
        (
            "x",
            "az://moths/a{1,2}",
            "pipe:az storage blob download --container-name moths --name 'a{1,2}/",
            "' --no-progress --output none --file /dev/stdout",
        ),
    ],
)
def test_braces_in_a_folder_or_an_address_are_not_expanded(folder: str, address: str, start: str, end: str) -> None:
    shardlists = pytest.importorskip("webdataset.shardlists")
    code = write_loading_code(folder, make_shards(train=2), ["jpg"], address=address)
    [url] = [node.value for node in ast.walk(ast.parse(code.webdataset_line)) if isinstance(node, ast.Constant)][:1]
    assert shardlists.expand_urls(url) == [f"{start}train/train-00000{number}.tar{end}" for number in range(2)]


def test_load_dataset_finds_files_in_a_folder_with_characters_of_patterns(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    (tmp_path / "a[1]" / "train").mkdir(parents=True)
    shard = tmp_path / "a[1]" / "train" / "train-000000.tar"
    shard.touch()
    code = write_loading_code("x", make_shards(train=1), ["jpg"], address=f"file://{tmp_path}/a[1]")
    constants = [node.value for node in ast.walk(ast.parse(code.hugging_face_line)) if isinstance(node, ast.Constant)]
    [pattern] = [text for text in constants if "??????" in text]
    assert fsspec.filesystem("file").glob(pattern) == [str(shard)]


def test_a_command_with_quotes_is_expanded_by_webdataset() -> None:
    shardlists = pytest.importorskip("webdataset.shardlists")
    code = write_loading_code("x", make_shards(train=2), ["jpg"], address="s3://bucket/my moths")
    [url] = [node.value for node in ast.walk(ast.parse(code.webdataset_line)) if isinstance(node, ast.Constant)][:1]
    assert shardlists.expand_urls(url) == [
        f"pipe:aws s3 cp 's3://bucket/my moths/train/train-00000{number}.tar' -" for number in range(2)
    ]
