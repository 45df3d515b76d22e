//! Log lines in the form of document 1 (section 3.2): `18:24:43[INFO] - accept connection from
//! 10.0.0.2`. The time is the local one.

use std::fmt;

use jiff::Zoned;

use super::Report;

impl Report {
    /// A line about what happens. Nothing with `-q`.
    pub(crate) fn dated(&self, text: impl fmt::Display) {
        self.note(format_args!("{}[INFO] - {text}", now()));
    }

    /// A line about something that went wrong. Also with `-q`.
    pub(crate) fn dated_warning(&self, text: impl fmt::Display) {
        self.inner.on_stderr(format_args!("{}[WARNING] - {text}\n", now()));
    }
}

fn now() -> impl fmt::Display {
    Zoned::now().strftime("%H:%M:%S")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_as_in_the_document() {
        let now = now().to_string();
        let is_digit = |(at, byte): (usize, u8)| {
            if at % 3 == 2 { byte == b':' } else { byte.is_ascii_digit() }
        };
        assert!(now.len() == 8 && now.bytes().enumerate().all(is_digit), "{now}");
    }
}
