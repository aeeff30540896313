//! Floor 3. Tables as the console sends them: columns, values, and their text and binary forms.

use crate::pg::Oid;
use crate::wire::backend::{Column, data_row, row_description};

/// The types that the console uses; those of PgBouncer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Int4,
    Int8,
    Numeric,
}

impl Type {
    fn oid(self) -> Oid {
        Oid(match self {
            Self::Text => 25,
            Self::Int4 => 23,
            Self::Int8 => 20,
            Self::Numeric => 1700,
        })
    }

    fn len(self) -> i16 {
        match self {
            Self::Text | Self::Numeric => -1,
            Self::Int4 => 4,
            Self::Int8 => 8,
        }
    }
}

/// Names and types.
pub(super) type Columns = [(&'static str, Type)];

/// One field of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Text(String),
    Number(i64),
}

pub(super) type Row = Vec<Value>;

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

macro_rules! numbers {
    ($($type:ty),*) => { $(impl From<$type> for Value {
        fn from(number: $type) -> Self {
            Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
        }
    })* };
}

numbers!(i32, i64, u16, u32, u64, usize, u128);

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Number(i64::from(value))
    }
}

impl Value {
    /// As the column's type has it; None is NULL. Numbers that do not fit become the greatest that does.
    fn encode(&self, kind: Type, format: i16) -> Option<Vec<u8>> {
        let number = match self {
            Self::Null => return None,
            Self::Text(text) => return Some(text.clone().into_bytes()),
            Self::Number(number) => *number,
        };
        let small = i32::try_from(number).unwrap_or(i32::MAX);
        Some(match (kind, format) {
            (Type::Int4, 1) => small.to_be_bytes().to_vec(),
            (Type::Int8, 1) => number.to_be_bytes().to_vec(),
            (Type::Numeric, 1) => numeric(number),
            (Type::Int4, _) => small.to_string().into_bytes(),
            (Type::Int8 | Type::Numeric | Type::Text, _) => number.to_string().into_bytes(),
        })
    }
}

/// Digits to the base of ten thousand, the highest first; nothing the console counts is below zero.
fn numeric(number: i64) -> Vec<u8> {
    let mut rest = number.max(0);
    let mut digits = Vec::new();
    while rest > 0 {
        digits.push(i16::try_from(rest % 10_000).unwrap_or_default());
        rest /= 10_000;
    }
    let count = i16::try_from(digits.len()).unwrap_or_default();
    let weight = (count - 1).max(0);
    let head = [count, weight, 0, 0].into_iter();
    head.chain(digits.into_iter().rev()).flat_map(i16::to_be_bytes).collect()
}

/// Which form each column is wanted in: none = text, one = all, or one each.
#[derive(Clone, Debug, Default)]
pub(super) struct Formats(Vec<i16>);

impl Formats {
    pub(super) fn new(formats: Vec<i16>) -> Self {
        Self(formats)
    }

    pub(super) fn fits(&self, columns: usize) -> bool {
        self.0.len() <= 1 || self.0.len() == columns
    }

    pub(super) fn unknown(&self) -> Option<i16> {
        self.0.iter().copied().find(|format| !matches!(format, 0 | 1))
    }

    fn of(&self, index: usize) -> i16 {
        let index = if self.0.len() == 1 { 0 } else { index };
        self.0.get(index).copied().unwrap_or(0)
    }
}

pub(super) fn describe(columns: &Columns, formats: &Formats, out: &mut Vec<u8>) {
    let column = |(index, (name, kind)): (usize, &(&'static str, Type))| Column {
        name: name.as_bytes(),
        table: Oid(0),
        attribute: 0,
        type_oid: kind.oid(),
        type_len: kind.len(),
        type_mod: -1,
        format: formats.of(index),
    };
    row_description(columns.iter().enumerate().map(column), out);
}

pub(super) fn row(columns: &Columns, formats: &Formats, row: &Row, out: &mut Vec<u8>) {
    let kinds = columns.iter().map(|(_, kind)| *kind).enumerate();
    let fields: Vec<_> = row.iter().zip(kinds).map(|(value, (index, kind))| value.encode(kind, formats.of(index))).collect();
    data_row(fields.iter().map(Option::as_deref), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_as_postgres_sends_it() {
        // From `select n::numeric` with binary results.
        for (number, expected) in [
            (0, vec![0, 0, 0, 0]),
            (7, vec![1, 0, 0, 0, 7]),
            (10_000, vec![2, 1, 0, 0, 1, 0]),
            (123_456_789, vec![3, 2, 0, 0, 1, 2345, 6789]),
        ] {
            let bytes: Vec<u8> = expected.into_iter().flat_map(i16::to_be_bytes).collect();
            assert_eq!(numeric(number), bytes, "{number}");
        }
    }

    #[test]
    fn values_in_both_forms() {
        assert_eq!(Value::from(7_u64).encode(Type::Int4, 1), Some(vec![0, 0, 0, 7]));
        assert_eq!(Value::from(7_u64).encode(Type::Int8, 0), Some(b"7".to_vec()));
        assert_eq!(Value::from(u64::MAX).encode(Type::Int4, 0), Some(i32::MAX.to_string().into_bytes()));
        assert_eq!(Value::from("x").encode(Type::Text, 1), Some(b"x".to_vec()));
        assert_eq!(Value::Null.encode(Type::Text, 0), None);
    }
}
