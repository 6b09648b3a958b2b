import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbif_webdataset.slurm import jobs
from gbif_webdataset.slurm.jobs import ARRAYS, NEVER_STARTS, STAGES, Job, JobCommand, QueuedJob, Site, Submission

EXPECTED = Path(__file__).parent / "expected"
ROOT = Path(__file__).parents[3]
SITE = Site(("--partition=main", "--account=moths"), {"verify": ("--mem=8G", "--cpus-per-task=8")}, 64)
COMMAND = JobCommand(
    scripts=Path("/lib/tasks/sbatch"),
    python="/env/bin/python",
    folder=Path("/home/me"),
    output=Path("/data/moths"),
    chunks=256,
    options=("--dwca", "moths.zip", "--output", "/data/moths"),
)
HOSTILE = JobCommand(
    scripts=Path("/lib/a tool/sbatch"),
    python="/env/it's/python",
    folder=Path("/home/$(touch pwned)"),
    output=Path("/data/$(touch pwned) 'q' \"d\" %j\nline"),
    chunks=4,
    options=("--dwca", "-rf `x`;\\.zip", "--ReadArchive-where", "country = 'NA' -- %A"),
)
NUMBERS = {"read": "11", "fetch": "12", "verify-0": "13", "verify-1": "14", "tables": "15", "shards": "16"}


def lacking(count: int = 4, **missing: Sequence[int]) -> dict[str, list[int]]:
    """All elements of every stage, but for those of the stages that are named."""
    every = {stage: list(range(count)) if stage in ARRAYS else [0] for stage in STAGES}
    return every | {stage: list(elements) for stage, elements in missing.items()}


def plan(
    missing: Mapping[str, Sequence[int]], queue: Sequence[QueuedJob], chunks: int = 4, elements: int = 1000
) -> Submission:
    return jobs.plan_submission(missing, queue, chunks, elements)


def waiting(job: str, stage: str, element: int = 0, reason: str = "Dependency") -> QueuedJob:
    return QueuedJob(job, stage, element, "PENDING", reason)


def running(job: str, stage: str, element: int = 0) -> QueuedJob:
    return QueuedJob(job, stage, element, "RUNNING", "None")


def test_a_new_dataset_is_submitted_stage_by_stage() -> None:
    every = (0, 1, 2, 3)
    assert plan(lacking(), []) == Submission(
        (),
        (
            Job("read", "read"),
            Job("fetch", "fetch", every, (("afterok", "read"),)),
            Job("verify-0", "verify", every, (("aftercorr", "fetch"),)),
            Job("tables", "tables", (), (("afterok", "verify-0"),)),
            Job("shards", "shards", every, (("afterok", "tables"),)),
            Job("report", "report", (), (("afterok", "shards"),)),
        ),
    )


def test_finished_elements_are_not_submitted() -> None:
    nothing = {stage: [] for stage in STAGES}
    assert plan(nothing, []) == Submission((), ())
    assert plan(nothing | {"report": [0]}, []) == Submission((), (Job("report", "report"),))
    submission = plan(lacking(read=[], fetch=[2], verify=[0, 2]), [])
    assert submission.jobs[:3] == (
        Job("fetch", "fetch", (2,)),
        Job("verify-0", "verify", (0,)),
        Job("verify-1", "verify", (2,), (("aftercorr", "fetch"),)),
    )
    assert submission.jobs[3].after == (("afterok", "verify-0"), ("afterok", "verify-1"))


def test_queued_and_running_elements_are_not_submitted_again() -> None:
    present = [running("1", "read")]
    present += [waiting(f"2_{element}", "fetch", element) for element in range(4)]
    present += [waiting(f"3_{element}", "verify", element) for element in range(4)]
    present += [waiting("4", "tables"), *(waiting(f"5_{e}", "shards", e) for e in range(4)), waiting("6", "report")]
    assert plan(lacking(), present) == Submission((), ())


def test_a_failed_element_and_the_jobs_that_wait_for_it_are_submitted_again_while_others_run() -> None:
    present = [running("2_0", "fetch", 0), waiting("3_0", "verify", 0), waiting("3_2", "verify", 2, NEVER_STARTS)]
    present += [waiting("4", "tables"), waiting("5_1", "shards", 1), waiting("6", "report")]
    submission = plan(lacking(read=[], fetch=[0, 2], verify=[0, 2]), present)
    assert set(submission.cancel) == {"3_2", "4", "5_1", "6"}
    assert submission.jobs == (
        Job("fetch", "fetch", (2,), (("afterany", "2"),)),
        Job("verify-0", "verify", (2,), (("aftercorr", "fetch"),)),
        Job("tables", "tables", (), (("afterok", "verify-0"), ("afterok", "3_0"))),
        Job("shards", "shards", (0, 1, 2, 3), (("afterok", "tables"),)),
        Job("report", "report", (), (("afterok", "shards"),)),
    )


