//! Bencoding compared with an independent decoder (`bendy`) and with its own encoder.

use std::collections::BTreeMap;

use bendy::{decoding::Decoder, state_tracker::Token};
use proptest::{collection::vec, prelude::*};
use sow_content::bencode::{BencodeError, Limits, Reader, Value, decode, decode_prefix};

/// A generated value; unlike [`Value`], it owns its strings.
#[derive(Debug, Clone)]
enum Tree {
    Int(i64),
    Bytes(Vec<u8>),
    List(Vec<Tree>),
    Dict(BTreeMap<Vec<u8>, Tree>),
}

impl Tree {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Int(int) => Value::Int(*int),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::List(list) => Value::List(list.iter().map(Self::value).collect()),
            Self::Dict(dict) => {
                Value::Dict(dict.iter().map(|(key, value)| (&key[..], value.value())).collect())
            }
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Tree::Int),
        vec(any::<u8>(), 0..12).prop_map(Tree::Bytes)
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Tree::List),
            proptest::collection::btree_map(vec(any::<u8>(), 0..4), inner, 0..6)
                .prop_map(Tree::Dict),
        ]
    })
}

/// Mostly the characters of bencoding, so that random bytes are often nearly valid.
fn bytes_like_bencode() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![proptest::sample::select(b"ilde0123456789:-".to_vec()), any::<u8>()], 0..40)
}

/// The value that `bendy` decodes; `None` when it fails, or an integer does not fit in 64 bits.
fn oracle(bytes: &[u8]) -> Option<Value<'_>> {
    let decoder = Decoder::new(bytes).with_max_depth(Limits::STRICT.depth);
    let tokens = decoder.tokens().collect::<Result<Vec<_>, _>>().ok()?;
    let mut tokens = tokens.into_iter().peekable();
    let value = oracle_value(&mut tokens)?;
    tokens.next().is_none().then_some(value)
}

fn oracle_value<'a>(
    tokens: &mut std::iter::Peekable<impl Iterator<Item = Token<'a>>>,
) -> Option<Value<'a>> {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_tree_round_trips(tree in trees(), tail in vec(any::<u8>(), 0..5)) {
        let value = tree.value();
        let mut bytes = value.encode();
        prop_assert_eq!(decode(&bytes, Limits::STRICT), Ok(value.clone()));
        prop_assert_eq!(oracle(&bytes), Some(value.clone()));
        prop_assert_eq!(Reader::new(&bytes, Limits::STRICT).skip(), Ok(&bytes[..]));
        bytes.extend(&tail);
        prop_assert_eq!(decode_prefix(&bytes, Limits::STRICT), Ok((value, &tail[..])));
    }

    #[test]
    fn a_damaged_tree_decodes_as_with_the_oracle(
        tree in trees(), at in any::<prop::sample::Index>(), inserted in bytes_like_bencode(),
        removed in 0usize..3,
    ) {
        let mut bytes = tree.value().encode();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + removed).min(bytes.len()), inserted.into_iter().take(2));
        prop_assert_eq!(decode(&bytes, Limits::STRICT).ok(), oracle(&bytes));
    }

    #[test]
    fn random_bytes_decode_as_with_the_oracle(bytes in bytes_like_bencode()) {
        prop_assert_eq!(decode(&bytes, Limits::STRICT).ok(), oracle(&bytes));
    }

    #[test]
    fn a_truncated_tree_is_reported_as_truncated(
        tree in trees(), at in any::<prop::sample::Index>(),
    ) {
        let bytes = tree.value().encode();
        let at = at.index(bytes.len());
        let error = decode(&bytes[..at], Limits::STRICT).unwrap_err();
        prop_assert!(error.to_string().starts_with("truncated"), "{}", error);
    }

    #[test]
    fn unsorted_keys_may_be_accepted_and_duplicate_keys_never(
        mut keys in vec(vec(any::<u8>(), 0..3), 2..20).prop_shuffle(), sort in any::<bool>(),
    ) {
        if sort {
            keys.sort();
        }
        let entry = |key: &Vec<u8>| [Value::Bytes(key).encode(), b"de".to_vec()].concat();
        let body: Vec<u8> = keys.iter().flat_map(entry).collect();
        let bytes = [b"d", &body[..], b"e"].concat();
        let distinct: BTreeMap<_, _> =
            keys.iter().map(|key| (&key[..], Value::Dict(vec![]))).collect();
        let want =
            (distinct.len() == keys.len()).then(|| Value::Dict(distinct.into_iter().collect()));
        prop_assert_eq!(decode(&bytes, Limits::SMALL).ok(), want);
    }
}

