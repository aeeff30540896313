#!/usr/bin/env python3
"""pgdial beside straight Postgres and PgBouncer on this machine, as ratios.

Starts a Postgres of its own, PgBouncer where it is installed, and pgdial twice (pool only, and with results from
memory), runs pgbench against them in turn, and prints markdown tables. Removes everything at its end, Ctrl-C included.
What the figures mean: docs/BENCHMARKS.md. Linux, Python 3.11, standard library only.
"""
import argparse
import glob
import json
import os
import platform
import pwd
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request

from rig import HOST, NAME, Client, Failure, Rig, children_us, cpu_us, free_port, machine_us, memory_kib, wait_ready

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
POOL = 20
STRAIGHT, BOUNCER, DIAL, CACHED = "straight", "pgbouncer", "pgdial pool", "pgdial cache"
CONNECT = "connect"  # the mode in which every query has a connection of its own


# ---------------------------------------------------------------- Postgres and what stands in front of it
def find_bin(name, bins=None):
    """A program beside the newest Postgres, then on the PATH, then where Debian keeps it."""
    places = [os.path.join(place, name) for place in bins or []]
    places += [shutil.which(name) or "", f"/usr/sbin/{name}"]
    return next((place for place in places if place and os.access(place, os.X_OK)), None)


def postgres_bins():
    on_path = shutil.which("initdb")
    major = lambda place: [int(n) for n in re.findall(r"\d+", place)]
    debian = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=major, reverse=True)
    return ([os.path.dirname(os.path.realpath(on_path))] if on_path else []) + debian


def version(program):
    if not program:
        return None
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+(\.\d+)+\w*", text)
    return found.group(0) if found else "unknown"


class Target:
    """One endpoint: where it listens and whose CPU counts as its own."""

    def __init__(self, name, port, proc, admin=None):
        self.name, self.port, self.proc, self.admin = name, port, proc, admin


