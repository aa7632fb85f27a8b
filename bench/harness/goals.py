"""What shall be reached, as data, and what a run says of each: goal, figure, reached or not."""

from dataclasses import dataclass

from . import summary

REQUESTS, CONNECTIONS, BULK = ("rr16", "rr64"), ("conn",), ("bulk1", "bulk8")
LOADS = {
    "rr1": "request, 1 connection",
    "rr16": "request, 16 connections",
    "rr64": "request, 64 connections",
    "conn": "new connection",
    "bulk1": "GB, 1 stream",
    "bulk8": "GB, 8 streams",
    "dl8": "GB down, 8 streams",
}
RATES = {
    "rr1": "requests/s, 1 connection",
    "rr16": "requests/s, 16 connections",
    "rr64": "requests/s, 64 connections",
    "conn": "connections/s",
    "bulk1": "Gbit/s, 1 stream",
    "bulk8": "Gbit/s, 8 streams",
}
FLAT = 1.25  # a cost is called flat if it grows by no more than this over three decades


@dataclass
class Goal:
    group: str
    text: str
    workers: str
    limit: float
    at_most: bool  # else: at least
    figure: float | None
    spread: str = ""
    unit: str = "×"
    strict: bool = False  # ahead of, not equal to

    @property
    def reached(self):
        """True or False; None if there is no figure."""
        if self.figure is None:
            return None
        if self.strict:
            return self.figure < self.limit if self.at_most else self.figure > self.limit
        return self.figure <= self.limit if self.at_most else self.figure >= self.limit


def all_goals(results, own="underpass"):
    """Every goal of issue 4 that this run can say something about, for each number of workers."""
    goals = []
    for workers in workers_of(results):
        goals += _the_hop(results, own, workers) + _against_envoy(results, own, workers)
        goals += _against_other_chains(results, own, workers) + _against_the_limit(results, own, workers)
    return goals + _memory(results, own) + _growth(results, own)


def workers_of(results):
    return sorted({name.split("/")[2] for name in results["cells"]})


def _compare(results, group, text, target, other, metric, key, limit, at_most=True, strict=False):
    found = summary.spread(results, target, other, metric, key)
    spread = f"{found['min']:.2f}..{found['max']:.2f}, {found['rounds']} rounds" if found["rounds"] else ""
    return Goal(group, text, target.split("/")[2], limit, at_most, found["median"], spread, strict=strict)


def _the_hop(results, own, w):
    goals, single = [], f"{own}/tcp1/{w}"
    for scenario, what, limit in (("tcp2", "one internal hop", 1.03), ("tcp5", "five internal hops", 1.08)):
        chain = f"{own}/{scenario}/{w}"
        for metric in REQUESTS + CONNECTIONS + BULK:
            goals.append(
                _compare(results, "The hop", f"{what} / none: CPU per {LOADS[metric]}", chain, single, metric, "cpu_per", limit)
            )
        for metric in REQUESTS:
            goals.append(
                _compare(results, "The hop", f"{what} / none: p99 of a {LOADS[metric]}", chain, single, metric, "p99", 1.05)
            )
    return goals


def _against_envoy(results, own, w):
    chain, envoy, group = f"{own}/tcp2/{w}", f"envoy/tcp2/{w}", "Envoy's chain"
    cpu = {"rr16": 0.6, "rr64": 0.6, "conn": 0.6, "bulk1": 0.5, "bulk8": 0.5}
    rate = {"rr16": 1.5, "rr64": 1.5, "conn": 1.7, "bulk1": 1.0, "bulk8": 1.3}
    goals = [_compare(results, group, f"CPU per {LOADS[m]}", chain, envoy, m, "cpu_per", limit) for m, limit in cpu.items()]
    return goals + [
        _compare(results, group, RATES[m], chain, envoy, m, "value", limit, at_most=False) for m, limit in rate.items()
    ]


def _against_other_chains(results, own, w):
    goals, chain = [], f"{own}/tcp2/{w}"
    for peer, name in (
        ("haproxy", "HAProxy's chain"),
        ("haproxy-fsplice", "HAProxy's chain, splicing"),
        ("nginx", "nginx's chain"),
    ):
        other = f"{peer}/tcp2/{w}"
        for metric in [m for m in LOADS if m in RATES and m in results["cells"].get(other, {})]:
            goals.append(_compare(results, name, f"CPU per {LOADS[metric]}", chain, other, metric, "cpu_per", 1.0, strict=True))
            goals.append(_compare(results, name, RATES[metric], chain, other, metric, "value", 1.0, at_most=False, strict=True))
        if peer == "haproxy-fsplice":
            continue                # measured for bulk only
        ours, theirs = summary.memory(results, chain), summary.memory(results, other)
        if ours and theirs:
            goals.append(Goal(name, "memory per idle connection", w, 1.0, True, _last(ours) / _last(theirs), strict=True))
        start, other_start = summary.start_ms(results, chain), summary.start_ms(results, other)
        if start and other_start:
            goals.append(Goal(name, "start to the first answer", w, 1.0, True, start[0] / other_start[0], strict=True))
    return goals


