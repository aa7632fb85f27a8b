"""Runs a plan: phases in turn, rounds interleaved, every figure kept as it comes, a failure noted and passed over."""

import random
import subprocess
import time

from . import cells, held_connections, peers as peer_finder, processes, profile, workspace
from .growth import Growth
from .plan import split

STEP_BACK = 1.5  # seconds to wait when others use the machine
RETRIES = 2  # of a disturbed cell, at once
EXTRA_ROUNDS = 2  # of a metric whose rounds stayed disturbed


class Runner:
    def __init__(self, arguments, plan, peers, own, results, log):
        self.a, self.plan, self.peers, self.own, self.results, self.log = arguments, plan, peers, own, results, log
        self.ports, self.limit = workspace.Ports(), workspace.raise_descriptor_limit()
        self.server, self.began = None, time.monotonic()
        self.random = random.Random(arguments.seed)

    def run(self):
        """All phases. What stays in the results is whatever was found before an interruption."""
        try:
            self.server = self._backend()
            phases = {"start": self.start_up, "mem": self.idle_memory, "growth": self.growth}
            for name in self.plan.phases:
                if name in phases:
                    phases[name]()
            if "perf" in self.plan.phases or self.a.profile:
                for index, workers in enumerate(self.a.workers):
                    self.rounds(workers, len(self.a.workers) - index)
        finally:
            processes.stop_all()

    def _backend(self):
        argv = [workspace.LOAD_TOOL, "serve", str(workspace.BACKEND_PORT), str(workspace.BACKEND_PORTS)]
        server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        processes.STARTED.append(server)
        if server.stdout.readline() != "ready\n":
            raise RuntimeError("the backend did not start: are the ports 21000-21099 free?")
        return server

    # ------------------------------------------------------------------ start-up, memory, growth
    def start_up(self):
        for repetition in range(self.a.start_reps):
            targets = self.plan.start_targets()
            for target in self.random.sample(targets, len(targets)):
                if target.name in self.results.data["failed"] or self.results.repetitions("startup", target.name) > repetition:
                    continue
                took = target.start(self.ports)
                self.results.add_repetition("startup", target.name, took)
                if target.alive:
                    time.sleep(0.05)
                    self._remember_binary(target)
                    target.stop()
        self.log("start-up done")

    def idle_memory(self):
        for repetition in range(self.a.hold_reps):
            for target in self.plan.memory_targets():
                if target.name in self.results.data["failed"] or self.results.repetitions("mem", target.name) > repetition:
                    continue
                if target.start(self.ports) is None:
                    result = {"ok": False, "why": target.why}
                else:
                    result = held_connections.idle_memory(target, self.a.hold, self.a.idle_secs)
                    target.stop()
                self.results.add_repetition("mem", target.name, result)
                if not result["ok"]:
                    self.log("BAD mem", target.name, result)
            self.log(f"memory {repetition + 1}/{self.a.hold_reps}")

    def growth(self):
        self.results.set_header("descriptors", self.limit)
        growth = Growth(self.peers, self.ports, self.server, self.results, self.log, self.limit, self._quiet_cell)
        products = list(self.own)
        if self.peers.envoy and not self.a.products:
            products.append(("envoy", self.peers.envoy_command()))
        sizes, items = split(self.a.growth_sizes, int), split(self.a.growth_items, int)
        kinds = split(self.a.growth)
        if "connections" in kinds:
            growth.connections(products, sizes)
        if "streams" in kinds:
            growth.streams(products, sizes)
        if "configuration" in kinds:
            growth.configuration(products, items, self.a.growth_reps)

    # ------------------------------------------------------------------ rounds
    def rounds(self, workers, worker_counts_left):
        """One number of workers at a time: all its targets are up, idle ones cost next to nothing."""
        targets = self._bring_up(workers)
        deadline = self._deadline(worker_counts_left)
        most = self.plan.most_rounds(targets) if "perf" in self.plan.phases else 0
        for number in range(most):
            for metric in self.plan.metrics:
                if time.monotonic() < deadline:
                    self._one_round(self.plan.group(targets, metric, number), metric, number)
            late = time.monotonic() > deadline
            self.log(f"workers={workers} round {number + 1}/{most}" + (": the time is used up" if late else ""))
            if late:
                break
        self._repeat_disturbed(targets, most, deadline)
        if self.a.profile:
            profile.take(targets, self)
        for target in targets:
            self._compare_bytes(target, "after the rounds")
            target.stop()

    def _bring_up(self, workers):
        up = []
        for target in filter(self._lacks_cells, self.plan.measured_targets(workers)):
            if target.start(self.ports) is None:
                self._failed(target, target.why)
            elif self._compare_bytes(target, "before the rounds"):
                up.append(target)
                self._remember_binary(target)
            else:
                target.stop()
        self.log(f"workers={workers}: {len(up)} targets up, each byte through them compared")
        return up

    def _lacks_cells(self, target):
        """Whether there is something to do with a target still: a run that goes on has most cells already."""
        if self.a.profile:
            return True
        planned = ((metric, number) for metric in self.plan.metrics for number in range(self.plan.rounds_of(target, metric)))
        return not all(self.results.has_cell(target.name, metric, number) for metric, number in planned)

    def _compare_bytes(self, target, when):
        why = cells.preflight(target)
        if why:
            self._failed(target, f"{when}: {why}")
        return why is None

    def _failed(self, target, why):
        self.results.set("failed", target.name, why)
        self.log("FAILED", target.name, why)

    def _deadline(self, worker_counts_left):
        if not self.a.budget:
            return float("inf")
        now, end = time.monotonic(), self.began + 60 * self.a.budget
        return now + max(0.0, end - now) / worker_counts_left

    def _one_round(self, group, metric, number):
        for target in self._interleaved(group):
            if not self.results.has_cell(target.name, metric, number):
                cell = self._quiet_cell(target, metric)
                self.results.add_cell(target.name, metric, number, cell)
                if not cell.get("ok"):
                    self.log(
                        "BAD",
                        target.name,
                        metric,
                        {k: v for k, v in cell.items() if k[:2] == "e_" or k in ("why", "errors", "total")},
                    )

    def _interleaved(self, group):
        """In random order, those that goals compare next to each other."""
        shuffled = self.random.sample(group, len(group))
        return sorted(shuffled, key=lambda target: not self.plan.is_core(target))

    def _quiet_cell(self, target, metric):
        """A cell; measured again while others use too much of the machine, as long as there is time to wait for them."""
        for attempt in range(RETRIES + 1):
            if target.process and target.process.poll() is not None:
                self.log("gone, started again:", target.name)
                target.stop()
                if target.start(self.ports) is None:
                    return {"ok": False, "why": "it ended, and did not start again"}
            try:
                cell = cells.measure(target, metric, self.server, self.a.secs, self.a.warm, self.a.pin, self.a.full)
            except (OSError, ValueError, KeyError) as error:
                cell = {"ok": False, "why": repr(error)}
            if (
                cell.get("foreign", 0) <= self.a.max_foreign
                or attempt == RETRIES
                or self.results.data["waited"] >= self.a.max_wait
            ):
                break
            self.results.waited(STEP_BACK + self.a.secs)
            time.sleep(STEP_BACK)
        return dict(cell, tries=attempt + 1, noisy=cell.get("foreign", 0) > self.a.max_foreign)

    def _repeat_disturbed(self, targets, most, deadline):
        """Further rounds of those metrics in which a cell stayed disturbed, for the targets that goals speak of: pairs need both
        of their sides quiet."""
        targets = [target for target in targets if self.plan.is_core(target)]
        for extra in range(EXTRA_ROUNDS):
            for metric in self.plan.metrics:
                found = self.results.data["cells"]
                disturbed = {r for t in targets for r, c in found.get(t.name, {}).get(metric, {}).items() if c.get("noisy")}
                if len(disturbed) > extra and time.monotonic() < deadline:
                    self._one_round([t for t in targets if self.plan.rounds_of(t, metric)], metric, most + extra)

    def _remember_binary(self, target):
        if target.name not in self.results.data["binary"] and target.kind != "direct":
            self.results.set("binary", target.name, peer_finder.binary_info(target.pids))