class Bench:
    def __init__(self, rig, args):
        self.rig, self.args = rig, args
        bins = postgres_bins()
        self.tools = {name: find_bin(name, bins) for name in ("initdb", "postgres", "pgbench")}
        missing = [name for name, path in self.tools.items() if not path]
        if missing:
            raise Failure(f"not found: {', '.join(missing)} (Debian: apt install postgresql postgresql-contrib)")
        self.bouncer = find_bin("pgbouncer")
        self.bouncer_version = version(self.bouncer)
        numbers = [int(n) for n in re.findall(r"\d+", self.bouncer_version or "")][:2]
        self.bouncer_prepares = numbers >= [1, 21]
        self.pgdial = os.path.abspath(args.pgdial)
        if not os.access(self.pgdial, os.X_OK):
            raise Failure(f"no pgdial at {args.pgdial}: cargo build --release, or --pgdial PATH")
        self.user = unprivileged()

    def start_postgres(self):
        data, sockets, port = self.rig.private_dir("data", self.user), self.rig.private_dir("sock", self.user), free_port()
        code, text = self.rig.run([self.tools["initdb"], "-D", data, "-U", "postgres", "-A", "trust", "-N",
                                   "--locale=C", "-E", "UTF8"], self.user)
        if code != 0:
            raise Failure(f"initdb failed:\n{text[-2000:]}")
        # The superuser only through a socket in a private directory; over TCP only the plain role of the tests.
        with open(os.path.join(data, "pg_hba.conf"), "w") as file:
            file.write(f"local all postgres trust\nhost {NAME} {NAME} {HOST}/32 trust\n")
        options = {"listen_addresses": HOST, "port": port, "unix_socket_directories": sockets, "fsync": "off",
                   "max_connections": max(self.args.clients) + 4 * POOL + 20, "shared_buffers": "512MB", "autovacuum": "off"}
        argv = [self.tools["postgres"], "-D", data]
        for key, value in options.items():
            argv += ["-c", f"{key}={value}"]
        proc, admin = self.rig.spawn(argv, self.user, "postgres.log"), f"{sockets}/.s.PGSQL.{port}"
        wait_ready(self.rig, proc, "postgres.log", admin, "postgres", "postgres")
        client = Client(admin, "postgres", "postgres").ready()
        client.query(f"CREATE ROLE {NAME} LOGIN").query(f"CREATE DATABASE {NAME} OWNER {NAME}").close()
        code, text = self.rig.run([self.tools["pgbench"], "-i", "-q", "-s", str(self.args.scale), "-h", HOST,
                                   "-p", str(port), "-U", NAME, NAME])
        if code != 0:
            raise Failure(f"pgbench -i failed:\n{text[-2000:]}")
        self.straight = Target(STRAIGHT, port, proc)
        return self.straight

    def start_bouncer(self):
        port = free_port()
        users = self.rig.write("users.txt", f'"{NAME}" ""\n')
        prepared = "max_prepared_statements = 200\n" if self.bouncer_prepares else ""
        config = self.rig.write("pgbouncer.ini", (
            f"[databases]\n{NAME} = host={HOST} port={self.straight.port} dbname={NAME} user={NAME}\n"
            f"[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {users}\npool_mode = transaction\ndefault_pool_size = {POOL}\nmax_client_conn = {self.room()}\n"
            f"log_connections = 0\nlog_disconnections = 0\n{prepared}"))
        proc = self.rig.spawn([self.bouncer, config], self.user, "pgbouncer.log")
        wait_ready(self.rig, proc, "pgbouncer.log", (HOST, port))
        return Target(BOUNCER, port, proc)

    def start_pgdial(self, name):
        port, admin = free_port(), free_port()
        cache = '[cache]\nmode = "on"\n[[cache.rule]]\ntables = ["public.pgbench_accounts"]\nttl = "1h"\n'
        config = self.rig.write(f"{name}.toml", (
            f'[listen]\naddress = "{HOST}:{port}"\nmax_clients = {self.room()}\n[auth]\nmethod = "trust"\n'
            f'[upstream]\nurl = "postgres://{NAME}@{HOST}:{self.straight.port}/{NAME}?sslmode=disable"\n'
            f'[pool]\nsize = {POOL}\n[admin]\naddress = "{HOST}:{admin}"\n' + (cache if name == CACHED else "")))
        proc = self.rig.spawn([self.pgdial, "-c", config], None, f"{name}.log")
        wait_ready(self.rig, proc, f"{name}.log", (HOST, port))
        return Target(name, port, proc, admin)

    def room(self):
        """How many clients a proxy must let in."""
        return max(self.args.idle + self.args.clients) + 100

    def proxies(self):
        """Fresh ones: (name, how to start it)."""
        known = [(BOUNCER, self.start_bouncer)] if self.bouncer else []
        return known + [(DIAL, lambda: self.start_pgdial(DIAL)), (CACHED, lambda: self.start_pgdial(CACHED))]


def unprivileged():
    """Postgres and PgBouncer refuse to run as root."""
    if os.geteuid() != 0:
        return None
    for user in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(user).pw_name
        except KeyError:
            continue
    raise Failure("run this as an unprivileged user: Postgres refuses to run as root")


