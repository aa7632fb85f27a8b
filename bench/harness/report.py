"""Writes what a run found for people: RESULTS.md, the plots, and the raw figures beside them."""

import json
import os
import shlex
import subprocess
import time

from . import goals, plots, tables, workspace


def header(command, peers, congestion_control, settings):
    """What a reader must know to believe a figure: machine, date, commit, command, versions."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "memory_gb": memory_gb(),
        "uname": f"{os.uname().sysname} {os.uname().release} {os.uname().machine}",
        "cc": congestion_control,
        "commit": commit(),
        "command": command,
        "versions": peers.versions(),
        "missing": peers.missing(),
        "settings": settings,
    }


def written_command(argv):
    """The command as a reader can repeat it: paths of this machine's folders become those of the repository, or bare names."""
    words = []
    for word in argv:
        option, equals, value = word.rpartition("=") if word.startswith("--") else ("", "", word)
        if os.path.isabs(value):
            relative = os.path.relpath(value, workspace.REPOSITORY)
            value = relative if not relative.startswith("..") else os.path.basename(value)
        words.append(shlex.quote(option + equals + value))
    return " ".join(["bench/run"] + words)


def cpu_model():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), os.uname().machine)


def memory_gb():
    with open("/proc/meminfo") as file:
        return round(int(file.readline().split()[1]) / 1024 / 1024)


def commit():
    """The commit of the sources, with a mark if they differ from it; what bench/ itself writes does not count."""
    try:
        name = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=workspace.REPOSITORY, capture_output=True, text=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", ":!bench"],
            cwd=workspace.REPOSITORY,
            capture_output=True,
            text=True,
        )
    except OSError:
        return "unknown"
    return (name.stdout.strip() or "unknown") + (" with changes" if changed.stdout.strip() else "")


def write(results, folder, own="underpass"):
    """RESULTS.md, plots/*.svg and results.json in FOLDER. Returns the path of RESULTS.md."""
    pictures = os.path.join(folder, "plots")
    os.makedirs(pictures, exist_ok=True)
    drawn = plots.all_plots(results)
    for old in os.listdir(pictures):
        if old.endswith(".svg"):
            os.unlink(os.path.join(pictures, old))
    for name, (_, text) in drawn.items():
        with open(os.path.join(pictures, name + ".svg"), "w") as file:
            file.write(text)
    with open(os.path.join(folder, "results.json"), "w") as file:
        json.dump(_rounded(results), file, separators=(",", ":"))
        file.write("\n")
    path = os.path.join(folder, "RESULTS.md")
    with open(path, "w") as file:
        file.write(markdown(results, drawn, own))
    return path


def markdown(results, drawn, own="underpass"):
    parts = ["# Results", _introduction(results)]
    if results["cells"] or results["mem"]:
        parts += ["## Goals", _about_goals(), tables.goal_table(results, own).rstrip()]
    parts += ["## Plots"] + [f"![{title}](plots/{name}.svg)" for name, (title, _) in drawn.items()] if drawn else []
    tunnel = tables.tunnel_table(results, own)
    if tunnel:
        parts += [
            "## GET inside HTTP/2 CONNECT: encapsulation and decapsulation",
            "Client → connection manager → internal listener → `tcp_proxy` (CONNECT over HTTP/2) → CONNECT terminator → backend. The same product "
            "stands at both ends; µs are of the first proxy + of the terminator. In the tables below `+both` has the product at both ends, and a name "
            "without it has Envoy as the terminator.",
            tunnel.rstrip(),
        ]
    parts += ["## Tables", _about_tables(), tables.everything(results).rstrip()]
    failed = _failures(results)
    if failed:
        parts += ["## What failed", failed]
    return "\n\n".join(parts) + "\n"


def _introduction(results):
    versions = ", ".join(f"{name} {text}" for name, text in results.get("versions", {}).items())
    lines = [
        "This page is written by `bench/run` from its raw figures (`results.json`); what explains them stands in "
        "[docs/performance.md](../docs/performance.md), how to repeat them in [README.md](README.md).",
        "",
        f"- machine: {results.get('cpu', '?')}, {results.get('cpus', '?')} cores, {results.get('memory_gb', '?')} GB; {results.get('uname', '?')}; TCP congestion control {results.get('cc', '?')}",
        f"- date: {results.get('when', '?')}; commit {results.get('commit', '?')}; the run took {results.get('minutes', '?')} minutes",
        f"- versions: {versions or '?'}",
        f"- command: `{results.get('command', '?')}`",
    ]
    if results.get("missing"):
        lines.append(
            "- not installed, so not measured: " + "; ".join(f"{name} ({how})" for name, how in results["missing"].items())
        )
    cells = [c for metrics in results["cells"].values() for rounds in metrics.values() for c in rounds.values()]
    if cells:
        again = sum(c.get("tries", 1) - 1 for c in cells)
        lines.append(
            f"- cells: {len(cells)}, of which {sum(not c.get('ok') for c in cells)} failed and do not count; {again} more were disturbed by other load and measured "
            f"again, {sum(bool(c.get('noisy')) for c in cells)} stayed disturbed and only count where there is nothing better"
        )
    lines += [
        "",
        "Figures are medians of interleaved rounds of one run; ratios are medians of the ratios within a round. Ratios within a run mean something; absolute "
        "numbers of a shared machine do not. Before and after the rounds every byte through every target is compared; while it is timed, every answer's status, "
        "length and small bodies are, and the ends of every read of large ones"
        + (" (here: every byte)." if results.get("settings", {}).get("full") else "."),
    ]
    return "\n".join(lines)


def _about_goals():
    return (
        f'A goal of CPU is of the proxy\'s own CPU. A chain has one internal hop unless said. "Flat" has no figure in the goals; here a cost is called so if it '
        f"grows by no more than {goals.FLAT:g} times."
    )


def _about_tables():
    return (
        "`direct` is no proxy at all; `relay-copy` and `relay-splice` are minimal relays in C. w1, w2: workers. With one worker the proxy is alone on one core; with two, "
        "client, proxy and backend share the cores, and rates do not scale. `foreign` is the share of the machine that anything else used, `used` the rounds that count."
    )


def _failures(results):
    lines = [f"- {name}: {str(why)[:200]}" for name, why in results["failed"].items()]
    for kind, products in results["growth"].items():
        lines += [
            f"- growth, {kind}, {product}, {e['count']:,}: {str(e.get('why') or 'errors: ' + str(e.get('errors')))[:200]}"
            for product, entries in products.items()
            for e in entries
            if not e.get("ok")
        ]
    return "\n".join(line.replace(workspace.RUN, "") for line in lines)


def _rounded(value):
    """Six significant digits are more than any of these figures has."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(x) for key, x in value.items()}
    return [_rounded(x) for x in value] if isinstance(value, list) else value
