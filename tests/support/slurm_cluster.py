"""A real Slurm of two nodes on this machine, on ports and in a folder of its own, for as long as a `with` block lasts.

It needs root, and Debian's slurm-wlm and munge. It keeps accounts only on request: many clusters don't.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from tests.support.slurm_database import Database, find_free_ports

NODES = ("a", "b")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
STARTING, STOPPING, ENDING = 30.0, 10.0, 240.0
MUNGE_KEY, MUNGE_SOCKET = Path("/etc/munge/munge.key"), Path("/run/munge/munge.socket.2")

# requeued jobs wait for cred_expire seconds; CPUs and memory are what we say, not what the machine has
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
AuthType=auth/munge
AuthInfo=cred_expire=10
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
{accounting}
JobCompType=jobcomp/none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
SlurmdTimeout=15
SlurmdParameters=config_overrides
KillWait=10
OverTimeLimit=0
MinJobAge=2
InactiveLimit=0
JobRequeue={requeue}
MaxArraySize={most_elements}
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
{nodes}
{preemption}
PartitionName=main Nodes=a,b Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO PriorityTier=1
"""
NO_ACCOUNTS = "AccountingStorageType=accounting_storage/none"
PREEMPTION = """\
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=urgent Nodes=a,b MaxTime=INFINITE State=UP OverSubscribe=NO PriorityTier=9 PreemptMode=OFF
"""


def why_not(*further: str) -> str:
    """Why no cluster can be started here; empty where one can. `further` programs are needed, too."""
    lacking = [name for name in (*PROGRAMS, *further) if shutil.which(name, path=_path()) is None]
    if lacking:
        packages = "slurm-wlm munge" + (" slurmdbd mariadb-server" if further else "")
        return f"there is no {' and no '.join(lacking)} here: apt-get install {packages}"
    if os.geteuid() != 0:
        return "a cluster for tests is started by root alone: run pytest as root, where apt-get install slurm-wlm munge"
    return ""