# ---------------------------------------------------------------- throughput and CPU
def measure(bench, target, mode, clients, seconds):
    """One pgbench run: {tps, own, other, errors}; without figures when there was too little to count."""
    script = bench.rig.path("select.sql")
    argv = [bench.tools["pgbench"], "-n", "-h", HOST, "-p", str(target.port), "-U", NAME, "-c", str(clients),
            "-j", str(min(os.cpu_count() or 1, clients)), "-T", str(seconds), "-f", script]
    argv += ["-C", "-M", "simple"] if mode == CONNECT else ["-M", mode]
    pids = (target.proc.pid, bench.straight.proc.pid)
    before, busy, own, begun = [cpu_us(pid) for pid in pids], machine_us(), children_us(), time.monotonic()
    code, text = bench.rig.run(argv + [NAME], timeout=seconds + 30)
    wall, busy, client = time.monotonic() - begun, machine_us() - busy, children_us() - own
    time.sleep(0.1)  # processes that just ended are reaped before they are counted
    spent = [cpu_us(pid) - past for pid, past in zip(pids, before)]
    known = sum(spent) if target is not bench.straight else spent[1]
    other = max(0.0, busy - client - known) / (wall * 1e6 * (os.cpu_count() or 1))
    result = outcome(code, text, seconds) | {"other": other}
    return result | ({"own": spent[0] / transactions(text)} if "tps" in result else {})


def number(pattern, text):
    found = re.search(pattern, text, re.M)
    return float(found.group(1)) if found else 0.0


def outcome(code, text, seconds):
    """What pgbench said of its run. Its clock starts before its clients log in: where that took long, nothing counts."""
    errors = len(re.findall(r"^pgbench: error:", text, re.M)) + int(number(r"failed transactions: (\d+)", text))
    if code != 0:
        return {"errors": max(errors, 1), "note": (text.strip().splitlines() or ["no output"])[-1]}
    if not transactions(text) or number(r"initial connection time = ([\d.]+)", text) > seconds * 1000 / 3:
        return {"errors": errors, "note": "too short: most of it was spent on logging in"}
    return {"errors": errors, "tps": number(r"^tps = ([\d.]+)", text)}


def transactions(text):
    return number(r"actually processed: (\d+)", text)


def cells(args):
    found = [(mode, clients) for mode in args.modes for clients in args.clients] if "queries" in args.parts else []
    return found + ([(CONNECT, min(16, max(args.clients)))] if "connect" in args.parts else [])


def queries(bench, targets, results):
    """Fills {cell: {target: [one result per round]}}, the targets of a cell one after another in an order that turns."""
    args = bench.args
    limit = args.rows or 100_000 * args.scale
    bench.rig.write("select.sql", f"\\set aid random(1, {limit})\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n")
    skip = lambda target, mode: target.name == BOUNCER and mode == "prepared" and not bench.bouncer_prepares
    for target in targets:  # servers logged in, pages read, entries filled
        for mode in args.modes:
            if not skip(target, mode):
                measure(bench, target, mode, min(16, max(args.clients)), 1)
    for turn in range(args.rounds):
        for mode, clients in cells(args):
            shift = turn % len(targets)
            for target in targets[shift:] + targets[:shift]:
                if skip(target, mode):
                    continue
                result = measure(bench, target, mode, clients, args.seconds) | {"round": turn}
                results.setdefault((mode, clients), {}).setdefault(target.name, []).append(result)
                say(f"round {turn + 1} {mode} {clients} {target.name}: {result.get('tps', 0):.0f} tps, "
                    f"{result.get('own', 0):.1f} us, {result['errors']} errors {result.get('note', '')}")


def hits(targets):
    """(queries answered from memory, all queries) of the pgdial with a cache, from its own figures."""
    admin = next(target.admin for target in targets if target.name == CACHED)
    with urllib.request.urlopen(f"http://{HOST}:{admin}/stats", timeout=10) as reply:
        stats = json.load(reply)
    return stats["cache"]["hits"] + stats["cache"]["waits"], stats["traffic"]["queries"]


def share(begun, ended):
    served, asked = ended[0] - begun[0], ended[1] - begun[1]
    return f"{100 * served / asked:.1f} %" if asked else "nothing was asked"


def ratios(runs, base, key):
    """One ratio per round in which both worked."""
    past = {run["round"]: run.get(key) for run in base or []}
    return [run[key] / past[run["round"]] for run in runs if run.get(key) is not None and past.get(run["round"])]


