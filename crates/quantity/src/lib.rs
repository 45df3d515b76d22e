//! Amounts as people type and read them: RATE (`10mbit`, `1.2MB/s`), SIZE (`5MiB`), TIME (`90s`,
//! `1h30m`).
//!
//! Case tells bits from bytes (`b`, `B`); words (`bit`, `byte`) do so in any case. What could mean
//! two things is refused.

use std::{fmt, time::Duration};

/// A number of bytes. Shown in binary units: `812.0 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Bytes per second, never zero when it was typed. Shown in decimal units: `1.2 MB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// A time span. Shown as `1h30m`, `45.2 s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Why a text is not the amount that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// There is no number in front, or it is not finite.
    #[error("`{0}` does not begin with a number")]
    Number(String),
    /// The unit is not known.
    #[error("`{unit}` is not a unit of {of}; {examples}")]
    Unit {
        /// What stands there.
        unit: String,
        /// What was wanted: `rate`, `size`, `time`.
        of: &'static str,
        /// What one could write.
        examples: &'static str,
    },
    /// A number alone, where that could mean too much.
    #[error("`{number}` has no unit of {of}; write for example {number}{unit}")]
    NoUnit {
        /// What stands there.
        number: String,
        /// What was wanted: `rate`, `time`.
        of: &'static str,
        /// What most people mean.
        unit: &'static str,
    },
    /// `mb/s`: megabits or megabytes?
    #[error("`{0}` could mean bits or bytes; write for example 10mbit or 1.2MB/s")]
    BitsOrBytes(String),
    /// Zero, or too much for the machine to count.
    #[error("{0} is out of range")]
    Range(String),
}

const RATES: &str = "for example 10mbit, 1.2MB/s, 5MiB/s, 800kbit, 100kB/s";
const SIZES: &str = "for example 4096, 64KiB, 10MB, 1.5GiB";
const TIMES: &str = "for example 90s, 10m, 1h, 1h30m, 500ms";

/// Reads a RATE: `10mbit`, `10Mbit/s`, `10Mbps`, `1.2MB/s`, `5MiB/s`. A unit is needed.
///
/// # Errors
/// When it is not one, its unit is ambiguous, or it is less than one byte per second.
pub fn rate(text: &str) -> Result<Rate, QuantityError> {
    let (number, unit) = split(text)?;
    if unit.is_empty() {
        return Err(QuantityError::NoUnit {
            number: text.trim().to_owned(),
            of: "rate",
            unit: "mbit",
        });
    }
    let bits = bits_per_unit(unit).ok_or_else(|| {
        let lower = unit.to_ascii_lowercase();
        let stem = lower.trim_end_matches("/s").trim_end_matches("ps");
        if matches!(stem, "kb" | "mb" | "gb" | "tb") && lower == unit && stem != lower {
            QuantityError::BitsOrBytes(unit.to_owned())
        } else {
            QuantityError::Unit { unit: unit.to_owned(), of: "rate", examples: RATES }
        }
    })?;
    let bytes = number * bits / 8.0;
    in_range(text, bytes, 1.0).map(Rate)
}

/// Reads a SIZE: a number of bytes, or one with a unit: `64KiB`, `10MB`; `64K` is `64KiB` as in
/// coreutils.
///
/// # Errors
/// When it is not one, or too large.
pub fn size(text: &str) -> Result<Size, QuantityError> {
    let (number, unit) = split(text)?;
    let factor = match unit.strip_suffix('B').unwrap_or(unit) {
        "" => 1.0,
        prefix if !unit.ends_with('B') && prefix.len() == 1 => binary(&prefix.to_ascii_lowercase()),
        prefix => prefix
            .strip_suffix('i')
            .map_or_else(|| decimal(prefix), |p| binary(&p.to_ascii_lowercase())),
    };
    if factor == 0.0 {
        return Err(QuantityError::Unit { unit: unit.to_owned(), of: "size", examples: SIZES });
    }
    in_range(text, number * factor, 0.0).map(Size)
}

/// Reads a TIME: `90s`, `10m`, `1h30m`, `500ms`, `2d`; a bare number is seconds.
///
/// # Errors
/// When it is not one, or longer than a hundred years.
pub fn time(text: &str) -> Result<Span, QuantityError> {
    let mut seconds = 0.0;
    let mut rest = text.trim();
    loop {
        let (number, after) = split(rest)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        seconds += number
            * match unit.trim() {
                "ms" => 1e-3,
                "" | "s" | "sec" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                other => {
                    return Err(QuantityError::Unit {
                        unit: other.to_owned(),
                        of: "time",
                        examples: TIMES,
                    });
                }
            };
        if next.is_empty() {
            break;
        }
        rest = next;
    }
    if seconds > 100.0 * 365.0 * 86_400.0 {
        return Err(QuantityError::Range(text.to_owned()));
    }
    Ok(Span(Duration::from_secs_f64(seconds)))
}

