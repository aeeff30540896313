//! Floor 0. Counted lists inside messages, kept as the bytes they came in: no allocation, and a cache key for free.

use std::fmt;

use super::Violation;
use super::body::{Body, put_count, put_value};
use crate::pg::Oid;

/// Type ids as on the wire, big-endian.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Oids<'a>(&'a [u8]);

impl<'a> Oids<'a> {
    /// From bytes that [`as_bytes`](Self::as_bytes) gave; `None` unless they are whole ids.
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        bytes.len().is_multiple_of(4).then_some(Self(bytes))
    }

    /// The ids as they stand in the message, without the count.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Number of ids.
    pub fn len(self) -> usize {
        self.0.len() / 4
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The ids in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Oid> + 'a {
        self.0.as_chunks().0.iter().map(|chunk| Oid(u32::from_be_bytes(*chunk)))
    }

    pub(super) fn read(body: &mut Body<'a>) -> Result<Self, Violation> {
        let count = body.count()?;
        body.bytes(count * 4).map(Self)
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        out.extend_from_slice(self.0);
    }
}

impl fmt::Debug for Oids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Format codes as on the wire, big-endian: 0 text, 1 binary, others are refused by Postgres.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Formats<'a>(&'a [u8]);

impl<'a> Formats<'a> {
    /// From bytes that [`as_bytes`](Self::as_bytes) gave; `None` unless they are whole codes.
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        bytes.len().is_multiple_of(2).then_some(Self(bytes))
    }

    /// The codes as they stand in the message, without the count.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Number of codes.
    pub fn len(self) -> usize {
        self.0.len() / 2
    }

    /// Whether there is none, which means text for all.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The codes in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = i16> + 'a {
        self.0.as_chunks().0.iter().map(|chunk| i16::from_be_bytes(*chunk))
    }

    /// The code that holds for value `index`: none given means text, one given means all.
    pub fn of(self, index: usize) -> i16 {
        let index = if self.len() == 1 { 0 } else { index };
        self.iter().nth(index).unwrap_or(0)
    }

    pub(super) fn read(body: &mut Body<'a>) -> Result<Self, Violation> {
        let count = body.count()?;
        body.bytes(count * 2).map(Self)
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        out.extend_from_slice(self.0);
    }
}

impl fmt::Debug for Formats<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Values behind their lengths, NULL as `None`: the parameters of a Bind, the columns of a DataRow.
/// The bytes were checked when this was made.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Values<'a> {
    raw: &'a [u8],
    count: usize,
}

impl<'a> Values<'a> {
    /// The values with their lengths as they stand in the message, without the count.
    pub fn as_bytes(self) -> &'a [u8] {
        self.raw
    }

    /// Number of values.
    pub fn len(self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The values in order.
    pub fn iter(self) -> ValuesIter<'a> {
        ValuesIter { rest: Body(self.raw), left: self.count }
    }

    pub(super) fn read(body: &mut Body<'a>) -> Result<Self, Violation> {
        Self::read_sized(body, |_| Violation::InsufficientData)
    }

    pub(super) fn read_sized(body: &mut Body<'a>, negative: fn(i32) -> Violation) -> Result<Self, Violation> {
        let count = body.count()?;
        let raw = body.taken(|body| (0..count).try_for_each(|_| body.sized_value(negative).map(drop)))?;
        Ok(Self { raw, count })
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        put_count(self.count, out);
        out.extend_from_slice(self.raw);
    }
}

impl fmt::Debug for Values<'_> {
    /// Values are the application's data: their sizes are enough for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|value| value.map(<[u8]>::len))).finish()
    }
}

/// Iterator over [`Values`].
#[derive(Clone, Debug)]
pub struct ValuesIter<'a> {
    rest: Body<'a>,
    left: usize,
}

impl<'a> Iterator for ValuesIter<'a> {
    type Item = Option<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.rest.value().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ValuesIter<'_> {}

/// Counts and writes values that are not in wire form yet.
pub(super) fn write_values<'v>(values: impl ExactSizeIterator<Item = Option<&'v [u8]>>, out: &mut Vec<u8>) {
    put_count(values.len(), out);
    values.for_each(|value| put_value(value, out));
}
