"""The options that a chunk's Slurm job gets from the command line."""

from luigi.cmdline_parser import CmdlineParser

from tasks.framework.slurm_runner import shared_options, task_options


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


def test_options_of_all_tasks_are_no_options_of_one_task_and_reach_every_job() -> None:
    given = ["--scratch", "/local/me", "--store", "packed", "--same-taxonomy", "true"]
    words = ["--module", "tasks", "ReportDataset", "--dwca", "a.zip", "--output", "out", *given]
    with CmdlineParser.global_instance(words) as command:
        assert task_options() == []
        options = shared_options(command.get_task_obj())
    assert options == ["--scratch=/local/me", "--store=packed", "--same-taxonomy=true"]
    with CmdlineParser.global_instance(["--module", "tasks", "PlanShards", "--dwca", "a.zip", *options]) as command:
        task = command.get_task_obj()
        assert (task.scratch, task.store, task.same_taxonomy) == ("/local/me", "packed", True)


def test_options_of_tasks_that_no_job_runs_reach_the_tasks_that_need_them() -> None:
    api = "--FetchArchive-api=http://127.0.0.1:9"
    assert options_of("ReportDataset", "--dwca", "10.15468/dl.x", "--output", "out", api) == [api]
