//! Reads single values of a scenario's file: numbers, lists of numbers, amounts with units. Each is
//! checked against its range. How values fit together is checked by `check`.

use std::{collections::BTreeSet, ops::RangeInclusive, path::Path, time::Duration};

use toml::Value;

use super::{MAX_USERS, ScenarioError, toml_tables::Leaf};

/// The limit of a list of host numbers in bytes: a hundred ranges.
const MAX_COUNTS_BYTES: usize = 1000;
/// The limit of a text that people read, such as a title.
const MAX_SENTENCE_CHARS: usize = 200;
/// The limit of a wrong text in an error.
const MAX_SHOWN_CHARS: usize = 40;
/// The limit of delays and queues.
const MAX_SHORT_TIME: Duration = Duration::from_secs(10);

/// A text that is no list of numbers of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}`: no numbers of hosts from 1 to {1}; write for example 5, \"1-5\" or \"1,5,20\"")]
pub struct CountsError(String, u16);

/// Parses numbers of hosts: `5`, `1-5`, `1,5,20`. The result is ascending, none twice.
///
/// # Errors
/// When the text is invalid, or a number is not from 1 to [`MAX_USERS`].
pub fn counts(text: &str) -> Result<Vec<u16>, CountsError> {
    counts_up_to(MAX_USERS, text)
}

/// As [`counts`], with another limit.
///
/// # Errors
/// When the text is invalid, or a number is not from 1 to `max`.
pub fn counts_up_to(max: u16, text: &str) -> Result<Vec<u16>, CountsError> {
    let wrong = || CountsError(shortened(text), max);
    let number = |text: &str| text.trim().parse().ok().filter(|number| (1..=max).contains(number));
    if text.len() > MAX_COUNTS_BYTES {
        return Err(wrong());
    }
    let mut found = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = number(first).zip(number(last)).ok_or_else(wrong)?;
        if first > last {
            return Err(wrong());
        }
        found.extend(first..=last);
    }
    Ok(found.into_iter().collect())
}

/// Reads the values of one file. Errors have the position of the value.
pub(super) struct Values<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    /// The limit of receivers.
    pub(super) max_users: u16,
}

type Read<T> = Result<T, ScenarioError>;

