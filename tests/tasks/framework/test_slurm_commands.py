from pathlib import Path

import pytest

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.slurm.jobs import Job, JobCommand, Site
from gbif_webdataset.slurm.limits import ClusterLimits, Limit
from tasks.framework import slurm_commands
from tasks.framework.slurm_commands import Queue

COMMAND = JobCommand(Path("/s"), "/python", Path("/home/me"), Path("/data/moths"), 4, ())


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder with programs, beside those of the system."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def write_program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


def test_a_command_of_slurm_that_is_missing_or_fails_is_named(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatasetError) as raised:
        slurm_commands.run_slurm("squeue", "--me")
    assert str(raised.value) == (
        "squeue: there is no such command; run this on a machine from which Slurm jobs are submitted"
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    write_program(programs, "squeue", "echo -e 'no\\n controller' >&2; exit 1")
    with pytest.raises(DatasetError) as raised:
        slurm_commands.run_slurm("squeue", "--me")
    assert str(raised.value) == "squeue: no controller; check that Slurm answers on this machine"


def test_variables_of_an_outer_job_do_not_reach_slurms_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"SLURM_CONF": "/etc/x", "SALLOC_ACCOUNT": "moths", "SBATCH_PARTITION": "main", "SLURMISH": "1"}
    outer = {
        "SLURM_MEM_PER_CPU": "500",
        "SLURM_TMPDIR": "/gone",
        "SBATCH_MEM_BIND": "x",
        "SALLOC_MEM_PER_CPU": "1",
        "TMPDIR": "/gone",
    }
    for name, value in (chosen | outer).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert slurm_commands.make_environment().items() >= (chosen | outer).items()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    environment = slurm_commands.make_environment()
    assert environment.items() >= chosen.items()
    assert not environment.keys() & {*outer, "SLURM_JOB_ID"}
    assert "PATH" in environment


CONFIGURATION = "echo 'ClusterName = c'; echo 'MaxArraySize = 501'; echo 'AccountingStorageEnforce = {}'"


def test_limits_are_read_where_the_cluster_has_any_and_are_otherwise_unknown(programs: Path) -> None:
    queue = Queue("7|RUNNING|None|moths|fast|main|x\n", ())
    write_program(programs, "scontrol", CONFIGURATION.format("none"))
    assert slurm_commands.read_limits(queue, Site()) == ClusterLimits(501)
    own = Limit("--slurm-max-jobs", 5, 0)
    assert slurm_commands.read_limits(queue, Site(max_jobs=5)) == ClusterLimits(501, (own,))
    write_program(programs, "scontrol", CONFIGURATION.format("limits"))
    for sacctmgr, unknown in (
        ("echo 'no database' >&2; exit 1", "sacctmgr: no database"),
        ("echo 'a|b'", "sacctmgr answers in a form that is not known"),
    ):
        write_program(programs, "sacctmgr", sacctmgr)
        assert slurm_commands.read_limits(queue, Site()) == ClusterLimits(501, (), unknown)
    write_program(programs, "sacctmgr", ANSWERS)
    of_account, of_qos = Limit("MaxSubmitJobs of account moths", 9, 1), Limit("MaxSubmitJobsPerUser of QOS fast", 40, 1)
    assert slurm_commands.read_limits(queue, Site()).limits == (of_account, of_qos)
    unknown = slurm_commands.read_limits(queue, Site(("--account=birds",))).unknown
    assert unknown.startswith("sacctmgr lists no default account")


ANSWERS = "case \"$*\" in *qos*) printf 'fast|40|\\nlong|7|\\n';; *) echo 'moths|moths||9||fast';; esac"


def test_the_qos_of_a_stage_limits_its_jobs(programs: Path) -> None:
    write_program(programs, "scontrol", CONFIGURATION.format("limits"))
    write_program(programs, "sacctmgr", ANSWERS)
    site = Site(of_stage={"shards": ("--qos=long",)})
    others = ("read", "fetch", "verify", "tables", "report")
    assert slurm_commands.read_limits(Queue("", ()), site).limits == (
        Limit("MaxSubmitJobs of account moths", 9, 0),
        Limit("MaxSubmitJobsPerUser of QOS fast", 40, 0, others),
        Limit("MaxSubmitJobsPerUser of QOS long", 7, 0, ("shards",)),
    )


def test_a_job_that_slurm_would_refuse_is_named_but_not_one_that_would_wait(programs: Path) -> None:
    jobs = [Job("read", "read"), Job("fetch", "fetch", (0, 1))]
    refusal = "allocation failure: Requested node configuration is not available"
    write_program(programs, "sbatch", f"[[ $* == *fetch* ]] || exit 0; echo '{refusal}' >&2; exit 1")
    with pytest.raises(DatasetError) as raised:
        slurm_commands.check_jobs(jobs, COMMAND, Site())
    assert str(raised.value) == (
        f"sbatch would refuse the jobs of fetch: {refusal}; correct the options of sbatch, under [slurm] in luigi.cfg or in "
        "fetch.sbatch. Nothing was submitted"
    )
    waiting = "allocation failure: Required node not available (down, drained or reserved)"
    write_program(programs, "sbatch", f"echo '{waiting}' >&2; exit 1")
    slurm_commands.check_jobs(jobs, COMMAND, Site())
