"""run - compares proxies on this machine: interleaved, every answer checked, with tables, goals and plots at the end.

  bench/run --all                          builds the proxy, measures it beside every peer that is installed (same as --preset results)
  bench/run --preset quick                 the same in minutes: requests, connections and bulk through chains
  bench/run --peers                        says which peers are installed, and how to get the others
  bench/run --render results.json --out .  writes RESULTS.md and the plots of an earlier run again
  bench/run --target ours='/path/proxy -c {cfg} --concurrency {w}' --only 'direct|envoy|ours' --scen tcp1,tcp2 --workers 1 --rounds 5

A --target command gets the very YAML Envoy ran ({cfg}); {w} = workers, {id} = a unique small number.
It must stay in the foreground; its process tree is what is measured. Scenarios:
  tcp1  client -> TCP listener -> backend                          (no internal hop)
  tcp2  client -> TCP listener -> internal hop -> inner listener -> backend
  tcp5  client -> TCP listener -> five internal hops -> backend
  http1 client -> HTTP listener -> backend
  httpi client -> HTTP listener -> internal hop -> tcp_proxy -> backend
  tun   client -> HTTP listener -> internal hop -> tcp_proxy tunneling (h2 CONNECT) -> Envoy decap -> backend
  tunt  client -> TCP listener -> tcp_proxy tunneling (h2 CONNECT) -> Envoy decap -> backend
For tun/tunt the decap end is always Envoy; --self-decap also runs NAME+both with the product at both ends.
Every byte is counted by the receiver, contents are compared with a position-dependent pattern, every
response status/length/body is checked; a cell with any error is marked and left out of the medians.
"""

import argparse
import os
import re
import shlex
import signal
import sys
import time

from . import journal, peers as peer_finder, plan, report, scale_command, self_test, tables, targets, workspace
from .envoy_config import SCENARIOS
from .runner import Runner

OWN = "underpass"