def _against_the_limit(results, own, w):
    group = "Minimal C relay, one hop"
    return [
        _compare(
            results,
            group,
            f"{what}: CPU per {LOADS[metric]}",
            f"{own}/{scenario}/{w}",
            f"relay-copy/tcp1/{w}",
            metric,
            "cpu_per",
            1.05,
        )
        for scenario, what in (("tcp1", "no internal hop"), ("tcp2", "one internal hop"))
        for metric in REQUESTS + CONNECTIONS
    ]


def _memory(results, own):
    goals, group = [], "Memory, start, size"
    for scenario, text, limit in (
        ("tcp2", "memory per idle connection through the chain", 4.0),
        ("tcp5", "the same through five hops", 10.0),
    ):
        for w in workers_of(results) or ["w1"]:
            found = summary.memory(results, f"{own}/{scenario}/{w}")
            if found:
                goals.append(
                    Goal(group, text, w, limit, True, _last(found) / 1024, f"at {found['counts'][-1]} connections", "KB")
                )
    chain = summary.memory(results, f"{own}/tcp2/w1")
    if chain:
        goals.append(Goal(group, "idle RSS", "w1", 8.0, True, chain["idle_rss_mb"], unit="MB", strict=True))
    start = summary.start_ms(results, f"{own}/tcp2/w1")
    if start:
        goals.append(
            Goal(
                group,
                "exec to the first answer through the chain",
                "w1",
                10.0,
                True,
                start[0],
                f"{start[1]:.1f}..{start[2]:.1f}, {start[4]} starts",
                "ms",
                strict=True,
            )
        )
    size, text = _binary(results, own)
    if size:
        goals.append(Goal(group, text, "-", 8.0, True, size / 1e6, unit="MB", strict=True))
    return goals


def _binary(results, own):
    foundation = results["binary"].get("foundation", {}).get("stripped_bytes")
    if foundation:
        return foundation, "stripped release binary of the foundation"
    whole = next((info.get("stripped_bytes") for name, info in results["binary"].items() if name.startswith(own + "/")), None)
    return whole, "stripped binary as measured, all extensions linked"


def _growth(results, own):
    goals = []
    for kind, what in (("connections", "connection"), ("streams", "internal connection (simulated)")):
        sizes = summary.growth_sizes(results, kind, own)
        if len(sizes) > 1:
            small, large = _ends(sizes)
            for key, text in (("bytes_per", "memory per"), ("cpu_per", "CPU per message over each")):
                goals.append(_flat(sizes, small, large, key, f"{text} {what}"))
    sizes = summary.growth_sizes(results, "configuration", own)
    if len(sizes) > 2:
        counts = list(sizes)
        goals.append(_flat(sizes, counts[0], counts[-1], "cpu_per", "CPU per request, by listeners and clusters"))
        for key, text in (
            ("ready_ms", "ms to ready for one more listener with its clusters"),
            ("rss_kb", "memory for one more listener with its clusters"),
        ):
            goals.append(_flat_slope(sizes, key, text))
    return goals


def _flat(sizes, small, large, key, text):
    a, b = sizes[small][key], sizes[large][key]
    return Goal("Growth", f"{text}: {large:,} / {small:,}", "w1", FLAT, True, b / a if a and a > 0 else None)


def _flat_slope(sizes, key, text):
    """Whether one more item costs the same in the last decade as in the one before it."""
    low, middle, high = list(sizes)[-3:]

    def slope(a, b):
        return (sizes[b][key] - sizes[a][key]) / (b - a)

    earlier = slope(low, middle)
    figure = slope(middle, high) / earlier if earlier > 0 else None
    return Goal("Growth", f"{text}: {middle:,}-{high:,} / {low:,}-{middle:,}", "w1", FLAT, True, figure)


def _ends(sizes):
    counts = list(sizes)
    return (counts[1] if len(counts) > 2 else counts[0]), counts[-1]


def _last(memory):
    return memory["bytes_per"][memory["counts"][-1]]
