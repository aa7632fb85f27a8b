"""A target: one proxy in one scenario with one number of workers, and how it is started and stopped."""

import os
import shlex
import socket
import subprocess
import time

from . import envoy_config, peer_config, processes, workspace

READY_WITHIN = 60.0  # seconds: Envoy takes its time over a thousand listeners
BUILT_IN = ("direct", "envoy", "nginx", "haproxy", "relay")


class Target:
    _unique = os.getpid() % 1000 * 30

    def __init__(self, kind, scenario, workers, peers, command=None, both_ends=False):
        self.kind, self.scenario, self.workers, self.peers = kind, scenario, workers, peers
        self.command, self.both_ends = command, both_ends
        self.name = (
            "direct/-/w%d" % workers if kind == "direct" else f"{kind}{'+both' if both_ends else ''}/{scenario}/w{workers}"
        )
        self.process = self.decap = None
        self.pids, self.decap_pids = [], []
        self.alive, self.why, self.port, self.argv = False, "", None, []

    def start(self, ports, config=None, backends=1):
        """Start it (first what ends its tunnels). Returns the seconds from exec to the first good answer, None if there was
        none. CONFIG is a function from port and backend ports to a YAML text, for other configurations than the scenario's;
        more than one of the BACKENDS lets a proxy have more connections than one address has ports."""
        folder = os.path.join(workspace.RUN, self.name.replace("/", "-"))
        os.makedirs(folder, exist_ok=True)
        self.port, backend_ports = ports("port"), [ports("back") for _ in range(backends)]
        self.process = self.decap = None
        self.pids, self.decap_pids = [], []
        if self.kind == "direct":
            self.port, self.alive = backend_ports[0], True
            return 0.0
        try:
            took = self._run(folder, ports, backend_ports, config)
        except (OSError, subprocess.SubprocessError) as error:
            self.why = str(error)
        if not self.alive:
            self.stop()
            return None
        self.pids = processes.tree(self.process.pid)
        self.decap_pids = processes.tree(self.decap.pid) if self.decap else []
        return took

    def _run(self, folder, ports, backends, config):
        decap_port = self._start_decap(folder, ports, backends) if self.scenario in envoy_config.TUNNELS else None
        self.argv, log = self._argv(folder, config, backends, decap_port), os.path.join(folder, "log")
        began = time.monotonic()
        self.process = processes.spawn(self.argv, log)
        self._wait_until_it_answers(began)
        took = time.monotonic() - began
        if not self.alive:
            with open(log) as said:
                self.why = said.read()[-400:] or f"no good answer after {took:.1f} s (exit code {self.process.poll()})"
        return took

    def stop(self):
        for process in (self.process, self.decap):
            if process:
                processes.stop(process)
        self.alive = False

    def _start_decap(self, folder, ports, backends):
        port, path = ports("port"), os.path.join(folder, "decap.yaml")
        _write(path, envoy_config.scenario("decap", port, backends))
        command = self.command if self.both_ends else self.peers.envoy_command()
        self.decap = processes.spawn(self._fill(command, path), os.path.join(folder, "decap.log"))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        return port

    def _argv(self, folder, config, backends, decap_port):
        chain = self.scenario == "tcp2"
        if self.kind.startswith("relay-"):
            return [workspace.LOAD_TOOL, "relay", self.kind[6:], str(self.port), str(backends[0]), str(self.workers)]
        if self.kind.startswith("haproxy"):
            path = os.path.join(folder, "haproxy.cfg")
            _write(path, peer_config.haproxy(self.kind, chain, self.port, backends[0], self.workers, self.port))
            return [self.peers.haproxy, "-db", "-f", path]
        if self.kind == "nginx":
            path, hop = os.path.join(folder, "nginx.conf"), os.path.join(folder, "hop.sock")
            if os.path.exists(hop):
                os.unlink(hop)
            _write(path, peer_config.nginx(chain, self.port, backends[0], self.workers, folder, self.peers.nginx_module))
            return [self.peers.nginx, "-p", folder, "-c", path]
        path = os.path.join(folder, "envoy.yaml")
        _write(
            path, config(self.port, backends) if config else envoy_config.scenario(self.scenario, self.port, backends, decap_port)
        )
        return self._fill(self.command, path)

    def _fill(self, command, path):
        Target._unique += 1
        return shlex.split(command.replace("{cfg}", path).replace("{w}", str(self.workers)).replace("{id}", str(Target._unique)))

    def _wait_until_it_answers(self, began):
        """With a GET, since that goes all the way; where the target answers no GET (`streams`), with a connection."""
        while time.monotonic() - began < READY_WITHIN and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.001)
                continue
            if self.scenario == "streams" or processes.get_once(self.port):
                self.alive = True
                return
            time.sleep(0.002)


def catalogue(peers, scenarios, workers, own, both_ends=False):
    """Every target that can run here. OWN are the products under test, as (name, command)."""
    found = []
    for count in workers:
        for scenario in scenarios:
            for kind in _built_in(scenario, scenarios):
                if peers.has(kind):
                    found.append(Target(kind, scenario, count, peers, peers.envoy_command() if kind == "envoy" else None))
            for name, command in own:
                if scenario not in envoy_config.TUNNELS or peers.envoy:
                    found.append(Target(name, scenario, count, peers, command))
                if both_ends and scenario in envoy_config.TUNNELS:
                    found.append(Target(name, scenario, count, peers, command, both_ends=True))
    return found


def _built_in(scenario, scenarios):
    if scenario == "tcp1":
        return ["direct", "relay-copy", "relay-splice", "envoy", "haproxy", "haproxy-splice", "haproxy-fsplice", "nginx"]
    if scenario == "tcp2":
        return ["envoy", "haproxy", "haproxy-splice", "haproxy-fsplice", "nginx"]
    if scenario == "http1" and "tcp1" not in scenarios:
        return ["direct", "envoy"]
    return ["envoy"]


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)
