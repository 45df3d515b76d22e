//! Reading JSON objects of strangers field by field: what is missing, doubled, of another type or
//! out of range is named.
//!
//! A value is read only when it is asked for, with a bound; what nobody asks for is passed over,
//! however deep it is. What the fields mean is not known here.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive};

use serde::de::{DeserializeSeed, Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::path::excerpt;

/// How many members an object may have, those included that nobody asks for.
pub const MAX_MEMBERS: usize = 64;

/// Why a JSON document is not what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or no object: what the parser says, with line and column.
    #[error("not a JSON object: {0}")]
    Syntax(String),
    /// The same key twice in one object.
    #[error("`{field}` is there twice")]
    Duplicate {
        /// The key, with those of the objects around it: `info.file_name`.
        field: String,
    },
    /// An object of over [`MAX_MEMBERS`] members.
    #[error("an object of over {MAX_MEMBERS} fields")]
    TooManyMembers,
    /// A field that must be there is not.
    #[error("`{field}` is missing")]
    Missing {
        /// Which.
        field: String,
    },
    /// A field of another type, out of its range, or too long.
    #[error("`{field}` is {found}, where {wanted} belongs")]
    Unfit {
        /// Which.
        field: String,
        /// Its value, or the beginning of it.
        found: String,
        /// What would be accepted.
        wanted: String,
    },
}

/// A JSON object of which nothing is read yet but the keys.
#[derive(Debug)]
pub struct Object<'a> {
    /// What stands before the keys in errors.
    prefix: String,
    members: BTreeMap<String, &'a RawValue>,
}

/// A JSON value that is not read yet.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a>(&'a RawValue);

impl<'a> Object<'a> {
    /// Takes a document apart.
    ///
    /// # Errors
    /// When it is not one JSON object from its first byte to its last, or has a key twice.
    pub fn parse(document: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(document).map_err(|error| {
            JsonError::Syntax(format!("no UTF-8 from byte {} on", error.valid_up_to()))
        })?;
        Self::with_prefix(text, String::new())
    }

    fn with_prefix(text: &'a str, prefix: String) -> Result<Self, JsonError> {
        let mut members = Members { prefix: &prefix, found: BTreeMap::new(), problem: None };
        let mut parser = serde_json::Deserializer::from_str(text);
        let parsed = parser.deserialize_map(&mut members).and_then(|()| parser.end());
        match (members.problem, parsed) {
            (Some(problem), _) => Err(problem),
            (None, Err(error)) => Err(JsonError::Syntax(error.to_string())),
            (None, Ok(())) => Ok(Self { members: members.found, prefix }),
        }
    }

    /// A field that may be missing; `null` counts as missing.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.members.get(key).map(|raw| Value(raw)).filter(|value| value.0.get() != "null")
    }

    /// The keys that are none of `known`.
    pub fn others(&self, known: &[&str]) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str).filter(move |key| !known.contains(key))
    }

    /// What `read` makes of a field. `wanted` says what belongs there.
    ///
    /// # Errors
    /// When the field is missing, or `read` can make nothing of it.
    pub fn read<T>(
        &self,
        key: &str,
        wanted: impl fmt::Display,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<T, JsonError> {
        let value = self.required(key)?;
        read(value).ok_or_else(|| self.unfit(key, value, wanted))
    }

    /// A whole number.
    ///
    /// # Errors
    /// When it is missing, something else, or out of range.
    pub fn number(&self, key: &str, range: RangeInclusive<u64>) -> Result<u64, JsonError> {
        let wanted = format_args!("a whole number from {} to {}", range.start(), range.end());
        self.read(key, wanted, |value| value.number().filter(|number| range.contains(number)))
    }

    /// A text of at most `max` bytes.
    ///
    /// # Errors
    /// When it is missing, something else, or too long.
    pub fn text(&self, key: &str, max: usize) -> Result<String, JsonError> {
        self.read(key, format_args!("a text of at most {max} bytes"), |value| value.text(max))
    }

    /// The object in a field.
    ///
    /// # Errors
    /// When it is missing, something else, or has a key twice.
    pub fn object(&self, key: &str) -> Result<Object<'a>, JsonError> {
        let value = self.required(key)?;
        if !value.0.get().starts_with('{') {
            return Err(self.unfit(key, value, "an object"));
        }
        Object::with_prefix(value.0.get(), format!("{}.", self.name(key)))
    }

    /// Calls `each` with every element of the array in a field, and its place, until it fails.
    ///
    /// # Errors
    /// When the field is missing or no array, or with what `each` fails with.
    pub fn each<E: From<JsonError>>(
        &self,
        key: &str,
        mut each: impl FnMut(usize, Value<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let value = self.required(key)?;
        let mut elements = Elements { each: &mut each, problem: None };
        let parsed =
            serde_json::Deserializer::from_str(value.0.get()).deserialize_seq(&mut elements);
        match (elements.problem, parsed) {
            (Some(problem), _) => Err(problem),
            (None, Err(_)) => Err(self.unfit(key, value, "an array").into()),
            (None, Ok(())) => Ok(()),
        }
    }

    fn required(&self, key: &str) -> Result<Value<'a>, JsonError> {
        let raw =
            self.members.get(key).ok_or_else(|| JsonError::Missing { field: self.name(key) })?;
        Ok(Value(raw))
    }

    fn unfit(&self, key: &str, found: Value<'_>, wanted: impl fmt::Display) -> JsonError {
        JsonError::Unfit {
            field: self.name(key),
            found: found.to_string(),
            wanted: wanted.to_string(),
        }
    }

    fn name(&self, key: &str) -> String {
        format!("{}{}", self.prefix, excerpt(key))
    }
}

