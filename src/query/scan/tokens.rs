//! Floor 1. The words of a text, where its shape is not enough: bodies of functions.

use std::borrow::Cow;

use super::literal::Cursor;
use super::{Class, Refused, class};

/// A token, as far as a reader of bodies wants to know it. White space and comments are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A keyword or a name, as it is written.
    Word(&'a [u8]),
    /// A name in quotes, without them.
    Name(Cow<'a, [u8]>),
    /// A string. `None`: its value is not what the source shows.
    String(Option<Cow<'a, [u8]>>),
    /// A number, a parameter, a bit string.
    Value,
    /// The longest run of characters that operators are made of.
    Operator(&'a [u8]),
    /// Any other character.
    Other(u8),
}

/// All tokens of a text.
#[derive(Debug, Default)]
pub(crate) struct Tokens<'a> {
    pub(crate) list: Vec<Token<'a>>,
    /// There is a plain string with a backslash: with another standard_conforming_strings the text falls into other tokens.
    pub(crate) backslash: bool,
}

/// Cuts `sql` into tokens, by the same rules as [`super::scan`].
pub(crate) fn tokens(sql: &[u8], standard_conforming_strings: bool) -> Result<Tokens<'_>, Refused> {
    let mut tokenizer = Tokenizer { cursor: Cursor::new(sql), conforming: standard_conforming_strings, found: Tokens::default() };
    while let Some(byte) = tokenizer.cursor.peek() {
        if let Some(token) = tokenizer.next(byte)? {
            tokenizer.found.list.push(token);
        }
    }
    Ok(tokenizer.found)
}

struct Tokenizer<'a> {
    cursor: Cursor<'a>,
    conforming: bool,
    found: Tokens<'a>,
}

impl<'a> Tokenizer<'a> {
    fn next(&mut self, byte: u8) -> Result<Option<Token<'a>>, Refused> {
        let start = self.cursor.pos;
        Ok(Some(match class(byte) {
            Class::Space => {
                self.cursor.skip_spaces();
                return Ok(None);
            }
            Class::Word => return self.word(byte).map(Some),
            Class::Digit => self.number()?,
            Class::Quote => self.string(start)?,
            Class::DoubleQuote => {
                self.cursor.quoted_name()?;
                Token::Name(undoubled(self.inside(start, 1), b'"'))
            }
            Class::Dollar => self.dollar(start)?,
            Class::Dot => return self.dot().map(Some),
            Class::Minus | Class::Slash | Class::Other => return self.operator(byte),
            Class::Semicolon => self.other(byte),
            Class::Control => return Err(Refused::ControlCharacter),
        }))
    }

    fn other(&mut self, byte: u8) -> Token<'a> {
        self.cursor.advance(1);
        Token::Other(byte)
    }

    /// What was passed since `start` without `before` bytes at its head and one at its end.
    fn inside(&self, start: usize, before: usize) -> &'a [u8] {
        self.cursor.slice(start + before, self.cursor.pos.saturating_sub(1))
    }

    fn word(&mut self, first: u8) -> Result<Token<'a>, Refused> {
        let start = self.cursor.pos;
        self.cursor.skip_word();
        let word = self.cursor.slice(start, self.cursor.pos);
        if word.len() > 1 {
            return Ok(Token::Word(word));
        }
        match (first | 0x20, self.cursor.peek(), self.cursor.peek_at(1)) {
            (b'e', Some(b'\''), _) => {
                let escaped = self.cursor.escape_string()?;
                Ok(Token::String((!escaped).then(|| undoubled(self.inside(start, 2), b'\''))))
            }
            // A national string is a plain one.
            (b'n', Some(b'\''), _) => self.string(self.cursor.pos),
            (b'b' | b'x', Some(b'\''), _) => self.cursor.bits().map(|()| Token::Value),
            (b'u', Some(b'&'), Some(b'\'')) => {
                self.cursor.advance(1);
                self.cursor.string().map(|_| Token::String(None))
            }
            (b'u', Some(b'&'), Some(b'"')) => Err(Refused::UnicodeName),
            _ => Ok(Token::Word(word)),
        }
    }

    fn number(&mut self) -> Result<Token<'a>, Refused> {
        self.cursor.number().map(|_| Token::Value)
    }

    /// From the opening quote at `start`.
    fn string(&mut self, start: usize) -> Result<Token<'a>, Refused> {
        let hidden = if self.conforming { self.cursor.string()? } else { self.cursor.escape_string()? };
        let inside = self.inside(start, 1);
        self.found.backslash |= memchr::memchr(b'\\', inside).is_some();
        Ok(Token::String((!hidden).then(|| undoubled(inside, b'\''))))
    }

    fn dollar(&mut self, start: usize) -> Result<Token<'a>, Refused> {
        if !self.cursor.dollar()? {
            return Ok(Token::Value);
        }
        let whole = self.cursor.slice(start, self.cursor.pos);
        let tag = 2 + whole.iter().skip(1).position(|&byte| byte == b'$').unwrap_or(0);
        let value = whole.get(tag..whole.len().saturating_sub(tag)).unwrap_or_default();
        Ok(Token::String(Some(Cow::Borrowed(value))))
    }

    fn dot(&mut self) -> Result<Token<'a>, Refused> {
        match self.cursor.peek_at(1) {
            Some(b'.') => {
                let start = self.cursor.pos;
                self.cursor.advance(2);
                Ok(Token::Operator(self.cursor.slice(start, start + 2)))
            }
            Some(b'0'..=b'9') => self.number(),
            _ => Ok(self.other(b'.')),
        }
    }

    fn operator(&mut self, byte: u8) -> Result<Option<Token<'a>>, Refused> {
        let start = self.cursor.pos;
        while let Some(next) = self.cursor.peek().filter(|byte| OPERATOR.contains(byte)) {
            match (next, self.cursor.peek_at(1)) {
                (b'-', Some(b'-')) | (b'/', Some(b'*')) => break,
                _ => self.cursor.advance(1),
            }
        }
        if self.cursor.pos > start {
            return Ok(Some(Token::Operator(self.cursor.slice(start, self.cursor.pos))));
        }
        match byte {
            b'-' => self.cursor.skip_line(),
            b'/' => self.cursor.skip_comment()?,
            _ => return Ok(Some(self.other(byte))),
        }
        Ok(None)
    }
}

