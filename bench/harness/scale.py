"""Many clusters and listeners from a control plane: time until they serve, memory, and what one changed endpoint costs."""

import json
import os
import queue
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

from . import processes, workspace

FIRST_LISTENER_PORT = 10_000  # below the ports of clients
PATIENCE = 300.0  # seconds in which everything must have happened
PROTOCOLS = {"delta": "DELTA_GRPC", "sotw": "GRPC", "sotw-resend": "GRPC"}
HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def bootstrap(control_plane_port, admin_port, protocol):
    """Everything comes by ADS but the control plane's own cluster. JSON is YAML, so both proxies read it."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": control_plane_port}}
    ads = {"ads": {}, "resource_api_version": "V3"}
    return json.dumps(
        {
            "node": {"id": "bench", "cluster": "bench"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": PROTOCOLS[protocol],
                    "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "control_plane"}}],
                    "set_node_on_first_message_only": True,
                },
                "cds_config": ads,
                "lds_config": ads,
            },
            "static_resources": {
                "clusters": [
                    {
                        "name": "control_plane",
                        "connect_timeout": "1s",
                        "typed_extension_protocol_options": {
                            HTTP2: {
                                "@type": "type.googleapis.com/" + HTTP2,
                                "explicit_http_config": {"http2_protocol_options": {}},
                            }
                        },
                        "load_assignment": {
                            "cluster_name": "control_plane",
                            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                        },
                    }
                ]
            },
            "bootstrap_extensions": [
                {
                    "name": "envoy.bootstrap.internal_listener",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
                    },
                }
            ],
        }
    )


class Backend:
    """Says its name to everybody who connects, and closes."""

    def __init__(self, name):
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, args=(name.encode(),), daemon=True).start()

    def _serve(self, name):
        while True:
            try:
                connection, _ = self._socket.accept()
                with connection:
                    connection.sendall(name)
            except OSError:
                return

    def close(self):
        self._socket.close()


def said(port):
    """What the backend behind a listener says; None while nothing does."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            return connection.recv(16).decode() or None
    except OSError:
        return None