def test_an_element_that_waits_for_a_job_that_never_starts_is_submitted_again() -> None:
    present = [waiting("2_1", "fetch", 1, NEVER_STARTS), waiting("3_1", "verify", 1)]
    submission = plan(lacking(fetch=[1], verify=[1]), present)
    assert set(submission.cancel) == {"2_1", "3_1"}
    assert [job.key for job in submission.jobs] == ["read", "fetch", "verify-0", "tables", "shards", "report"]


def test_a_chunk_is_verified_after_the_running_element_that_fetches_it() -> None:
    submission = plan(lacking(read=[], fetch=[1], verify=[1]), [running("7_1", "fetch", 1)])
    assert submission.jobs[0] == Job("verify-0", "verify", (1,), (("aftercorr", "7"),))


def test_fewer_elements_than_chunks_process_several_chunks_each() -> None:
    submission = plan(lacking(8, read=[], fetch=[1, 4, 5, 7], verify=[1, 4, 5, 6, 7]), [], 8, 3)
    assert submission.jobs[:3] == (
        Job("fetch", "fetch", (1, 4, 5, 7), (), 3),
        Job("verify-0", "verify", (1, 4, 5, 7), (("aftercorr", "fetch"),), 3),
        Job("verify-1", "verify", (6,), (), 3),
    )
    assert [job.indices for job in submission.jobs] == [[1, 2], [1, 2], [0], [], [0, 1, 2], []]
    assert submission.size == 2 + 2 + 1 + 1 + 3 + 1


def test_a_chunk_is_verified_in_an_array_of_the_size_of_the_running_one_that_fetches_it() -> None:
    present = [QueuedJob("7_1", "fetch", 1, "RUNNING", "None", 3)]
    submission = plan(lacking(8, read=[], fetch=[1, 4], verify=[1, 4]), present, 8)
    assert submission.jobs[0] == Job("verify-0", "verify", (1, 4), (("aftercorr", "7"),), 3)


def test_an_element_of_which_a_chunk_is_fetched_verifies_all_of_its_chunks_in_one_job() -> None:
    submission = plan(lacking(4, read=[], fetch=[0], verify=[0, 1, 2]), [], 4, 2)
    assert submission.jobs[1:3] == (
        Job("verify-0", "verify", (0, 2), (("aftercorr", "fetch"),), 2),
        Job("verify-1", "verify", (1,), (), 2),
    )
    older = QueuedJob("9_0", "fetch", 0, "RUNNING", "None", 2, frozenset({0}))
    submission = plan(lacking(4, read=[], fetch=[0, 2], verify=[0, 2]), [older], 4, 2)
    assert submission.jobs[:2] == (
        Job("fetch", "fetch", (2,), (("afterany", "9"),), 2),
        Job("verify-0", "verify", (0, 2), (("aftercorr", "fetch"),), 2),
    )


def test_a_chunk_that_the_queued_job_of_its_element_was_not_given_is_submitted_and_later_stages_wait_for_it() -> None:
    queued = QueuedJob("9_0", "verify", 0, "RUNNING", "None", 2, frozenset({0}))
    submission = plan(lacking(4, read=[], fetch=[], verify=[0, 2]), [queued], 4, 2)
    assert submission.jobs[0] == Job("verify-0", "verify", (2,), (("afterany", "9"),), 2)
    assert submission.jobs[1].after == (("afterok", "verify-0"), ("afterok", "9_0"))
    unknown = QueuedJob("9_0", "verify", 0, "RUNNING", "None", 2)
    assert plan(lacking(4, read=[], fetch=[], verify=[0, 2]), [unknown], 4, 2).jobs[0].stage == "tables"


@pytest.mark.parametrize(
    ("elements", "written"), [([0], "0"), ([0, 1, 2, 3], "0-3"), ([0, 2, 3, 7], "0,2-3,7"), ([1, 3, 5], "1,3,5")]
)
def test_ranges_of_elements_are_written_in_slurms_notation(elements: list[int], written: str) -> None:
    assert jobs.format_ranges(elements) == written
    assert jobs.parse_ranges(written) == elements


def test_only_jobs_of_the_dataset_are_found_in_the_queue() -> None:
    name = jobs.name_dataset(Path("/data/moths"))
    listing = (
        f"12_7|RUNNING|None|moths|normal|main|{name}-fetch\n"
        f"13|PENDING|Dependency|moths|normal|main|{name}-tables\n"
        "14|PENDING|Nodes required for job are DOWN|moths|normal|main|my job|x\n"
        f"15_2|PENDING|Priority|moths|normal|main|{name}-verify-3\n"
        f"16|RUNNING|None|moths|normal|main|gbif-0000000000-read\n17|RUNNING|None|||main|{name}-other\n"
    )
    assert jobs.parse_queue(listing, name, {"15": "2-3,8", "99": "1"}) == [
        QueuedJob("12_7", "fetch", 7, "RUNNING", "None"),
        QueuedJob("13", "tables", 0, "PENDING", "Dependency"),
        QueuedJob("15_2", "verify", 2, "PENDING", "Priority", 3, frozenset({2, 3, 8})),
    ]