def median(values, digits=2):
    return f"{statistics.median(values):.{digits}f}" if values else "–"


def spread(values, digits=2):
    return f"{median(values, digits)} ({min(values):.{digits}f}–{max(values):.{digits}f})" if values else "–"


def query_table(results, targets):
    print("| | | tps, x straight | own CPU, x pgbouncer | errors | tps | own CPU us per query |")
    print("|---|---|---|---|---|---|---|")
    for (mode, clients), cell in results.items():
        for target in targets:
            runs = cell.get(target.name)
            if not runs:
                continue
            proxy = target.name != STRAIGHT
            pick = lambda key: [run[key] for run in runs if key in run]
            row = [f"{mode}, {clients}", target.name,
                   spread(ratios(runs, cell.get(STRAIGHT), "tps")) if proxy else "1",
                   spread(ratios(runs, cell.get(BOUNCER), "own")) if proxy else "–",
                   str(sum(run["errors"] for run in runs)), median(pick("tps"), 0),
                   median(pick("own"), 1) if proxy else "–"]
            print("| " + " | ".join(row) + " |")
    print()


# ---------------------------------------------------------------- idle clients
def crowd(target, counts):
    """KiB per client for each count, and after one query from each of the last."""
    clients, figures = [], []
    per_client = lambda: (memory_kib(target.proc.pid) - empty) / (len(clients) - 1)
    try:
        clients.append(Client((HOST, target.port)).ready().query("SELECT 1"))  # what the first client alone allocates
        time.sleep(1)
        empty = memory_kib(target.proc.pid)
        for count in counts:
            while len(clients) <= count:
                fresh = []
                try:
                    for _ in range(min(50, count + 1 - len(clients))):
                        fresh.append(Client((HOST, target.port)))
                finally:
                    clients += fresh
                for client in fresh:
                    client.ready()
            time.sleep(1)
            figures.append(per_client())
        for client in clients:
            client.query("SELECT 1")
        time.sleep(1)
        return figures + [per_client()], 0
    except (OSError, Failure) as error:
        say(f"{target.name}: {error} at {len(clients)} clients")
        return figures, 1
    finally:
        for client in clients:
            client.close()


