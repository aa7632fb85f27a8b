"""A cell: one load on one target for a second or so, with every answer checked, and what it cost."""

import json
import os
import subprocess

from . import envoy_config, processes, workspace

TCP_METRICS = ("bulk1", "bulk8", "rr1s", "rr1", "rr16", "rr64", "conn")
HTTP_METRICS = ("dl1", "dl8", "rr1s", "rr1", "rr16", "rr64", "conn")
METRICS = tuple(dict.fromkeys(TCP_METRICS + HTTP_METRICS))
BODY, DOWNLOAD = "1024", "16777216"


def metrics_of(target):
    if target.kind == "direct":
        return METRICS
    return HTTP_METRICS if target.scenario in envoy_config.HTTP_SCENARIOS else TCP_METRICS


def is_bulk(metric):
    return metric.startswith(("bulk", "dl"))


def load_command(port, metric, seconds, warm, full=False):
    """The load tool's arguments: upload, download, request/response or new connections."""
    tool, port, full = workspace.LOAD_TOOL, str(port), ["full"] if full else []
    if metric.startswith("bulk"):
        return [tool, "bulk", port, metric[4:], str(seconds)] + full
    if metric.startswith("dl"):
        return [tool, "rr", port, metric[2:], str(seconds), str(warm), DOWNLOAD] + full
    if metric.startswith("rr"):
        return [tool, "rr", port, metric[2:].rstrip("s"), str(seconds), str(warm), BODY] + full
    if metric == "conn":
        return [tool, "conn", port, "16", str(seconds), str(warm), BODY] + full
    raise KeyError(metric)


def pin(pids, cpus):
    for pid in pids:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), cpus)
        except OSError:
            pass


def place(target, metric, server, pinning):
    """CPU placement for a cell; returns the client's CPU set.
    1 worker: the proxy alone on the last CPU, client + backend + decap on the others; rr1s: everything on the last CPU
    (no cross-CPU wake-ups); 2 workers or no pinning: the scheduler decides. direct: backend on the last CPU, client elsewhere."""
    count = os.cpu_count()
    every, last = set(range(count)), {count - 1}
    rest = (every - last) or last
    if metric == "rr1s":
        proxy = backend = client = last
    elif pinning == "none" or target.workers > 1:
        proxy = backend = client = every
    elif target.kind == "direct":
        proxy, backend, client = last, last, rest
    else:
        proxy, backend, client = last, rest, rest
    pin(target.pids, proxy)
    pin(target.decap_pids, last if target.kind == "direct" or metric == "rr1s" else client)
    pin([server.pid], backend)
    return client


def measure(target, metric, server, seconds, warm, pinning="auto", full=False):
    """Run one load. `value` is Gbit/s, requests/s or connections/s; `cpu_per` the proxy's CPU in s/GB or µs; `dcpu_per` that
    of what ends its tunnels; `sys_per` that of all processes together; `foreign` the share of the machine that others used."""
    client = place(target, metric, server, pinning)

    def now():
        return processes.machine(), processes.cpu(target.pids), processes.cpu(target.decap_pids), processes.cpu_of(server.pid)

    before = now()
    try:
        run = subprocess.run(
            load_command(target.port, metric, seconds, warm, full),
            capture_output=True,
            text=True,
            timeout=60 + seconds,
            preexec_fn=lambda: os.sched_setaffinity(0, client),
        )
    except subprocess.TimeoutExpired:
        return {"ok": False, "why": "the load did not end"}
    after = now()
    try:
        cell = json.loads(run.stdout)
    except ValueError:
        return {"ok": False, "why": (run.stdout + run.stderr)[-300:]}
    for key in ("p50", "p90", "p99", "p999", "max"):
        if cell.get(key, 0) < 0:  # nothing ended within the window
            del cell[key]
    machine = {key: after[0][key] - before[0][key] for key in before[0]}
    proxy, decap, backend = (after[i] - before[i] for i in (1, 2, 3))
    ours, wall = proxy + decap + backend + cell["cpu"], machine["all"] or 1
    cell.update(
        ok=cell["errors"] == 0 and (target.process is None or target.process.poll() is None),
        pcpu=proxy,
        dcpu=decap,
        scpu=backend,
        foreign=max(0.0, (machine["busy"] - ours) / wall),
        steal=machine["steal"] / wall,
        idle=max(0.0, 1 - machine["busy"] / wall),
    )
    units = cell["bytes"] / 1e9 if is_bulk(metric) else cell["total"] / 1e6
    if not units:
        cell["ok"] = False
    else:
        cell.update(
            value=cell["gbps"] if is_bulk(metric) else cell["rps"],
            cpu_per=proxy / units,
            dcpu_per=decap / units,
            sys_per=ours / units,
        )
    return cell


def preflight(target):
    """Compare every byte of requests, downloads, new connections and uploads. Returns what was wrong, or None."""
    port = str(target.port)
    loads = [
        ["rr", port, "8", "0.1", "0", "1024", "full"],
        ["rr", port, "2", "0.1", "0", "3000001", "full"],
        ["conn", port, "4", "0.1", "0", "1024", "full"],
    ]
    if target.scenario not in envoy_config.HTTP_SCENARIOS:
        loads.append(["bulk", port, "2", "0.1", "full"])
    for load in loads:
        try:
            said = subprocess.run([workspace.LOAD_TOOL] + load, capture_output=True, text=True, timeout=60).stdout
            result = json.loads(said)
        except (ValueError, subprocess.TimeoutExpired):
            return f"{load}: no result"
        if result["errors"] or not result["bytes"]:
            return f"{load}: {result}"
    return None
