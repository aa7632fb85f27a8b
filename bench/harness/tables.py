"""The tables of a run as Markdown."""

from . import goals, summary
from .envoy_config import SCENARIOS

LOADS = (
    ("Bulk throughput, Gbit/s", ("bulk1", "bulk8", "dl1", "dl8"), "Gbit/s", "proxy CPU-s/GB"),
    ("Request/response, 1 KB body, req/s", ("rr1s", "rr1", "rr16", "rr64"), "req/s", "proxy CPU us/req"),
    ("New connections (connect, one GET, close), 16 at once", ("conn",), "conn/s", "proxy CPU us/conn"),
)
HOP_METRICS = (("bulk1", "dl1"), ("bulk8", "dl8"), ("rr1", "rr1"), ("rr16", "rr16"), ("rr64", "rr64"), ("conn", "conn"))


def number(value, digits=2):
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---" if i == 0 else "---:" for i in range(len(head))) + "|"]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def everything(results):
    return "\n".join(
        part
        for part in (loads(results), hops(results), idle_memory(results), profiles(results), start_up(results), growth(results))
        if part
    )


def loads(results):
    found, parts = summary.summarise(results), []
    for title, metrics, unit, cpu in LOADS:
        for metric in metrics:
            rows = [
                _load_row(name, found[name][metric], metric, cpu)
                for name in _by_workers(results)
                if metric in found.get(name, {})
            ]
            if rows:
                latency = ["p50 us", "p99 us", "p99.9 us"] if metric[0] in "rc" else []
                head = (
                    ["target", unit, "min..max", "x direct", "x Envoy", cpu, "decap CPU", "CPU x Envoy", "all-procs CPU"]
                    + latency
                    + ["foreign", "used"]
                )
                parts.append(f"### {title}: {metric}\n\n{table(head, rows)}\n")
    return "\n".join(parts)


def _load_row(name, e, metric, cpu):
    if not e["n"]:
        return [name, "FAILED", e.get("why", "")[:80].replace("|", "/")] + ["-"] * (11 if metric[0] in "rc" else 8)
    digits = 3 if cpu.endswith("GB") else 1
    row = [
        name,
        number(e["value"]),
        f"{number(e['min'])}..{number(e['max'])}",
        number(e["vs_direct"]),
        number(e["vs_envoy"]),
        number(e.get("cpu_per"), digits),
        number(e["dcpu_per"], digits) if e.get("dcpu_per") else "-",
        number(e.get("cpu_vs_envoy")),
        number(e.get("sys_per"), digits),
    ]
    if metric[0] in "rc":
        row += [number(e.get(key), 0) for key in ("p50", "p99", "p999")]
    return row + [f"{100 * e['foreign']:.0f}%", f"{e['n']}/{e['rounds']}" + (f" ({e['bad']} BAD)" if e["bad"] else "")]


def hops(results):
    """What the internal hops of a product cost it."""
    found, rows = summary.summarise(results), []
    for name in _by_workers(results):
        if not summary.own_single_hop(name):
            continue
        row = [name]
        for pair in HOP_METRICS:
            entry = next((found[name][m] for m in pair if found[name].get(m, {}).get("n")), {})
            row += [number(entry.get("vs_own")), number(entry.get("cpu_vs_own"))] + (
                [number(entry.get("p99_vs_own"))] if pair[0][0] in "rc" else []
            )
        rows.append(row)
    if not rows:
        return ""
    head = ["target"] + [
        cell for pair in HOP_METRICS for cell in ["/".join(dict.fromkeys(pair)), "CPU"] + (["p99"] if pair[0][0] in "rc" else [])
    ]
    return (
        "### Cost of internal hops: with / without, of the same product (rate, CPU per unit, p99)\n\n" + table(head, rows) + "\n"
    )


