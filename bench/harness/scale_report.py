"""What a run of `--scale` found, for people: RESULTS.md and plots."""

import json
import os
import statistics

from . import svg

NAMES = {"underpass": "underpass", "envoy": "Envoy"}
PROTOCOLS = {
    "delta": "delta",
    "sotw": "state of the world, the changed endpoints sent",
    "sotw-resend": "state of the world, all endpoints sent",
}
READY, MEMORY, CPU_MS = 0.5, 0.5, 1.0  # what is aimed at: parts of Envoy's, and milliseconds


def figure(data, proxy, protocol, clusters, key):
    """The median of a figure over the rounds; None if there is none."""
    values = [
        run[key]
        for run in data["runs"]
        if run["ok"]
        and (run["proxy"], run["protocol"], run["clusters"]) == (proxy, protocol, clusters)
        and run.get(key) is not None
    ]
    return statistics.median(values) if values else None


def per_item(data, proxy, protocol, clusters):
    """KB of resident memory for each cluster with its endpoints and its share of the listeners."""
    with_items, without = (figure(data, proxy, protocol, count, "rss_kb") for count in (clusters, 0))
    if not clusters or with_items is None or without is None:
        return None
    return (with_items - without) / clusters


def sizes(data):
    return sorted({(run["clusters"], run["listeners"]) for run in data["runs"]})


def ratio(ours, theirs):
    return ours / theirs if ours is not None and theirs else None


def write(data, folder):
    """RESULTS.md, results.json and plots in FOLDER. Returns the path of RESULTS.md."""
    os.makedirs(folder, exist_ok=True)
    for name, text in plots(data).items():
        with open(os.path.join(folder, name + ".svg"), "w") as file:
            file.write(text)
    with open(os.path.join(folder, "results.json"), "w") as file:
        json.dump(data, file, indent=1)
        file.write("\n")
    path = os.path.join(folder, "RESULTS.md")
    with open(path, "w") as file:
        file.write("\n".join(text_of(data)) + "\n")
    return path


def plots(data):
    """File name → SVG."""
    found = {}
    for protocol in used(data, "protocol", PROTOCOLS):
        for key, title, unit, value in (
            ("ready", "Time until everything serves", "s (logarithmic)", lambda *it: figure(data, *it, "ready_s")),
            ("memory", "Memory per cluster with its endpoints, and a tenth of a listener", "KB", lambda *it: per_item(data, *it)),
            ("change", "CPU of one changed endpoint", "ms (logarithmic)", lambda *it: figure(data, *it, "change_cpu_ms")),
            ("effect", "Time until a changed endpoint takes effect", "ms", lambda *it: figure(data, *it, "effect_ms")),
        ):
            rows = {
                NAMES[proxy]: [
                    (clusters, value(proxy, protocol, clusters))
                    for clusters, _ in sizes(data)
                    if clusters and value(proxy, protocol, clusters) is not None
                ]
                for proxy in used(data, "proxy", NAMES)
            }
            rows = {name: row for name, row in rows.items() if row}
            if rows:
                found[f"{key}_{protocol.replace('-', '_')}"] = svg.lines(
                    f"{title}, {protocol}", "clusters", unit, list(rows), list(rows.values()), "logarithmic" in unit
                )
    return found


def used(data, key, order):
    present = {run[key] for run in data["runs"]}
    return [each for each in order if each in present]


def goals(data):
    """(what, reached, limit, unit) at the largest size, as far as there are figures."""
    clusters = sizes(data)[-1][0]
    found = []
    for protocol in used(data, "protocol", PROTOCOLS):
        pair = [figure(data, proxy, protocol, clusters, "ready_s") for proxy in NAMES]
        found.append((f"{protocol}: time to ready / Envoy's", ratio(*pair), READY, ""))
        pair = [figure(data, proxy, protocol, clusters, "rss_kb") for proxy in NAMES]
        found.append((f"{protocol}: resident memory / Envoy's", ratio(*pair), MEMORY, ""))
        if protocol != "sotw-resend":
            cpu = figure(data, "underpass", protocol, clusters, "change_cpu_ms")
            found.append((f"{protocol}: CPU of one changed endpoint", cpu, CPU_MS, " ms"))
    return [goal for goal in found if goal[1] is not None]


def text_of(data):
    """The lines of RESULTS.md."""
    header = data["header"]
    versions = ", ".join(f"{name} {version}" for name, version in header["versions"].items() if name in NAMES)
    yield "# Many clusters and listeners from a control plane"
    yield ""
    yield f"{header['when']}, commit {header['commit']}, {versions}. {header['cpu']}, {header['cpus']} CPUs,"
    yield f"{header['memory_gb']} GB, {header['uname']}. Medians of {header['settings']['rounds']} rounds, one worker."
    if header.get("note"):
        yield header["note"]
    yield ""
    yield f"    {header['command']}"
    yield ""
    yield "What is measured, and how to read it: [bench/README.md](../README.md#scale). Raw figures: [results.json](results.json)."
    yield ""
    yield "## Goals"
    yield ""
    yield f"At {sizes(data)[-1][0]:,} clusters and {sizes(data)[-1][1]:,} listeners."
    yield ""
    yield "| | reached | goal |"
    yield "|---|---|---|"
    for what, reached, limit, unit in goals(data):
        mark = "" if reached <= limit else " (missed)"
        yield f"| {what} | {reached:.2f}{unit}{mark} | at most {limit}{unit} |"
    for protocol in used(data, "protocol", PROTOCOLS):
        yield ""
        yield f"## {protocol}: {PROTOCOLS[protocol]}"
        yield ""
        yield "| clusters, listeners | | ready, s | CPU until then, s | RSS, MB | KB per cluster | a change: CPU, ms | accepted, ms | in effect, ms |"
        yield "|---|---|---|---|---|---|---|---|---|"
        for clusters, listeners in sizes(data):
            for proxy in used(data, "proxy", NAMES):
                values = [figure(data, proxy, protocol, clusters, key) for key in ("ready_s", "ready_cpu_s", "rss_kb")]
                values[2] = values[2] and values[2] / 1024
                values.append(per_item(data, proxy, protocol, clusters))
                values += [figure(data, proxy, protocol, clusters, key) for key in ("change_cpu_ms", "change_ms", "effect_ms")]
                cells = " | ".join("" if value is None else f"{value:.3g}" for value in values)
                yield f"| {clusters:,}, {listeners:,} | {NAMES[proxy]} | {cells} |"
    yield ""
    yield "## Plots"
    yield ""
    for name in plots(data):
        yield f"![{name}]({name}.svg)"