class Cluster:
    """slurmctld, and a slurmd a node; `environment` is for what is to use them."""

    def __init__(
        self,
        folder: Path,
        most_elements: int = 1001,
        *,
        accounts: bool = False,
        requeue: bool = True,
        urgent: bool = False,
    ) -> None:
        """With `accounts`, slurmdbd keeps them and enforces limits; `urgent` is a partition that preempts the other."""
        self.folder = folder
        ports = iter(find_free_ports(1 + len(NODES)))
        host = socket.gethostname().partition(".")[0]
        control = next(ports)
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={next(ports)} CPUs=4 RealMemory=40000"
            for name in NODES
        )
        for name in ("state", "log", *(f"spool-{node}" for node in NODES)):
            (folder / name).mkdir(parents=True)
        self.configuration = folder / "slurm.conf"
        self.environment = os.environ | {"SLURM_CONF": str(self.configuration), "PATH": _path()}
        self._database = Database(folder, self.environment) if accounts else None
        self.configuration.write_text(
            CONFIGURATION.format(
                host=host,
                control=control,
                folder=folder,
                nodes=nodes,
                most_elements=most_elements,
                accounting=self._database.settings if self._database else NO_ACCOUNTS,
                requeue=int(requeue),
                preemption=PREEMPTION if urgent else "",
            )
        )
        self._munged = False

    def __enter__(self) -> Self:
        try:
            self._munged = _start_munged()
            if self._database:
                self._database.start()
                self.said("sacctmgr", "--immediate", "add", "cluster", "test")
                self.said("sacctmgr", "--immediate", "add", "account", "moths")
                self.said("sacctmgr", "--immediate", "add", "user", "root", "account=moths", "defaultaccount=moths")
            self._run("slurmctld", "-i")
            for node in NODES:
                self.start_node(node)
            self.wait_for(lambda: set(self.said("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}, STARTING)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def said(self, *command: str) -> str:
        """What a command prints, one of Slurm's or one that uses them; it has to end well."""
        ended = self._run(*command)
        return ended.stdout

    def jobs(self, form: str = "%i %j %T %r") -> list[str]:
        """A line for each job, or element of an array, that is queued or running."""
        return self.said("squeue", "--noheader", "--array", f"--format={form}").splitlines()

    def wait_for(self, reached: Callable[[], bool], seconds: float = ENDING) -> None:
        """Wait until something holds; where it never does, tell the queue and the logs."""
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, f"not reached in {seconds:g} seconds\n{self.told()}"
            time.sleep(0.1)

    def wait_until_empty(self, seconds: float = ENDING) -> None:
        """Wait until no job is queued or running."""
        self.wait_for(lambda: not self.jobs(), seconds)

    def cancel_all(self) -> None:
        """Leave no job, whatever has failed before."""
        self.said("scancel", "--me")
        self.wait_until_empty(60)

    def told(self) -> str:
        """The queue, the nodes and the ends of the daemons' logs."""
        parts = [
            subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout
            for command in (["squeue", "--array"], ["sinfo", "-N", "-l"])
        ]
        for log in sorted((self.folder / "log").iterdir()):
            parts.append(f"{log.name}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:]))
        return "\n".join(parts)

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self._run("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """What a power cut does: slurmd, its jobs' keepers and all their processes are gone at once."""
        victims = {self._pid_of(f"slurmd-{node}")}
        for process, variables in _processes():
            if self._is_ours(variables) and f"SLURMD_NODENAME={node}".encode() in variables:
                victims.add(process)
                keeper = _parent(process)
                if _command(keeper).startswith(b"slurmstepd"):
                    victims.add(keeper)
        for number in victims:
            _kill(number)
        (self.folder / f"slurmd-{node}.pid").unlink(missing_ok=True)

    def wait_for_node(self, node: str, *states: str) -> None:
        """Wait until a node is in one of these states, such as idle."""
        self.wait_for(lambda: self.said("sinfo", "-h", "-n", node, "-o", "%T").strip() in states, 90)

    def _run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        program = shutil.which(command[0], path=_path()) or command[0]
        with contextlib.ExitStack() as stack:
            # not pipes: what goes on in the background would hold them open
            files = [stack.enter_context(_file(self.folder)) for _ in range(2)]
            status = subprocess.run(
                [program, *command[1:]],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=files[0],
                stderr=files[1],
                timeout=60,
            ).returncode
            told = []
            for file in files:
                file.seek(0)
                told.append(file.read().decode(errors="replace"))
        assert status == 0, f"{command} ended with status {status}: {told[1]}"
        return subprocess.CompletedProcess(command, status, *told)

    def _is_ours(self, variables: list[bytes]) -> bool:
        return f"SLURM_CONF={self.configuration}".encode() in variables

    def _pid_of(self, name: str) -> int:
        try:
            return int((self.folder / f"{name}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _stop(self) -> None:
        """End every process of this cluster, by its pid file or by the jobs' own variables."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.said("scancel", "--me", "--signal=KILL")
        daemons = [self._pid_of(name) for name in ("slurmctld", *(f"slurmd-{node}" for node in NODES))]
        for node in NODES:
            self.kill_node(node)
        for number in daemons:
            _end(number)
        for process, variables in _processes():
            if self._is_ours(variables) and any(one.startswith(b"SLURM_JOB_ID=") for one in variables):
                _kill(process)
        if self._database:
            self._database.stop()
        if self._munged:
            _end(_munged())


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"


def _file(folder: Path):
    import tempfile

    return tempfile.TemporaryFile(dir=folder)


def _munged() -> int:
    """The number of the process munged, 0 where none runs."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if (folder / "comm").read_text() == "munged\n" and _is_alive(int(folder.name)):
                    return int(folder.name)
    return 0


def _start_munged() -> bool:
    """Start munged, if none runs; whether it was started."""
    if _munged():
        return False
    if not MUNGE_KEY.exists():
        MUNGE_KEY.parent.mkdir(exist_ok=True)
        MUNGE_KEY.write_bytes(os.urandom(1024))
    shutil.chown(MUNGE_KEY, "munge")
    MUNGE_KEY.chmod(0o400)
    MUNGE_SOCKET.parent.mkdir(exist_ok=True)
    shutil.chown(MUNGE_SOCKET.parent, "munge")
    words = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", "--force"]
    subprocess.run(
        words,
        check=True,
        timeout=STARTING,
        env=os.environ | {"PATH": _path()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return True


def _processes() -> Iterator[tuple[int, list[bytes]]]:
    """Every process but this one, with its variables."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                yield int(folder.name), (folder / "environ").read_bytes().split(b"\0")


def _parent(process: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _command(process: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def _kill(process: int) -> None:
    if process > 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _end(process: int) -> None:
    """SIGTERM, and SIGKILL where that isn't enough."""
    if process <= 1:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)
        end = time.monotonic() + STOPPING
        while time.monotonic() < end and _is_alive(process):
            time.sleep(0.05)
    if _is_alive(process):
        _kill(process)


def _is_alive(process: int) -> bool:
    """Whether a process is there, and not only waits for its parent to notice its end."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
