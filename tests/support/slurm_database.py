"""MariaDB and slurmdbd, which keep the accounts of a cluster of the tests. They need Debian's slurmdbd, mariadb-server."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

STARTING, STOPPING = 60.0, 20.0
PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db")
USERS = """\
CREATE USER 'slurm'@'%' IDENTIFIED BY 'slurm';
GRANT ALL ON *.* TO 'slurm'@'%';
"""
SLURMDBD = """\
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={slurmdbd}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_accounts
PidFile={folder}/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
"""
SETTINGS = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd}
AccountingStorageEnforce=associations,limits,qos
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1"""


class Database:
    """Both servers, in the folder of a cluster whose `environment` names slurm.conf; `settings` go into slurm.conf."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._ports = dict(zip(("database", "slurmdbd"), find_free_ports(2), strict=True))
        self._servers: list[subprocess.Popen[bytes]] = []
        self.settings = SETTINGS.format(**self._ports)

    def start(self) -> None:
        """Start both servers and wait until they answer."""
        data, users = self._folder / "database", self._folder / "users.sql"
        users.write_text(USERS)
        own = ("--no-defaults", "--user=root", f"--datadir={data}")
        install = ["mariadb-install-db", *own, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(install, env=self._environment, check=True, capture_output=True, timeout=STARTING)
        network = (f"--port={self._ports['database']}", "--bind-address=127.0.0.1", f"--socket={self._folder}/db")
        logs = (f"--log-error={self._folder}/log/mariadb.log", f"--pid-file={self._folder}/mariadb.pid")
        self._start("database", "mariadbd", *own, *network, *logs, f"--init-file={users}")
        settings = self._folder / "slurmdbd.conf"
        settings.write_text(SLURMDBD.format(folder=self._folder, **self._ports))
        settings.chmod(0o600)
        self._start("slurmdbd", "slurmdbd", "-D")

    def stop(self) -> None:
        """End both servers, the one that was started last first."""
        for server in reversed(self._servers):
            server.terminate()
            try:
                server.wait(STOPPING)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def _start(self, name: str, *command: str) -> None:
        with (self._folder / "log" / f"{name}.out").open("wb") as output:
            server = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        self._servers.append(server)
        end = time.monotonic() + STARTING
        while not _answers(self._ports[name]):
            assert server.poll() is None, f"{command[0]} ended: {self._read_logs()}"
            assert time.monotonic() < end, f"{command[0]} does not answer: {self._read_logs()}"
            time.sleep(0.1)

    def _read_logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in (self._folder / "log").iterdir())


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def find_free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
