"""The options that a chunk's Slurm job gets from the command line."""

from luigi.cmdline_parser import CmdlineParser

from tasks.framework.slurm_runner import task_options


def options_of(*arguments: str) -> list[str]:
    with CmdlineParser.global_instance(["--module", "tasks", *arguments]):
        return task_options()


def test_a_job_gets_the_options_of_tasks_each_as_one_word() -> None:
    options = options_of(
        "CleanDataset", "--dwca", "a.zip", "--chunks", "4", "--thumb-size", "90", "--ReadArchive-where", "-year > '2'"
    )
    assert sorted(options) == ["--CleanDataset-thumb-size=90", "--ReadArchive-where=-year > '2'"]


def test_a_job_gets_no_options_that_all_tasks_share() -> None:
    assert options_of("ReportDataset", "--dwca", "a.zip", "--output", "out", "--runner", "slurm") == []
