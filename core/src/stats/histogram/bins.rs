//! Log-linear bins: two significant decimal digits of each number are kept, as in the circllhist library that Envoy
//! uses (<https://arxiv.org/abs/2001.06561>).

/// How many numbers fell into each bin. Only bins that are not empty take memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bins(Vec<(Bin, u64)>);

/// The numbers whose first two decimal digits and whose count of digits are the same. The order is that of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Bin {
    /// The power of ten of the first digit.
    exponent: u8,
    /// The first two digits, 10 to 99; 0 for the number zero.
    digits: u8,
}

impl Bin {
    fn of(value: u64) -> Self {
        let Some(exponent) = value.checked_ilog10() else { return Self { exponent: 0, digits: 0 } };
        let two_digits = if exponent == 0 { value * 10 } else { value / 10_u64.pow(exponent - 1) };
        // proven: ilog10 of a u64 is at most 19 and two_digits lies in 10..=99, so neither is cut.
        #[expect(clippy::cast_possible_truncation)]
        Self { exponent: exponent as u8, digits: two_digits as u8 }
    }

    /// The smallest number of the bin.
    fn left(self) -> f64 {
        f64::from(self.digits) * self.step()
    }

    /// How far the bin reaches; only zero has a bin without width.
    fn width(self) -> f64 {
        if self.digits == 0 { 0.0 } else { self.step() }
    }

    fn step(self) -> f64 {
        10_f64.powi(i32::from(self.exponent) - 1)
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

    /// How many numbers were recorded.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, entry| sum.saturating_add(entry.1))
    }

    /// About the sum of the numbers: each counts as the middle of its bin.
    pub fn sum(&self) -> f64 {
        self.0.iter().map(|&(bin, count)| (bin.left() + bin.width() / 2.0) * count as f64).sum()
    }
}
