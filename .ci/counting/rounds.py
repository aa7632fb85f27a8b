"""Rounds of counting: what is found above its bound, and what is counted once more before it is said to be too dear."""

# The cost of hops: instructions compared with those of the single hop.
SINGLE = 'one_hop'
CHAINS = ['chain', 'five_internal_hops']
RATIOS = {unit: f'instructions.{unit}' for unit in ('per_request', 'per_connection')}


def exceeded(found, bounds):
    """The counts that are above their bound, or have none: what nobody bounds may grow unseen."""
    return [name for name, value in found.items() if value > bounds.get(name, -1)]


def measure(count, scenarios, bounds):
    """Counts of configurations, and how they compare, by their dotted names. What is above its bound is counted once more, and the
    lesser holds: luck does not last. `count` says of a configuration what its counts are."""
    found = _round(count, scenarios)
    doubtful = {scenario for name in exceeded(found, bounds) for scenario in _counted_for(name)}
    again = _round(count, [scenario for scenario in scenarios if scenario in doubtful])
    return {name: min(value, again.get(name, value)) for name, value in found.items()}


def _round(count, scenarios):
    """Each configuration once. A ratio is one of counts of the same round: the least counts of two would give one that nobody saw."""
    found = {f'{name}.{scenario}': value for scenario in scenarios for name, value in count(scenario).items()}
    return found | _ratios(found)


def _ratios(found):
    """How the instructions of chains compare with those of the single hop, where both were counted."""
    return {f'ratio.{unit}.{scenario}': found[f'{of}.{scenario}'] / found[f'{of}.{SINGLE}']
            for unit, of in RATIOS.items() for scenario in CHAINS
            if f'{of}.{scenario}' in found and f'{of}.{SINGLE}' in found}


def _counted_for(name):
    """The configurations that a number comes from."""
    kind, _, scenario = name.split('.')
    return {scenario, SINGLE} if kind == 'ratio' else {scenario}
