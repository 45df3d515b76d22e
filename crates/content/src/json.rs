//! Reads untrusted JSON objects field by field. An error names the field that is missing,
//! duplicate, of the wrong type or out of range.
//!
//! A value is parsed only on request, and with a bound. Other fields are skipped at any depth
//! without recursion. The meaning of the fields is not known here.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive};

use serde::de::{DeserializeSeed, Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::untrusted::excerpt;

/// The largest number of members of an object, unknown members included.
pub const MAX_OBJECT_MEMBERS: usize = 64;

/// Why a JSON document is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The bytes are not a JSON object; the parser's message, with line and column.
    #[error("not a JSON object: {0}")]
    Syntax(String),
    /// Two members of an object have the same key.
    #[error("`{field}` appears twice")]
    Duplicate {
        /// The key, after the keys of the enclosing objects: `info.file_name`.
        field: String,
    },
    /// An object of more than [`MAX_OBJECT_MEMBERS`] members.
    #[error("an object has more than {MAX_OBJECT_MEMBERS} fields")]
    TooManyMembers,
    /// A required field is missing.
    #[error("`{field}` is missing")]
    Missing {
        /// The field, as in [`JsonError::Duplicate`].
        field: String,
    },
    /// A field has the wrong type, is out of range, or is too long.
    #[error("`{field}` is {found}; expected {expected}")]
    InvalidValue {
        /// The field, as in [`JsonError::Duplicate`].
        field: String,
        /// The start of its value.
        found: String,
        /// A description of the values that are accepted.
        expected: String,
    },
}

/// A JSON object whose keys are parsed and whose values are not.
#[derive(Debug)]
pub struct Object<'a> {
    /// The keys of the enclosing objects, for error messages: `info.`.
    prefix: String,
    members: BTreeMap<String, &'a RawValue>,
}

/// A JSON value that is not parsed yet.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a>(&'a RawValue);

impl<'a> Object<'a> {
    /// Parses a document into its members.
    ///
    /// # Errors
    /// When the document is not exactly one JSON object, or the object has a duplicate key.
    pub fn parse(document: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(document).map_err(|error| {
            JsonError::Syntax(format!("invalid UTF-8 at byte {}", error.valid_up_to()))
        })?;
        Self::with_prefix(text, String::new())
    }

