//! Log lines in the form of the original `raw` server: `18:24:43[INFO] - accept connection from
//! 10.0.0.2`, in local time.

use std::fmt;

use jiff::Zoned;
use sow_content::untrusted::Untrusted;

use super::Report;

impl Report {
    /// A line with the time. Omitted with `-q`.
    pub(crate) fn timestamped(&self, text: impl fmt::Display) {
        self.note(format_args!("{}[INFO] - {text}", now()));
    }

    /// A warning with the time. Printed also with `-q`.
    pub(crate) fn timestamped_warning(&self, text: impl fmt::Display) {
        self.inner.write_stderr(format_args!("{}[WARNING] - {}\n", now(), Untrusted(text)));
    }
}

fn now() -> impl fmt::Display {
    Zoned::now().strftime("%H:%M:%S")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_has_hours_minutes_and_seconds() {
        let now = now().to_string();
        let is_digit = |(at, byte): (usize, u8)| {
            if at % 3 == 2 { byte == b':' } else { byte.is_ascii_digit() }
        };
        assert!(now.len() == 8 && now.bytes().enumerate().all(is_digit), "{now}");
    }
}
