import os
import tempfile
import unittest
import xml.etree.ElementTree as xml

from harness import command_line, envoy_config, growth, journal, peers, plan, plots, report, svg, targets
from tests import sample


def arguments(*argv):
    parser = command_line.parser()
    found = parser.parse_args(argv)
    plan.apply_preset(found, plan.explicit_arguments(parser, argv))
    found.workers = plan.split(found.workers, int)
    return found


def everything_installed():
    found = peers.Peers("/bin/true")
    found.envoy = found.haproxy = found.nginx = "/bin/true"
    return found


class Planning(unittest.TestCase):
    def plan_of(self, a, installed):
        return plan.Plan(a, targets.catalogue(installed, plan.split(a.scen), a.workers, [("underpass", "x")], a.self_decap))

    def test_what_stands_on_the_command_line_wins_over_the_preset(self):
        a = arguments("--preset", "results", "--rounds", "7", "--secs=0.2")
        self.assertEqual((a.rounds, a.secs, a.core_rounds), (7, 0.2, plan.PRESETS["results"]["core_rounds"]))

    def test_the_final_run_fits_its_budget(self):
        work = self.plan_of(arguments("--preset", "results"), everything_installed())
        self.assertLess(sum(work.seconds().values()), 25 * 60)

    def test_targets_of_goals_get_more_rounds(self):
        work = self.plan_of(arguments("--preset", "results"), everything_installed())
        rounds = {t.name: work.rounds_of(t, "rr16") for t in work.targets}
        self.assertGreater(rounds["underpass/tcp5/w1"], rounds["nginx/tcp2/w2"])
        self.assertEqual(rounds["relay-splice/tcp1/w1"], 0)

    def test_a_round_in_which_only_the_yardstick_would_run_is_not_run(self):
        work = self.plan_of(arguments("--rounds", "2", "--only", "direct|underpass/http1"), everything_installed())
        self.assertEqual(work.group(work.targets, "bulk1", 0), [])
        self.assertEqual(len(work.group(work.targets, "dl1", 0)), 4)

    def test_a_missing_peer_is_left_out(self):
        installed = everything_installed()
        installed.envoy = installed.nginx = None
        names = {t.kind for t in self.plan_of(arguments("--preset", "results"), installed).targets}
        self.assertEqual(
            names, {"direct", "relay-copy", "relay-splice", "haproxy", "haproxy-splice", "haproxy-fsplice", "underpass"}
        )
        self.assertEqual(set(installed.missing()), {"envoy", "nginx"})

    def test_connections_go_as_far_as_descriptors(self):
        self.assertEqual(growth.connection_counts(1_000_000), [100, 1000, 10_000, 100_000])
        self.assertEqual(growth.connection_counts(20_000), [100, 1000, 9_900])
        self.assertEqual(growth.connection_counts(2_500), [100, 1000])

    def test_five_hops_are_five(self):
        text = envoy_config.scenario("tcp5", 1, [2])
        self.assertEqual((text.count("internal_listener: {}"), text.count("envoy_internal_address")), (5, 5))


class Keeping(unittest.TestCase):
    def test_a_run_that_broke_off_goes_on(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "results.json")
            first = journal.Results(path, {"command": "x"})
            first.add_cell("a/tcp1/w1", "rr1", 0, {"ok": True, "value": 1})
            first.add_repetition("mem", "a/tcp1/w1", {"ok": True})
            first.add_growth("streams", "a", {"ok": True, "count": 100})
            first.close()
            with open(first.journal, "a") as file:
                file.write('["cells", ["a/tcp1/w1", "rr1", "1"], {"ok"')  # the machine stops here
            second = journal.Results(path, {"command": "y"}, resume=True)
            self.assertTrue(second.has_cell("a/tcp1/w1", "rr1", 0))
            self.assertFalse(second.has_cell("a/tcp1/w1", "rr1", 1))
            self.assertTrue(second.has_growth("streams", "a", 100))
            second.add_cell("a/tcp1/w1", "rr1", 1, {"ok": True, "value": 2})
            second.finish()
            found = journal.load(path)
            self.assertEqual(
                (found["command"], len(found["cells"]["a/tcp1/w1"]["rr1"]), len(found["mem"]["a/tcp1/w1"])), ("x", 2, 1)
            )
            self.assertFalse(os.path.exists(second.journal))

    def test_the_written_command_names_no_folder_of_this_machine(self):
        said = report.written_command(["--preset", "results", "--binary", "/somewhere/else/underpass", "--json=/tmp/x/a.json"])
        self.assertEqual(said, "bench/run --preset results --binary underpass --json=a.json")


class Drawing(unittest.TestCase):
    def test_charts_are_well_formed_whatever_is_missing(self):
        for text in (
            svg.bars("a & b", "µs", ["<x>", "y"], ["one", "two"], [[1.0, None], [(2, 1, 3), 0]], (1.5, "goal")),
            svg.lines("t", "x", "KB", ["a", "b"], [[(1, 5.0), (1000, 7.0)], []]),
            svg.lines("t", "x", "ms", ["a"], [[(10, 3)]], log_y=True),
            svg.lines("t", "x", "ms", [], []),
        ):
            xml.fromstring(text)

    def test_a_report_says_machine_command_and_goals(self):
        found = sample.results()
        found.update(command="bench/run --all", cpu="A CPU", commit="abc")
        for target in ("underpass/tcp1/w1", "underpass/tcp2/w1", "envoy/tcp2/w1"):
            sample.put(found, target, "rr16", sample.cell(100, 10))
        with tempfile.TemporaryDirectory() as folder:
            with open(report.write(found, folder)) as file:
                text = file.read()
            for expected in ("A CPU", "abc", "bench/run --all", "### The hop", "plots/cpu_per_request.svg"):
                self.assertIn(expected, text)
            self.assertEqual({name + ".svg" for name in plots.all_plots(found)}, set(os.listdir(os.path.join(folder, "plots"))))


if __name__ == "__main__":
    unittest.main()
