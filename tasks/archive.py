"""ReadArchive: the loading half of every script."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.core import dwca, ledger, manifest
from tasks.core.errors import DatasetError
from tasks.core.files import whole_folder
from tasks.dataset import DatasetTask
from tasks.parameters import Count, InputFile, Text, listed


class ReadArchive(DatasetTask):
    """Read the archive: one row per photo, in chunks, and every other line with the reason why it is none."""

    subset_list: str = InputFile(
        default="", description="take only occurrences whose subset_key is in this file: a JSON list, or a key a line"
    )
    subset_key: str = Text(
        default="acceptedTaxonKey",
        description="column of the occurrence file that subset_list and num_images_per_category go by",
    )
    num_images_per_category: int = Count(default=0, description="images to take of each value of subset_key, 0 for all")
    random_seed: int = Count(default=42, description="seed of the choice that num_images_per_category makes")
    extra_columns: str = Text(
        default="", description="further columns of the occurrence file to carry along, separated by commas"
    )
    memory_limit: str = Text(
        default="1GB", significant=False, description="memory for the join before it spills to disk, such as 4GB"
    )
    temp_dir: str = Text(
        default="", significant=False, description="folder to spill to, <output>/.scratch where none is given"
    )

    def inputs(self) -> dict[str, str]:
        """What the archive holds, and in how many parts the images are wanted."""
        return {"archive": dwca.identity(Path(self.dwca)), "chunks": str(self.chunks)}

    def complete(self) -> bool:
        """Whether the manifest is of this archive; where there is none to compare with, running says what is wrong."""
        try:
            return super().complete()
        except DatasetError:
            return False

    def run(self) -> None:
        """Build the manifest beside the old one, hand over what was fetched for the old one, and change them."""
        paths = self.paths
        scratch = Path(self.temp_dir) if self.temp_dir else paths.scratch
        selection = manifest.Selection(
            self.subset_key,
            manifest.read_keys(Path(self.subset_list)) if self.subset_list else None,
            self.num_images_per_category,
            self.random_seed,
            listed(self.extra_columns),
        )
        with self.making() as making, self.progress("read", "bytes", manifest.bytes_of(Path(self.dwca))) as progress:
            with whole_folder(paths.rejected.parent) as folder:
                counts = manifest.build(
                    Path(self.dwca), folder, self.chunks, selection, scratch, self.memory_limit, progress.update
                )
                ledger.carry(paths.fetched, folder, self.chunks, scratch, self.memory_limit)
            making.facts = {"archive": Path(self.dwca).name, **asdict(counts)}
            for path in sorted(paths.rejected.parent.iterdir()):
                making.add(path)

    def chunk_facts(self) -> list[int]:
        """The images of each chunk."""
        facts: dict[str, Any] = self.output().record.facts
        return list(facts["images"])
