"""Processes: starting and stopping them, what CPU time and memory they took, and what the rest of the machine took."""

import os
import signal
import socket
import subprocess

from . import workspace

STARTED = []  # every process that this run started, so that an interrupted run leaves none behind
TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid):
    """A process and all that descend from it."""
    found, todo = [], [pid]
    while todo:
        process = todo.pop()
        found.append(process)
        try:
            for thread in os.listdir(f"/proc/{process}/task"):
                todo += [int(child) for child in _read(f"/proc/{process}/task/{thread}/children").split()]
        except OSError:
            pass
    return found


def cpu_of(pid):
    """CPU seconds (user and system) of a process, all threads; exact to the nanosecond where the kernel offers schedstat."""
    try:
        nanoseconds = sum(
            int(_read(f"/proc/{pid}/task/{thread}/schedstat").split()[0]) for thread in os.listdir(f"/proc/{pid}/task")
        )
        if nanoseconds:
            return nanoseconds / 1e9
    except (OSError, IndexError, ValueError):
        pass
    try:
        fields = _read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    except OSError:
        return 0.0


def cpu(pids):
    return sum(cpu_of(pid) for pid in pids)


def machine():
    """CPU seconds of the whole machine since it booted: busy, stolen by the hypervisor, and all."""
    fields = [int(x) for x in _read("/proc/stat").splitlines()[0].split()[1:]]
    return {
        "busy": (fields[0] + fields[1] + fields[2] + fields[5] + fields[6] + fields[7]) / TICKS,
        "steal": fields[7] / TICKS,
        "all": sum(fields[:8]) / TICKS,
    }


def memory(pids):
    """Resident and proportional memory, open descriptors, and the kernel's slab (of the whole machine), in KB."""
    rss = pss = descriptors = 0
    for pid in pids:
        try:
            for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
                if line.startswith("Rss:"):
                    rss += int(line.split()[1])
                if line.startswith("Pss:"):
                    pss += int(line.split()[1])
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            pass
    slab = next(int(line.split()[1]) for line in _read("/proc/meminfo").splitlines() if line.startswith("Slab:"))
    return {"rss_kb": rss, "pss_kb": pss, "fds": descriptors, "slab_kb": slab}


def get_once(port, size=1024, timeout=2.0):
    """One checked GET; True only if a complete 200 with SIZE bytes of body came back."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(b"GET /%d HTTP/1.1\r\nHost: bench.local\r\n\r\n" % size)
            answer = b""
            while b"\r\n\r\n" not in answer or len(answer.split(b"\r\n\r\n", 1)[1]) < size:
                piece = connection.recv(65536)
                if not piece:
                    return False
                answer += piece
        head, body = answer.split(b"\r\n\r\n", 1)
        return head.startswith(b"HTTP/1.1 200") and len(body) == size
    except OSError:
        return False


def spawn(argv, log):
    """Start ARGV in the run's folder, with everything it says in the file LOG."""
    with open(log, "w") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=workspace.RUN)
    STARTED.append(process)
    return process


def stop(process):
    """End a process that we started, and all its children."""
    if process.poll() is not None:
        return
    family = tree(process.pid)
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        process.wait(5)


def stop_all():
    for process in STARTED:
        try:
            stop(process)
        except (OSError, subprocess.SubprocessError) as error:
            print("stop:", error)


def _read(path):
    with open(path) as file:
        return file.read()
