"""Says whether a short run went as it should: CI's way to see that the harness works."""

import os
import xml.etree.ElementTree as xml

from . import goals

NEEDED = ("cells", "mem", "startup", "growth", "binary")


def judge(results, folder):
    """Print what is wrong with the results of `--self-test` and with the files in FOLDER. Returns the exit code."""
    wrong = problems(results) + file_problems(folder)
    for line in wrong:
        print("self-test:", line)
    print("self-test:", "failed" if wrong else "all is well")
    return 1 if wrong else 0


def problems(results):
    found = [f"nothing was found about {kind}" for kind in NEEDED if not results[kind]]
    found += [f"{name} failed: {why}" for name, why in results["failed"].items()]
    for name, metrics in results["cells"].items():
        found += [
            f"{name} {metric}: {cell}" for metric, rounds in metrics.items() for cell in rounds.values() if not cell.get("ok")
        ]
    found += [f"memory of {name}: {entry}" for name, entries in results["mem"].items() for entry in entries if not entry["ok"]]
    found += [f"{name} did not start" for name, tries in results["startup"].items() if None in tries]
    for kind, products in results["growth"].items():
        found += [
            f"growth of {kind} in {name}: {entry}" for name, entries in products.items() for entry in entries if not entry["ok"]
        ]
    if not any(goal.figure is not None for goal in goals.all_goals(results)):
        found.append("no goal has a figure")
    return found


def file_problems(folder):
    """RESULTS.md must be there and every plot well-formed."""
    found = [] if os.path.getsize(os.path.join(folder, "RESULTS.md")) else ["RESULTS.md is empty"]
    plots = [name for name in os.listdir(os.path.join(folder, "plots")) if name.endswith(".svg")]
    if not plots:
        found.append("there are no plots")
    for name in plots:
        try:
            xml.parse(os.path.join(folder, "plots", name))
        except xml.ParseError as error:
            found.append(f"{name}: {error}")
    return found