/// A doubled quote is one.
fn undoubled(inside: &[u8], quote: u8) -> Cow<'_, [u8]> {
    if memchr::memchr(quote, inside).is_none() {
        return Cow::Borrowed(inside);
    }
    let mut value = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        value.push(byte);
        if byte == quote {
            bytes.next();
        }
    }
    Cow::Owned(value)
}

const OPERATOR: &[u8] = b"+-*/<>=~!@#%^&|`?";

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sql: &str) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        tokens(sql.as_bytes(), true)
            .unwrap()
            .list
            .iter()
            .map(|token| match token {
                Token::Word(word) => text(word),
                Token::Name(name) => format!("\"{}\"", text(name)),
                Token::String(Some(value)) => format!("'{}'", text(value)),
                Token::String(None) => "'?'".into(),
                Token::Value => "#".into(),
                Token::Operator(run) => text(run),
                Token::Other(byte) => char::from(*byte).into(),
            })
            .collect()
    }

    #[test]
    fn tokens_are_those_of_postgres() {
        let cases: [(&str, &[&str]); 12] = [
            ("a.b(1)", &["a", ".", "b", "(", "#", ")"]),
            ("x--y\nz/*a/*b*/c*/w", &["x", "z", "w"]),
            ("'it''s' E'a' E'a\\'b' $$x'y$$ $t$ $$ $t$", &["'it's'", "'a'", "'?'", "'x'y'", "' $$ '"]),
            ("\"a\"\"b\" U&'x' N'y' B'1' $1", &["\"a\"b\"", "'?'", "'y'", "#", "#"]),
            ("a:=b||c=>d", &["a", ":", "=", "b", "||", "c", "=>", "d"]),
            ("a*--no\n-1", &["a", "*", "-", "#"]),
            ("1..2", &["#", "..", "#"]),
            ("<<l>>", &["<<", "l", ">>"]),
            ("'a'\n'b'", &["'?'"]),
            ("a$b$c", &["a$b$c"]),
            ("$$$$", &["''"]),
            ("''", &["''"]),
        ];
        for (sql, expected) in cases {
            assert_eq!(shown(sql), expected, "{sql}");
        }
        for bad in ["'a", "U&\"a\"", "$a$", "/*", "1a", "\u{1}"] {
            assert!(tokens(bad.as_bytes(), true).is_err(), "{bad}");
        }
        assert!(tokens(b"'a\\'", true).unwrap().backslash && tokens(b"'a\\'", false).is_err());
    }
}
