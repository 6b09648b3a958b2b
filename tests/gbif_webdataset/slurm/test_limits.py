import pytest

from gbif_webdataset.slurm import limits
from gbif_webdataset.slurm.limits import Association, ClusterLimits, Limit, Partition, Request

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


def test_the_tightest_limit_allows_the_fewest_jobs_more() -> None:
    tight, loose = Limit("tight", 50, 48), Limit("loose", 40, 1)
    assert ClusterLimits(1001, (loose, tight)).find_tightest() == tight
    assert ClusterLimits(1001).find_tightest() is None
    assert limits.describe_excess(tight, 10) == (
        "10 jobs are 8 too many: tight is 50, and 48 of your jobs are queued or running"
    )
    assert limits.describe_remedy(tight, 10) == "wait until 8 of your jobs have ended, or cancel them"
    assert "that allows 51 jobs, or use `--runner slurm`" in limits.describe_remedy(tight, 51)


@pytest.mark.parametrize("listing", ["a|b\n", "You are not running a supported accounting_storage plugin\n"])
def test_an_unknown_answer_is_an_error_that_callers_take_for_unknown(listing: str) -> None:
    with pytest.raises(ValueError, match="unpack"):
        limits.parse_associations(listing)
