import unittest

from harness import summary
from tests import sample


class Ratios(unittest.TestCase):
    def test_a_ratio_is_paired_by_round(self):
        found = sample.results()
        # The machine is twice as slow in the second round; every round says 2 all the same.
        sample.put(found, "ours/tcp2/w1", "rr16", sample.cell(200, 5), sample.cell(100, 10), sample.cell(220, 5))
        sample.put(found, "envoy/tcp2/w1", "rr16", sample.cell(100, 10), sample.cell(50, 20), sample.cell(110, 10))
        self.assertEqual(
            summary.spread(found, "ours/tcp2/w1", "envoy/tcp2/w1", "rr16"), {"median": 2.0, "min": 2.0, "max": 2.0, "rounds": 3}
        )
        self.assertEqual(summary.ratio(found, "ours/tcp2/w1", "envoy/tcp2/w1", "rr16", "cpu_per"), 0.5)

    def test_a_failed_cell_takes_its_partner_out(self):
        found = sample.results()
        sample.put(found, "ours/tcp2/w1", "conn", sample.cell(300, 1), dict(sample.cell(900, 1), ok=False), sample.cell(100, 1))
        sample.put(found, "envoy/tcp2/w1", "conn", sample.cell(100, 1), sample.cell(100, 1), sample.cell(100, 1))
        self.assertEqual(summary.spread(found, "ours/tcp2/w1", "envoy/tcp2/w1", "conn")["rounds"], 2)
        self.assertEqual(summary.ratio(found, "ours/tcp2/w1", "envoy/tcp2/w1", "conn"), 2.0)

    def test_disturbed_rounds_count_only_where_there_is_nothing_better(self):
        found = sample.results()
        sample.put(found, "a/tcp1/w1", "rr1", sample.cell(10, 1), sample.cell(12, 1), sample.cell(90, 1, noisy=True))
        sample.put(found, "b/tcp1/w1", "rr1", sample.cell(10, 1), sample.cell(90, 1, noisy=True))
        self.assertEqual(summary.value(found, "a/tcp1/w1", "rr1"), 11)
        self.assertEqual(summary.value(found, "b/tcp1/w1", "rr1"), 50)

    def test_what_was_not_measured_has_no_ratio(self):
        found = sample.results()
        sample.put(found, "ours/tcp2/w1", "rr16", sample.cell(200, 5))
        self.assertIsNone(summary.ratio(found, "ours/tcp2/w1", "envoy/tcp2/w1", "rr16"))
        self.assertIsNone(summary.ratio(found, "ours/tcp2/w1", "ours/tcp2/w1", "bulk1"))

    def test_only_chains_have_a_single_hop_of_their_own(self):
        self.assertEqual(summary.own_single_hop("ours/tcp5/w2"), "ours/tcp1/w2")
        self.assertEqual(summary.own_single_hop("ours/httpi/w1"), "ours/http1/w1")
        self.assertIsNone(summary.own_single_hop("ours/tcp1/w1"))

    def test_a_target_that_only_failed_says_why(self):
        found = sample.results()
        sample.put(found, "ours/tcp1/w1", "rr1", {"ok": False, "why": "it ended"})
        entry = summary.summarise(found)["ours/tcp1/w1"]["rr1"]
        self.assertEqual((entry["n"], entry["bad"]), (0, 1))
        self.assertIn("it ended", entry["why"])


class Memory(unittest.TestCase):
    def test_memory_is_counted_for_each_connection_from_idle(self):
        found = sample.results()
        found["mem"]["ours/tcp2/w1"] = [sample.idle(6000, {1000: 9000, 4500: 19500}), {"ok": False}]
        memory = summary.memory(found, "ours/tcp2/w1")
        self.assertAlmostEqual(memory["bytes_per"][1000], 3 * 1024)
        self.assertAlmostEqual(memory["bytes_per"][4500], 3 * 1024)
        self.assertAlmostEqual(memory["marginal"], 3 * 1024)
        self.assertEqual((memory["good"], memory["repetitions"]), (1, 2))
        self.assertAlmostEqual(memory["fds_per"], 2)

    def test_starts_that_failed_are_told_apart(self):
        found = sample.results()
        found["startup"]["ours/tcp2/w1"] = [0.004, None, 0.006]
        self.assertEqual(summary.start_ms(found, "ours/tcp2/w1"), (5.0, 4.0, 6.0, 2, 3))


if __name__ == "__main__":
    unittest.main()