    fn with_prefix(text: &'a str, prefix: String) -> Result<Self, JsonError> {
        let mut visitor = MembersVisitor { prefix: &prefix, members: BTreeMap::new(), error: None };
        let mut parser = serde_json::Deserializer::from_str(text);
        let parsed = parser.deserialize_map(&mut visitor).and_then(|()| parser.end());
        match (visitor.error, parsed) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(JsonError::Syntax(error.to_string())),
            (None, Ok(())) => Ok(Self { members: visitor.members, prefix }),
        }
    }

    /// An optional field; `null` counts as missing.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.members.get(key).map(|raw| Value(raw)).filter(|value| value.0.get() != "null")
    }

    /// The keys that are not in `known`.
    pub fn unknown_keys(&self, known: &[&str]) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str).filter(move |key| !known.contains(key))
    }

    /// A required field, parsed by `read`. `expected` describes the accepted values in errors.
    ///
    /// # Errors
    /// When the field is missing, or `read` returns `None`.
    pub fn read<T>(
        &self,
        key: &str,
        expected: impl fmt::Display,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<T, JsonError> {
        let value = self.required(key)?;
        read(value).ok_or_else(|| self.invalid_value(key, value, expected))
    }

    /// A required whole number.
    ///
    /// # Errors
    /// When the field is missing, not a whole number, or out of range.
    pub fn number(&self, key: &str, range: RangeInclusive<u64>) -> Result<u64, JsonError> {
        let expected = format_args!("a whole number from {} to {}", range.start(), range.end());
        self.read(key, expected, |value| value.number().filter(|number| range.contains(number)))
    }

    /// A required text of at most `max` bytes.
    ///
    /// # Errors
    /// When the field is missing, not a text, or too long.
    pub fn text(&self, key: &str, max: usize) -> Result<String, JsonError> {
        self.read(key, format_args!("a text of at most {max} bytes"), |value| value.text(max))
    }

    /// A required object.
    ///
    /// # Errors
    /// When the field is missing, not an object, or an object with a duplicate key.
    pub fn object(&self, key: &str) -> Result<Object<'a>, JsonError> {
        let value = self.required(key)?;
        if !value.0.get().starts_with('{') {
            return Err(self.invalid_value(key, value, "an object"));
        }
        Object::with_prefix(value.0.get(), format!("{}.", self.field_name(key)))
    }

    /// Calls `each` with the index and value of every element of a required array, until `each`
    /// fails.
    ///
    /// # Errors
    /// When the field is missing or not an array; else the error of `each`.
    pub fn each<E: From<JsonError>>(
        &self,
        key: &str,
        mut each: impl FnMut(usize, Value<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let value = self.required(key)?;
        let mut visitor = ElementsVisitor { each: &mut each, error: None };
        let parsed =
            serde_json::Deserializer::from_str(value.0.get()).deserialize_seq(&mut visitor);
        match (visitor.error, parsed) {
            (Some(error), _) => Err(error),
            (None, Err(_)) => Err(self.invalid_value(key, value, "an array").into()),
            (None, Ok(())) => Ok(()),
        }
    }

    fn required(&self, key: &str) -> Result<Value<'a>, JsonError> {
        let missing = || JsonError::Missing { field: self.field_name(key) };
        Ok(Value(self.members.get(key).ok_or_else(missing)?))
    }

    fn invalid_value(&self, key: &str, found: Value<'_>, expected: impl fmt::Display) -> JsonError {
        JsonError::InvalidValue {
            field: self.field_name(key),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    fn field_name(&self, key: &str) -> String {
        format!("{}{}", self.prefix, excerpt(key))
    }
}

impl<'a> Value<'a> {
    /// The value as a whole number that is not negative.
    pub fn number(self) -> Option<u64> {
        serde_json::from_str(self.0.get()).ok()
    }

    /// The value as a text of at most `max` bytes.
    pub fn text(self, max: usize) -> Option<String> {
        // An escape has at most six bytes for each byte of the text.
        let fits = self.0.get().len() <= max.saturating_mul(6).saturating_add(2);
        let text: Option<String> = fits.then(|| serde_json::from_str(self.0.get()).ok()).flatten();
        text.filter(|text| text.len() <= max)
    }

    /// The value as an object.
    pub fn object(self) -> Option<Object<'a>> {
        Object::with_prefix(self.0.get(), String::new()).ok()
    }
}

impl fmt::Display for Value<'_> {
    /// The first 40 characters of the JSON text, printable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_SHOWN_CHARS: usize = 40;
        let text = self.0.get();
        match text.char_indices().nth(MAX_SHOWN_CHARS) {
            Some((end, _)) => write!(f, "{}…", excerpt(&text[..end])),
            None => f.write_str(&excerpt(text)),
        }
    }
}

/// Collects the members of an object. `error` is our own error, which the parser's error type
/// cannot carry.
struct MembersVisitor<'p, 'a> {
    prefix: &'p str,
    members: BTreeMap<String, &'a RawValue>,
    error: Option<JsonError>,
}

impl<'a> Visitor<'a> for &mut MembersVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            let field = || format!("{}{}", self.prefix, excerpt(&key));
            if self.members.contains_key(&key) {
                self.error = Some(JsonError::Duplicate { field: field() });
            } else if self.members.len() == MAX_OBJECT_MEMBERS {
                self.error = Some(JsonError::TooManyMembers);
            }
            if self.error.is_some() {
                return Err(M::Error::custom("replaced by `error`"));
            }
            self.members.insert(key, value);
        }
        Ok(())
    }
}

/// Passes the elements of an array to `each`, and keeps its error.
struct ElementsVisitor<'f, F, E> {
    each: &'f mut F,
    error: Option<E>,
}

impl<'a, E, F> Visitor<'a> for &mut ElementsVisitor<'_, F, E>
where
    F: FnMut(usize, Value<'a>) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        let mut index = 0;
        while let Some(value) = seq.next_element_seed(RawValueSeed)? {
            if let Err(error) = (self.each)(index, Value(value)) {
                self.error = Some(error);
                return Err(S::Error::custom("replaced by `error`"));
            }
            index += 1;
        }
        Ok(())
    }
}

/// Deserializes a value as its unparsed JSON text.
struct RawValueSeed;

