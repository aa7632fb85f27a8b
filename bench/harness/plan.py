"""What a run shall do, how often, and how long that takes."""

import argparse
import re

from . import cells

# Cells that no goal speaks of and that add nothing to the others: splicing but for bulk, and single requests over HTTP.
NOT_WORTH_ITS_TIME = (
    r"^haproxy-splice/",
    r"^haproxy-fsplice/tcp1/",
    r"^(haproxy-fsplice|relay-splice)/.*/(rr|conn)",
    r"/http[1i]/w\d/rr1$",
    r"/tun/w\d/(dl|rr1$)",
)
# What a preset sets; anything that is given on the command line beside it wins.
# `core` names the targets whose ratios are goals: they get more rounds than those that are there for orientation.
PRESETS = {
    "results": dict(
        scen="tcp1,tcp2,tcp5,http1,httpi,tun",
        workers="1,2",
        metrics="bulk1,bulk8,dl8,rr1,rr16,rr64,conn",
        secs=0.7,
        warm=0.15,
        core=r"^(underpass/tcp[125]|relay-copy/tcp1|envoy/tcp2)/",
        core_rounds=9,
        rounds=3,
        phases="start,mem,growth,perf",
        hold="1000,4500",
        hold_reps=2,
        mem_only=r"^(underpass/(tcp[125]|httpi)|envoy/tcp[125]|(haproxy|nginx)/tcp2|relay-copy/tcp1)/w1$|^underpass/tcp[25]/w2$",
        start_reps=7,
        start_only=r"/(tcp2|httpi)/w1$",
        idle_secs=1.0,
        skip="|".join(NOT_WORTH_ITS_TIME),
        growth="connections,streams,configuration",
        growth_reps=2,
        self_decap=True,
        budget=24.0,
    ),
    "quick": dict(
        scen="tcp1,tcp2,tcp5",
        workers="1",
        metrics="bulk8,rr16,conn",
        secs=0.5,
        warm=0.1,
        core=None,
        core_rounds=0,
        rounds=3,
        phases="start,mem,perf",
        hold="1000,4500",
        hold_reps=1,
        mem_only=r"/(tcp2|tcp5)/",
        start_reps=3,
        start_only=r"/tcp2/",
        idle_secs=0.5,
        skip=r"^haproxy-f?splice/",
        growth="",
        growth_reps=1,
        self_decap=False,
        budget=8.0,
    ),
    "full": dict(
        scen="tcp1,tcp2,tcp5,http1,httpi,tun,tunt",
        workers="1,2",
        metrics=None,
        secs=1.0,
        warm=0.2,
        core=None,
        core_rounds=0,
        rounds=5,
        phases="start,mem,growth,perf",
        hold="1000,4500",
        hold_reps=2,
        mem_only=None,
        start_reps=5,
        start_only=None,
        idle_secs=2.0,
        skip=None,
        growth="connections,streams,configuration",
        growth_reps=3,
        self_decap=True,
        budget=0.0,
    ),
    "self-test": dict(
        scen="tcp1,tcp2,tcp5",
        workers="1",
        metrics="rr1,rr16,bulk1,conn",
        secs=0.3,
        warm=0.05,
        core=None,
        core_rounds=0,
        rounds=1,
        phases="start,mem,growth,perf",
        hold="20,50",
        hold_reps=1,
        mem_only=r"^underpass/tcp2/",
        start_reps=1,
        start_only=r"^underpass/tcp2/",
        idle_secs=0.1,
        skip=None,
        growth="connections,streams,configuration",
        growth_reps=1,
        self_decap=False,
        budget=0.0,
        only=r"^(underpass|direct|relay-copy)/",
        growth_sizes="10,50",
        growth_items="1,3",
        products="underpass",
        max_foreign=1.0,
        max_wait=0.0,
    ),
}
SETUP_SECONDS, CELL_OVERHEAD = 6.0, 0.12
HOLD_SECONDS, START_SECONDS = 9.0, 0.35
GROWTH_SECONDS = {"connections": 30.0, "streams": 80.0, "configuration": 18.0}