def parser():
    p = argparse.ArgumentParser(prog="run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = p.add_argument_group("what to run")
    what.add_argument("--all", action="store_true", help="build this proxy and run --preset results")
    what.add_argument("--preset", choices=sorted(plan.PRESETS), help="a prepared set of options; options given beside it win")
    what.add_argument(
        "--self-test", action="store_true", help="seconds: run a little of everything and fail if the harness or a byte is wrong"
    )
    what.add_argument("--scale", action="store_true", help="many clusters and listeners by ADS; see --scale --help")
    what.add_argument("--plan", action="store_true", help="only say what would run, and how long it takes")
    what.add_argument("--peers", action="store_true", help="only say which peers are installed, and how to get the others")
    what.add_argument("--resume", action="store_true", help="go on with the run that broke off (same --json)")
    what.add_argument("--tables", metavar="JSON", help="only print tables of an earlier run")
    what.add_argument("--render", metavar="JSON", help="only write RESULTS.md and plots of an earlier run into --out")
    product = p.add_argument_group("what to measure")
    product.add_argument(
        "--binary", metavar="PATH", help="this proxy; otherwise $UNDERPASS_BIN, otherwise target/release/underpass"
    )
    product.add_argument("--foundation-binary", metavar="PATH", help="a binary of the foundation alone, for its size")
    product.add_argument("--target", action="append", default=[], metavar="NAME='CMD {cfg}'", help="another product")
    product.add_argument("--self-decap", action="store_true")
    product.add_argument("--only", help="regex on target names such as envoy/tcp2/w1")
    product.add_argument("--skip", help="regex on target/metric such as relay-splice/tcp1/w1/conn")
    product.add_argument("--core", help="regex on the names of targets that get --core-rounds")
    product.add_argument("--scen", default=",".join(SCENARIOS))
    product.add_argument("--metrics", help="comma list of bulk1,bulk8,rr1s,rr1,rr16,rr64,conn,dl1,dl8")
    product.add_argument("--workers", default="1,2")
    product.add_argument("--phases", default="perf,mem,start", help="of perf, mem, start, growth (default: %(default)s)")
    amount = p.add_argument_group("how much")
    amount.add_argument("--rounds", type=int, default=5)
    amount.add_argument("--core-rounds", type=int, default=0)
    amount.add_argument("--secs", type=float, default=1.0)
    amount.add_argument("--warm", type=float, default=0.2)
    amount.add_argument(
        "--budget",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="begin no further round after so many minutes (default: no limit)",
    )
    amount.add_argument("--hold", default="1000,4500", help="numbers of idle connections")
    amount.add_argument("--hold-reps", type=int, default=2)
    amount.add_argument("--mem-only", help="regex on the targets of phase mem")
    amount.add_argument("--start-reps", type=int, default=5)
    amount.add_argument("--start-only", help="regex on the targets of phase start")
    amount.add_argument("--idle-secs", type=float, default=2.0)
    amount.add_argument("--growth", default="connections,streams,configuration")
    amount.add_argument("--growth-reps", type=int, default=3)
    amount.add_argument("--growth-sizes", default="100,1000,10000,100000")
    amount.add_argument("--growth-items", default="1,10,100,1000")
    care = p.add_argument_group("how carefully")
    care.add_argument(
        "--max-foreign", type=float, default=0.15, help="redo a cell (twice at most) if others used more of the machine than this"
    )
    care.add_argument("--max-wait", type=float, default=240, help="seconds in all to wait for others to quieten")
    care.add_argument("--full", action="store_true", help="compare every byte (default: ends of every read, all of small bodies)")
    care.add_argument(
        "--profile", action="store_true", help="perf record (cpu-clock) of each target under bulk8/dl8, rr64 and conn"
    )
    care.add_argument("--seed", type=int, default=1)
    care.add_argument("--pin", default="auto", choices=["auto", "none"])
    care.add_argument("--cc", help="TCP congestion control inside the namespace, e.g. cubic (default: leave the machine's)")
    care.add_argument("--no-netns", action="store_true")
    output = p.add_argument_group("output")
    output.add_argument(
        "--json", default=os.path.join(workspace.RUN, "results.json"), help="all raw figures (default: %(default)s)"
    )
    output.add_argument(
        "--out",
        metavar="FOLDER",
        help="where RESULTS.md, plots/ and results.json go (presets: %s)" % os.path.join(workspace.RUN, "report"),
    )
    p.set_defaults(products="")
    return p


def main(argv):
    if "--scale" in argv:
        return scale_command.main(argv)
    p = parser()
    a = p.parse_args(argv)
    if a.all:
        a.preset = a.preset or "results"
    if a.self_test:
        a.preset = "self-test"
    plan.apply_preset(a, plan.explicit_arguments(p, argv))
    if a.tables:
        print(tables.everything(journal.load(a.tables)))
        return 0
    if a.render:
        print("written:", report.write(journal.load(a.render), a.out or "."))
        return 0
    peers, own = _products(a)
    if a.peers:
        return 0
    a.workers, a.hold = plan.split(a.workers, int), plan.split(a.hold, int)
    work = plan.Plan(a, targets.catalogue(peers, plan.split(a.scen), a.workers, own, a.self_decap))
    if (a.preset or a.plan) and os.environ.get(workspace.INSIDE) != "1":
        print(work.describe(), file=sys.stderr)
    if a.plan:
        return 0
    if not a.no_netns:
        if a.binary is None and peers.underpass:
            os.environ["UNDERPASS_BIN"] = peers.underpass  # found or built once
        workspace.enter_namespace([os.path.join(workspace.BENCH, "run")] + argv)
    return _measure(a, argv, work, peers, own)


def _products(a):
    """The peers, and the products under test as (name, command): this proxy if a preset or an option asks for it, and --target."""
    wanted = a.preset or a.binary or a.peers
    binary = peer_finder.find_or_build(a.binary, build=a.all or a.preset == "results") if wanted else None
    peers = peer_finder.Peers(binary)
    own = [(OWN, peers.underpass_command())] if binary else []
    for text in a.target:
        name, _, command = text.partition("=")
        if (
            not re.fullmatch(r"[A-Za-z0-9_.-]+", name)
            or name in ("direct", "envoy", "nginx", OWN)
            or name.startswith(("haproxy", "relay"))
        ):
            sys.exit(f"bad target name {name}")
        program = shlex.split(command)[0]
        own.append((name, command.replace(program, os.path.abspath(program), 1) if "/" in program else command))
    if os.environ.get(workspace.INSIDE) != "1":
        for name, version in peers.versions().items():
            print(f"  {name}: {version}", file=sys.stderr)
        for name, how in peers.missing().items():
            if name != OWN or wanted:
                print(f"  {name} is not installed and will be missing from the tables. To get it: {how}", file=sys.stderr)
    if a.preset and not binary:
        sys.exit(f"there is no {OWN} to measure: {peer_finder.HOW_TO_GET[OWN]}")
    return peers, own


def _measure(a, argv, work, peers, own):
    workspace.prepare_network(a.cc)
    workspace.build_tools()
    if a.out:
        os.makedirs(os.path.join(a.out, "plots"), exist_ok=True)  # a folder that cannot be written shall not show at the end
    began = time.time()

    def log(*words):
        print(f"[{time.time() - began:6.1f}s]", *words, file=sys.stderr, flush=True)

    settings = {
        key: getattr(a, key)
        for key in (
            "preset",
            "rounds",
            "core_rounds",
            "secs",
            "warm",
            "hold",
            "hold_reps",
            "start_reps",
            "max_foreign",
            "full",
            "pin",
            "seed",
        )
    }
    results = journal.Results(
        a.json, report.header(report.written_command(argv), peers, workspace.congestion_control(), settings), a.resume
    )
    if results.resumed:
        log("going on with", results.journal)
    if a.foundation_binary:
        results.set("binary", "foundation", {"stripped_bytes": peer_finder.stripped_size(a.foundation_binary)})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped then, too
    runner = Runner(a, work, peers, own, results, log)
    try:
        runner.run()
    except BaseException:
        log(f"broke off; what was found is in {results.journal}; the same command with --resume goes on")
        raise
    results.set_header("minutes", round((time.time() - began) / 60, 1))
    results.finish()
    return _tell(a, results.data, log)


def _tell(a, data, log):
    bad = sum(
        1 for metrics in data["cells"].values() for rounds in metrics.values() for cell in rounds.values() if not cell.get("ok")
    )
    if a.preset:
        folder = a.out or os.path.join(workspace.RUN, "report")
        print(tables.goal_table(data) if data["cells"] else "")
        log("written:", report.write(data, folder), "and plots beside it")
    else:
        print(tables.everything(data))
        if a.out:
            report.write(data, a.out)
    if data["failed"]:
        log("FAILED targets:", data["failed"])
    log(f"done; bad cells: {bad}; JSON: {a.json}")
    if a.self_test or a.preset == "self-test":
        return self_test.judge(data, a.out or os.path.join(workspace.RUN, "report"))
    return 1 if bad or data["failed"] else 0