impl Values<'_> {
    /// The line of a position in the text, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|&byte| byte == b'\n').count()
    }

    /// The error for a value.
    pub(super) fn wrong(&self, at: usize, key: &str, reason: impl ToString) -> ScenarioError {
        ScenarioError::Value {
            path: self.path.to_owned(),
            line: self.line(at),
            key: key.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// A text.
    pub(super) fn text<'v>(&self, key: &str, leaf: &'v Leaf, example: &str) -> Read<&'v str> {
        let text = leaf.get_ref().as_str();
        text.ok_or_else(|| self.refuse(key, leaf, &format!("a text such as {example:?}")))
    }

    /// A text of one line that people read.
    pub(super) fn sentence(&self, key: &str, leaf: &Leaf) -> Read<String> {
        let text = self.text(key, leaf, "How rarest first spreads a file")?;
        let length = text.chars().count();
        if !(1..=MAX_SENTENCE_CHARS).contains(&length) || !is_printable(text) {
            return Err(self.refuse(key, leaf, "one line of 1 to 200 characters"));
        }
        Ok(text.to_owned())
    }

    /// A whole number.
    pub(super) fn number(&self, key: &str, leaf: &Leaf, range: RangeInclusive<u64>) -> Read<u64> {
        let number = leaf.get_ref().as_integer().and_then(|number| u64::try_from(number).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            self.refuse(
                key,
                leaf,
                &format!("a whole number from {} to {}", range.start(), range.end()),
            )
        })
    }

    /// Numbers of hosts up to `max`: 5, "1-5", [1, 5, 20].
    pub(super) fn counts(&self, key: &str, leaf: &Leaf, max: u16) -> Read<Vec<u16>> {
        let text = match leaf.get_ref() {
            Value::Integer(number) => number.to_string(),
            Value::String(text) => text.clone(),
            Value::Array(numbers) => {
                let whole =
                    |number: &Value| number.as_integer().map_or("?".to_owned(), |n| n.to_string());
                numbers.iter().map(whole).collect::<Vec<_>>().join(",")
            }
            _ => return Err(self.refuse(key, leaf, "for example 5, \"1-5\" or [1, 5, 20]")),
        };
        counts_up_to(max, &text).map_err(|error| self.wrong(leaf.span().start, key, error))
    }

    /// A rate in bits per second.
    pub(super) fn rate(&self, key: &str, leaf: &Leaf) -> Read<u64> {
        let text = self.text(key, leaf, "10mbit")?;
        let rate =
            sow_quantity::rate(text).map_err(|error| self.wrong(leaf.span().start, key, error))?;
        Ok(rate.0.saturating_mul(8))
    }

    /// A time in microseconds. Only zero may lack a unit.
    pub(super) fn micros(&self, key: &str, leaf: &Leaf) -> Read<u64> {
        let text = match leaf.get_ref() {
            Value::Integer(number) => number.to_string(),
            _ => self.text(key, leaf, "5ms")?.to_owned(),
        };
        sow_quantity::short_time(&text)
            .map_err(|error| self.wrong(leaf.span().start, key, error))?;
        let time = self.time(key, leaf, Duration::ZERO..=MAX_SHORT_TIME)?;
        Ok(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }

    /// A time: a text with a unit, or a number of seconds.
    pub(super) fn time(
        &self,
        key: &str,
        leaf: &Leaf,
        range: RangeInclusive<Duration>,
    ) -> Read<Duration> {
        let text = match leaf.get_ref() {
            Value::Integer(seconds) => seconds.to_string(),
            _ => self.text(key, leaf, "10s")?.to_owned(),
        };
        let span =
            sow_quantity::time(&text).map_err(|error| self.wrong(leaf.span().start, key, error))?;
        if !range.contains(&span.0) {
            let limits = format!("a time from {:?} to {:?}", range.start(), range.end());
            return Err(self.refuse(key, leaf, &limits));
        }
        Ok(span.0)
    }

    /// A size in bytes: a text with a unit, or a number.
    pub(super) fn size(&self, key: &str, leaf: &Leaf, range: RangeInclusive<u64>) -> Read<u64> {
        let text = match leaf.get_ref() {
            Value::Integer(bytes) => bytes.to_string(),
            _ => self.text(key, leaf, "10MiB")?.to_owned(),
        };
        let size =
            sow_quantity::size(&text).map_err(|error| self.wrong(leaf.span().start, key, error))?;
        if !range.contains(&size.0) {
            let ends =
                [*range.start(), *range.end()].map(|bytes| sow_quantity::Size(bytes).to_string());
            return Err(self.refuse(key, leaf, &format!("a size from {} to {}", ends[0], ends[1])));
        }
        Ok(size.0)
    }

    /// One word of a list.
    pub(super) fn word<T: Copy>(&self, key: &str, leaf: &Leaf, words: &[(&str, T)]) -> Read<T> {
        let text = leaf.get_ref().as_str().unwrap_or_default();
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|&(_, value)| value).ok_or_else(|| {
            let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.refuse(key, leaf, &all.join(" or "))
        })
    }

    /// The error for a value of a wrong kind or outside its range.
    pub(super) fn refuse(&self, key: &str, leaf: &Leaf, wanted: &str) -> ScenarioError {
        let span = leaf.span();
        let written = shortened(self.text.get(span.clone()).unwrap_or_default());
        self.wrong(span.start, key, format!("{written} is not valid here; write {wanted}"))
    }
}

/// Whether a text has no character that moves the cursor or turns the direction of other text.
pub fn is_printable(text: &str) -> bool {
    let turns = |c: char| matches!(u32::from(c), 0x2028..=0x202e | 0x2066..=0x2069);
    !text.chars().any(|c| c.is_control() || turns(c)) && !text.trim().is_empty()
}

/// The beginning of a text, for an error of one line.
pub(super) fn shortened(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(MAX_SHOWN_CHARS).map(clean).collect();
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}