impl<'a> DeserializeSeed<'a> for RawValueSeed {
    type Value = &'a RawValue;

    fn deserialize<D: serde::Deserializer<'a>>(
        self,
        deserializer: D,
    ) -> Result<&'a RawValue, D::Error> {
        serde::Deserialize::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Result<Object<'_>, JsonError> {
        Object::parse(text.as_bytes())
    }

    fn error_of(text: &str, read: impl Fn(&Object<'_>) -> Result<(), JsonError>) -> String {
        object(text).and_then(|object| read(&object)).unwrap_err().to_string()
    }

    #[test]
    fn fields_are_parsed_on_request() {
        let object =
            object(r#" {"a": 7, "b": "x\u00e9\t", "c": {"d": [1, "two", []]}, "e": null} "#)
                .unwrap();
        assert_eq!(object.number("a", 1..=7), Ok(7));
        assert_eq!(object.text("b", 4).as_deref(), Ok("x\u{e9}\t"));
        assert!(object.get("e").is_none() && object.get("a").is_some());
        let mut seen = Vec::new();
        let inner = object.object("c").unwrap();
        inner
            .each::<JsonError>("d", |index, value| {
                seen.push((index, value.number(), value.text(9)));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [(0, Some(1), None), (1, None, Some("two".into())), (2, None, None)]);
        assert_eq!(object.unknown_keys(&["a", "b", "c"]).collect::<Vec<_>>(), ["e"]);
    }

    #[test]
    fn errors_name_the_field_and_the_expected_value() {
        let port = |object: &Object<'_>| object.number("port", 1..=65_535).map(|_| ());
        let inner = |object: &Object<'_>| object.object("info")?.text("name", 3).map(|_| ());
        assert_eq!(error_of("{}", port), "`port` is missing");
        for bad in
            ["0", "65536", "-3", "1.5", "1e3", "\"80\"", "null", "[]", "99999999999999999999"]
        {
            let text = format!("{{\"port\": {bad}}}");
            let expected = format!("`port` is {bad}; expected a whole number from 1 to 65535");
            assert_eq!(error_of(&text, port), expected);
        }
        assert_eq!(error_of(r#"{"port":1,"port":2}"#, port), "`port` appears twice");
        assert_eq!(
            error_of(r#"{"info":{"name":"a","na\u006de":"b"}}"#, inner),
            "`info.name` appears twice"
        );
        assert_eq!(error_of(r#"{"info":{}}"#, inner), "`info.name` is missing");
        assert_eq!(error_of(r#"{"info":[]}"#, inner), "`info` is []; expected an object");
        assert_eq!(
            error_of(r#"{"info":{"name":"long"}}"#, inner),
            "`info.name` is \"long\"; expected a text of at most 3 bytes"
        );
        assert!(error_of(r#"{"info":{"name":"\ud800"}}"#, inner).contains("info.name"));
    }

    #[test]
    fn documents_that_are_not_one_object_are_rejected() {
        for text in
            ["", "[]", "null", "{", "{}x", "{\"a\":}", "{'a':1}", "{\"a\":NaN}", "{\"a\":1,}"]
        {
            assert!(matches!(object(text), Err(JsonError::Syntax(_))), "{text}");
        }
        assert!(matches!(Object::parse(b"{\"\xff\":1}"), Err(JsonError::Syntax(_))));
        let members = |count: usize| {
            let members: Vec<_> = (0..count).map(|number| format!("\"{number}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(object(&members(MAX_OBJECT_MEMBERS)).is_ok());
        let too_many = members(MAX_OBJECT_MEMBERS + 1);
        assert_eq!(object(&too_many).unwrap_err(), JsonError::TooManyMembers);
    }

    #[test]
    fn deeply_nested_values_are_skipped_without_recursion() {
        let deep = format!("{{\"a\":{}{},\"b\":1}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let object = object(&deep).unwrap();
        assert_eq!(object.number("b", 0..=1), Ok(1));
        let error = object.number("a", 0..=1).unwrap_err().to_string();
        assert!(error.len() < 200, "{error}");
        let deep = format!("{{\"a\":{}", "{\"a\":".repeat(1_000_000));
        assert!(matches!(Object::parse(deep.as_bytes()), Err(JsonError::Syntax(_))));
    }
}
