//! Log-linear bins: of each number, two significant decimal digits are kept.
//!
//! This is the model of the circllhist library that Envoy uses (<https://arxiv.org/abs/2001.06561>), so that quantiles
//! and sums come out as Envoy's, to the last bit.

/// How many numbers fell into each bin. Only bins that are not empty take memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bins(Vec<(Bin, u64)>);

/// The numbers whose first two decimal digits and whose magnitude are the same. Bins are ordered as their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bin {
    /// The power of ten of the first digit.
    exponent: u8,
    /// The first two digits, 10 to 99; 0 for the number zero.
    digits: u8,
}

impl Bin {
    fn of(value: u64) -> Self {
        let (exponent, two_digits) = match value {
            // Most numbers are small, and need no division.
            0..10 => (0, value * 10),
            10..100 => (1, value),
            _ => (value.ilog10(), value / 10_u64.pow(value.ilog10() - 1)),
        };
        // ilog10 of a u64 is at most 19 and two_digits is at most 99, so neither is cut.
        #[expect(clippy::cast_possible_truncation)]
        Self { exponent: exponent as u8, digits: two_digits as u8 }
    }

    fn power(self) -> f64 {
        10_f64.powi(i32::from(self.exponent))
    }

    /// The smallest number of the bin.
    pub fn left(self) -> f64 {
        // In the library's order of operations, whose rounding can be seen (230 gives 229.99999999999997).
        f64::from(self.digits) / 10.0 * self.power()
    }

    /// How far the bin reaches; only zero has a bin without width.
    pub fn width(self) -> f64 {
        if self.digits == 0 { 0.0 } else { self.power() / 10.0 }
    }

    /// The number that stands for all in the bin: the one with the least relative error at both ends.
    fn middle(self) -> f64 {
        let (left, width) = (self.left(), self.width());
        if self.digits == 0 { 0.0 } else { left + width * (left / (left + (left + width))) }
    }

    /// Whether the smallest number of the bin is at most `bound`. Exact, unlike [`left`](Self::left).
    fn begins_at_or_below(self, bound: f64) -> bool {
        f64::from(self.digits) * self.power() <= bound * 10.0
    }
}

impl Bins {
    /// Counts one number.
    pub(super) fn insert(&mut self, value: u64) {
        self.add(Bin::of(value), 1);
    }

    /// Adds all that `other` counted.
    pub(super) fn merge(&mut self, other: &Self) {
        for &(bin, count) in &other.0 {
            self.add(bin, count);
        }
    }

    fn add(&mut self, bin: Bin, count: u64) {
        match self.0.binary_search_by_key(&bin, |entry| entry.0) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(count),
            Err(at) => self.0.insert(at, (bin, count)),
        }
    }

    /// The bins that hold numbers, and how many; the smallest first.
    pub fn iter(&self) -> impl Iterator<Item = (Bin, u64)> + '_ {
        self.0.iter().copied()
    }

    /// How many numbers were recorded.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, entry| sum.saturating_add(entry.1))
    }

    /// About the sum of the numbers.
    pub fn sum(&self) -> f64 {
        // Not `Iterator::sum`, which begins with minus zero.
        self.0.iter().fold(0.0, |sum, &(bin, count)| sum + bin.middle() * count as f64)
    }

    /// How many numbers are in bins that begin at or below `bound`: what a cumulative bucket of that bound counts.
    pub fn count_below(&self, bound: f64) -> u64 {
        let below = self.0.iter().take_while(|entry| entry.0.begins_at_or_below(bound));
        below.fold(0, |sum, entry| sum.saturating_add(entry.1))
    }

    /// The value below which the share `quantile` (0 to 1) of the numbers lies; NaN without numbers.
    pub fn quantile(&self, quantile: f64) -> f64 {
        let rank = self.count() as f64 * quantile;
        let mut below = 0.0;
        for (index, &(bin, count)) in self.0.iter().enumerate() {
            let upto = below + count as f64;
            if rank <= upto || index + 1 == self.0.len() {
                // The n numbers of a bin are taken to divide it into n + 1 equal parts.
                let which = (rank - below).ceil().clamp(1.0, count as f64);
                return bin.left() + which / (count as f64 + 1.0) * bin.width();
            }
            below = upto;
        }
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUANTILES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0];

    fn bins(values: impl IntoIterator<Item = u64>) -> Bins {
        let mut bins = Bins::default();
        for value in values {
            bins.insert(value);
        }
        bins
    }

    fn quantiles(bins: &Bins) -> Vec<f64> {
        QUANTILES.iter().map(|&q| bins.quantile(q)).collect()
    }

    /// What Envoy 1.40 showed for requests of these sizes in `upstream_rq_body_size`.
    #[test]
    #[expect(clippy::float_cmp, reason = "to the last bit")]
    fn quantiles_and_sums_are_envoys() {
        let few = bins([0, 0, 5, 5, 99, 100, 101, 1234, 2500, 2550, 9999, 10_000]);
        let last = [10_500.0; 5];
        assert_eq!(
            quantiles(&few)[..5],
            [0.0, 5.033_333_333_333_333, 103.333_333_333_333_33, 2_533.333_333_333_333_5, 9950.0]
        );
        assert_eq!(quantiles(&few)[5..], last);
        assert_eq!(few.sum(), 27_091.098_742_457_33);

        let many = bins((0..1000).step_by(7).chain([0]));
        assert_eq!(
            quantiles(&many),
            [
                0.0,
                236.666_666_666_666_63,
                493.333_333_333_333_37,
                743.333_333_333_333_4,
                895.0,
                945.0,
                986.666_666_666_666_7,
                995.0,
                995.0,
                995.0
            ]
        );
        assert_eq!(many.sum(), 71_133.323_426_484_44);
    }

    /// As above; a bucket holds the whole bin that begins at its bound.
    #[test]
    fn buckets_count_as_envoys() {
        let bins = bins([0, 25, 25, 26, 24, 50, 51, 49, 1000, 1001, 999, 1009, 1010]);
        let counts = [1.0, 25.0, 50.0, 100.0, 500.0, 1000.0, 2500.0].map(|bound| bins.count_below(bound));
        assert_eq!(counts, [1, 4, 7, 8, 8, 13, 13]);
        assert_eq!(bins.count(), 13);
    }

    #[test]
    fn without_numbers_there_are_no_quantiles() {
        assert!(Bins::default().quantile(0.5).is_nan());
        assert_eq!((Bins::default().count(), Bins::default().sum().to_bits()), (0, 0.0_f64.to_bits()));
    }

    #[test]
    fn the_largest_number_has_a_bin() {
        assert_eq!(Bin::of(u64::MAX), Bin { exponent: 19, digits: 18 });
        assert_eq!(Bin::of(9), Bin { exponent: 0, digits: 90 });
        assert_eq!(Bin::of(10), Bin { exponent: 1, digits: 10 });
    }

    proptest::proptest! {
        /// Quantiles rise, and lie within the bins of the smallest and the largest number.
        #[test]
        fn quantiles_rise_within_what_was_recorded(values in proptest::collection::vec(0_u64..10_000_000, 1..200)) {
            let bins = bins(values.iter().copied());
            let found = quantiles(&bins);
            proptest::prop_assert!(found.is_sorted());
            let (low, high) = (*values.iter().min().unwrap() as f64, *values.iter().max().unwrap() as f64);
            proptest::prop_assert!(found[0] >= low * 0.9 - 1e-6 && found[9] <= high * 1.1 + 1e-6);
        }
    }
}
