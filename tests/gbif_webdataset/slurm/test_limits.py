import pytest

from gbif_webdataset.slurm import limits
from gbif_webdataset.slurm.jobs import ARRAYS, NEVER_STARTS, STAGES, Job, QueuedJob, Submission
from gbif_webdataset.slurm.limits import Association, Limit, Partition, Request

CONFIGURATION = """\
Configuration data as of 2026-11-28T23:00:00
AccountingStorageEnforce = associations,limits,qos
ClusterName             = beluga
MaxArraySize            = 501
"""
USER = "moths|moths||1000||normal\nmoths|birds|gpu|50|80|fast\nmoths|birds||200||\n"
PARTITIONS = (
    "PartitionName=main AllowGroups=ALL Default=YES QoS=N/A Nodes=a,b\n"
    "PartitionName=gpu AllowGroups=ALL Default=NO QoS=parts Nodes=c\n"
)
QUALITIES = "normal||\nfast|40|\nparts||30\nother|1|1\n"
QUEUE = (
    "12_7|RUNNING|None|moths|normal|main|gbif-0000000000-fetch\n"
    "12_8|RUNNING|None|moths|normal|main|gbif-0000000000-fetch\n"
    "13|PENDING|Nodes required|birds|fast|gpu|a job|of mine\n"
)
MOTHS, BIRDS_ON_GPU, BIRDS = limits.parse_associations(USER)


def test_settings_of_the_cluster_are_found() -> None:
    assert limits.parse_array_size(CONFIGURATION) == 501
    assert limits.parse_array_size("") == 1001
    assert limits.parse_setting(CONFIGURATION, "ClusterName") == "beluga"
    assert limits.has_limits(CONFIGURATION)
    assert not limits.has_limits("AccountingStorageEnforce = none\n")
    assert not limits.has_limits("AccountingStorageEnforce = associations\n")


def test_a_job_is_of_the_account_and_partition_that_its_options_or_the_environment_name() -> None:
    assert limits.parse_request(
        ["--account=birds", "--mem=8G"], {"SBATCH_ACCOUNT": "x", "SBATCH_QOS": "long"}
    ) == Request("birds", "", "long")
    assert Association("moths", "", True, 1000, 0, "normal") == MOTHS
    for request, expected in (
        (Request(), MOTHS),
        (Request("birds"), BIRDS),
        (Request("birds", "gpu"), BIRDS_ON_GPU),
        (Request("fish"), None),
    ):
        assert limits.find_association([MOTHS, BIRDS_ON_GPU, BIRDS], request) == expected
    assert limits.find_partition(PARTITIONS, "") == Partition("main", "")
    assert limits.find_partition(PARTITIONS, "gpu") == Partition("gpu", "parts")
    assert limits.find_partition(PARTITIONS, "none") == Partition("none", "")


def test_limits_of_account_qos_and_partition_count_the_jobs_that_they_concern() -> None:
    main, gpu = Partition("main", ""), Partition("gpu", "parts")
    assert limits.list_limits(MOTHS, main, "", QUALITIES, QUEUE) == [Limit("MaxSubmitJobs of account moths", 1000, 2)]
    assert limits.list_limits(BIRDS_ON_GPU, gpu, "", QUALITIES, QUEUE) == [
        Limit("MaxSubmitJobs of account birds", 50, 1),
        Limit("GrpSubmitJobs of account birds", 80, 1),
        Limit("MaxSubmitJobsPerUser of QOS fast", 40, 1),
        Limit("GrpSubmitJobs of QOS parts", 30, 1),
    ]
    assert limits.list_limits(MOTHS, main, "fast", QUALITIES, QUEUE)[1:] == [
        Limit("MaxSubmitJobsPerUser of QOS fast", 40, 1)
    ]


def lacking(*stages: str) -> dict[str, list[int]]:
    """Four chunks of each stage but `stages`."""
    every = {stage: list(range(4)) if stage in ARRAYS else [0] for stage in STAGES}
    return every | {stage: [] for stage in stages}


def allowing(jobs: int) -> list[Limit]:
    return [Limit("limit", jobs, 0)]


