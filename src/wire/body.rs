//! Floor 0. The checked reader of a message body, and the writers every encoder is made of.

use super::Violation;

/// What is left of a message body. Every getter checks the length and names the fault as Postgres does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Violation> {
        let (&byte, rest) = self.0.split_first().ok_or(Violation::NoDataLeft)?;
        self.0 = rest;
        Ok(byte)
    }

    #[inline]
    pub(super) fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Violation::InsufficientData)?;
        self.0 = rest;
        Ok(*chunk)
    }

    /// A 16-bit count. Postgres reads counts as unsigned.
    #[inline]
    pub(super) fn count(&mut self) -> Result<usize, Violation> {
        self.chunk().map(|chunk| usize::from(u16::from_be_bytes(chunk)))
    }

    #[inline]
    pub(super) fn i16(&mut self) -> Result<i16, Violation> {
        self.chunk().map(i16::from_be_bytes)
    }

    #[inline]
    pub(super) fn i32(&mut self) -> Result<i32, Violation> {
        self.chunk().map(i32::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, Violation> {
        self.chunk().map(u32::from_be_bytes)
    }

    #[inline]
    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Violation> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Violation::InsufficientData)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A value behind its own 32-bit length; -1 is NULL.
    #[inline]
    pub(super) fn value(&mut self) -> Result<Option<&'a [u8]>, Violation> {
        self.sized_value(|_| Violation::InsufficientData)
    }

    /// The same, for the one message with a text of its own for other negative lengths.
    #[inline]
    pub(super) fn sized_value(&mut self, negative: fn(i32) -> Violation) -> Result<Option<&'a [u8]>, Violation> {
        match self.i32()? {
            -1 => Ok(None),
            len => {
                let len = usize::try_from(len).map_err(|_| negative(len))?;
                self.bytes(len).map(Some)
            }
        }
    }

    /// A string up to its NUL, which is taken but not part of the answer.
    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a [u8], Violation> {
        if let Some((0, rest)) = self.0.split_first() {
            self.0 = rest; // unnamed statements and portals: no search
            return Ok(&[]);
        }
        let nul = memchr::memchr(0, self.0).ok_or(Violation::InvalidString)?;
        let string = self.bytes(nul)?;
        self.byte()?;
        Ok(string)
    }

    #[inline]
    pub(super) fn end(self) -> Result<(), Violation> {
        if self.0.is_empty() { Ok(()) } else { Err(Violation::TrailingBytes) }
    }

    /// Runs `read` and gives the bytes that it took, so a checked list stays a slice.
    #[inline]
    pub(super) fn taken(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Violation>) -> Result<&'a [u8], Violation> {
        let before = self.0;
        read(self)?;
        let len = before.len() - self.0.len();
        before.get(..len).ok_or(Violation::InsufficientData)
    }
}

/// Writes one message: the tag, the length word filled in afterwards, and what `body` appends.
#[inline]
pub(super) fn message(tag: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    counted(out, body);
}

/// A length word that counts itself, then what `body` appends.
#[inline]
pub(super) fn counted(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put_u32(0, out);
    body(out);
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX); // never met: inputs are under 1 GiB; a peer refuses it
    if let Some((word, _)) = out.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut) {
        *word = len.to_be_bytes();
    }
}

#[inline]
pub(super) fn put_count(count: usize, out: &mut Vec<u8>) {
    debug_assert!(count <= usize::from(u16::MAX), "the protocol counts to 65535");
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

#[inline]
pub(super) fn put_i16(number: i16, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_be_bytes());
}

#[inline]
pub(super) fn put_i32(number: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_be_bytes());
}

#[inline]
pub(super) fn put_u32(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// A string and its NUL. A NUL inside ends it there: text that came from elsewhere cannot add fields.
#[inline]
pub(super) fn put_string(string: &[u8], out: &mut Vec<u8>) {
    let end = memchr::memchr(0, string).unwrap_or(string.len());
    out.extend_from_slice(string.get(..end).unwrap_or(string));
    out.push(0);
}

#[inline]
pub(super) fn put_value(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None => put_i32(-1, out),
        Some(bytes) => {
            put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX), out);
            out.extend_from_slice(bytes);
        }
    }
}