/// Reads a TIME that is mostly less than a second, `5ms`. Only 0 may stand without a unit: people
/// mean milliseconds, and a bare number is seconds elsewhere.
///
/// # Errors
/// As [`time`], or when there is no unit.
pub fn short_time(text: &str) -> Result<Span, QuantityError> {
    let span = time(text)?;
    if split(text)?.1.is_empty() && !span.0.is_zero() {
        return Err(QuantityError::NoUnit {
            number: text.trim().to_owned(),
            of: "time",
            unit: "ms",
        });
    }
    Ok(span)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match scale(self.0 as f64, 1024.0, &["KiB", "MiB", "GiB", "TiB", "PiB"]) {
            Some((number, unit)) => write!(f, "{number:.1} {unit}"),
            None if self.0 == 1 => f.write_str("1 byte"),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match scale(self.0 as f64, 1000.0, &["kB/s", "MB/s", "GB/s", "TB/s"]) {
            Some((number, unit)) => write!(f, "{number:.1} {unit}"),
            None => write!(f, "{} B/s", self.0),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
            (0, 0, s) if self.0.subsec_nanos() == 0 => write!(f, "{s} s"),
            (0, 0, _) => write!(f, "{:.1} s", self.0.as_secs_f64()),
            (0, m, 0) => write!(f, "{m}m"),
            (0, m, s) => write!(f, "{m}m{s:02}s"),
            (h, 0, _) => write!(f, "{h}h"),
            (h, m, _) => write!(f, "{h}h{m:02}m"),
        }
    }
}

/// The number in front and what follows it, without the space between.
fn split(text: &str) -> Result<(f64, &str), QuantityError> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| QuantityError::Number(text.to_owned()))?;
    Ok((number, text[end..].trim()))
}

/// How many bits one of `unit` per second is; `None` when it is not a unit of rate.
fn bits_per_unit(unit: &str) -> Option<f64> {
    let stem = unit.strip_suffix("/s").unwrap_or(unit);
    let lower = stem.to_ascii_lowercase();
    let (prefix, bits) =
        if let Some(prefix) = lower.strip_suffix("bits").or(lower.strip_suffix("bit")) {
            (prefix.to_owned(), 1.0)
        } else if let Some(prefix) = stem.strip_suffix("bps") {
            // `Mbps` is bits to everybody but tc(8); `mbps` is what tc means by bytes, so it is
            // left ambiguous.
            let written_small = prefix.chars().any(|c| matches!(c, 'm' | 'g' | 't'));
            (if written_small { return None } else { prefix.to_ascii_lowercase() }, 1.0)
        } else if let Some(prefix) = stem.strip_suffix('B') {
            (prefix.to_ascii_lowercase(), 8.0)
        } else if let (Some(prefix), true) = (stem.strip_suffix('b'), unit.ends_with("/s")) {
            if prefix.chars().any(|c| matches!(c, 'm' | 'g' | 't' | 'k')) {
                return None;
            }
            (prefix.to_ascii_lowercase(), 1.0)
        } else {
            return None;
        };
    let factor = match prefix.as_str() {
        "" => 1.0,
        other => other.strip_suffix('i').map_or_else(|| decimal(other), binary),
    };
    (factor > 0.0).then_some(factor * bits)
}

/// 1000 to the power that a decimal prefix stands for; 0 when it is none.
fn decimal(prefix: &str) -> f64 {
    power(prefix, 1000.0)
}

/// 1024 to the power that the letter of a binary prefix stands for; 0 when it is none.
fn binary(letter: &str) -> f64 {
    power(letter, 1024.0)
}

fn power(prefix: &str, base: f64) -> f64 {
    let exponent = match prefix {
        "k" | "K" => 1,
        "m" | "M" => 2,
        "g" | "G" => 3,
        "t" | "T" => 4,
        _ => return 0.0,
    };
    f64::powi(base, exponent)
}

fn in_range(text: &str, bytes: f64, least: f64) -> Result<u64, QuantityError> {
    if bytes < least || bytes >= 9e18 {
        return Err(QuantityError::Range(text.to_owned()));
    }
    Ok(bytes as u64)
}