@pytest.mark.parametrize(
    ("max_jobs", "size", "elements"), [(15, 15, 0), (14, 12, 3), (8, 6, 1), (6, 6, 1), (5, 6, 1), (-3, 6, 1)]
)
def test_chunks_are_combined_until_the_jobs_are_few_enough(max_jobs: int, size: int, elements: int) -> None:
    submission = limits.combine_chunks(lacking(), [], 4, 1000, allowing(max_jobs))
    assert submission.size == size
    assert {job.elements for job in submission.jobs if job.stage in ARRAYS} == {elements}


def test_cancelled_jobs_make_way_for_others() -> None:
    present = [QueuedJob(f"3_{chunk}", "verify", chunk, "PENDING", NEVER_STARTS) for chunk in range(4)]
    missing = lacking("read", "fetch")
    assert limits.combine_chunks(missing, present, 4, 1000, allowing(6)).size == 10
    assert limits.combine_chunks(missing, present, 4, 1000, allowing(5)).size < 10


def test_a_submission_that_adds_no_jobs_exceeds_no_limit_however_full_the_queue_is() -> None:
    full = [Limit("full", 13, 14)]
    present = [QueuedJob("3_1", "verify", 1, "PENDING", NEVER_STARTS)]
    one = Submission(("3_1",), (Job("report", "report"),))
    assert limits.find_excess(full, Submission((), ()), present) is None
    assert limits.find_excess(full, one, present) is None
    assert limits.find_excess(full, Submission((), one.jobs), present) == (full[0], 1)
    assert limits.combine_chunks(lacking(*STAGES), [], 4, 1000, full) == Submission((), ())


def test_only_jobs_of_the_stages_that_a_limit_concerns_count_for_it() -> None:
    of_shards = Limit("MaxSubmitJobsPerUser of QOS fast", 3, 1, ("shards",))
    submission = limits.combine_chunks(lacking(), [], 4, 1000, [of_shards])
    assert {job.elements for job in submission.jobs if job.stage in ARRAYS} == {2}
    assert limits.find_excess([of_shards], Submission((), (Job("fetch", "fetch", (0, 1, 2, 3)),)), []) is None


def test_a_limit_of_several_stages_is_one_limit() -> None:
    single = [Limit("a", 5, 1, (stage,)) for stage in ("report", "fetch")]
    assert limits.join_limits([*single, Limit("b", 5, 0, ("read",))]) == (
        Limit("a", 5, 1, ("fetch", "report")),
        Limit("b", 5, 0, ("read",)),
    )


def test_as_many_elements_are_selected_as_the_limits_allow() -> None:
    for allowed, chunks in ((9, [(0, 1, 2, 4, 5)]), (2, [(0, 1, 4, 5)]), (1, [(0, 4)]), (0, []), (-1, [])):
        submission = limits.plan_verification([0, 1, 2, 4, 5], [], 8, 4, allowing(allowed))
        assert [job.chunks for job in submission.jobs] == chunks


def test_elements_of_an_array_of_another_size_are_dropped_too() -> None:
    fetching = [QueuedJob(f"7_{element}", "fetch", element, "RUNNING", "None", 2) for element in range(2)]
    submission = limits.plan_verification([0, 1, 2, 3], fetching, 8, 4, allowing(1))
    assert submission.jobs == (Job("verify-0", "verify", (0, 2), (("aftercorr", "7"),), 2),)


def test_an_excess_is_described_with_its_remedy() -> None:
    tight = Limit("tight", 50, 48)
    assert limits.describe_excess(tight, 10) == (
        "10 jobs are 8 too many: tight is 50, and 48 of your jobs are queued or running"
    )
    assert limits.describe_remedy(tight, 10) == "wait until 8 of your jobs have ended, or cancel them"
    assert "that allows 51 jobs, or use `--runner slurm`" in limits.describe_remedy(tight, 51)


@pytest.mark.parametrize("listing", ["a|b\n", "You are not running a supported accounting_storage plugin\n"])
def test_an_unknown_answer_is_an_error_that_callers_take_for_unknown(listing: str) -> None:
    with pytest.raises(ValueError, match="unpack"):
        limits.parse_associations(listing)