#[test]
fn each_error_has_its_own_variant_and_position() {
    let error_of = |bytes: &[u8]| decode(bytes, Limits::STRICT).unwrap_err();
    assert_eq!(error_of(b""), BencodeError::Truncated { at: 0 });
    assert_eq!(error_of(b"li1e"), BencodeError::Truncated { at: 4 });
    assert_eq!(error_of(b"i12"), BencodeError::Truncated { at: 3 });
    assert_eq!(error_of(b"l5:abce"), BencodeError::StringPastEnd { at: 1, claimed: 5, left: 4 });
    assert_eq!(
        error_of(b"9999999999999999999:"),
        BencodeError::StringPastEnd { at: 0, claimed: 9_999_999_999_999_999_999, left: 0 }
    );
    assert_eq!(error_of(b"99999999999999999999:"), BencodeError::BadLength { at: 0 });
    assert_eq!(error_of(b"l01:xe"), BencodeError::BadLength { at: 1 });
    assert_eq!(error_of(b"1x"), BencodeError::BadLength { at: 0 });
    for bad in [&b"ie"[..], b"i-e", b"i-0e", b"i00e", b"i01e", b"i+1e", b"i1.5e", b"i 1e", b"i--1e"]
    {
        assert_eq!(error_of(bad), BencodeError::BadInteger { at: 0 }, "{}", bad.escape_ascii());
    }
    assert_eq!(error_of(b"i9223372036854775808e"), BencodeError::IntegerRange { at: 0 });
    assert_eq!(decode(b"i-9223372036854775808e", Limits::STRICT), Ok(Value::Int(i64::MIN)));
    assert_eq!(error_of(b"e"), BencodeError::Unexpected { at: 0, byte: b'e' });
    assert_eq!(error_of(b"lxe"), BencodeError::Unexpected { at: 1, byte: b'x' });
    assert_eq!(error_of(b"d1:ae"), BencodeError::Unexpected { at: 4, byte: b'e' });
    assert_eq!(error_of(b"di1ei2ee"), BencodeError::WrongKind { at: 1, want: "a dictionary key" });
    assert_eq!(error_of(b"d1:b0:1:a0:e"), BencodeError::KeyOrder { at: 6 });
    assert_eq!(error_of(b"d1:a0:1:a0:e"), BencodeError::DuplicateKey { at: 0 });
    assert_eq!(
        decode(b"ld1:a0:1:b0:1:a0:ee", Limits::SMALL),
        Err(BencodeError::DuplicateKey { at: 1 })
    );
    assert_eq!(error_of(b"i1ei2e"), BencodeError::Trailing { at: 3 });
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let nested = |levels: usize| [vec![b'l'; levels], vec![b'e'; levels]].concat();
    assert!(decode(&nested(32), Limits::STRICT).is_ok());
    assert_eq!(
        decode(&nested(33), Limits::STRICT),
        Err(BencodeError::TooDeep { at: 32, limit: 32 })
    );
    let deep = vec![b'd'; 1 << 20];
    assert!(decode(&deep, Limits::LARGE).is_err());
    let deep = b"d1:a".repeat(1 << 18);
    assert_eq!(decode(&deep, Limits::LARGE), Err(BencodeError::TooDeep { at: 32 * 4, limit: 32 }));
    assert_eq!(
        Reader::new(&deep, Limits::LARGE).skip(),
        Err(BencodeError::TooDeep { at: 32 * 4, limit: 32 })
    );

    let list = |items: usize| [&b"l"[..], &b"0:".repeat(items), b"e"].concat();
    assert!(decode(&list(4095), Limits::SMALL).is_ok());
    assert_eq!(
        decode(&list(4096), Limits::SMALL),
        Err(BencodeError::TooMany { at: 1 + 2 * 4095, limit: 4096 })
    );
    assert!(Reader::new(&list(4095), Limits::SMALL).skip().is_ok());
    assert!(Reader::new(&list(4096), Limits::SMALL).skip().is_err());
}

#[test]
fn a_large_dictionary_must_be_sorted() {
    let body = |keys: &mut dyn Iterator<Item = u32>| {
        let entries: String = keys.map(|key| format!("6:{key:06}0:")).collect();
        format!("d{entries}e").into_bytes()
    };
    assert!(decode(&body(&mut (0..10_000)), Limits::LARGE).is_ok());
    assert!(decode(&body(&mut (0..4_096).rev()), Limits::LARGE).is_ok());
    assert_eq!(
        decode(&body(&mut (0..4_097).rev()), Limits::LARGE),
        Err(BencodeError::KeyOrder { at: 11 })
    );
}