def idle(bench):
    """Each proxy is started anew: memory that an earlier test has freed would hide what a client costs."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200
    counts = [count for count in bench.args.idle if count <= limit]
    if len(counts) < len(bench.args.idle):
        print(f"At most {limit} idle clients: the limit of open files (`ulimit -Hn`) does not allow more.\n")
    rows, errors = {}, 0
    for name, start in bench.proxies() if counts else []:
        if name == CACHED:
            continue
        target = start()
        rows[name], failed = crowd(target, counts)
        errors += failed if name != BOUNCER else 0
        bench.rig.stop(target.proc)
    heads = [f"{count} idle" for count in counts] + [f"{counts[-1]} after a query each"] if counts else []
    print("| clients | " + " | ".join(f"{name}, x pgbouncer" for name in rows if name != BOUNCER)
          + " | " + " | ".join(f"{name}, KiB per client" for name in rows) + " |")
    print("|---" * (1 + len(rows) + len([name for name in rows if name != BOUNCER])) + "|")
    figure = lambda name, place: rows[name][place] if name in rows and place < len(rows[name]) else None
    for place, head in enumerate(heads):
        peer = figure(BOUNCER, place)
        own = [(name, figure(name, place)) for name in rows]
        shares = [f"{value / peer:.1f}" if value and peer else "–" for name, value in own if name != BOUNCER]
        print(f"| {head} | " + " | ".join(shares) + " | "+ " | ".join(f"{value:.1f}" if value is not None else "failed" for _, value in own) + " |")
    print()
    return errors


# ---------------------------------------------------------------- the whole
def describe(bench):
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    print(f"Machine: {os.cpu_count()} CPUs ({model.group(1).strip() if model else platform.machine()}), {memory:.0f} GiB, "
          f"Linux {platform.release().split('-')[0]}. PostgreSQL {version(bench.tools['postgres'])}, "
          f"PgBouncer {bench.bouncer_version or 'not installed'}, pgdial {version(bench.pgdial)}. "
          f"Pool of {POOL}, scale {bench.args.scale}, rows asked for: {bench.args.rows or 'all'}, "
          f"{bench.args.rounds} rounds of {bench.args.seconds} s.\n")
    if not bench.bouncer:
        print("PgBouncer is not installed (Debian: apt install pgbouncer), so its rows and ratios are missing.\n")
    elif not bench.bouncer_prepares:
        print("This PgBouncer is older than 1.21 and has no prepared statements in transaction mode: no such row.\n")


def report(bench, targets):
    """Runs the parts that were asked for; the number of errors that pgdial had."""
    errors, results = 0, {}
    if {"queries", "connect"} & set(bench.args.parts):
        begun = hits(targets)
        try:
            queries(bench, targets, results)
        finally:  # an interrupted run shows the rounds it has
            query_table(results, targets)
            runs = [run for cell in results.values() for runs in cell.values() for run in runs]
            print(f"CPU of this machine used by others meanwhile: {spread([run['other'] * 100 for run in runs], 0)} %. "
                  f"Runs without figures: {sum('tps' not in run for run in runs)} of {len(runs)}.")
        print(f"Answered from memory by pgdial cache, first fills included: {share(begun, hits(targets))}.\n", flush=True)
        errors += sum(run["errors"] for cell in results.values() for name in (DIAL, CACHED) for run in cell.get(name, []))
    for target in targets[1:]:
        bench.rig.stop(target.proc)
    return errors + (idle(bench) if "idle" in bench.args.parts else 0)


def say(text):
    print(f"# {text}", file=sys.stderr, flush=True)


def raise_limit():
    """Each proxy, and this process, holds one open file per client."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in ((65536, max(65536, hard)), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, wanted)
            return
        except (ValueError, OSError):
            continue


def arguments():
    numbers = lambda text: [int(part) for part in text.split(",") if part]
    words = lambda text: [part for part in text.split(",") if part]
    target = os.path.join(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"), "release", "pgdial")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pgdial", default=target, metavar="PATH", help="the binary (default: target/release/pgdial)")
    parser.add_argument("--parts", type=words, default="queries,connect,idle", help="which of queries, connect, idle")
    parser.add_argument("--modes", type=words, default="simple,extended,prepared", help="of pgbench")
    parser.add_argument("--clients", type=numbers, default="16,64")
    parser.add_argument("--seconds", type=int, default=3, help="of one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=int, default=20, help="of the pgbench tables")
    parser.add_argument("--rows", type=int, default=1000, help="different rows that are asked for; 0 = all")
    parser.add_argument("--idle", type=numbers, default="2000,10000", help="counts of idle clients")
    args = parser.parse_args()
    known = {"parts": {"queries", "connect", "idle"}, "modes": {"simple", "extended", "prepared"}}
    for key, allowed in known.items():
        if not getattr(args, key) or set(getattr(args, key)) - allowed:
            parser.error(f"--{key}: any of {', '.join(sorted(allowed))}")
    if min([args.seconds, args.rounds, args.scale] + (args.clients or [0]) + args.idle) < 1 or args.rows < 0:
        parser.error("counts and times start at 1")
    args.idle.sort()
    return args


def main():
    if not os.path.exists("/proc/self/stat"):
        sys.exit("this needs Linux: CPU and memory are read from /proc")
    args = arguments()
    raise_limit()
    try:
        with Rig() as rig:
            bench = Bench(rig, args)
            say("starting Postgres and filling its tables")
            targets = [bench.start_postgres()] + [start() for _, start in bench.proxies()]
            describe(bench)
            errors = report(bench, targets)
    except Failure as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
