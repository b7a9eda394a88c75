//! A few figures of many tries.

/// The value that `share` of all are not above (nearest rank).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share of a count that fits memory"
)]
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// How probable it is that two samples of one distribution differ at least as much in rank
/// (Mann-Whitney U, two-sided, normal approximation; ties do not happen with nanoseconds).
#[expect(clippy::cast_precision_loss, reason = "counts of tries")]
pub(crate) fn mann_whitney_p(these: &[f64], those: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = these.iter().map(|v| (*v, true)).chain(those.iter().map(|v| (*v, false))).collect();
    all.sort_by(|left, right| left.0.total_cmp(&right.0));
    let rank_sum: f64 = (1..).zip(&all).filter(|(_, (_, of_these))| *of_these).map(|(rank, _)| f64::from(rank)).sum();
    let (n, m) = (these.len() as f64, those.len() as f64);
    let u = rank_sum - n * (n + 1.0) / 2.0;
    let z = (u - n * m / 2.0).abs() / (n * m * (n + m + 1.0) / 12.0).sqrt();
    complementary_error(z / std::f64::consts::SQRT_2)
}

/// Abramowitz and Stegun 7.1.26, good to 1.5e-7.
fn complementary_error(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    t * series.iter().fold(0.0, |sum, factor| sum * t + factor) * (-x * x).exp()
}

/// Shuffles; a benchmark's order wants no secrecy.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Xorshift64*.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}
