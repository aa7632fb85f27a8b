"""Medians of cells, and ratios between targets that are paired by round: the same load, the same minute."""

import statistics

QUIET_ENOUGH = 2  # with so many undisturbed rounds the disturbed ones do not count


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def good_rounds(results, target, metric):
    """Round → cell, of those that count: without an error, with something done, and undisturbed ones only, if there are enough."""
    cells = results["cells"].get(target, {}).get(metric, {})
    good = {number: cell for number, cell in cells.items() if cell.get("ok") and cell.get("value")}
    quiet = {number: cell for number, cell in good.items() if not cell.get("noisy")}
    return quiet if len(quiet) >= QUIET_ENOUGH else good


def ratio(results, target, other, metric, key="value"):
    """Median over the rounds of TARGET's KEY divided by OTHER's of the same round; None if they share no round."""
    return spread(results, target, other, metric, key)["median"]


def spread(results, target, other, metric, key="value"):
    """The same, with the smallest and the largest ratio of a round and how many rounds there were."""
    ours, theirs = good_rounds(results, target, metric), good_rounds(results, other, metric)
    values = [
        ours[number][key] / theirs[number][key]
        for number in ours
        if number in theirs and theirs[number].get(key) and ours[number].get(key) is not None
    ]
    return {"median": median(values), "min": min(values, default=None), "max": max(values, default=None), "rounds": len(values)}


def value(results, target, metric, key="value"):
    """Median of KEY over the rounds that count; None if there are none."""
    return median([cell.get(key) for cell in good_rounds(results, target, metric).values()])


def summarise(results):
    """Target → metric → medians of everything, range, ratios to no proxy, to Envoy, and to the product's own single hop."""
    found = {}
    for target, metrics in results["cells"].items():
        for metric in metrics:
            found.setdefault(target, {})[metric] = _one(results, target, metric)
    return found


def _one(results, target, metric):
    every, good = results["cells"][target][metric], good_rounds(results, target, metric)
    bad = sum(not cell.get("ok") for cell in every.values())
    if not good:
        return {"n": 0, "bad": bad, "why": str(next(iter(every.values())))[:300]}
    _, scenario, workers = target.split("/")
    envoy, direct = f"envoy/{scenario}/{workers}", f"direct/-/{workers}"
    values = [cell["value"] for cell in good.values()]
    entry = {
        "n": len(good),
        "bad": bad,
        "rounds": len(every),
        "noisy": sum(bool(cell.get("noisy")) for cell in every.values()),
        "tries": sum(cell.get("tries", 1) for cell in every.values()),
        "min": min(values),
        "max": max(values),
    }
    for key in ("value", "cpu_per", "dcpu_per", "sys_per", "p50", "p90", "p99", "p999", "foreign", "steal", "idle"):
        middle = median([cell.get(key) for cell in good.values()])
        if middle is not None:
            entry[key] = middle
    entry.update(
        vs_direct=ratio(results, target, direct, metric),
        vs_envoy=ratio(results, target, envoy, metric),
        cpu_vs_envoy=ratio(results, target, envoy, metric, "cpu_per"),
    )
    single = own_single_hop(target)
    if single:
        entry.update(
            vs_own=ratio(results, target, single, metric),
            cpu_vs_own=ratio(results, target, single, metric, "cpu_per"),
            p99_vs_own=ratio(results, target, single, metric, "p99"),
        )
    return entry


def own_single_hop(target):
    """The target that is the same product without internal hops, for one that has them."""
    kind, scenario, workers = target.split("/")
    single = {"tcp2": "tcp1", "tcp5": "tcp1", "httpi": "http1"}.get(scenario)
    return f"{kind}/{single}/{workers}" if single else None


def memory(results, target):
    """Bytes for each idle connection (all that was added, and marginal), resident MB and so on; None if it was not measured."""
    good = [entry for entry in results["mem"].get(target, []) if entry.get("ok")]
    if not good:
        return None
    counts = sorted(int(key[1:]) for key in good[0] if key[0] == "n" and key[1:].isdigit())
    few, many = counts[0], counts[-1]

    def per(entry, count, base=None, less=0):
        return (entry[f"n{count}"]["pss_kb"] - (base or entry["idle"])["pss_kb"]) * 1024 / (count - less)

    return {
        "good": len(good),
        "repetitions": len(results["mem"][target]),
        "counts": counts,
        "idle_rss_mb": median([e["idle"]["rss_kb"] / 1024 for e in good]),
        "idle_pss_mb": median([e["idle"]["pss_kb"] / 1024 for e in good]),
        "rss_mb": {c: median([e[f"n{c}"]["rss_kb"] / 1024 for e in good]) for c in counts},
        "bytes_per": {c: median([per(e, c) for e in good]) for c in counts},
        "marginal": median([per(e, many, e[f"n{few}"], few) for e in good])
        if many > few
        else median([per(e, many) for e in good]),
        "fds_per": median([(e[f"n{many}"]["fds"] - e["idle"]["fds"]) / many for e in good]),
        "slab_per": median([(e[f"n{many}"]["slab_kb"] - e["idle"]["slab_kb"]) * 1024 / many for e in good]),
        "after_mb": median([e["after"]["rss_kb"] / 1024 for e in good]),
        "idle_cpu_pct": median([e["idle_cpu_pct"] for e in good]),
        "held_cpu_pct": median([e["held_cpu_pct"] for e in good]),
    }


def start_ms(results, target):
    """(median, least, most, good, tries) of the milliseconds from exec to the first good answer; None if not measured."""
    tries = results["startup"].get(target, [])
    good = [seconds * 1e3 for seconds in tries if seconds is not None]
    return (median(good), min(good), max(good), len(good), len(tries)) if good else None


def growth_sizes(results, kind, product):
    """Count → medians of what was measured at that size (repetitions put together)."""
    by_count = {}
    for entry in results["growth"].get(kind, {}).get(product, []):
        if entry.get("ok"):
            by_count.setdefault(entry["count"], []).append(entry)
    keys = ("bytes_per", "cpu_per", "open_cpu_per", "rss_kb", "idle_rss_kb", "ready_ms")
    return {count: {key: median([e.get(key) for e in entries]) for key in keys} for count, entries in sorted(by_count.items())}
