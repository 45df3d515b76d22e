//! Parses and formats the quantities of command lines and configuration files: RATE (`10mbit`,
//! `1.2MB/s`), SIZE (`5MiB`) and TIME (`90s`, `1h30m`).
//!
//! A lower-case `b` means bits and an upper-case `B` bytes; the word `bit` may have any case. An
//! ambiguous unit is rejected. What a quantity is used for is not known here.
//!
//! ```
//! use sow_quantity::{Rate, Size, rate, size};
//!
//! assert_eq!(rate("10mbit")?, Rate(1_250_000));
//! assert_eq!(size("1.5GiB")?, Size(3 << 29));
//! assert_eq!(Size(812 << 20).to_string(), "812.0 MiB");
//! # Ok::<(), sow_quantity::QuantityError>(())
//! ```

use std::{fmt, time::Duration};

/// A number of bytes. Displayed in binary units: `812.0 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Bytes per second, never zero when parsed. Displayed in decimal units: `1.2 MB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// A time span. Displayed as `1h30m` or `45.2 s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Why a text is not a valid quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text does not begin with a number.
    #[error("`{0}` does not begin with a number")]
    Number(String),
    /// The unit is unknown.
    #[error("`{unit}` is not a unit of {of}; {examples}")]
    Unit {
        /// The text after the number.
        unit: String,
        /// The expected quantity: `rate`, `size` or `time`.
        of: &'static str,
        /// Examples of valid quantities.
        examples: &'static str,
    },
    /// The unit is missing, and required because the number alone would be ambiguous.
    #[error("`{number}` has no unit of {of}; write for example {number}{unit}")]
    NoUnit {
        /// The text.
        number: String,
        /// The expected quantity: `rate` or `time`.
        of: &'static str,
        /// The most common unit.
        unit: &'static str,
    },
    /// A unit such as `mb/s`, which could mean megabits or megabytes.
    #[error("`{0}` could mean bits or bytes; write for example 10mbit or 1.2MB/s")]
    BitsOrBytes(String),
    /// The quantity is zero or too large.
    #[error("{0} is out of range")]
    Range(String),
}

const RATE_EXAMPLES: &str = "for example 10mbit, 1.2MB/s, 5MiB/s, 800kbit, 100kB/s";
const SIZE_EXAMPLES: &str = "for example 4096, 64KiB, 10MB, 1.5GiB";
const TIME_EXAMPLES: &str = "for example 90s, 10m, 1h, 1h30m, 500ms";

/// Parses a RATE: `10mbit`, `10Mbit/s`, `10Mbps`, `1.2MB/s`, `5MiB/s`. The unit is required.
///
/// # Errors
/// When the text is not a rate, its unit is ambiguous, or it is less than one byte per second.
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
            QuantityError::Unit { unit: unit.to_owned(), of: "rate", examples: RATE_EXAMPLES }
        }
    })?;
    let bytes = number * bits / 8.0;
    in_range(text, bytes, 1.0).map(Rate)
}

/// Parses a SIZE: a number of bytes, or a number with a unit: `64KiB`, `10MB`. `64K` is `64KiB`, as
/// in coreutils.
///
/// # Errors
/// When the text is not a size, or the size is too large.
pub fn size(text: &str) -> Result<Size, QuantityError> {
    let (number, unit) = split(text)?;
    let factor = match unit.strip_suffix('B').unwrap_or(unit) {
        "" => 1.0,
        prefix if !unit.ends_with('B') && prefix.len() == 1 => binary(&prefix.to_ascii_lowercase()),
        prefix => prefix
            .strip_suffix('i')
            .map_or_else(|| decimal(prefix), |letter| binary(&letter.to_ascii_lowercase())),
    };
    if factor == 0.0 {
        let unit = unit.to_owned();
        return Err(QuantityError::Unit { unit, of: "size", examples: SIZE_EXAMPLES });
    }
    in_range(text, number * factor, 0.0).map(Size)
}

/// Parses a TIME: `90s`, `10m`, `1h30m`, `500ms`, `2d`. A number without a unit is in seconds.
///
/// # Errors
/// When the text is not a time, or the time is longer than 100 years.
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
                        examples: TIME_EXAMPLES,
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

/// Parses a TIME that is usually below a second, such as `5ms`. Every number except 0 needs a unit:
/// a delay is usually meant in milliseconds, but [`time`] takes a bare number for seconds.
///
/// # Errors
/// As [`time`], and when the unit is missing.
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

/// The number at the start of a text, and the text after it, both without white space around them.
fn split(text: &str) -> Result<(f64, &str), QuantityError> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| QuantityError::Number(text.to_owned()))?;
    Ok((number, text[end..].trim()))
}

/// The number of bits in one `unit` of rate; `None` when it is not a unit of rate.
fn bits_per_unit(unit: &str) -> Option<f64> {
    let stem = unit.strip_suffix("/s").unwrap_or(unit);
    let lower = stem.to_ascii_lowercase();
    let (prefix, bits) =
        if let Some(prefix) = lower.strip_suffix("bits").or(lower.strip_suffix("bit")) {
            (prefix.to_owned(), 1.0)
        } else if let Some(prefix) = stem.strip_suffix("bps") {
            // `Mbps` means bits everywhere except in tc(8), where `mbps` means bytes. So `mbps` is
            // ambiguous.
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

/// The factor of a decimal prefix, a power of 1000; 0 for an unknown prefix.
fn decimal(prefix: &str) -> f64 {
    power(prefix, 1000.0)
}

/// The factor of a binary prefix's letter, a power of 1024; 0 for an unknown letter.
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

fn in_range(text: &str, bytes: f64, min: f64) -> Result<u64, QuantityError> {
    if bytes < min || bytes >= 9e18 {
        return Err(QuantityError::Range(text.to_owned()));
    }
    Ok(bytes as u64)
}

/// The number in the largest unit in which it is at least 1; `None` when it is below the first
/// unit.
fn scale(number: f64, base: f64, units: &[&'static str]) -> Option<(f64, &'static str)> {
    let mut number = number;
    let mut unit = None;
    for &next in units {
        // 1023.96 KiB would be displayed as 1024.0 KiB.
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
    fn the_unit_of_a_rate_selects_bits_or_bytes() {
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
    fn ambiguous_and_invalid_rates_are_rejected() {
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
    fn sizes_are_parsed() {
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
    fn times_are_parsed() {
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
    fn quantities_are_displayed_in_suitable_units() {
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