class ControlPlane:
    """`scale/control_plane.py`, in a process of its own."""

    def __init__(self, python, clusters, listeners, backends, resend):
        argv = [python, os.path.join(workspace.BENCH, "scale", "control_plane.py"), "--clusters", str(clusters)]
        argv += ["--listeners", str(listeners), "--first-port", str(FIRST_LISTENER_PORT), "--backends", *map(str, backends)]
        self.process = subprocess.Popen(
            argv + (["--resend"] if resend else []), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.STARTED.append(self.process)
        self._events = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.port = self.wait("listening")

    def _read(self):
        for line in self.process.stdout:
            self._events.put(json.loads(line))
        self._events.put({"rejected": "the control plane ended"})

    def command(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def wait(self, kind):
        event = self._events.get(timeout=PATIENCE)
        if kind not in event:
            raise RuntimeError(f"instead of {kind}: {event}")
        return event[kind]

    def refusal(self):
        """Why the proxy refused something, if it did."""
        while not self._events.empty():
            event = self._events.get()
            if "rejected" in event:
                return event["rejected"]
        return None


class Proxy:
    """A proxy that is about to ask the control plane."""

    def __init__(self, name, command, control_plane_port, protocol):
        self.name, self.admin = name, free_port()
        config, log = (os.path.join(workspace.RUN, f"scale-{name}.{end}") for end in ("yaml", "log"))
        with open(config, "w") as file:
            file.write(bootstrap(control_plane_port, self.admin, protocol))
        self.began = time.monotonic()
        self.process = processes.spawn(command.format(cfg=config, w=1, id=7).split(), log)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=PATIENCE) as answer:
            return answer.read().decode()

    def is_ready(self):
        try:
            return self.get("/ready").strip() == "LIVE"
        except OSError:
            return False

    def wait(self, what, condition):
        while not condition():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended")
            if time.monotonic() - self.began > PATIENCE:
                raise RuntimeError(f"{self.name}: not {what} in {PATIENCE:.0f} s")
            time.sleep(0.005)

    def stat(self, name):
        lines = self.get(f"/stats?filter=^{name}$".replace("$", "%24").replace("^", "%5E")).splitlines()
        return int(lines[0].rsplit(": ", 1)[1]) if lines else 0

    def cpu(self):
        return processes.cpu_of(self.process.pid)

    def rss_kb(self):
        return processes.memory([self.process.pid])["rss_kb"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def measure(name, command, python, protocol, clusters, listeners, changes, probes):
    """One proxy with one control plane, from its start to its end: a dictionary of figures, or of `why` there are none."""
    backends = [Backend("a"), Backend("b")]
    ports = [backend.port for backend in backends]
    plane = proxy = None
    try:
        plane = ControlPlane(python, clusters, listeners, ports, resend=protocol == "sotw-resend")
        proxy = Proxy(name, command, plane.port, protocol)
        found = _start(proxy, plane, clusters, listeners)
        if clusters > 1:
            found.update(_changes(proxy, plane, clusters, changes))
        if listeners:
            found["effect_ms"] = _effects(plane, probes)
        found["rss_after_kb"] = proxy.rss_kb()
        refused = plane.refusal()
        return dict(found, ok=refused is None, why=refused)
    except (OSError, RuntimeError, queue.Empty) as error:
        return {"ok": False, "why": str(error)}
    finally:
        for backend in backends:
            backend.close()
        for process in (proxy and proxy.process, plane and plane.process):
            if process:
                processes.stop(process)


def _start(proxy, plane, clusters, listeners):
    proxy.wait("ready", proxy.is_ready)
    if listeners:
        last = FIRST_LISTENER_PORT + (listeners - 1) // 2
        proxy.wait("serving", lambda: said(FIRST_LISTENER_PORT) == "a")
        proxy.wait("listening", lambda: is_open(last))
    found = {"ready_s": time.monotonic() - proxy.began, "ready_cpu_s": proxy.cpu()}
    time.sleep(1.0)
    # Before it is asked for a list of its stats, which takes memory for a moment.
    found["rss_kb"] = proxy.rss_kb()
    # That it is ready must not mean that it left something out.
    for stat, expected in (
        ("cluster_manager.active_clusters", clusters + 1),
        ("cluster_manager.warming_clusters", 0),
        ("listener_manager.total_listeners_active", listeners),
    ):
        value = proxy.stat(stat)
        if value != expected:
            raise RuntimeError(f"{proxy.name}: {stat} is {value}, not {expected}")
    return found


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
        return True
    except OSError:
        return False


def _changes(proxy, plane, clusters, changes):
    """What changing one endpoint after the other costs, each accepted before the next is sent. What the process does anyhow in that
    time is taken off."""
    time.sleep(1.0)
    idle, since = proxy.cpu(), time.monotonic()
    time.sleep(2.0)
    idle = (proxy.cpu() - idle) / (time.monotonic() - since)
    chosen = random.Random(1).choices(range(1, clusters), k=changes)
    # Once, so that what is done only the first time does not count.
    _change(plane, [1])
    before, since = proxy.cpu(), time.monotonic()
    _change(plane, chosen)
    took = time.monotonic() - since
    spent = proxy.cpu() - before - idle * took
    return {"change_cpu_ms": spent / changes * 1e3, "change_ms": took / changes * 1e3, "changes": changes}


def _change(plane, numbers):
    plane.command(change=numbers)
    if plane.wait("changed") != len(numbers):
        raise RuntimeError("not all were accepted")


def _effects(plane, probes):
    """Milliseconds from the moment at which an endpoint's change is sent until connections get there."""
    found = []
    for number in range(probes):
        to = 1 - number % 2
        plane.command(probe=to)
        pushed = plane.wait("pushed")
        while said(FIRST_LISTENER_PORT) != "ab"[to]:
            if time.monotonic() - pushed > PATIENCE:
                raise RuntimeError("a changed endpoint takes no effect")
        found.append((time.monotonic() - pushed) * 1e3)
    return statistics.median(found) if found else None


def has_messages(python):
    """Whether a Python has what the control plane needs."""
    try:
        probe = "import grpc, envoy.service.discovery.v3.discovery_pb2"
        return subprocess.run([python, "-c", probe], capture_output=True).returncode == 0
    except OSError:
        return False


def find_python():
    """One with grpcio and xds-protos: $CONTROL_PLANE_PYTHON, this one, or that of `.ci/run`."""
    installed = os.path.join(workspace.REPOSITORY, "target", "ci", "venv", "bin", "python3")
    for python in (os.environ.get("CONTROL_PLANE_PYTHON"), sys.executable, installed):
        if python and has_messages(python):
            return python
    sys.exit("no Python has grpcio and xds-protos (pip install grpcio==1.85.1 xds-protos==1.85.0): set CONTROL_PLANE_PYTHON")
