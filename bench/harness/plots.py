"""Which charts a run is worth: what hops cost, how the chains compare, and how cost grows."""

from . import summary, svg

NAMES = {
    "underpass/tcp2": "underpass, chain",
    "envoy/tcp2": "Envoy, chain",
    "haproxy/tcp2": "HAProxy, chain",
    "nginx/tcp2": "nginx, chain",
    "relay-copy/tcp1": "C relay, copying, no chain",
}
CHAINS = tuple(NAMES)
PRODUCTS = {"underpass": "underpass", "envoy": "Envoy", "haproxy": "HAProxy", "nginx": "nginx"}  # in the order, so colours, of CHAINS
HOPS = (("tcp2", "1 hop"), ("tcp5", "5 hops"))


def all_plots(results):
    """File name → (title, SVG), for everything that the results have figures for."""
    found = {}
    workers = sorted({name.split("/")[2] for name in results["cells"]})
    for w in workers:
        suffix, count = ("" if w == "w1" else f"_{w}"), f"{w[1:]} worker{'s' if w != 'w1' else ''}"
        _chains(results, found, w, suffix, count)
        _hop_cost(results, found, w, suffix, count)
    _memory(results, found)
    _growth(results, found)
    return found


def _chains(results, found, w, suffix, count):
    for name, title, unit, metrics, key in (
        (
            "cpu_per_request",
            "Proxy CPU per request",
            "µs",
            {"rr1": "1 connection", "rr16": "16 connections", "rr64": "64 connections"},
            "cpu_per",
        ),
        ("cpu_per_connection", "Proxy CPU per new connection", "µs", {"conn": "connect, GET, close"}, "cpu_per"),
        ("cpu_per_gb", "Proxy CPU per GB", "s/GB", {"bulk1": "1 stream", "bulk8": "8 streams"}, "cpu_per"),
        ("requests_per_second", "Requests per second", "1/s", {"rr16": "16 connections", "rr64": "64 connections"}, "value"),
        ("connections_per_second", "New connections per second", "1/s", {"conn": "connect, GET, close"}, "value"),
        ("throughput", "Bulk throughput", "Gbit/s", {"bulk1": "1 stream", "bulk8": "8 streams"}, "value"),
    ):
        present = [t for t in CHAINS if any(m in results["cells"].get(f"{t}/{w}", {}) for m in metrics)]
        groups = [m for m in metrics if any(m in results["cells"].get(f"{t}/{w}", {}) for t in present)]
        if present and groups:
            values = [[_with_range(results, f"{t}/{w}", m, key) for m in groups] for t in present]
            found[name + suffix] = (
                title,
                svg.bars(
                    f"{title}, {count}",
                    f"{unit}; lines: least and most of the rounds",
                    [metrics[m] for m in groups],
                    [NAMES[t] for t in present],
                    values,
                ),
            )


def _hop_cost(results, found, w, suffix, count):
    groups = [(s, m, f"{what}, {hops}") for s, hops in HOPS for m, what in (("rr16", "request"), ("conn", "connection"), ("bulk8", "GB"))]
    values = [
        [summary.ratio(results, f"{product}/{s}/{w}", f"{product}/tcp1/{w}", m, "cpu_per") for s, m, _ in groups]
        for product in PRODUCTS
    ]
    if any(value is not None for row in values for value in row):
        title, unit = f"CPU with internal hops / without, same product, {count}", "ratio; 1 is a free hop; 16 connections, 8 streams"
        labels = [label for _, _, label in groups]
        picture = svg.bars(title, unit, labels, list(PRODUCTS.values()), values, (1.0, "free"))
        found["hop_cost" + suffix] = ("What internal hops cost", picture)


def _memory(results, found):
    def kilobytes(target):
        m = summary.memory(results, target + "/w1")
        return m["bytes_per"][m["counts"][-1]] / 1024 if m else None

    values = [[kilobytes(f"{product}/{s}") for s in ("tcp1", "tcp2", "tcp5")] for product in (*PRODUCTS, "relay-copy")]
    if any(value is not None for row in values for value in row):
        count = max(max(m["counts"]) for m in (summary.memory(results, name) for name in results["mem"]) if m)
        picture = svg.bars(
            f"User memory per idle connection, at {count:,} connections, 1 worker", "KB",
            ["no internal hop", "one", "five"], [*PRODUCTS.values(), "C relay, copying"], values,
        )  # fmt: skip
        found["memory_per_connection"] = ("Memory per idle connection", picture)


def _growth(results, found):
    for kind, name, x, title in (
        ("connections", "growth_connections", "open connections through one internal hop", "connection"),
        (
            "streams",
            "growth_streams",
            "open CONNECT streams, each through two internal hops (simulated: no descriptors)",
            "internal stream",
        ),
    ):
        for key, what, unit, factor in (
            ("bytes_per", f"Memory per {title}", "KB", 1 / 1024),
            ("cpu_per", f"CPU per message, over every {title} in turn", "µs", 1),
        ):
            _line(results, found, f"{name}_{'memory' if key == 'bytes_per' else 'cpu'}", kind, key, what, x, unit, factor)
    x = "listeners, clusters and internal listeners, of each"
    _line(
        results,
        found,
        "growth_configuration_ready",
        "configuration",
        "ready_ms",
        "Time to the first answer of the last listener",
        x,
        "ms (logarithmic)",
        1,
        True,
    )
    _line(
        results,
        found,
        "growth_configuration_memory",
        "configuration",
        "rss_kb",
        "Resident memory by size of the configuration",
        x,
        "MB (logarithmic)",
        1 / 1024,
        True,
    )
    _line(
        results,
        found,
        "growth_configuration_cpu",
        "configuration",
        "cpu_per",
        "CPU per request by size of the configuration",
        x,
        "µs",
        1,
    )


def _line(results, found, name, kind, key, title, x_label, unit, factor, log_y=False):
    series, points = [], []
    for product in results["growth"].get(kind, {}):
        row = [
            (count, size[key] * factor)
            for count, size in summary.growth_sizes(results, kind, product).items()
            if size[key] is not None
        ]
        if row:
            series.append("Envoy" if product == "envoy" else product)
            points.append(row)
    if series:
        found[name] = (title, svg.lines(title, x_label, unit, series, points, log_y))


def _with_range(results, target, metric, key):
    values = [cell.get(key) for cell in summary.good_rounds(results, target, metric).values() if cell.get(key) is not None]
    return (summary.median(values), min(values), max(values)) if values else None