/// The number in the largest unit that leaves it at 1 or more; `None` below the first.
fn scale(number: f64, base: f64, units: &[&'static str]) -> Option<(f64, &'static str)> {
    let mut number = number;
    let mut unit = None;
    for &next in units {
        // 1023.96 KiB would be shown as 1024.0 KiB.
        if number < base - 0.05 {
            break;
        }
        number /= base;
        unit = Some(next);
    }
    unit.map(|unit| (number, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bits_or_bytes_by_their_unit() {
        for (text, bytes) in [
            ("10mbit", 1_250_000),
            ("10Mbit/s", 1_250_000),
            ("10 MBIT", 1_250_000),
            ("10Mbps", 1_250_000),
            ("10Mb/s", 1_250_000),
            ("8bit", 1),
            ("800kbit", 100_000),
            ("800kbps", 100_000),
            ("1.2MB/s", 1_200_000),
            ("1.2MB", 1_200_000),
            ("5MiB/s", 5 << 20),
            ("100kB/s", 100_000),
            ("100KB/s", 100_000),
            ("1GiB/s", 1 << 30),
            ("1gbit", 125_000_000),
            ("100B/s", 100),
        ] {
            assert_eq!(rate(text), Ok(Rate(bytes)), "{text}");
        }
    }

    #[test]
    fn ambiguous_and_wrong_rates_are_refused() {
        for text in ["10mb/s", "10mbps", "10gb/s"] {
            assert!(
                matches!(rate(text), Err(QuantityError::BitsOrBytes(_))),
                "{text}: {:?}",
                rate(text)
            );
        }
        assert_eq!(
            rate(" 10").unwrap_err().to_string(),
            "`10` has no unit of rate; write for example 10mbit"
        );
        for text in ["10m", "10 apples", "10mbit/h", "10Xbit"] {
            assert!(
                matches!(rate(text), Err(QuantityError::Unit { .. })),
                "{text}: {:?}",
                rate(text)
            );
        }
        for text in ["", "mbit", "-1mbit", "1.2.3MB/s", "nan", "."] {
            assert!(
                matches!(rate(text), Err(QuantityError::Number(_))),
                "{text}: {:?}",
                rate(text)
            );
        }
        for text in ["0mbit", "1bit", "99999999999999999999GB/s"] {
            assert!(matches!(rate(text), Err(QuantityError::Range(_))), "{text}: {:?}", rate(text));
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64KiB", 65_536),
            ("64kiB", 65_536),
            ("64K", 65_536),
            ("64k", 65_536),
            ("10MB", 10_000_000),
            ("1.5GiB", 3 << 29),
            ("7B", 7),
        ] {
            assert_eq!(size(text), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "MB", "10XB", "10mbit", "1e9", "-5", "10iB", "99999999999999999999"] {
            assert!(size(text).is_err(), "{text}: {:?}", size(text));
        }
    }

    #[test]
    fn times_are_read() {
        for (text, millis) in [
            ("90s", 90_000),
            ("90", 90_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("0", 0),
            ("500ms", 500),
            ("1.5s", 1500),
            ("2d", 172_800_000),
        ] {
            assert_eq!(time(text), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "m", "10x", "-1s", "forever", "99999999999h", "1h-"] {
            assert!(time(text).is_err(), "{text}: {:?}", time(text));
        }
    }

    #[test]
    fn short_times_need_a_unit() {
        for (text, micros) in [("0", 0), ("5ms", 5000), (" 1.5 s", 1_500_000), ("0.0", 0)] {
            assert_eq!(short_time(text), Ok(Span(Duration::from_micros(micros))), "{text}");
        }
        let error = short_time(" 5 ").unwrap_err().to_string();
        assert_eq!(error, "`5` has no unit of time; write for example 5ms");
        assert!(short_time("").is_err() && short_time("5x").is_err());
    }

    #[test]
    fn amounts_are_shown_for_people() {
        assert_eq!(Size(0).to_string(), "0 bytes");
        assert_eq!(Size(1).to_string(), "1 byte");
        assert_eq!(Size(1023).to_string(), "1023 bytes");
        assert_eq!(Size(1024).to_string(), "1.0 KiB");
        assert_eq!(Size((1 << 20) - 1).to_string(), "1.0 MiB");
        assert_eq!(Size(812 << 20).to_string(), "812.0 MiB");
        assert_eq!(Rate(999).to_string(), "999 B/s");
        assert_eq!(Rate(1_196_000).to_string(), "1.2 MB/s");
        assert_eq!(Span(Duration::from_millis(1234)).to_string(), "1.2 s");
        assert_eq!(Span(Duration::from_secs(3)).to_string(), "3 s");
        assert_eq!(Span(Duration::from_secs(600)).to_string(), "10m");
        assert_eq!(Span(Duration::from_secs(605)).to_string(), "10m05s");
        assert_eq!(Span(Duration::from_secs(5400)).to_string(), "1h30m");
    }
}