def idle_memory(results):
    rows, counts = [], None
    for name in results["mem"]:
        m = summary.memory(results, name)
        if not m:
            rows.append([name, "FAILED"])
            continue
        counts = counts or m["counts"]
        row = [name, number(m["idle_rss_mb"], 1), number(m["idle_pss_mb"], 1)]
        for count in m["counts"]:
            row += [number(m["rss_mb"][count], 1), number(m["bytes_per"][count], 0)]
        rows.append(
            row
            + [
                number(m["marginal"], 0),
                number(m["fds_per"]),
                number(m["slab_per"], 0),
                number(m["after_mb"], 1),
                number(m["idle_cpu_pct"]),
                number(m["held_cpu_pct"]),
                f"{m['good']}/{m['repetitions']}",
            ]
        )
    if not counts:
        return ""
    head = ["target", "RSS idle MB", "PSS idle MB"] + [x for c in counts for x in (f"RSS @{c} MB", f"B/conn @{c}")]
    head += [
        "marginal B/conn",
        "fds/conn",
        "kernel slab B/conn (whole machine)",
        "RSS after close MB",
        "idle CPU %",
        "held CPU %",
        "good",
    ]
    rows = [row + ["-"] * (len(head) - len(row)) for row in rows]
    return (
        "### Memory with idle open connections (each proved by one GET after opening and one at the end)\n\n"
        + table(head, rows)
        + "\n"
    )


def profiles(results):
    rows = [
        [
            name,
            metric,
            number(p["kernel_pct"], 0),
            number(p["user_pct"], 0),
            number(p.get("syscalls_per")),
            number(p.get("cs_per")),
            "; ".join(f"{x[2][:38]} {x[0]:.0f}%" for x in p["top"][:6]),
        ]
        for name, metrics in results["profile"].items()
        for metric, p in metrics.items()
    ]
    head = ["target", "load", "kernel %", "user %", "syscalls/unit", "ctx switches/unit", "top symbols"]
    return (
        "### Where the proxy's CPU goes (samples of the proxy only; calls and switches per request, connection or GB)\n\n"
        + table(head, rows)
        + "\n"
        if rows
        else ""
    )


def start_up(results):
    rows = []
    for name in results["startup"]:
        took, binary = summary.start_ms(results, name), results["binary"].get(name, {})
        rows.append(
            [
                name,
                number(took[0], 1) if took else "FAILED",
                f"{took[1]:.1f}..{took[2]:.1f}" if took else "-",
                f"{took[3] if took else 0}/{len(results['startup'][name])}",
                number(binary.get("bytes", 0) / 1e6),
                number(binary.get("stripped_bytes", 0) / 1e6),
                f"{number(binary.get('libs_bytes', 0) / 1e6)} ({binary.get('libs', 0)})",
            ]
        )
    head = ["target", "ms", "min..max", "good", "binary MB", "stripped MB", "shared libs MB (n)"]
    return "### Start-up: exec to first good answer through the chain; binary size\n\n" + table(head, rows) + "\n" if rows else ""


def growth(results):
    parts = []
    limit = f" (two descriptors each; this machine allows {results['descriptors']:,})" if "descriptors" in results else ""
    for kind, title in (
        ("connections", "Growth: connections through one internal hop" + limit),
        ("streams", "Growth, simulated: CONNECT streams, each through two internal hops to an echo, without descriptors"),
    ):
        rows = [
            [
                product,
                f"{count:,}",
                number(s["bytes_per"], 0),
                number(s["cpu_per"], 1),
                number(s["open_cpu_per"], 1),
                number(s["rss_kb"] / 1024, 1),
            ]
            for product in results["growth"].get(kind, {})
            for count, s in summary.growth_sizes(results, kind, product).items()
        ]
        if rows:
            parts.append(
                f"### {title}\n\n"
                + table(["product", "open", "B each", "CPU us/message over all in turn", "CPU us to open one", "RSS MB"], rows)
                + "\n"
            )
    rows = [
        [product, f"{count:,}", number(s["ready_ms"], 1), number(s["rss_kb"] / 1024, 1), number(s["cpu_per"], 1)]
        for product in results["growth"].get("configuration", {})
        for count, s in summary.growth_sizes(results, "configuration", product).items()
    ]
    if rows:
        parts.append(
            "### Growth: listeners, each with a cluster, an internal listener and a cluster behind it\n\n"
            + table(["product", "of each", "ms to first answer of the last", "RSS MB", "CPU us/request"], rows)
            + "\n"
        )
    return "\n".join(parts)


