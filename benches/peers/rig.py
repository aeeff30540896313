"""Processes with a sure end, what their trees cost in CPU and memory, and a client of a few lines."""
import os
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")
HOST = "127.0.0.1"
NAME = "bench"  # of the role and of the database


class Failure(Exception):
    """Said to the user as it is, without a traceback."""


# ---------------------------------------------------------------- processes and their end
class Rig:
    """A directory and the processes started in it. Leaving it ends and removes all of them."""

    def __init__(self):
        self.procs, self.held, self.stopping = [], False, False

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self.dir = tempfile.mkdtemp(prefix="pgdial-bench-")
        os.chmod(self.dir, 0o755)
        return self

    def __exit__(self, *_):
        self.held = True  # a second Ctrl-C must not cut this short
        for proc in reversed(self.procs):
            end(proc)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _on_signal(self, *_):
        self.stopping = True
        if not self.held:
            raise KeyboardInterrupt

    def spawn(self, argv, user=None, log=None):
        """Starts a process in a session of its own, so that Ctrl-C reaches it only through the end of the rig."""
        out = open(self.path(log), "wb") if log else subprocess.PIPE
        env = dict(os.environ, LC_ALL="C", PGSSLMODE="disable", PGGSSENCMODE="disable", PGCONNECT_TIMEOUT="10")
        self.held = True  # a signal between start and list would leave the process behind
        try:
            proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=self.dir,
                                    env=env, start_new_session=True, **owner(user))
            self.procs.append(proc)
        finally:
            self.held = False
            if log:
                out.close()
        if self.stopping:
            raise KeyboardInterrupt
        return proc

    def run(self, argv, user=None, timeout=300):
        """Runs a process to its end: (exit code or None when it hung, its output)."""
        proc = self.spawn(argv, user)
        try:
            text = proc.communicate(timeout=timeout)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.communicate()
            text = f"no end after {timeout} s"
            proc.returncode = None
        self.procs.remove(proc)
        return proc.returncode, text

    def stop(self, proc):
        end(proc)
        self.procs.remove(proc)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def private_dir(self, name, user):
        """A directory that only the given user may enter."""
        os.mkdir(self.path(name), 0o700)
        if user:
            os.chown(self.path(name), pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        return self.path(name)


def owner(user):
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


def end(proc):
    """SIGINT is a fast shutdown for Postgres and PgBouncer and a stop for pgdial and pgbench; then harder."""
    for number, patience in ((signal.SIGINT, 5), (signal.SIGTERM, 2), (signal.SIGQUIT, 2), (signal.SIGKILL, 2)):
        if proc.poll() is not None:
            break
        proc.send_signal(number)
        try:
            proc.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    if proc.stdout:
        proc.stdout.close()


# ---------------------------------------------------------------- what a process tree costs
def stat(pid):
    """(parent, ticks used by it and by the children it has reaped), or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rsplit(b")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), sum(int(field) for field in fields[11:15])


def tree(root):
    """{pid: ticks} of a process and everything below it."""
    known = {int(name): stat(name) for name in os.listdir("/proc") if name.isdigit()}
    below, todo, found = {}, [root], {}
    for pid, entry in known.items():
        if entry:
            below.setdefault(entry[0], []).append(pid)
    while todo:
        pid = todo.pop()
        found[pid] = known[pid][1] if known.get(pid) else 0
        todo += below.get(pid, [])
    return found


def cpu_us(pid):
    return sum(tree(pid).values()) * 1e6 / TICK if pid else 0.0


def memory_kib(pid):
    """Memory of the tree; pages that several processes share are split among them."""
    total = 0
    for member in tree(pid):
        try:
            with open(f"/proc/{member}/smaps_rollup") as file:
                total += int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1))
        except (OSError, AttributeError):
            pass
    return total


def machine_us():
    """CPU used so far by everybody on this machine."""
    with open("/proc/stat") as file:
        ticks = [int(field) for field in file.readline().split()[1:]]
    return (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) * 1e6 / TICK


def children_us():
    """CPU used by the pgbench processes that have ended."""
    times = os.times()
    return (times.children_user + times.children_system) * 1e6


# ---------------------------------------------------------------- a client that can log in and ask
class Client:
    def __init__(self, address, user=NAME, database=NAME):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.socket.settimeout(30)
            self.socket.connect(address)
            pairs = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database))
            self.socket.sendall(struct.pack("!ii", len(pairs) + 9, 196608) + pairs + b"\0")
        except OSError:
            self.socket.close()
            raise

    def ready(self):
        """Reads up to ReadyForQuery; an ErrorResponse on the way is raised."""
        buffer = b""
        while True:
            while len(buffer) >= 5 and len(buffer) > (size := struct.unpack_from("!i", buffer, 1)[0]):
                tag, body, buffer = buffer[:1], buffer[5:size + 1], buffer[size + 1:]
                if tag == b"E":
                    raise Failure(body.replace(b"\0", b" ").decode(errors="replace"))
                if tag == b"R" and body[:4] != b"\0\0\0\0":
                    raise Failure("asked for a password where none was expected")
                if tag == b"Z":
                    return self
            got = self.socket.recv(65536)
            if not got:
                raise Failure("the connection was closed")
            buffer += got

    def query(self, text):
        body = text.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)
        return self.ready()

    def close(self):
        try:
            self.socket.sendall(b"X\0\0\0\4")
        except OSError:
            pass
        self.socket.close()


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def wait_ready(rig, proc, log, address, user=NAME, database=NAME):
    """Until a login and a query succeed; the log's end is shown when the process ends instead."""
    until, last = time.monotonic() + 30, "no answer"
    while time.monotonic() < until and proc.poll() is None:
        client = None
        try:
            client = Client(address, user, database)
            client.ready().query("SELECT 1")
            return
        except (OSError, Failure) as error:
            last = error
            time.sleep(0.1)
        finally:
            if client:
                client.close()
    with open(rig.path(log), errors="replace") as file:
        raise Failure(f"{log[:-4]} did not come up: {last}\n{file.read()[-2000:]}")
