//! A tree of borrowed values, for small messages. Large input is read with [`Reader`] instead.

use super::{BencodeError, DictEncoder, Encoder, Limits, Reader};

/// A bencoded value. Strings borrow from the decoded bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// `i…e`
    Int(i64),
    /// A byte string.
    Bytes(&'a [u8]),
    /// `l…e`
    List(Vec<Value<'a>>),
    /// `d…e`; sorted by key after decoding.
    Dict(Vec<(&'a [u8], Value<'a>)>),
}

/// Decodes `bytes` as exactly one value.
///
/// # Errors
/// When they are not one value, or exceed the limits.
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Value<'_>, BencodeError> {
    let mut reader = Reader::new(bytes, limits);
    let value = value(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// Decodes the value at the start of `bytes`, and returns the bytes after it: in BEP 9, data follow
/// a dictionary.
///
/// # Errors
/// When `bytes` do not begin with a value, or the value exceeds the limits.
pub fn decode_prefix(bytes: &[u8], limits: Limits) -> Result<(Value<'_>, &[u8]), BencodeError> {
    let mut reader = Reader::new(bytes, limits);
    let value = value(&mut reader)?;
    Ok((value, reader.rest()))
}

impl<'a> Value<'a> {
    /// The value of `key`; `None` when the key is missing or this is not a dictionary.
    pub fn dict_get(&self, key: &[u8]) -> Option<&Value<'a>> {
        self.as_dict()?.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The integer, if the value is one.
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(int) = self { Some(*int) } else { None }
    }

    /// The byte string, if the value is one.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The elements, if the value is a list.
    pub fn as_list(&self) -> Option<&[Value<'a>]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }

    /// The entries, if the value is a dictionary.
    pub fn as_dict(&self) -> Option<&[(&'a [u8], Value<'a>)]> {
        if let Self::Dict(dict) = self { Some(dict) } else { None }
    }

    /// The bencoded bytes, with dictionaries sorted by key.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        self.encode_into(&mut encoder);
        encoder.finish()
    }

    /// Appends the value to `encoder`, with dictionaries sorted by key.
    pub fn encode_into(&self, encoder: &mut Encoder) {
        match self {
            Self::Int(int) => encoder.int(*int),
            Self::Bytes(bytes) => encoder.bytes(bytes),
            Self::List(list) => {
                encoder.list(|encoder| list.iter().for_each(|value| value.encode_into(encoder)))
            }
            Self::Dict(entries) => {
                let put = |dict: &mut DictEncoder<'_>, (key, value): &(&[u8], Value<'_>)| {
                    dict.entry(key, |encoder| value.encode_into(encoder));
                };
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by_key(|(key, _)| *key);
                encoder.dict(|dict| sorted.into_iter().for_each(|entry| put(dict, entry)));
            }
        }
    }
}

fn value<'a>(reader: &mut Reader<'a>) -> Result<Value<'a>, BencodeError> {
    match reader.peek()? {
        b'i' => reader.int().map(Value::Int),
        b'0'..=b'9' => reader.bytes().map(Value::Bytes),
        b'l' => {
            let mut list = Vec::new();
            reader.list(|_, reader| value(reader).map(|value| list.push(value)))?;
            Ok(Value::List(list))
        }
        b'd' => {
            let mut dict = Vec::new();
            reader.dict(|key, reader| value(reader).map(|value| dict.push((key, value))))?;
            dict.sort_by_key(|(key, _)| *key);
            Ok(Value::Dict(dict))
        }
        byte => Err(BencodeError::Unexpected { at: reader.position(), byte }),
    }
}
