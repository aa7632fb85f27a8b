"""Made-up results, so that what is computed from them is known."""


def results():
    """Empty results as a run begins with."""
    return {"cells": {}, "mem": {}, "startup": {}, "binary": {}, "profile": {}, "failed": {}, "growth": {}, "waited": 0.0}


def cell(value, cpu, p99=100.0, **more):
    return dict(
        {
            "ok": True,
            "value": value,
            "cpu_per": cpu,
            "dcpu_per": 0.0,
            "sys_per": cpu * 2,
            "p50": p99 / 2,
            "p90": p99,
            "p99": p99,
            "p999": p99,
            "foreign": 0.0,
            "steal": 0.0,
            "idle": 0.0,
            "tries": 1,
            "noisy": False,
        },
        **more,
    )


def put(found, target, metric, *cells):
    found["cells"].setdefault(target, {})[metric] = {str(number): entry for number, entry in enumerate(cells)}


def idle(rss_kb, at):
    """A repetition of phase mem: AT is count → PSS in KB."""
    sizes = {f"n{count}": {"rss_kb": pss, "pss_kb": pss, "fds": 10 + 2 * count, "slab_kb": 0} for count, pss in at.items()}
    return dict(
        {
            "ok": True,
            "idle": {"rss_kb": rss_kb, "pss_kb": rss_kb, "fds": 10, "slab_kb": 0},
            "after": {"rss_kb": rss_kb},
            "idle_cpu_pct": 0.0,
            "held_cpu_pct": 0.0,
        },
        **sizes,
    )
