"""The place where a run happens: its folder, its network namespace, its descriptors and the load tools in C."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REPOSITORY = os.path.dirname(BENCH)
RUN = os.environ.get("BENCH_DIR") or os.path.join(tempfile.gettempdir(), "underpass-bench")
LOAD_TOOL, STREAMS_TOOL = os.path.join(RUN, "lt"), os.path.join(RUN, "streams")

BACKEND_PORT, BACKEND_PORTS, FIRST_PORT, LAST_PORT = 21000, 100, 21100, 21999
INSIDE = "BENCH_NS"  # set in a process that runs in a namespace of its own

SYSCTLS = (("ip_local_port_range", "22000 65000"), ("tcp_tw_reuse", "1"), ("tcp_max_tw_buckets", "400000"))


def enter_namespace(arguments):
    """Start this program again in a network namespace of its own: private ports, abstract sockets and sysctls. Comes back
    only if that is not possible (a container without the right), or if it has happened."""
    if os.environ.get(INSIDE) == "1":
        return
    for unshare in (["unshare", "-n"], ["unshare", "-r", "-n"]):
        try:
            possible = subprocess.run(unshare + ["ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0
        except FileNotFoundError:
            possible = False
        if possible:
            os.environ[INSIDE] = "1"
            os.execvp(unshare[0], unshare + [sys.executable] + arguments)
    print(
        "no network namespace here (needs root, util-linux and iproute2): the ports 21000-21999 of this machine are used",
        file=sys.stderr,
    )


def prepare_network(congestion_control=None):
    """Inside a namespace of our own: loopback up, enough ports, the congestion control that was asked for."""
    if os.environ.get(INSIDE) != "1":
        return
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    values = SYSCTLS + ((("tcp_congestion_control", congestion_control),) if congestion_control else ())
    for key, value in values:
        try:
            with open("/proc/sys/net/ipv4/" + key, "w") as file:
                file.write(value)
        except OSError as error:
            print(f"net.ipv4.{key} stays as it is: {error}", file=sys.stderr)


def congestion_control():
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as file:
        return file.read().strip()


def raise_descriptor_limit(wanted=420_000):
    """Raise RLIMIT_NOFILE as far as this process may, for itself and what it starts. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for goal in ((wanted, max(wanted, hard)), (hard, hard)):
        try:
            if goal[0] > soft:
                resource.setrlimit(resource.RLIMIT_NOFILE, goal)
            break
        except (OSError, ValueError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def build_tools():
    """Compile the load tools where their source is newer than they are."""
    os.makedirs(RUN, exist_ok=True)
    for tool, source in ((LOAD_TOOL, "lt.c"), (STREAMS_TOOL, "streams.c")):
        source = os.path.join(BENCH, source)
        if os.path.exists(tool) and os.path.getmtime(tool) >= os.path.getmtime(source):
            continue
        if not shutil.which("gcc"):
            sys.exit("gcc is missing: the load tools are C (apt-get install gcc)")
        subprocess.run(["gcc", "-O2", "-std=gnu11", "-w", "-o", tool, source, "-lpthread"], check=True)


class Ports:
    """Hands out listener and backend ports in turn, so that a target never meets the leftovers of the one before it."""

    def __init__(self):
        self._next = {"port": FIRST_PORT, "back": BACKEND_PORT}

    def __call__(self, kind):
        port = self._next[kind]
        last = LAST_PORT if kind == "port" else BACKEND_PORT + BACKEND_PORTS - 1
        self._next[kind] = port + 1 if port < last else {"port": FIRST_PORT, "back": BACKEND_PORT}[kind]
        return port
