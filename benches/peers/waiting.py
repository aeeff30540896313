#!/usr/bin/env python3
"""Many more clients than servers: throughput, how evenly they are served, and memory.

    waiting.py --port PORT [--host H] [--user U] [--database D] [--pid PID] [--clients 64,10000] [--seconds 15] [--text SQL]

Each client sends the text again and again and waits for its answer; the first third of a run is not counted. One process,
epoll; logins need trust. Shown: queries per second, latency (median, 99 %, largest, largest / median), queries of the least,
the middle and the best served client, errors, and the resident memory of PID with the clients idle and under load.
"""
import argparse
import resource
import select
import socket
import struct
import sys
import time

READY = b"Z\0\0\0\5"


def resident(pid):
    if not pid:
        return 0
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def login(args, number):
    pairs = ("user", args.user, "database", args.database)
    body = struct.pack("!i", 196608) + b"".join(word.encode() + b"\0" for word in pairs) + b"\0"
    client = socket.create_connection((args.host, args.port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.settimeout(20)
    client.sendall(struct.pack("!i", len(body) + 4) + body)
    answer = b""
    while answer[-6:-1] != READY:
        piece = client.recv(65536)
        if not piece:
            sys.exit(f"client {number} is refused: {answer[-200:]}")
        answer += piece
    client.setblocking(False)
    return client


def load(args, clients):
    text = args.text.encode() + b"\0"
    query = b"Q" + struct.pack("!i", len(text) + 4) + text
    poll = select.epoll()
    by_number = {client.fileno(): client for client in clients}
    answers, counts = dict.fromkeys(by_number, b""), dict.fromkeys(by_number, 0)
    latencies, sent, errors, loaded = [], {}, 0, 0
    began = time.monotonic()
    counted, end = began + args.seconds / 3, began + args.seconds
    for number, client in by_number.items():
        poll.register(number, select.EPOLLIN)
        sent[number] = time.monotonic()
        client.send(query)
    while time.monotonic() < end:
        if not loaded and time.monotonic() > counted:
            loaded = resident(args.pid)
        for number, _ in poll.poll(0.2):
            piece = by_number[number].recv(65536)
            if not piece:
                errors += 1
                poll.unregister(number)
                continue
            answers[number] += piece
            if answers[number][-6:-1] != READY:
                continue
            errors += answers[number][:1] == b"E"
            answers[number] = b""
            now = time.monotonic()
            if now > counted:
                counts[number] += 1
                latencies.append(now - sent[number])
            sent[number] = now
            by_number[number].send(query)
    return sorted(latencies), sorted(counts.values()), errors, loaded, end - counted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", default="app")
    parser.add_argument("--database", default="app")
    parser.add_argument("--pid", type=int)
    parser.add_argument("--clients", default="64,10000")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--text", default="select pg_sleep(0.001)")
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for count in map(int, args.clients.split(",")):
        before = resident(args.pid)
        clients = [login(args, number) for number in range(count)]
        idle = resident(args.pid)
        latencies, counts, errors, loaded, seconds = load(args, clients)
        for client in clients:
            client.close()
        if not latencies:
            sys.exit(f"{count} clients: no answer within {args.seconds} s, {errors} errors")
        middle = latencies[len(latencies) // 2]
        print(
            f"{count} clients: {len(latencies) / seconds:.0f} q/s; ms: median {middle * 1e3:.1f}"
            f" 99% {latencies[int(len(latencies) * 0.99)] * 1e3:.1f} largest {latencies[-1] * 1e3:.1f}"
            f" ({latencies[-1] / middle:.2f} medians); per client {counts[0]}/{counts[count // 2]}/{counts[-1]}; errors {errors};"
            f" KiB per client: idle {(idle - before) / count:.2f}, waiting {(loaded - before) / count:.2f}"
        )


if __name__ == "__main__":
    main()
