"""Where a proxy's CPU goes: perf's samples of the proxy, and system calls and context switches for each unit of work."""

import os
import re
import signal
import subprocess
import time

from . import cells, envoy_config, workspace

COUNTED = {"raw_syscalls:sys_enter": "syscalls_per", "context-switches": "cs_per"}


def take(targets, runner):
    for target in targets:
        if target.kind == "direct":
            continue
        bulk = "dl8" if target.scenario in envoy_config.HTTP_SCENARIOS else "bulk8"
        found = {
            metric: dict(_samples(target, metric, runner), **_counts(target, metric, runner)) for metric in (bulk, "rr64", "conn")
        }
        runner.results.set("profile", target.name, found)
    runner.log("profiles done")


def _load(target, metric, runner):
    return cells.measure(target, metric, runner.server, runner.a.secs, runner.a.warm, runner.a.pin)


def _samples(target, metric, runner):
    path = os.path.join(workspace.RUN, "perf.data")
    recorder = subprocess.Popen(
        ["perf", "record", "-q", "-e", "cpu-clock", "-F", "999", "-o", path, "-p", ",".join(map(str, target.pids))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.3)
    cell = _load(target, metric, runner)
    recorder.send_signal(signal.SIGINT)
    recorder.wait()
    report = subprocess.run(
        ["perf", "report", "-i", path, "--stdio", "-g", "none", "--sort", "dso,sym", "-q"], capture_output=True, text=True
    ).stdout
    if os.path.exists(path):
        os.unlink(path)
    rows = [
        (float(share), place, symbol)
        for share, place, symbol in re.findall(r"^\s+([\d.]+)%\s+(\S+)\s+\[.\]\s+(.*?)\s*$", report, re.M)
    ]
    kernel = sum(row[0] for row in rows if "kernel" in row[1])
    return {"kernel_pct": kernel, "user_pct": sum(row[0] for row in rows) - kernel, "top": rows[:14], "ok": cell.get("ok")}


def _counts(target, metric, runner):
    counter = subprocess.Popen(
        ["perf", "stat", "-x,", "-e", ",".join(COUNTED), "-p", ",".join(map(str, target.pids))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.3)
    cell = _load(target, metric, runner)
    counter.send_signal(signal.SIGINT)
    said = counter.communicate()[1]
    units = (cell.get("bytes", 0) / 1e9 if cells.is_bulk(metric) else cell.get("total")) or 1
    lines = [line.split(",") for line in said.splitlines()]
    return {COUNTED[x[2]]: int(x[0]) / units for x in lines if len(x) > 2 and x[0].isdigit() and x[2] in COUNTED}
