"""Connections that are opened, proved by a message each, and then kept: what they take of memory, and what using them costs."""

import json
import os
import subprocess
import time

from . import cells, processes, workspace

LEAST_MESSAGES = 20_000  # a turn over all connections is repeated until so many messages went through
MOST_TURNS = 50


class Holder:
    """A client that opens connections (or, with STREAMS, CONNECT streams over so many connections) and keeps them."""

    def __init__(self, port, streams=None):
        argv = [workspace.STREAMS_TOOL, str(port), str(streams)] if streams else [workspace.LOAD_TOOL, "hold", str(port)]
        others = set(range(os.cpu_count() - 1)) or {0}
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, others)
        )
        processes.STARTED.append(self._process)

    def ask(self, what):
        """Say `open N` or `check`; what came of it. Raises ValueError or OSError if the client is gone."""
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        try:
            self._process.stdin.close()
            self._process.wait(30)
        except (OSError, subprocess.TimeoutExpired):
            processes.stop(self._process)


def idle_memory(target, counts, idle_seconds):
    """Memory of a target with no connection, with each of COUNTS, and after all have closed; CPU while nothing happens."""
    result = {"ok": True}
    time.sleep(0.5)
    result["idle"] = processes.memory(target.pids)
    result["idle_cpu_pct"] = _idle_cpu(target, idle_seconds)
    holder = Holder(target.port)
    try:
        for count in counts:
            answer = holder.ask(f"open {count}")
            time.sleep(0.7)
            result[f"n{count}"] = dict(processes.memory(target.pids), errors=answer["errors"], open=answer["open"])
            if answer["errors"]:
                result["ok"] = False
        result["held_cpu_pct"] = _idle_cpu(target, idle_seconds)
        result["check"] = holder.ask("check")
        if result["check"]["errors"] or result["check"]["ok"] != counts[-1]:
            result["ok"] = False
    except (ValueError, OSError) as error:
        result.update(ok=False, why=str(error))
    holder.close()
    time.sleep(1.0)
    result["after"] = processes.memory(target.pids)
    return result


def growth(target, server, counts, streams=None):
    """For each of COUNTS: memory for each open connection, and CPU for a message when messages go through all of them in turn.
    Yields one result per count and ends after the first that fails."""
    cells.pin(target.pids, {os.cpu_count() - 1})
    cells.pin([server.pid], set(range(os.cpu_count() - 1)) or {0})
    time.sleep(0.3)
    idle = processes.memory(target.pids)
    holder = Holder(target.port, streams)
    try:
        for count in counts:
            yield _one_size(target, holder, idle, count)
    except (ValueError, OSError) as error:
        yield {"ok": False, "count": count, "why": str(error) or "the client ended"}
    finally:
        holder.close()


def _one_size(target, holder, idle, count):
    before = processes.cpu(target.pids)
    opened = holder.ask(f"open {count}")
    open_cpu = processes.cpu(target.pids) - before
    time.sleep(1.0)
    held = processes.memory(target.pids)
    messages = errors = turns = 0
    per_message = []
    while turns < MOST_TURNS and messages < LEAST_MESSAGES:
        before = processes.cpu(target.pids)
        answer = holder.ask("check")
        per_message.append((processes.cpu(target.pids) - before) / max(answer["ok"], 1) * 1e6)
        messages, errors, turns = messages + answer["ok"], errors + answer["errors"], turns + 1
    per_message.sort()
    return {
        "ok": not errors and not opened["errors"],
        "count": count,
        "errors": errors + opened["errors"],
        "bytes_per": (held["pss_kb"] - idle["pss_kb"]) * 1024 / count,
        "rss_kb": held["rss_kb"],
        "idle_rss_kb": idle["rss_kb"],
        "cpu_per": per_message[len(per_message) // 2],
        "open_cpu_per": open_cpu / max(opened["ok"], 1) * 1e6,
        "fds": held["fds"],
        "messages": messages,
    }


def _idle_cpu(target, seconds):
    before = processes.cpu(target.pids)
    time.sleep(seconds)
    return 100 * (processes.cpu(target.pids) - before) / seconds
