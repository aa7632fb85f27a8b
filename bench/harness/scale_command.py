"""scale - how this proxy and Envoy take many clusters and listeners from one control plane.

  bench/run --scale                                 100, 1,000 and 10,000 clusters, a tenth as many listeners, delta and state of the
                                                    world; about 10 minutes
  bench/run --scale --sizes 50:5 --changes 20       a small run, to see that it works (CI)
  bench/run --scale --render bench/scale            writes RESULTS.md and plots of an earlier run again

Every cluster has its endpoints by EDS; every second listener is an internal one. Both proxies run with one worker, one after the
other, on the same control plane, which has serialised everything before they start.
"""

import argparse
import json
import os
import sys
import time

from . import peers as peer_finder, processes, report, scale, scale_report, workspace


def parser():
    p = argparse.ArgumentParser(prog="run --scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--scale", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--binary", metavar="PATH", help="this proxy; otherwise $UNDERPASS_BIN, otherwise target/release/underpass")
    p.add_argument("--sizes", default="100:10,1000:100,10000:1000", help="CLUSTERS:LISTENERS, … (default: %(default)s)")
    p.add_argument("--protocols", default=",".join(scale.PROTOCOLS), help="default: %(default)s")
    p.add_argument("--only", default="underpass,envoy", help="default: %(default)s")
    p.add_argument("--changes", type=int, default=200, help="endpoints that change (default: %(default)s)")
    p.add_argument("--probes", type=int, default=50, help="changes whose effect is timed (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    p.add_argument("--out", default=os.path.join(workspace.RUN, "scale"), metavar="FOLDER", help="default: %(default)s")
    p.add_argument("--render", metavar="FOLDER", help="only write what an earlier run there found, again")
    p.add_argument("--note", help="said in RESULTS.md, such as how the binary was built")
    p.add_argument("--no-netns", action="store_true")
    return p


def main(argv):
    a = parser().parse_args(argv)
    if a.render:
        with open(os.path.join(a.render, "results.json")) as file:
            print("written:", scale_report.write(json.load(file), a.render))
        return 0
    peers = peer_finder.Peers(peer_finder.find_or_build(a.binary, build=False))
    commands = {"underpass": peers.underpass and peers.underpass_command(), "envoy": peers.envoy and peers.envoy_command()}
    commands = {name: command for name, command in commands.items() if name in a.only.split(",")}
    for name in [name for name, command in commands.items() if not command]:
        print(f"  {name} is missing. To get it: {peer_finder.HOW_TO_GET[name]}", file=sys.stderr)
        del commands[name]
    if not commands:
        sys.exit("there is nothing to measure")
    python = scale.find_python()
    if not a.no_netns:
        workspace.enter_namespace([os.path.join(workspace.BENCH, "run")] + argv)
    workspace.prepare_network()
    workspace.raise_descriptor_limit()
    os.makedirs(workspace.RUN, exist_ok=True)
    header = report.header(report.written_command(argv), peers, "", {"rounds": a.rounds})
    data = {"header": dict(header, note=a.note), "runs": []}
    try:
        _measure(a, commands, python, data["runs"])
    finally:
        processes.stop_all()
    print("written:", scale_report.write(data, a.out))
    failed = [run for run in data["runs"] if not run["ok"]]
    for run in failed:
        print("FAILED:", run, file=sys.stderr)
    return 1 if failed else 0


def _measure(a, commands, python, runs):
    began = time.monotonic()
    sizes = [(0, 0)] + [tuple(int(part) for part in size.split(":")) for size in a.sizes.split(",")]
    for number in range(a.rounds):
        for protocol in a.protocols.split(","):
            for clusters, listeners in sizes:
                # In turn, so that a machine that gets slower does so for both.
                for name in sorted(commands, reverse=number % 2 == 1):
                    figures = scale.measure(
                        name, commands[name], python, protocol, clusters, listeners, a.changes, a.probes
                    )
                    runs.append(dict(figures, proxy=name, protocol=protocol, clusters=clusters, listeners=listeners))
                    print(f"[{time.monotonic() - began:6.1f}s] {runs[-1]}", file=sys.stderr, flush=True)
