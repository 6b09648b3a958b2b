"""ReportDataset: what people look at."""

from pathlib import Path

import luigi

from gbif_webdataset.account import accounting, costs, funnel
from gbif_webdataset.publish import dataset_files
from gbif_webdataset.publish.dataset_files import Named, Places
from gbif_webdataset.report import page, statistics
from gbif_webdataset.split import balance
from gbif_webdataset.split.assignment import Fractions
from gbif_webdataset.storage.target_record import Record
from tasks.framework import slurm_runner
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.parameters import Text, WebAddress, listed
from tasks.shards import CreateWebDataset

STAGES = ("ReadArchive", "VerifyImages", "DeleteImages", "CleanDataset", "SplitDataset", "CreateWebDataset")


class ReportDataset(DatasetTask):
    """Account for every image of the archive, draw the page, and write what goes with the shards when published."""

    FORMAT = 2

    title: str = Text(default="", description="the dataset's title, made of the archive's where none is given")
    authors: str = Text(
        default="",
        description="who is to be cited for the dataset, with semicolons between; the images' own authors, as a whole, "
        "where none is given",
    )
    url: str = WebAddress(default="", description="where the dataset is to be published, http or https")

    def requires(self) -> CreateWebDataset:
        """The shards."""
        return self.clone(CreateWebDataset)

    def inputs(self) -> dict[str, str]:
        """All that is counted."""
        return {label: record.digest for label, record in self._records().items()}

    def _records(self) -> dict[str, Record]:
        """The records of all stages, those of every chunk's fetching and verifying among them."""
        labels = (*STAGES, *self._chunks("FetchChunk"), *self._chunks("VerifyChunk"))
        found = {label: Record.load(self.paths.record(label)) for label in labels}
        return {label: record for label, record in found.items() if record is not None}

    def _costs(self) -> list[costs.Cost]:
        """What each stage took, chunk by chunk."""
        labels = ["ReadArchive", *self._chunks("FetchChunk"), *self._chunks("VerifyChunk"), *STAGES[1:-1]]
        labels += ["PlanShards", *self._chunks("ShardChunk"), "CreateWebDataset"]
        found = {label: Record.load(self.paths.record(label)) for label in labels}
        own = costs.of_records({label: record for label, record in found.items() if record is not None})
        return own + slurm_runner.accounted(self.paths)

    def _tables(self) -> statistics.Places:
        paths = self.paths
        return statistics.Places(
            tuple(paths.chunk("fetched", chunk) for chunk in range(self.chunks)),
            *(paths.clean, paths.clean_dropped, paths.duplicates, paths.splits, paths.shards, paths.images),
        )

    def _chunks(self, task: str) -> list[str]:
        return [f"{task}-{chunk:05d}" for chunk in range(self.chunks)]

    def run(self) -> None:
        """Count, write, and say what came of it."""
        paths, records = self.paths, self._records()
        manifest = records["ReadArchive"].facts
        counted = accounting.Tables(
            paths.rejected,
            tuple(manifest["media_files"]),
            tuple(paths.chunk("fetched", chunk) for chunk in range(self.chunks)),
            paths.clean_dropped,
            paths.splits / "dropped.csv",
            paths.shards / "dropped.csv",
            paths.shards / "shards.csv",
        )
        with self.making() as making:
            lines = accounting.account(manifest["media_lines"], counted, paths.scratch)
            accounting.write(paths.accounting, manifest["media_lines"], lines)
            settings = {
                label.split("-")[0]: {name: v for name, v in record.made_from["parameters"].items() if name != "chunk"}
                for label, record in records.items()
            }
            spent = self._costs()
            costs.write(paths.report / "costs.csv", spent)
            places = Places(paths.rejected.parent, paths.splits, paths.shards, paths.report, paths.scratch)
            named = Named(self.title, listed(self.authors, ";"), self.url)
            facts, published = dataset_files.write(places, named, manifest["media_lines"], lines, settings)
            made = records["CreateWebDataset"].facts
            beside = [path.name for path in published if path.parent == paths.report]
            told = page.Told(Path(self.dwca), facts, made, spent, (*beside, "costs.csv"))
            drawn = page.write(paths.report, self._tables(), told, paths.scratch)
            for path in (paths.accounting, paths.report / "costs.csv", *published, *drawn):
                making.add(path)
            summary = funnel.summary(manifest["media_lines"], lines, len(facts.classes), made["shards"], paths.output)
            asked = records["SplitDataset"].made_from["parameters"]
            dealt = balance.told(paths.splits, Fractions(asked["test_frac"], asked["val_frac"]))
            making.facts = {"summary": f"{summary}\n{dealt}"}
        print(making.facts["summary"], flush=True)


@ReportDataset.event_handler(luigi.Event.DEPENDENCY_PRESENT)  # type: ignore[untyped-decorator]
def say_again(task: ReportDataset) -> None:
    """The report is fresh: nothing was to be done, and this is where everything is."""
    print(f"Nothing new: everything is up to date.\n{task.output().record.facts['summary']}", flush=True)
