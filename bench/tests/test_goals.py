import unittest

from harness import goals, tables
from tests import sample


def goal_named(found, text, workers="w1"):
    return next(goal for goal in goals.all_goals(found) if text in f"{goal.group}: {goal.text}" and goal.workers == workers)


class Reaching(unittest.TestCase):
    def setUp(self):
        self.found = sample.results()
        sample.put(self.found, "underpass/tcp1/w1", "rr16", sample.cell(100_000, 10.0, 100))
        sample.put(self.found, "underpass/tcp2/w1", "rr16", sample.cell(99_000, 10.3, 106))
        sample.put(self.found, "underpass/tcp5/w1", "rr16", sample.cell(90_000, 11.0))
        sample.put(self.found, "envoy/tcp2/w1", "rr16", sample.cell(50_000, 20.6))
        sample.put(self.found, "relay-copy/tcp1/w1", "rr16", sample.cell(100_000, 10.0))
        sample.put(self.found, "nginx/tcp2/w1", "rr16", sample.cell(99_000, 10.3))

    def test_a_limit_that_is_just_kept_is_reached(self):
        self.assertTrue(goal_named(self.found, "one internal hop / none: CPU per request, 16").reached)
        self.assertTrue(goal_named(self.found, "Envoy's chain: CPU per request, 16").reached)

    def test_a_limit_that_is_missed_is_not_reached(self):
        self.assertFalse(goal_named(self.found, "one internal hop / none: p99 of a request, 16").reached)
        five = goal_named(self.found, "five internal hops / none: CPU per request, 16")
        self.assertAlmostEqual(five.figure, 1.1)
        self.assertFalse(five.reached)

    def test_rates_must_be_at_least_the_limit(self):
        goal = goal_named(self.found, "Envoy's chain: requests/s, 16")
        self.assertAlmostEqual(goal.figure, 1.98)
        self.assertTrue(goal.reached)

    def test_being_ahead_is_more_than_being_equal(self):
        self.assertFalse(goal_named(self.found, "nginx's chain: CPU per request, 16").reached)
        self.assertFalse(goal_named(self.found, "nginx's chain: requests/s, 16").reached)

    def test_the_relay_is_compared_with_its_one_hop(self):
        self.assertTrue(goal_named(self.found, "Minimal C relay, one hop: no internal hop: CPU per request, 16").reached)
        self.assertAlmostEqual(
            goal_named(self.found, "Minimal C relay, one hop: one internal hop: CPU per request, 16").figure, 1.03
        )

    def test_what_was_not_measured_is_neither(self):
        self.assertIsNone(goal_named(self.found, "Envoy's chain: CPU per new connection").reached)
        self.assertIn("not measured", tables.goal_table(self.found))

    def test_each_number_of_workers_has_its_goals(self):
        for target in ("underpass/tcp2", "envoy/tcp2"):
            self.found["cells"][target + "/w2"] = self.found["cells"][target + "/w1"]
        self.assertTrue(goal_named(self.found, "Envoy's chain: CPU per request, 16", "w2").reached)


class Footprint(unittest.TestCase):
    def test_memory_start_and_size(self):
        found = sample.results()
        sample.put(found, "underpass/tcp2/w1", "rr16", sample.cell(1, 1))
        found["mem"]["underpass/tcp2/w1"] = [sample.idle(7000, {4500: 7000 + 4500 * 5})]
        found["mem"]["nginx/tcp2/w1"] = [sample.idle(18000, {4500: 18000 + 4500 * 20})]
        found["startup"]["underpass/tcp2/w1"] = [0.009, 0.011, 0.008]
        found["binary"]["underpass/tcp2/w1"] = {"stripped_bytes": 9_000_000}
        self.assertFalse(goal_named(found, "memory per idle connection through the chain").reached)
        self.assertTrue(goal_named(found, "idle RSS").reached)
        self.assertTrue(goal_named(found, "exec to the first answer").reached)
        self.assertFalse(goal_named(found, "stripped binary", "-").reached)
        self.assertAlmostEqual(goal_named(found, "nginx's chain: memory per idle connection").figure, 0.25)

    def test_the_foundation_counts_if_it_was_given(self):
        found = sample.results()
        sample.put(found, "underpass/tcp2/w1", "rr16", sample.cell(1, 1))
        found["binary"].update({"underpass/tcp2/w1": {"stripped_bytes": 9_000_000}, "foundation": {"stripped_bytes": 7_000_000}})
        self.assertTrue(goal_named(found, "of the foundation", "-").reached)


class Growing(unittest.TestCase):
    def test_flat_is_compared_from_a_thousand_on(self):
        found = sample.results()
        found["growth"] = {
            "streams": {
                "underpass": [
                    {"ok": True, "count": count, "bytes_per": size, "cpu_per": cpu}
                    for count, size, cpu in ((100, 9000, 5), (1000, 2000, 5), (100_000, 2100, 10))
                ]
            }
        }
        self.assertAlmostEqual(goal_named(found, "memory per internal connection (simulated): 100,000 / 1,000").figure, 1.05)
        self.assertFalse(goal_named(found, "CPU per message over each internal connection").reached)

    def test_the_last_decade_of_a_configuration_costs_what_the_one_before_did(self):
        found = sample.results()
        found["growth"] = {
            "configuration": {
                "underpass": [
                    {
                        "ok": True,
                        "count": count,
                        "ready_ms": 5 + count * 0.1,
                        "rss_kb": 6000 + count * (20 if count < 1000 else 40),
                        "cpu_per": 10,
                    }
                    for count in (1, 10, 100, 1000)
                ]
            }
        }
        self.assertTrue(goal_named(found, "ms to ready for one more listener").reached)
        self.assertFalse(goal_named(found, "memory for one more listener").reached)
        self.assertTrue(goal_named(found, "CPU per request, by listeners").reached)


if __name__ == "__main__":
    unittest.main()
