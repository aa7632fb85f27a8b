import unittest

from counting import rounds

SCENARIOS = ['one_hop', 'chain', 'five_internal_hops', 'http']
NAMES = [f'instructions.per_request.{scenario}' for scenario in SCENARIOS]
PLENTY = dict.fromkeys(NAMES, 100_000) | {'ratio.per_request.chain': 1.13, 'ratio.per_request.five_internal_hops': 1.52}


class Counting:
    """Says what each configuration costs, one number a round, and notes who asked."""

    def __init__(self, **costs):
        self.costs = {scenario: iter(costs.get(scenario, [10_000])) for scenario in SCENARIOS}
        self.asked = []

    def __call__(self, scenario):
        self.asked.append(scenario)
        return {'instructions.per_request': next(self.costs[scenario])}


class Rounds(unittest.TestCase):
    def test_what_is_within_its_bounds_is_counted_once(self):
        count = Counting(chain=[11_000])
        found = rounds.measure(count, SCENARIOS, PLENTY)
        self.assertEqual(count.asked, SCENARIOS)
        self.assertEqual(found['ratio.per_request.chain'], 1.1)
        self.assertEqual(rounds.exceeded(found, PLENTY), [])

    def test_a_count_above_its_bound_is_counted_once_more_by_itself(self):
        count = Counting(http=[60_000, 50_000])
        found = rounds.measure(count, SCENARIOS, PLENTY | {'instructions.per_request.http': 55_000})
        self.assertEqual(count.asked, [*SCENARIOS, 'http'])
        self.assertEqual(found['instructions.per_request.http'], 50_000)

    def test_a_ratio_above_its_bound_is_counted_once_more_as_a_pair(self):
        count = Counting(one_hop=[10_000, 10_200], chain=[11_500, 11_220])
        found = rounds.measure(count, SCENARIOS, PLENTY)
        self.assertEqual(count.asked, [*SCENARIOS, 'one_hop', 'chain'])
        self.assertEqual(found['ratio.per_request.chain'], 1.1)

    def test_a_ratio_is_never_one_of_counts_of_two_rounds(self):
        # The dear hop of one round beside the cheap chain of the other would be 1.1.
        count = Counting(one_hop=[10_000, 10_200], chain=[11_500, 11_750])
        found = rounds.measure(count, SCENARIOS, PLENTY)
        self.assertEqual(found['ratio.per_request.chain'], 1.15)
        self.assertEqual(rounds.exceeded(found, PLENTY), ['ratio.per_request.chain'])

    def test_a_ratio_of_what_was_counted_again_for_its_own_sake_stays_that_of_the_first_round(self):
        count = Counting(chain=[11_000, 10_000])
        found = rounds.measure(count, SCENARIOS, PLENTY | {'instructions.per_request.chain': 10_500})
        self.assertEqual(count.asked, [*SCENARIOS, 'chain'])
        self.assertEqual(found['ratio.per_request.chain'], 1.1)

    def test_what_is_dear_each_time_and_what_has_no_bound_is_found(self):
        count = Counting(http=[60_000, 59_000])
        self.assertEqual(rounds.exceeded(rounds.measure(count, ['http'], {'instructions.per_request.http': 50_000}), {}),
                         ['instructions.per_request.http'])
        self.assertEqual(count.asked, ['http', 'http'])
        self.assertEqual(rounds.exceeded({'instructions.per_request.new': 0}, {}), ['instructions.per_request.new'])


if __name__ == '__main__':
    unittest.main()
