"""How cost grows: with the number of connections, and with the number of listeners and clusters in a configuration."""

import os
import subprocess
import sys
import time

from . import envoy_config, held_connections, processes, workspace
from .targets import Target

CONNECTIONS = (100, 1_000, 10_000, 100_000)
ITEMS = (1, 10, 100, 1_000)
SPARE_DESCRIPTORS = 200  # what a proxy has open besides its connections
BACKEND_SHARE = 20_000  # connections of one proxy to one backend port: fewer than an address has ports
STREAM_CONNECTIONS = 20  # HTTP/2 connections that carry the streams of the simulation
FIRST_LISTENER_PORT = 10_000  # below the ports of the load tools


def connection_counts(limit, counts=CONNECTIONS):
    """COUNTS as far as LIMIT descriptors go: a connection takes two in the proxy. A count that does not fit becomes the largest
    that does."""
    largest = (limit - SPARE_DESCRIPTORS) // 2
    fitting = [count for count in counts if count <= largest]
    if len(fitting) < len(counts) and (not fitting or largest > 1.5 * fitting[-1]):
        fitting.append(largest)
    return fitting


class Growth:
    """Measures the growth of the given products (name → command) with one worker; what it finds goes to RESULTS as it comes."""

    def __init__(self, peers, ports, server, results, log, limit, quiet_cell):
        self.peers, self.ports, self.server, self.results, self.log, self.limit = peers, ports, server, results, log, limit
        self.quiet_cell = quiet_cell  # (target, metric) → a cell that was repeated if it was disturbed

    def connections(self, products, counts=CONNECTIONS):
        """Real connections through an internal hop, as far as descriptors go."""
        counts = connection_counts(self.limit, counts)
        backends = -(-counts[-1] // BACKEND_SHARE)
        for name, command in products:
            if not self.results.has_growth("connections", name, counts[-1]):
                target = Target(name, "tcp2", 1, self.peers, command)
                self._hold(
                    "connections",
                    target,
                    counts,
                    dict(config=lambda port, back: envoy_config.tcp_chain(port, back, 1), backends=backends),
                )

    def streams(self, products, counts=CONNECTIONS):
        """The rest, simulated: internal connections that begin as CONNECT streams and end at an echo, so they need no descriptor.
        Each stream crosses two hops."""
        for name, command in products:
            if not self.results.has_growth("streams", name, counts[-1]):
                self._hold("streams", Target(name, "streams", 1, self.peers, command), counts, {}, STREAM_CONNECTIONS)

    def _hold(self, kind, target, counts, how, streams=None):
        if target.start(self.ports, **how) is None:
            self.results.add_growth(kind, target.kind, {"ok": False, "count": counts[-1], "why": target.why})
            return
        try:
            for size in held_connections.growth(target, self.server, counts, streams):
                self.results.add_growth(kind, target.kind, size)
                self.log(f"growth: {size['count']} {kind} through {target.kind}" + ("" if size["ok"] else f": FAILED {size}"))
        finally:
            target.stop()

    def configuration(self, products, counts=ITEMS, repetitions=3):
        """N listeners, N clusters and N internal listeners between them: time to the first answer of the last listener, memory, and
        CPU per request through it."""
        for repetition in range(repetitions):
            for count in counts:
                for name, command in products:
                    if not self.results.has_growth("configuration", name, count, repetition):
                        self._configuration(name, command, count, repetition)

    def _configuration(self, name, command, count, repetition):
        target = Target(name, "tcp2", 1, self.peers, command)
        result = {"ok": False, "count": count, "repetition": repetition}
        began = time.monotonic()
        took = _start_with(target, self.ports, count)
        if took is None:
            result["why"] = target.why or f"no answer within {time.monotonic() - began:.0f} s"
        else:
            time.sleep(0.2)
            held = processes.memory(target.pids)
            cell = self.quiet_cell(target, "rr16")
            result.update(
                ok=cell["ok"],
                ready_ms=took * 1e3,
                rss_kb=held["rss_kb"],
                pss_kb=held["pss_kb"],
                cpu_per=cell.get("cpu_per"),
                foreign=cell.get("foreign"),
            )
            target.stop()
        self.results.add_growth("configuration", name, result)
        self.log(f"growth: {count} listeners and clusters in {name}" + ("" if result["ok"] else f": FAILED {result}"))


def _start_with(target, ports, count):
    """Start TARGET on a configuration with COUNT of everything; it is waited for, and measured, at its last listener."""

    def text(_port, backends):
        generator = os.path.join(workspace.BENCH, "growth_config.py")
        argv = [
            sys.executable,
            generator,
            "--listeners",
            str(count),
            "--clusters",
            str(count),
            "--internal",
            "--first-port",
            str(FIRST_LISTENER_PORT),
            "--backend-port",
            str(backends[0]),
        ]
        target.port = FIRST_LISTENER_PORT + count - 1
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    return target.start(ports, config=text)
