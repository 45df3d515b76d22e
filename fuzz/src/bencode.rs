//! Bencoding: decoded in agreement with an independent decoder, and encoded to the same bytes
//! again.

use std::{iter::Peekable, vec};

use bendy::{decoding::Decoder, state_tracker::Token};
use sow_content::bencode::{Limits, Reader, Value, decode, decode_prefix, raw_dict_value};

use crate::memory;

/// Memory for a tree of 4,096 values, twice that while a list grows, and sorting a dictionary.
const MAX_MEMORY: usize = 1 << 20;

/// Decodes arbitrary bytes with every function of the module.
pub fn bencode(data: &[u8]) {
    let strict = memory::within(MAX_MEMORY, || decode(data, Limits::STRICT));
    if data.len() <= Limits::STRICT.items {
        assert_eq!(strict.clone().ok(), oracle(data));
    }
    if let Ok(value) = &strict {
        assert_eq!(value.encode(), data, "strict bencoding is unique");
    }

    let lenient = memory::within(MAX_MEMORY, || decode(data, Limits::SMALL));
    match (&strict, &lenient) {
        (Ok(strict), lenient) => assert_eq!(lenient.as_ref(), Ok(strict)),
        (Err(_), Ok(lenient)) => {
            let sorted = lenient.encode();
            assert_eq!(sorted.len(), data.len(), "only the order of keys may differ");
            assert_eq!(decode(&sorted, Limits::STRICT).as_ref(), Ok(lenient));
        }
        (Err(_), Err(_)) => {}
    }

    if let Ok(value) = &lenient {
        assert!(count(value) <= Limits::SMALL.items);
    }

    let prefix = memory::within(MAX_MEMORY, || decode_prefix(data, Limits::SMALL));
    let skipped = memory::within(0, || Reader::new(data, Limits::SMALL).skip());
    if let Ok((value, rest)) = &prefix {
        let length = data.len() - rest.len();
        assert_eq!(skipped, Ok(&data[..length]), "skipping and decoding agree on the length");
        assert_eq!(lenient.is_ok(), rest.is_empty());
        for (key, value) in value.as_dict().unwrap_or_default() {
            let raw =
                raw_dict_value(data, key, Limits::SMALL).ok().flatten().expect("the key exists");
            assert_eq!(decode(raw, Limits::SMALL).as_ref(), Ok(value));
        }
    }
}

/// The number of values in a tree.
fn count(value: &Value<'_>) -> usize {
    1 + match value {
        Value::Int(_) | Value::Bytes(_) => 0,
        Value::List(list) => list.iter().map(count).sum(),
        Value::Dict(dict) => dict.iter().map(|(_, value)| count(value)).sum(),
    }
}

/// The value that `bendy` decodes; `None` when it fails, or an integer does not fit in 64 bits.
fn oracle(data: &[u8]) -> Option<Value<'_>> {
    let decoder = Decoder::new(data).with_max_depth(Limits::STRICT.depth);
    let tokens = decoder.tokens().collect::<Result<Vec<_>, _>>().ok()?;
    let mut tokens = tokens.into_iter().peekable();
    let value = oracle_value(&mut tokens)?;
    tokens.next().is_none().then_some(value)
}

fn oracle_value<'a>(tokens: &mut Peekable<vec::IntoIter<Token<'a>>>) -> Option<Value<'a>> {
    Some(match tokens.next()? {
        Token::Num(text) => Value::Int(text.parse().ok()?),
        Token::String(bytes) => Value::Bytes(bytes),
        Token::List => {
            let mut list = Vec::new();
            while tokens.peek()? != &Token::End {
                list.push(oracle_value(tokens)?);
            }
            tokens.next();
            Value::List(list)
        }
        Token::Dict => {
            let mut dict = Vec::new();
            while let Token::String(key) = tokens.next()? {
                dict.push((key, oracle_value(tokens)?));
            }
            Value::Dict(dict)
        }
        Token::End => return None,
    })
}