impl<'a> Value<'a> {
    /// As a whole number that is not negative.
    pub fn number(self) -> Option<u64> {
        serde_json::from_str(self.0.get()).ok()
    }

    /// As a text of at most `max` bytes.
    pub fn text(self, max: usize) -> Option<String> {
        // An escape takes at most six bytes for each byte that it stands for.
        let fits = self.0.get().len() <= max.saturating_mul(6).saturating_add(2);
        let text: Option<String> = fits.then(|| serde_json::from_str(self.0.get()).ok()).flatten();
        text.filter(|text| text.len() <= max)
    }

    /// As an object.
    pub fn object(self) -> Option<Object<'a>> {
        Object::with_prefix(self.0.get(), String::new()).ok()
    }
}

impl fmt::Display for Value<'_> {
    /// The beginning of it, fit to be shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 40;
        let text = self.0.get();
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => write!(f, "{}…", excerpt(&text[..end])),
            None => f.write_str(&excerpt(text)),
        }
    }
}

/// Collects the members of an object. A problem of ours is kept beside the parser's own.
struct Members<'p, 'a> {
    prefix: &'p str,
    found: BTreeMap<String, &'a RawValue>,
    problem: Option<JsonError>,
}

impl<'a> Visitor<'a> for &mut Members<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            let field = || format!("{}{}", self.prefix, excerpt(&key));
            if self.found.contains_key(&key) {
                self.problem = Some(JsonError::Duplicate { field: field() });
            } else if self.found.len() == MAX_MEMBERS {
                self.problem = Some(JsonError::TooManyMembers);
            }
            if self.problem.is_some() {
                return Err(M::Error::custom("see the problem"));
            }
            self.found.insert(key, value);
        }
        Ok(())
    }
}

/// Hands on the elements of an array one by one.
struct Elements<'f, F, E> {
    each: &'f mut F,
    problem: Option<E>,
}

impl<'a, E, F: FnMut(usize, Value<'a>) -> Result<(), E>> Visitor<'a> for &mut Elements<'_, F, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        let mut place = 0;
        while let Some(value) = seq.next_element_seed(Unread)? {
            if let Err(problem) = (self.each)(place, Value(value)) {
                self.problem = Some(problem);
                return Err(S::Error::custom("see the problem"));
            }
            place += 1;
        }
        Ok(())
    }
}

/// A value as it is spelled.
struct Unread;

impl<'a> DeserializeSeed<'a> for Unread {
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

    fn problem(text: &str, read: impl Fn(&Object<'_>) -> Result<(), JsonError>) -> String {
        object(text).and_then(|object| read(&object)).unwrap_err().to_string()
    }

    #[test]
    fn fields_are_read_when_they_are_asked_for() {
        let object =
            object(r#" {"a": 7, "b": "x\u00e9\t", "c": {"d": [1, "two", []]}, "e": null} "#)
                .unwrap();
        assert_eq!(object.number("a", 1..=7), Ok(7));
        assert_eq!(object.text("b", 4).as_deref(), Ok("x\u{e9}\t"));
        assert!(object.get("e").is_none() && object.get("a").is_some());
        let mut seen = Vec::new();
        let inner = object.object("c").unwrap();
        inner
            .each::<JsonError>("d", |place, value| {
                seen.push((place, value.number(), value.text(9)));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [(0, Some(1), None), (1, None, Some("two".into())), (2, None, None)]);
        assert_eq!(object.others(&["a", "b", "c"]).collect::<Vec<_>>(), ["e"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let port = |object: &Object<'_>| object.number("port", 1..=65_535).map(|_| ());
        let inner = |object: &Object<'_>| object.object("info")?.text("name", 3).map(|_| ());
        assert_eq!(problem("{}", port), "`port` is missing");
        for bad in
            ["0", "65536", "-3", "1.5", "1e3", "\"80\"", "null", "[]", "99999999999999999999"]
        {
            let text = format!("{{\"port\": {bad}}}");
            let due = format!("`port` is {bad}, where a whole number from 1 to 65535 belongs");
            assert_eq!(problem(&text, port), due);
        }
        assert_eq!(problem(r#"{"port":1,"port":2}"#, port), "`port` is there twice");
        assert_eq!(
            problem(r#"{"info":{"name":"a","na\u006de":"b"}}"#, inner),
            "`info.name` is there twice"
        );
        assert_eq!(problem(r#"{"info":{}}"#, inner), "`info.name` is missing");
        assert_eq!(problem(r#"{"info":[]}"#, inner), "`info` is [], where an object belongs");
        assert_eq!(
            problem(r#"{"info":{"name":"long"}}"#, inner),
            "`info.name` is \"long\", where a text of at most 3 bytes belongs"
        );
        assert!(problem(r#"{"info":{"name":"\ud800"}}"#, inner).contains("info.name"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
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
        assert!(object(&members(MAX_MEMBERS)).is_ok());
        assert_eq!(object(&members(MAX_MEMBERS + 1)).unwrap_err(), JsonError::TooManyMembers);
    }

    #[test]
    fn depth_takes_no_stack() {
        let deep = format!("{{\"a\":{}{},\"b\":1}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let object = object(&deep).unwrap();
        assert_eq!(object.number("b", 0..=1), Ok(1));
        let error = object.number("a", 0..=1).unwrap_err().to_string();
        assert!(error.len() < 200, "{error}");
        let deep = format!("{{\"a\":{}", "{\"a\":".repeat(1_000_000));
        assert!(matches!(Object::parse(deep.as_bytes()), Err(JsonError::Syntax(_))));
    }
}
