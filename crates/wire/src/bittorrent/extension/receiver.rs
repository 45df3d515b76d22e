//! A receiver's report (`sow_receiver`, an extension of this project): which copy the sender makes,
//! by which name it goes, and what became of it. Only a peer that collects such reports names a
//! number for them. Whether a report is believed is not decided here.

use std::fmt;

use sow_content::{
    bencode::{Encoder, Limits, Value, decode},
    untrusted::is_unprintable,
};

use super::ExtensionError;

/// The limit of a receiver's name, in characters.
pub const MAX_RECEIVER_NAME: usize = 64;

/// The limit of a failure's reason, in characters.
pub const MAX_FAILURE_REASON: usize = 200;

/// What identifies a copy: a hash of the machine, its network namespace and the absolute path of
/// the target. It stays the same when a download is repeated, and when address or port change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyId(pub [u8; 20]);

impl fmt::Display for CopyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CopyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopyId({self})")
    }
}

/// What a receiver is doing, as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyState {
    /// It downloads, or verifies what it has.
    Fetching,
    /// The copy is verified and in its place.
    Complete,
    /// It gives up.
    Failed {
        /// Why, for people: printable, at most [`MAX_FAILURE_REASON`] characters.
        reason: String,
    },
}

/// The body of a `sow_receiver` message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverReport {
    /// Which copy it is about.
    pub copy: CopyId,
    /// The name of the receiver: printable, at most [`MAX_RECEIVER_NAME`] characters; `None` when
    /// it has none.
    pub name: Option<String>,
    /// What became of the copy.
    pub state: CopyState,
}

impl CopyState {
    /// The state of a receiver that gives up for a reason, which is shortened.
    pub fn failed(reason: &str) -> Self {
        Self::Failed { reason: shortened(reason, MAX_FAILURE_REASON).unwrap_or_default() }
    }
}

impl ReceiverReport {
    /// A report; the name is shortened.
    pub fn new(copy: CopyId, name: &str, state: CopyState) -> Self {
        Self { copy, name: shortened(name, MAX_RECEIVER_NAME), state }
    }

    /// Decodes the body of a `sow_receiver` message. Unknown keys are ignored.
    ///
    /// # Errors
    /// When the body is not one bencoded dictionary, or its copy or state is missing or invalid.
    pub fn decode(body: &[u8]) -> Result<Self, ExtensionError> {
        let value = decode(body, Limits::SMALL)?;
        value.as_dict().ok_or(ExtensionError::NotADictionary)?;
        let text = |key: &[u8], max_chars| {
            let bytes = value.dict_get(key).and_then(Value::as_bytes)?;
            shortened(&String::from_utf8_lossy(bytes), max_chars)
        };
        let copy = value.dict_get(b"id").and_then(Value::as_bytes);
        let copy = copy.and_then(|id| id.try_into().ok()).ok_or(ExtensionError::Key("id"))?;
        let state = match value.dict_get(b"state").and_then(Value::as_int) {
            Some(0) => CopyState::Fetching,
            Some(1) => CopyState::Complete,
            Some(2) => {
                let reason = text(b"reason", MAX_FAILURE_REASON).unwrap_or_default();
                CopyState::Failed { reason }
            }
            _ => return Err(ExtensionError::Key("state")),
        };
        Ok(Self { copy: CopyId(copy), name: text(b"name", MAX_RECEIVER_NAME), state })
    }

    /// The body of a `sow_receiver` message.
    pub fn encode(&self) -> Vec<u8> {
        let (state, reason) = match &self.state {
            CopyState::Fetching => (0, None),
            CopyState::Complete => (1, None),
            CopyState::Failed { reason } => (2, Some(reason)),
        };
        let mut encoder = Encoder::new();
        encoder.dict(|dict| {
            dict.bytes(b"id", &self.copy.0);
            self.name.as_ref().inspect(|name| dict.bytes(b"name", name.as_bytes()));
            reason.inspect(|reason| dict.bytes(b"reason", reason.as_bytes()));
            dict.int(b"state", state);
        });
        encoder.finish()
    }
}

/// The printable characters of a text, at most `max_chars`; `None` when there are none.
fn shortened(text: &str, max_chars: usize) -> Option<String> {
    let kept = text.chars().filter(|&c| !is_unprintable(c));
    let kept: String = kept.skip_while(|c| c.is_whitespace()).take(max_chars).collect();
    let kept = kept.trim_end();
    (!kept.is_empty()).then(|| kept.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: CopyId = CopyId([7; 20]);

    #[test]
    fn a_report_is_read_as_it_was_written() {
        for state in [
            CopyState::Fetching,
            CopyState::Complete,
            CopyState::failed("cannot write /srv/a: no space left"),
        ] {
            let report = ReceiverReport::new(COPY, "web01.example.org", state);
            assert_eq!(ReceiverReport::decode(&report.encode()), Ok(report));
        }
        let nameless = ReceiverReport::new(COPY, "", CopyState::Complete);
        assert_eq!(ReceiverReport::decode(&nameless.encode()).unwrap().name, None);
        assert_eq!(COPY.to_string(), "07".repeat(20));
    }

    #[test]
    fn names_and_reasons_are_bounded_and_cannot_steer_a_terminal() {
        let id = String::from_utf8(vec![7; 20]).unwrap();
        let name = format!("\u{1b}[2J\u{202e}{}", "ü".repeat(100));
        let reason = "x\n".repeat(500);
        let body = format!(
            "d2:id20:{id}4:name{}:{name}6:reason{}:{reason}5:statei2ee",
            name.len(),
            reason.len()
        );
        let read = ReceiverReport::decode(body.as_bytes()).unwrap();
        assert_eq!(read.name, Some(format!("[2J{}", "ü".repeat(MAX_RECEIVER_NAME - 3))));
        let CopyState::Failed { reason } = read.state else { panic!("{:?}", read.state) };
        assert_eq!(reason, "x".repeat(MAX_FAILURE_REASON));
    }

    #[test]
    fn a_report_without_a_copy_or_a_state_is_rejected() {
        let id = String::from_utf8(vec![7; 20]).unwrap();
        let bodies = [
            ("de".to_owned(), "id"),
            ("d2:id3:abc5:statei0ee".to_owned(), "id"),
            (format!("d2:id20:{id}e"), "state"),
            (format!("d2:id20:{id}5:statei3ee"), "state"),
        ];
        for (body, key) in bodies {
            let read = ReceiverReport::decode(body.as_bytes());
            assert_eq!(read, Err(ExtensionError::Key(key)), "{body:?}");
        }
    }
}
