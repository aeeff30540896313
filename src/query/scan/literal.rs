//! Floor 1. The tokens of Postgres's lexer that hold arbitrary bytes or digits: strings, names in quotes, comments, numbers.

use memchr::{memchr, memchr2, memmem};

use super::{Class, LiteralClass, Refused, class};

pub(super) struct Cursor<'a> {
    sql: &'a [u8],
    pub(super) pos: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(sql: &'a [u8]) -> Self {
        Self { sql, pos: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.sql.get(self.pos).copied()
    }

    pub(super) fn peek_at(&self, offset: usize) -> Option<u8> {
        self.sql.get(self.pos + offset).copied()
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.pos += bytes;
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.sql.get(start..end).unwrap_or_default()
    }

    fn rest(&self) -> &'a [u8] {
        self.sql.get(self.pos..).unwrap_or_default()
    }

    pub(super) fn skip_word(&mut self) {
        self.skip_while(|byte| matches!(class(byte), Class::Word | Class::Digit | Class::Dollar));
    }

    pub(super) fn skip_spaces(&mut self) {
        self.skip_while(|byte| class(byte) == Class::Space);
    }

    fn skip_while(&mut self, matches: impl Fn(u8) -> bool) {
        let rest = self.rest();
        self.pos += rest.iter().position(|&byte| !matches(byte)).unwrap_or(rest.len());
    }

    /// From `--` to the line's end.
    pub(super) fn skip_line(&mut self) {
        let rest = self.rest();
        self.pos += memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
    }

    /// From `/*` past the `*/` that closes it; they nest.
    pub(super) fn skip_comment(&mut self) -> Result<(), Refused> {
        self.pos += 2;
        let mut depth = 1_usize;
        while depth > 0 {
            self.pos += memchr2(b'*', b'/', self.rest()).ok_or(Refused::Unterminated)?;
            match (self.peek(), self.peek_at(1)) {
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.pos += 2;
                }
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.pos += 2;
                }
                _ => self.pos += 1,
            }
        }
        Ok(())
    }

    /// From the opening `"` past the closing one.
    pub(super) fn quoted_name(&mut self) -> Result<(), Refused> {
        self.quoted(b'"')
    }

    /// From an opening quote past the closing one; a doubled quote is one inside.
    fn quoted(&mut self, quote: u8) -> Result<(), Refused> {
        loop {
            self.pos += 1;
            self.pos += memchr(quote, self.rest()).ok_or(Refused::Unterminated)? + 1;
            if self.peek() != Some(quote) {
                break;
            }
        }
        Ok(())
    }

    /// From the opening `'` past the last part of the string. Whether it had several parts.
    pub(super) fn string(&mut self) -> Result<bool, Refused> {
        self.quoted(b'\'')?;
        let mut continued = false;
        while self.skip_to_continuation() {
            self.quoted(b'\'')?;
            continued = true;
        }
        Ok(continued)
    }

    /// A bit string: a doubled quote is its end and another string.
    pub(super) fn bits(&mut self) -> Result<(), Refused> {
        loop {
            self.pos += 1;
            self.pos += memchr(b'\'', self.rest()).ok_or(Refused::Unterminated)? + 1;
            if !self.skip_to_continuation() {
                return Ok(());
            }
        }
    }

    /// The same as [`Self::string`] with backslash escapes. Whether its value differs from its source: an escape, or several parts.
    pub(super) fn escape_string(&mut self) -> Result<bool, Refused> {
        let mut escaped = self.escape_part()?;
        while self.skip_to_continuation() {
            self.escape_part()?;
            escaped = true;
        }
        Ok(escaped)
    }

    fn escape_part(&mut self) -> Result<bool, Refused> {
        let mut escaped = false;
        self.pos += 1;
        loop {
            self.pos += memchr2(b'\'', b'\\', self.rest()).ok_or(Refused::Unterminated)?;
            match (self.peek(), self.peek_at(1)) {
                (Some(b'\\'), Some(_)) => {
                    escaped = true;
                    self.pos += 2;
                }
                (Some(b'\''), Some(b'\'')) => self.pos += 2,
                (Some(b'\''), _) => {
                    self.pos += 1;
                    return Ok(escaped);
                }
                _ => return Err(Refused::Unterminated),
            }
        }
    }

    /// Strings with nothing between them but white space with a line's end in it are one string; `--` comments count as white space there.
    fn skip_to_continuation(&mut self) -> bool {
        let start = self.pos;
        let mut newline = false;
        loop {
            match (self.peek(), self.peek_at(1)) {
                (Some(b'\n' | b'\r'), _) => {
                    newline = true;
                    self.pos += 1;
                }
                (Some(byte), _) if class(byte) == Class::Space => self.pos += 1,
                (Some(b'-'), Some(b'-')) => self.skip_line(),
                (Some(b'\''), _) if newline => return true,
                _ => break,
            }
        }
        self.pos = start;
        false
    }

    /// From `$`: a parameter (false, passed over) or a dollar-quoted string (true).
    pub(super) fn dollar(&mut self) -> Result<bool, Refused> {
        let start = self.pos;
        self.pos += 1;
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.skip_while(|byte| byte.is_ascii_digit());
            return self.refuse_junk().map(|()| false);
        }
        if self.peek().is_some_and(|byte| class(byte) == Class::Word) {
            self.skip_while(|byte| matches!(class(byte), Class::Word | Class::Digit));
        }
        if self.peek() != Some(b'$') {
            return Err(Refused::Junk);
        }
        self.pos += 1;
        let tag = self.slice(start, self.pos);
        self.pos += memmem::find(self.rest(), tag).ok_or(Refused::Unterminated)? + tag.len();
        Ok(true)
    }

    /// A number, as Postgres 16 and later read it.
    pub(super) fn number(&mut self) -> Result<LiteralClass, Refused> {
        let start = self.pos;
        if self.peek() == Some(b'0') {
            match self.peek_at(1).map(|byte| byte | 0x20) {
                Some(b'x') => return self.based(start, 16),
                Some(b'o') => return self.based(start, 8),
                Some(b'b') => return self.based(start, 2),
                _ => {}
            }
        }
        self.digits();
        let mut integer = self.pos > start;
        // `1..2` is an integer, two dots and an integer: a range in PL/pgSQL.
        if self.peek() == Some(b'.') && (!integer || self.peek_at(1) != Some(b'.')) {
            integer = false;
            self.pos += 1;
            self.digits();
        }
        if self.peek().is_some_and(|byte| byte | 0x20 == b'e') {
            integer = false;
            self.exponent()?;
        }
        self.refuse_junk()?;
        Ok(if integer { integer_class(self.slice(start, self.pos), 10) } else { LiteralClass::Numeric })
    }

    fn exponent(&mut self) -> Result<(), Refused> {
        self.pos += 1;
        if matches!(self.peek(), Some(b'+' | b'-')) {
            self.pos += 1;
        }
        let start = self.pos;
        self.digits();
        if self.pos == start { Err(Refused::Junk) } else { Ok(()) }
    }

    /// Digits, each perhaps with one underscore before it, the first without.
    fn digits(&mut self) {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return;
        }
        self.underscored(10);
    }

    fn underscored(&mut self, radix: u32) {
        let is_digit = |byte: Option<u8>| byte.is_some_and(|b| char::from(b).is_digit(radix));
        loop {
            if is_digit(self.peek()) {
                self.pos += 1;
            } else if self.peek() == Some(b'_') && is_digit(self.peek_at(1)) {
                self.pos += 2;
            } else {
                return;
            }
        }
    }

    fn based(&mut self, start: usize, radix: u32) -> Result<LiteralClass, Refused> {
        self.pos += 2;
        self.underscored(radix);
        let digits = self.slice(start + 2, self.pos);
        if digits.is_empty() || self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(Refused::Junk);
        }
        self.refuse_junk()?;
        Ok(integer_class(digits, radix))
    }

    /// A number or parameter must not run into a word.
    fn refuse_junk(&self) -> Result<(), Refused> {
        match self.peek() {
            Some(byte) if class(byte) == Class::Word => Err(Refused::Junk),
            _ => Ok(()),
        }
    }
}

/// How Postgres types an integer literal: by its value.
fn integer_class(digits: &[u8], radix: u32) -> LiteralClass {
    let value = digits.iter().filter(|&&b| b != b'_').try_fold(0_u64, |value, &byte| {
        let digit = char::from(byte).to_digit(radix)?;
        value.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    });
    match value {
        Some(value) if i32::try_from(value).is_ok() => LiteralClass::Int4,
        Some(value) if i64::try_from(value).is_ok() => LiteralClass::Int8,
        _ => LiteralClass::Numeric,
    }
}
