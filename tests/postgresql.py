"""A PostgreSQL server of its own on loopback, in a temporary folder, for as long as somebody needs it.

Debian's `postgresql` brings the programs; its own cluster on port 5432 is not touched.
"""

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.mlflow_server import free_port

PLACES = Path("/usr/lib/postgresql")
SECONDS_TO_START = 60.0
USER = "postgres"
# The data need not outlive the machine; what a killed server has written is kept by the system all the same.
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
ALWAYS = ("listen_addresses=127.0.0.1", "unix_socket_directories=")


class NotInstalledError(Exception):
    """There is no PostgreSQL that could be started here; the message says what to do."""


@dataclass
class PostgreSQL:
    """A server that can be stopped and started again, at the same port and with the same data.

    password: of its superuser `postgres`; everyone has to say it, on loopback too.
    """

    programs: Path
    folder: Path
    settings: tuple[str, ...] = FAST
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    server: subprocess.Popen[Any] | None = None

    @property
    def log(self) -> Path:
        """What the server said."""
        return self.folder / "server.log"

    def uri(self, database: str = USER, password: bool = True) -> str:
        """The address of a database.  It names the driver, because SQLAlchemy 2.0 and 2.1 would choose two."""
        secret = f":{self.password}" if password else ""
        return f"postgresql+psycopg://{USER}{secret}@127.0.0.1:{self.port}/{database}"

    def create(self) -> None:
        """Makes the files of a server."""
        secret = self.folder / "password"
        secret.write_text(self.password)
        give_away(secret)
        options = ("--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        run(self.programs / "initdb", f"--pgdata={self.folder / 'data'}", f"--username={USER}", *options)
        secret.unlink()

    def create_database(self, name: str, template: str = "template1") -> str:
        """Makes a database, empty or as a copy of another one that nobody uses; returns its address."""
        run(self.programs / "createdb", *self.connection(), f"--template={template}", name, password=self.password)
        return self.uri(name)

    def ask(self, database: str, query: str) -> str:
        """What a query answers, a line a row, as text."""
        arguments = ("--no-psqlrc", "--tuples-only", "--no-align", f"--dbname={database}", f"--command={query}")
        return run(self.programs / "psql", *self.connection(), *arguments, password=self.password).strip()

    def connection(self) -> tuple[str, ...]:
        """Where PostgreSQL's own programs find the server."""
        return ("--host=127.0.0.1", f"--port={self.port}", f"--username={USER}", "--no-password")

    def start(self) -> None:
        """Starts the server and returns when it answers.  Raises RuntimeError where it does not come up."""
        settings = [part for setting in (*ALWAYS, *self.settings) for part in ("-c", setting)]
        postgres, data = str(self.programs / "postgres"), str(self.folder / "data")
        command = [postgres, "-D", data, "-p", str(self.port), *settings]
        with self.log.open("ab") as log:
            server = self.server = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, cwd=self.folder, **unprivileged()
            )  # fmt: skip
        end = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < end and server.poll() is None:
            ready = subprocess.run(
                [self.programs / "pg_isready", "--host=127.0.0.1", f"--port={self.port}"], capture_output=True
            )  # fmt: skip
            if ready.returncode == 0:
                return
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"PostgreSQL did not come up: {self.log.read_text()[-500:]}")

    def stop(self, *, at_once: bool = False) -> None:
        """Ends the server and all connections; at_once: without tidying up, so that it has to recover at its start."""
        if self.server is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # These signals are PostgreSQL's: quit is "immediate shutdown", interrupt "fast shutdown".
            self.server.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
        try:
            self.server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
        self.server = None


@contextlib.contextmanager
def postgresql(settings: tuple[str, ...] = FAST) -> Iterator[PostgreSQL]:
    """A running server with no data yet.

    settings: further ones of the server, `NAME=VALUE`.  Raises NotInstalledError where there is no PostgreSQL, no
    driver, or nobody to run it as; RuntimeError where it does not come up.
    """
    programs = find_programs()
    # Not pytest's folders: the user that the server runs as may not enter them.
    with tempfile.TemporaryDirectory(prefix="postgresql-") as place:
        give_away(Path(place))
        server = PostgreSQL(programs, Path(place), settings)
        server.create()
        try:
            server.start()
            yield server
        finally:
            server.stop(at_once=True)


def find_programs() -> Path:
    """The folder of PostgreSQL's programs, the newest version's.  Raises NotInstalledError."""
    folders = sorted(PLACES.glob("*/bin/initdb"), key=lambda path: float(path.parents[1].name))
    found = str(folders[-1]) if folders else shutil.which("initdb")
    if found is None:
        raise NotInstalledError(
            "PostgreSQL is not installed; `apt-get install postgresql` (Debian, Ubuntu) installs it"
        )
    if importlib.util.find_spec("psycopg") is None:
        raise NotInstalledError("PostgreSQL's driver is missing; `pip install 'psycopg[binary]'` installs it")
    if os.geteuid() == 0 and user() is None:
        raise NotInstalledError(
            f"PostgreSQL refuses to run as root, and there is no user {USER}; run this as another user"
        )
    return Path(found).parent


def user() -> pwd.struct_passwd | None:
    """Whom the server is run as by root, who may not run it: the user that Debian's package makes."""
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        return None


def unprivileged() -> dict[str, Any]:
    """Arguments of subprocess that leave root's rights behind."""
    found = user() if os.geteuid() == 0 else None
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []} if found else {}


def give_away(path: Path) -> None:
    """Makes a file or folder that of the user whom the server runs as."""
    found = user() if os.geteuid() == 0 else None
    if found:
        os.chown(path, found.pw_uid, found.pw_gid)


def run(program: Path, *arguments: str, password: str | None = None) -> str:
    """What one of PostgreSQL's programs printed.  Raises RuntimeError with what it said where it failed."""
    environment = os.environ | ({"PGPASSWORD": password} if password else {})
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, cwd="/", env=environment, **unprivileged()
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{program.name} failed: {done.stderr.strip()[-500:]}")
    return str(done.stdout)
