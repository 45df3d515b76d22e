//! The progress and the rate of a fleet over time, in a bounded number of samples: when there are
//! too many, every second one is dropped and the rest is taken half as often.

use serde_json::{Value, json};

use super::row::rounded;

/// The maximum number of samples.
const MAX_SAMPLES: usize = 400;

/// A moment of a fleet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Seconds after the start.
    pub(super) at: f64,
    /// The part of all bytes that is verified, 0 to 1.
    pub(super) done: f64,
    /// Bytes per second that all receivers verify.
    pub(super) rate: u64,
}

/// See the header of this file.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: Vec<Sample>,
    /// The minimum time between two samples, in seconds.
    interval: f64,
}

impl History {
    /// Takes a sample, unless the last one was a moment ago. Returns whether it is new.
    pub(super) fn add(&mut self, sample: Sample) -> bool {
        if self.samples.last().is_some_and(|last| sample.at - last.at < self.interval) {
            return false;
        }
        if self.samples.len() >= MAX_SAMPLES {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            let span = self.samples.last().map_or(0.0, |last| last.at);
            self.interval = span / self.samples.len() as f64;
        }
        self.samples.push(sample);
        true
    }

    /// All samples, for the page.
    pub(super) fn value(&self) -> Value {
        self.samples.iter().map(Sample::value).collect()
    }
}

impl Sample {
    pub(super) fn value(&self) -> Value {
        json!([rounded(self.at), (self.done * 1e4).round() / 1e4, self.rate])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_takes_as_much_memory_as_an_hour() {
        let mut history = History::default();
        for second in 0..100_000 {
            history.add(Sample { at: f64::from(second), done: 0.5, rate: 1 });
            assert!(history.samples.len() <= MAX_SAMPLES);
        }
        let gaps: Vec<f64> = history.samples.windows(2).map(|two| two[1].at - two[0].at).collect();
        let (least, most) = (
            gaps.iter().copied().fold(f64::MAX, f64::min),
            gaps.iter().copied().fold(0.0, f64::max),
        );
        assert!(history.samples.len() >= MAX_SAMPLES / 2 && most < 4.0 * least, "{least} {most}");
        assert!(history.samples[0].at == 0.0 && history.samples.last().unwrap().at > 99_000.0);
    }
}
