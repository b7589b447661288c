//! What is read is what was written, and broken bytes are errors.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::task::codec::{self, DecodeError};

use super::DEEPEST;

/// One of everything that serde knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    numbers: (u8, i16, u32, i64, u128, f32, f64),
    truth: (bool, char, ()),
    texts: Vec<String>,
    nothing: Nothing,
    maybe: Option<Option<Wrapped>>,
    map: BTreeMap<u16, Kind>,
    set: BTreeSet<char>,
    array: [i8; 5],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    Newtype(Box<Kind>),
    Tuple(u8, Vec<Kind>),
    Struct { name: String, inner: Option<Box<Kind>> },
}

fn everything() -> Everything {
    let tuple = Kind::Tuple(7, vec![Kind::Unit, Kind::Newtype(Box::new(Kind::Unit))]);
    let named = Kind::Struct { name: "größer".to_owned(), inner: Some(Box::new(tuple.clone())) };
    Everything {
        numbers: (1, -2, 3, i64::MIN, u128::MAX, 0.5, -1e300),
        truth: (true, '🦀', ()),
        texts: vec![String::new(), "ß".to_owned()],
        nothing: Nothing,
        maybe: Some(Some(Wrapped(9))),
        map: [(1, tuple), (2, named), (3, Kind::Unit)].into(),
        set: ['a', 'ä', '€', '𝄞'].into(),
        array: [-1, 0, 1, 2, 3],
    }
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    codec::encode_plain(value).unwrap()
}

fn decoded<T: for<'de> Deserialize<'de> + 'static>(line: &[u8]) -> Result<T, DecodeError> {
    codec::decode_line(line)
}

#[test]
fn everything_that_was_written_is_read() {
    assert_eq!(decoded::<Everything>(&encoded(&everything())).unwrap(), everything());
}

#[test]
fn broken_bytes_are_no_more_to_it_than_to_bincode() {
    let configuration = bincode::config::standard().with_fixed_int_encoding().with_limit::<4096>();
    let whole = encoded(&everything());
    for at in 0..whole.len() {
        for change in 1..=255 {
            let mut line = whole.clone();
            line[at] = line[at].wrapping_add(change);
            let theirs = bincode::serde::decode_from_slice::<Everything, _>(&line, configuration);
            let theirs = theirs.ok().filter(|(_, read)| *read == line.len()).map(|(value, _)| value);
            // NaN is no number that is equal to itself.
            let ours = format!("{:?}", decoded::<Everything>(&line).ok());
            assert_eq!(ours, format!("{theirs:?}"), "byte {at} changed by {change}");
        }
        assert!(decoded::<Everything>(&whole[..at]).is_err(), "cut at {at}");
    }
}

/// So many variants, each in a list in the other.
fn nested(levels: u32) -> Kind {
    (0..levels).fold(Kind::Unit, |kind, _| Kind::Tuple(0, vec![kind]))
}

#[test]
fn depth_has_a_limit_that_fits_a_small_stack() {
    let body = || {
        let fits = encoded(&nested(DEEPEST / 2));
        assert_eq!(decoded::<Kind>(&fits).unwrap(), nested(DEEPEST / 2));
        let deeper = encoded(&nested(DEEPEST / 2 + 1));
        assert!(matches!(decoded::<Kind>(&deeper), Err(DecodeError::TooDeep(DEEPEST))));
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(body).unwrap().join().unwrap();
}

#[test]
fn wide_is_not_deep() {
    let wide = vec![Some(vec![Some(1_u8)]); 10_000];
    assert_eq!(decoded::<Vec<Option<Vec<Option<u8>>>>>(&encoded(&wide)).unwrap(), wide);
}

/// Takes memory, and no bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Skipping {
    #[serde(skip)]
    _room: [u64; 32],
}

#[test]
fn items_without_bytes_have_a_limit_in_all() {
    let many = (1_u64 << 60).to_le_bytes();
    assert!(matches!(decoded::<Vec<()>>(&many), Err(DecodeError::FromNothing(_))));
    assert!(matches!(decoded::<Vec<Skipping>>(&many), Err(DecodeError::FromNothing(_))));
    assert!(matches!(decoded::<BTreeMap<(), ()>>(&many), Err(DecodeError::FromNothing(_))));
    let mut lists = 1000_u64.to_le_bytes().to_vec();
    lists.extend((1_u64 << 20).to_le_bytes().repeat(1000));
    assert!(matches!(decoded::<Vec<Vec<()>>>(&lists), Err(DecodeError::FromNothing(_))));
}

#[test]
fn fields_without_bytes_have_none() {
    let many = vec![(1_u8, (), Nothing); 1 << 17];
    assert_eq!(decoded::<Vec<(u8, (), Nothing)>>(&encoded(&many)).unwrap().len(), many.len());
}
