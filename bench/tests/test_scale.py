import json
import os
import tempfile
import unittest
import xml.etree.ElementTree as xml

from harness import scale, scale_command, scale_report


def run(proxy, clusters, protocol="delta", **figures):
    found = {"proxy": proxy, "protocol": protocol, "clusters": clusters, "listeners": clusters // 10, "ok": True, "why": None}
    return dict(found, **figures)


def results():
    header = {
        "when": "then", "commit": "c0ffee", "versions": {"underpass": "1", "envoy": "2", "nginx": "3"}, "cpu": "a CPU", "cpus": 2,
        "memory_gb": 1, "uname": "Linux", "settings": {"rounds": 1}, "command": "bench/run --scale",
    }  # fmt: skip
    runs = [run(proxy, 0, ready_s=0.1, ready_cpu_s=0.1, rss_kb=1000) for proxy in ("underpass", "envoy")]
    figures = {"ready_cpu_s": 1.0, "change_ms": 1.0, "effect_ms": 2.0}
    runs += [run("underpass", 100, ready_s=1.0, rss_kb=3000, change_cpu_ms=cpu, **figures) for cpu in (0.2, 0.4, 9.0)]
    runs.append(run("envoy", 100, ready_s=4.0, rss_kb=5000, change_cpu_ms=0.1, **figures))
    runs.append(dict(run("envoy", 100), ok=False, why="broken", ready_s=1000.0))
    return {"header": header, "runs": runs}


class Report(unittest.TestCase):
    def test_figures_are_medians_of_what_went_well(self):
        self.assertEqual(scale_report.figure(results(), "underpass", "delta", 100, "change_cpu_ms"), 0.4)
        self.assertEqual(scale_report.figure(results(), "envoy", "delta", 100, "ready_s"), 4.0)
        self.assertIsNone(scale_report.figure(results(), "envoy", "sotw", 100, "ready_s"))

    def test_memory_of_an_item_leaves_out_what_is_there_without_any(self):
        self.assertEqual(scale_report.per_item(results(), "underpass", "delta", 100), 20.0)
        self.assertIsNone(scale_report.per_item(results(), "underpass", "delta", 0))

    def test_goals_compare_with_envoy_at_the_largest_size(self):
        reached = {what: value for what, value, _, _ in scale_report.goals(results())}
        self.assertEqual(reached["delta: time to ready / Envoy's"], 0.25)
        self.assertEqual(reached["delta: resident memory / Envoy's"], 0.6)
        self.assertEqual(reached["delta: CPU of one changed endpoint"], 0.4)

    def test_what_is_written_is_whole(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(scale_report.write(results(), folder)) as file:
                text = file.read()
            self.assertIn("| delta: resident memory / Envoy's | 0.60 (missed) | at most 0.5 |", text)
            plots = [name for name in os.listdir(folder) if name.endswith(".svg")]
            self.assertEqual(len(plots), 4)
            for name in plots:
                xml.parse(os.path.join(folder, name))
                self.assertIn(f"({name})", text)


class Arguments(unittest.TestCase):
    def test_the_bootstrap_names_its_protocol(self):
        for protocol, api_type in scale.PROTOCOLS.items():
            config = json.loads(scale.bootstrap(1, 2, protocol))
            self.assertEqual(config["dynamic_resources"]["ads_config"]["api_type"], api_type)

    def test_without_options_everything_is_measured(self):
        a = scale_command.parser().parse_args(["--scale"])
        self.assertEqual(a.protocols.split(","), list(scale_report.PROTOCOLS))
        self.assertEqual(a.only.split(","), list(scale_report.NAMES))


if __name__ == "__main__":
    unittest.main()
