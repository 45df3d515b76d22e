//! Axes: their range, their ticks, and the position of a value. Nothing is drawn here.

/// A range of values with its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// The quantity and its unit.
    pub(crate) label: String,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Values and texts, ascending; some texts are empty.
    pub(crate) ticks: Vec<(f64, String)>,
    /// Whether equal distances are equal ratios. Then `low` is above zero.
    pub(crate) logarithmic: bool,
}

impl Axis {
    /// From `low` to at least `high` in about `count` round steps.
    pub(crate) fn rounded(label: &str, low: f64, high: f64, count: usize) -> Self {
        let span = if high > low { high - low } else { 1.0 };
        let step = round_step(span / count.max(1) as f64);
        let first = (low / step + 1e-9).floor();
        let last = ((low + span) / step - 1e-9).ceil();
        let places = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        let ticks = (0..=(last - first) as usize).map(|index| {
            let value = (first + index as f64) * step;
            (value, format!("{:.places$}", if value == 0.0 { 0.0 } else { value }))
        });
        Self {
            label: label.to_owned(),
            low: first * step,
            high: last * step,
            ticks: ticks.collect(),
            logarithmic: false,
        }
    }

    /// A little more than `low` to `high`, from one round value to another; logarithmic if `high`
    /// is several times `low`.
    pub(crate) fn around(label: &str, low: f64, high: f64) -> Self {
        if low <= 0.0 || high < 3.0 * low {
            let room = ((high - low) * 0.05).max(high * 0.005);
            return Self::rounded(label, (low - room).max(0.0), high + room, 6);
        }
        let axis = Self::digits(label, low, high, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        // With few ticks, all of them get a text. Otherwise the ends are those that have one.
        if axis.ticks.len() < 8 { axis } else { Self::digits(label, low, high, &[1, 2, 5]) }
    }

    /// Equal distances for equal ratios, for values above zero.
    pub(crate) fn logarithmic(label: &str, low: f64, high: f64) -> Self {
        let high = if high > low { high } else { low * 2.0 };
        // Over several powers of ten, only those have texts.
        Self::digits(label, low, high, if high / low > 500.0 { &[1] } else { &[1, 2, 5] })
    }

    /// A logarithmic axis from `low` or below to `high` or above. It has a tick at every digit
    /// times a power of ten. The listed digits, ascending, have texts, and the ends are such ticks.
    fn digits(label: &str, low: f64, high: f64, named: &[u32]) -> Self {
        let value = |digit: u32, power: i32| f64::from(digit) * 10f64.powi(power);
        let powers = low.log10().floor() as i32..=high.log10().floor() as i32 + 1;
        let ends = || powers.clone().flat_map(|power| named.iter().map(move |&n| value(n, power)));
        let low = ends().rfind(|end| *end <= low * (1.0 + 1e-9)).unwrap_or(low);
        let high = ends().find(|end| *end >= high * (1.0 - 1e-9)).unwrap_or(high);
        let is_inside = |value: f64| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(&value);
        let tick = |(digit, power)| {
            let text =
                if named.contains(&digit) { plain(value(digit, power)) } else { String::new() };
            (value(digit, power), text)
        };
        let all = powers.clone().flat_map(|power| (1..10).map(move |digit| (digit, power)));
        let ticks = all.map(tick).filter(|(value, _)| is_inside(*value)).collect();
        Self { label: label.to_owned(), low, high, ticks, logarithmic: true }
    }

    /// Equal distances between listed values: the n-th is at n, with a margin of 0.5 at both ends.
    pub(crate) fn listed(label: &str, values: &[u32]) -> Self {
        let ticks = values
            .iter()
            .enumerate()
            .map(|(index, value)| (index as f64, value.to_string()))
            .collect();
        let high = values.len().max(1) as f64 - 0.5;
        Self { label: label.to_owned(), low: -0.5, high, ticks, logarithmic: false }
    }

    /// The position of `value` on an axis from `start` to `end`.
    pub(crate) fn position(&self, value: f64, (start, end): (f64, f64)) -> f64 {
        let value = value.clamp(self.low, self.high);
        let part = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        start + (end - start) * part
    }
}

/// Three decimal places without trailing zeros.
fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// 1, 2 or 5 times a power of ten, not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= step * (1.0 - 1e-9))
        .unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(low: f64, high: f64) -> Vec<String> {
        Axis::rounded("", low, high, 5).ticks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn steps_are_round() {
        assert_eq!(ticks(0.0, 43.9), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(ticks(0.0, 1.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(ticks(1.0, 1.31), ["1.0", "1.1", "1.2", "1.3", "1.4"]);
        assert_eq!(ticks(0.0, 0.0), ticks(0.0, 1.0));
        assert_eq!(ticks(0.0, 0.0042), ["0.000", "0.001", "0.002", "0.003", "0.004", "0.005"]);
    }

    #[test]
    fn every_value_lies_within() {
        for high in [0.003, 0.7, 1.0, 8.77, 9.999_999, 10.0, 123.0, 5e6] {
            let axis = Axis::rounded("", 0.0, high, 5);
            assert!(
                axis.low == 0.0 && axis.high >= high && axis.high <= high * 2.5,
                "{high}: {axis:?}"
            );
            assert!((4..=9).contains(&axis.ticks.len()), "{high}: {axis:?}");
        }
    }

    #[test]
    fn a_wide_range_has_a_logarithmic_axis() {
        let texts =
            |axis: &Axis| axis.ticks.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>();
        let far = Axis::around("", 9.2, 44.0);
        assert!(far.logarithmic && (far.low, far.high) == (9.0, 50.0));
        assert_eq!(texts(&far), ["9", "10", "20", "30", "40", "50"]);
        // Both ends are round and have texts.
        let farther = Axis::around("", 8.4, 168.0);
        assert_eq!(texts(&farther).concat(), "5102050100200");
        assert_eq!((farther.low, farther.high, farther.ticks.len()), (5.0, 200.0, 16));
        let tiny = Axis::around("", 0.0021, 0.35);
        assert_eq!(texts(&tiny).concat(), "0.0020.0050.010.020.050.10.20.5");
        assert!((far.position((far.low * far.high).sqrt(), (0.0, 100.0)) - 50.0).abs() < 1e-9);
        let near = Axis::around("", 9.0, 10.0);
        assert!(!near.logarithmic);
        assert_eq!(texts(&near), ["8.8", "9.0", "9.2", "9.4", "9.6", "9.8", "10.0", "10.2"]);
        assert!((near.low - 8.8).abs() < 1e-9 && (near.high - 10.2).abs() < 1e-9);
        assert!(!Axis::around("", 0.0, 10.0).logarithmic && Axis::around("", 5.0, 5.0).high > 5.0);
    }

    #[test]
    fn listed_values_have_equal_distances() {
        let axis = Axis::listed("users", &[1, 2, 50]);
        assert_eq!(
            axis.ticks.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
            ["1", "2", "50"]
        );
        assert_eq!(
            [-0.5, 0.0, 2.5, 99.0].map(|value| axis.position(value, (0.0, 30.0))),
            [0.0, 5.0, 30.0, 30.0]
        );
    }
}