def test_a_dataset_has_the_same_name_for_each_spelling_of_its_folder(tmp_path: Path) -> None:
    assert jobs.name_dataset(tmp_path / "a") == jobs.name_dataset(tmp_path / "b" / ".." / "a")
    assert jobs.name_dataset(tmp_path / "a") != jobs.name_dataset(tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "submission", "command"),
    [
        ("submission", plan(lacking(256), [], 256), COMMAND),
        (
            "resubmission",
            plan(lacking(256, read=[], fetch=[3, 4, 9], verify=[1, 3, 4, 9]), [], 256),
            COMMAND,
        ),
        ("hostile", plan(lacking(4), [], elements=2), HOSTILE),
    ],
)
def test_the_commands_that_submit_are_the_expected_ones(name: str, submission: Submission, command: JobCommand) -> None:
    lines = [shlex.join(jobs.build_command(job, command, SITE, NUMBERS)) + "\n" for job in submission.jobs]
    assert "".join(lines) == (EXPECTED / f"slurm-{name}.txt").read_text()


CHUNKS = 6
SOME = st.lists(st.integers(0, CHUNKS - 1), unique=True).map(sorted)
MISSING = st.fixed_dictionaries(
    {stage: SOME if stage in ARRAYS else st.sampled_from([[], [0]]) for stage in STAGES}
).map(lambda missing: missing | {"verify": sorted({*missing["verify"], *missing["fetch"]})})


def queued(stage: str, chunk: int, state: str, reason: str, elements: int, *, is_given: bool) -> QueuedJob:
    number, element = 90 + STAGES.index(stage), chunk % (elements or CHUNKS)
    reason = reason if state == "PENDING" else "None"
    if stage not in ARRAYS:
        return QueuedJob(str(number), stage, 0, state, reason)
    given = frozenset({chunk} if is_given else ())
    return QueuedJob(f"{10 * number + elements}_{element}", stage, element, state, reason, elements, given)


def each_chunk_once(found: list[QueuedJob]) -> list[QueuedJob]:
    """Without jobs that process a chunk of an earlier job, or whose array is another of the same stage."""
    kept: list[QueuedJob] = []
    for one in found:
        chunks = {(one.stage, chunk) for chunk in one.list_chunks(CHUNKS)}
        if not chunks & {(other.stage, chunk) for other in kept for chunk in other.list_chunks(CHUNKS)}:
            kept.append(one)
    return kept


PRESENT = st.lists(
    st.builds(
        queued,
        st.sampled_from(STAGES),
        st.integers(0, CHUNKS - 1),
        st.sampled_from(["PENDING", "RUNNING"]),
        st.sampled_from(["Dependency", NEVER_STARTS, "Resources"]),
        st.sampled_from([0, 2, 4]),
        is_given=st.booleans(),
    )
).map(each_chunk_once)


@given(MISSING, PRESENT, st.integers(1, 8))
def test_every_missing_chunk_is_queued_or_submitted_exactly_once(
    missing: Mapping[str, list[int]], present: list[QueuedJob], elements: int
) -> None:
    submission = plan(missing, present, CHUNKS, elements)
    submitted = [(job.stage, chunk) for job in submission.jobs for chunk in (job.chunks or (0,))]
    kept = [one for one in present if one.job not in submission.cancel]
    left = {(one.stage, chunk) for one in kept for chunk in one.list_chunks(CHUNKS)}
    assert len(submitted) == len(set(submitted))
    assert not left & set(submitted)
    assert {(stage, chunk) for stage, chunks in missing.items() for chunk in chunks} <= left | set(submitted)
    by_key = {job.key: job for job in submission.jobs}
    keys: set[str] = set()
    numbers = {one.job for one in kept} | {one.array for one in kept}
    for job in submission.jobs:
        assert {of for _, of in job.after} <= keys | numbers
        for kind, of in job.after:
            if kind == "aftercorr":  # the element of the same number exists and processes the chunk
                found = by_key[of].indices if of in by_key else [one.element for one in kept if one.array == of]
                assert set(job.indices) <= set(found)
        assert all(index < (job.elements or CHUNKS) for index in job.indices)
        # jobs of an element write one log, so they run one after the other
        same = [one for one in kept if (one.stage, one.elements) == (job.stage, job.elements) and job.chunks]
        assert {("afterany", one.array) for one in same if one.elements and one.element in job.indices} <= set(
            job.after
        )
        others = [by_key[key] for key in keys if (by_key[key].stage, by_key[key].elements) == (job.stage, job.elements)]
        assert not any(set(other.indices) & set(job.indices) for other in others)
        keys.add(job.key)
    assert len(keys) == len(submission.jobs)


def test_each_job_script_requests_time_memory_processors_a_signal_and_requeueing() -> None:
    for stage in STAGES:
        lines = (ROOT / "sbatch" / f"{stage}.sbatch").read_text().splitlines()
        asked = {line.split("=")[0].removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")}
        assert asked == {"--time", "--mem", "--cpus-per-task", "--signal", "--requeue", "--open-mode"}
        assert "#SBATCH --signal=B:USR1@120" in lines