def goal_table(results, own="underpass"):
    """How many goals are reached, and a table for each group of them: the figure for each number of workers."""
    found = goals.all_goals(results, own)
    known = [goal for goal in found if goal.reached is not None]
    unknown = len(found) - len(known)
    parts = [f"{sum(goal.reached for goal in known)} of {len(known)} measured goals are reached" + (f"; {unknown} were not measured." if unknown else ".")]
    for group in dict.fromkeys(goal.group for goal in found):
        mine = [goal for goal in found if goal.group == group]
        workers = sorted({goal.workers for goal in mine})
        head = ["goal", "limit"] + [cell for w in workers for cell in (w, "min..max", "reached")]
        rows = []
        for text in dict.fromkeys(goal.text for goal in mine):
            same = {goal.workers: goal for goal in mine if goal.text == text}
            rows.append([text, _limit(next(iter(same.values())))] + [cell for w in workers for cell in _reached(same.get(w))])
        parts.append(f"### {group}\n\n" + table(head, rows))
    return "\n\n".join(parts) + "\n"


def _limit(goal):
    sign = ("<" if goal.strict else "≤") if goal.at_most else (">" if goal.strict else "≥")
    return f"{sign} {goal.limit:g} {goal.unit}"


def _reached(goal):
    if goal is None:
        return ["", "", ""]
    figure = "-" if goal.figure is None else f"{number(goal.figure, 1 if goal.unit in ('ms', 'MB', 'KB') else 2)} {goal.unit}"
    return [figure, goal.spread, {True: "yes", False: "**no**", None: "not measured"}[goal.reached]]


def tunnel_table(results, own="underpass"):
    """GET inside CONNECT: this product at both ends beside Envoy at both ends, by CPU of both proxies together."""
    rows = []
    for workers in goals.workers_of(results):
        for metric, what in (
            ("rr16", "1 KB requests, 16 connections"),
            ("rr64", "1 KB requests, 64 connections"),
            ("conn", "new connections"),
        ):
            envoy, ours = f"envoy/tun/{workers}", f"{own}+both/tun/{workers}"
            pairs = [[summary.value(results, name, metric, key) for key in ("cpu_per", "dcpu_per")] for name in (envoy, ours)]
            if None in pairs[0] + pairs[1]:
                continue
            shared = [
                (summary.good_rounds(results, envoy, metric)[r], c)
                for r, c in summary.good_rounds(results, ours, metric).items()
                if r in summary.good_rounds(results, envoy, metric)
            ]
            cpu = summary.median([(e["cpu_per"] + e["dcpu_per"]) / (o["cpu_per"] + o["dcpu_per"]) for e, o in shared])
            rows.append(
                [what, workers]
                + [f"{number(p[0], 1)} + {number(p[1], 1)}" for p in pairs]
                + [number(cpu), number(summary.ratio(results, ours, envoy, metric))]
            )
    return (
        table(["", "workers", "Envoy, us CPU", "this proxy, us CPU", "requests per CPU second, x Envoy", "rate, x Envoy"], rows)
        + "\n"
        if rows
        else ""
    )


def _by_workers(results):
    """Names of targets: by workers, then by scenario, then as they come."""
    order = ("-",) + SCENARIOS

    def key(name):
        _, scenario, workers = name.split("/")
        return workers, order.index(scenario) if scenario in order else len(order), name

    return sorted(results["cells"], key=key)