def apply_preset(arguments, explicit):
    """Let the preset of ARGUMENTS set what was not set on the command line (EXPLICIT)."""
    for key, value in PRESETS.get(arguments.preset, {}).items():
        if key not in explicit:
            setattr(arguments, key, value)


def explicit_arguments(parser, argv):
    """The names of the options that stand on the command line."""
    bare = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    for action in parser._actions:
        if action.option_strings and action.dest != "help":
            kind = (
                {"action": "store_true"}
                if action.nargs == 0
                else {"action": "append"}
                if action.dest == "target"
                else {"nargs": action.nargs}
            )
            bare.add_argument(*action.option_strings, dest=action.dest, **kind)
    return set(vars(bare.parse_known_args(argv)[0]))


def split(text, convert=str):
    return [convert(x) for x in text.split(",")] if text else []


class Plan:
    """Which cells there shall be. ARGUMENTS are those of the command line after the preset."""

    def __init__(self, arguments, targets):
        self.arguments, self.targets = arguments, [t for t in targets if not arguments.only or re.search(arguments.only, t.name)]
        wanted = split(arguments.metrics)
        self.metrics = [m for m in cells.METRICS if not wanted or m in wanted]
        self.phases = split(arguments.phases)

    def rounds_of(self, target, metric):
        a = self.arguments
        if metric not in cells.metrics_of(target) or a.skip and re.search(a.skip, f"{target.name}/{metric}"):
            return 0
        return a.core_rounds if a.core and self.is_core(target) else a.rounds

    def is_core(self, target):
        """Whether goals speak of this target; all are alike if nobody said which."""
        return not self.arguments.core or re.search(self.arguments.core, target.name) is not None

    def group(self, targets, metric, round_number):
        """The targets that run METRIC in this round; none if nothing but the yardstick would run."""
        group = [t for t in targets if round_number < self.rounds_of(t, metric)]
        return group if any(t.kind != "direct" for t in group) else []

    def most_rounds(self, targets):
        return max((self.rounds_of(t, m) for t in targets for m in self.metrics), default=0)

    def measured_targets(self, workers):
        return [t for t in self.targets if t.workers == workers and any(self.rounds_of(t, m) for m in self.metrics)]

    def memory_targets(self):
        """Pipes of the splicing peers exceed the limit of descriptors; direct has no memory."""
        return [t for t in self._proxies() if not t.kind.endswith("splice") and _matches(self.arguments.mem_only, t)]

    def start_targets(self):
        return [t for t in self._proxies() if _matches(self.arguments.start_only, t)]

    def _proxies(self):
        return [t for t in self.targets if t.kind != "direct"]

    def seconds(self):
        """What each phase will take, by estimate; with a budget the rounds end when it is used up."""
        a, found = self.arguments, {}
        if "start" in self.phases:
            found["start"] = a.start_reps * len(self.start_targets()) * START_SECONDS
        if "mem" in self.phases:
            found["mem"] = a.hold_reps * len(self.memory_targets()) * (HOLD_SECONDS + 2 * a.idle_secs - 2)
        if "growth" in self.phases:
            part = max(split(a.growth_sizes, int)) / 100_000
            found["growth"] = sum(
                GROWTH_SECONDS[k] * (a.growth_reps if k == "configuration" else max(part, 0.1)) for k in split(a.growth)
            )
        if "perf" in self.phases:
            for workers in a.workers:
                targets = self.measured_targets(workers)
                count = sum(len(self.group(targets, m, r)) for r in range(self.most_rounds(targets)) for m in self.metrics)
                found[f"perf, {workers} worker(s), {count} cells"] = (
                    SETUP_SECONDS + 0.8 * len(targets) + count * (a.secs + a.warm + CELL_OVERHEAD)
                )
        return found

    def describe(self):
        parts = self.seconds()
        lines = [f"  {name}: about {seconds / 60:.1f} min" for name, seconds in parts.items()]
        total = sum(parts.values()) / 60
        budget = self.arguments.budget
        end = f"about {total:.1f} min" if not budget else f"about {min(total, budget):.1f} min, {budget:.0f} min at most"
        return "\n".join(["The plan:"] + lines + [f"  in all: {end}; quieter machines need fewer repetitions"])


def _matches(pattern, target):
    return not pattern or re.search(pattern, target.name) is not None
