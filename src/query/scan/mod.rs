//! Floor 1. Cuts a text into its shape and its literals, by the rules of Postgres's own lexer and without its parser.
//!
//! Two texts with equal shapes lex to the same tokens but for the values of their literals. What makes that hold: a literal is
//! replaced by a control byte that is refused everywhere else outside quotes, a comment or a run of white space by one space,
//! and everything else stays byte for byte. What this lexer does not understand is refused, never guessed.

mod literal;
mod tokens;
mod words;

use std::ops::Range;

use self::literal::Cursor;
pub(super) use self::tokens::{Token, tokens};
pub use self::words::has_time_word;

/// What a literal is to Postgres. Each class has a marker byte of its own in a shape: `'1'` and `1` are different queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LiteralClass {
    /// A string in any notation: `'..'`, `E'..'`, `U&'..'`, `$$..$$`.
    String,
    /// A string that a date or time type may read as now, today, tomorrow, yesterday or allballs.
    TimeWord,
    /// An integer that fits int4.
    Int4,
    /// An integer that fits int8.
    Int8,
    /// Any other number.
    Numeric,
    /// `B'..'`
    Bits,
    /// `X'..'`
    HexBits,
}

impl LiteralClass {
    /// The byte that stands for such a literal in a shape.
    pub fn marker(self) -> u8 {
        match self {
            Self::String => 1,
            Self::TimeWord => 2,
            Self::Int4 => 3,
            Self::Int8 => 4,
            Self::Numeric => 5,
            Self::Bits => 6,
            Self::HexBits => 7,
        }
    }
}

/// A literal of the text, prefix and quotes included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// Where it stands in the text.
    pub span: Range<usize>,
    /// What it is.
    pub class: LiteralClass,
}

/// A text without its literals, comments and superfluous white space. Reused from scan to scan: it keeps its buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The text that is left. It is for comparing and showing, never for executing.
    pub text: Vec<u8>,
    /// What was cut out, in order.
    pub literals: Vec<Literal>,
    /// There was a comment of any kind.
    pub comments: bool,
    /// There was a `/*+ hint */`.
    pub hint: bool,
    /// The first comment that begins with `pgdial:`, its delimiters included.
    pub directive: Option<Range<usize>>,
    /// Something follows a semicolon: there may be several statements.
    pub several: bool,
}

impl Shape {
    /// Empty, with the buffers kept.
    pub fn clear(&mut self) {
        self.text.clear();
        self.literals.clear();
        self.comments = false;
        self.hint = false;
        self.directive = None;
        self.several = false;
    }
}

/// Why a text has no shape. Postgres refuses most of these texts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// A string, quoted identifier or comment without an end.
    Unterminated,
    /// A number or parameter that runs into a letter, or ends too early.
    Junk,
    /// A NUL or another control character outside quotes.
    ControlCharacter,
    /// `U&".."`: a name that hides behind an escape.
    UnicodeName,
    /// standard_conforming_strings is off: a backslash has another meaning.
    NonconformingStrings,
}

impl Refused {
    /// One word, for metrics, logs and docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unterminated => "unterminated",
            Self::Junk => "junk",
            Self::ControlCharacter => "control_character",
            Self::UnicodeName => "unicode_name",
            Self::NonconformingStrings => "nonconforming_strings",
        }
    }
}

/// Cuts `sql` into `out`, which is cleared first. After an error `out` holds nothing of use.
pub fn scan(sql: &[u8], standard_conforming_strings: bool, out: &mut Shape) -> Result<(), Refused> {
    out.clear();
    if !standard_conforming_strings {
        return Err(Refused::NonconformingStrings);
    }
    Scanner { cursor: Cursor::new(sql), copied: 0, gap: false, shape: out }.run()
}

/// What a byte may begin outside quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Control,
    Space,
    Word,
    Digit,
    Quote,
    DoubleQuote,
    Dollar,
    Dot,
    Minus,
    Slash,
    Semicolon,
    Other,
}

const CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Other; 256];
    let mut i = 0;
    while i < 256 {
        #[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "i < 256, at compile time")]
        {
            table[i] = class_of(i as u8);
        }
        i += 1;
    }
    table
}

const fn class_of(byte: u8) -> Class {
    match byte {
        b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Space,
        0..=0x1f | 0x7f => Class::Control,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Class::Word,
        b'0'..=b'9' => Class::Digit,
        b'\'' => Class::Quote,
        b'"' => Class::DoubleQuote,
        b'$' => Class::Dollar,
        b'.' => Class::Dot,
        b'-' => Class::Minus,
        b'/' => Class::Slash,
        b';' => Class::Semicolon,
        _ => Class::Other,
    }
}

pub(super) fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Control)
}

struct Scanner<'a, 's> {
    cursor: Cursor<'a>,
    /// Everything before this place is in the shape, or is not to be.
    copied: usize,
    /// White space or a comment was left out just before `copied`.
    gap: bool,
    shape: &'s mut Shape,
}

impl Scanner<'_, '_> {
    fn run(mut self) -> Result<(), Refused> {
        while let Some(byte) = self.cursor.peek() {
            match class(byte) {
                Class::Word => self.word(byte)?,
                Class::Space => self.space()?,
                Class::Other => self.cursor.advance(1),
                Class::Digit => self.number()?,
                Class::Quote => self.string()?,
                Class::DoubleQuote => self.cursor.quoted_name()?,
                Class::Dollar => self.dollar()?,
                Class::Dot => self.dot()?,
                Class::Minus => self.minus()?,
                Class::Slash => self.slash()?,
                Class::Semicolon => self.semicolon()?,
                Class::Control => return Err(Refused::ControlCharacter),
            }
        }
        self.flush(self.cursor.pos);
        Ok(())
    }

    /// An identifier or keyword, or the prefix of a string.
    fn word(&mut self, first: u8) -> Result<(), Refused> {
        let start = self.cursor.pos;
        self.cursor.skip_word();
        let length = self.cursor.pos - start;
        if length > 1 {
            return Ok(());
        }
        match (first | 0x20, self.cursor.peek()) {
            (b'e', Some(b'\'')) => self.escape_string(start),
            (b'b', Some(b'\'')) => self.bits(start, LiteralClass::Bits),
            (b'x', Some(b'\'')) => self.bits(start, LiteralClass::HexBits),
            (b'u', Some(b'&')) => match self.cursor.peek_at(1) {
                Some(b'\'') => {
                    self.cursor.advance(1);
                    self.unicode_string(start)
                }
                Some(b'"') => Err(Refused::UnicodeName),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn space(&mut self) -> Result<(), Refused> {
        // One space between two tokens is the common case, and stays where it is.
        let after_token = self.cursor.pos > self.copied || (!self.gap && !self.shape.text.is_empty());
        if after_token && self.cursor.peek() == Some(b' ') {
            match self.cursor.peek_at(1).map(class) {
                None | Some(Class::Space | Class::Minus | Class::Slash) => {}
                Some(_) => {
                    self.cursor.advance(1);
                    return Ok(());
                }
            }
        }
        self.blank()
    }

    /// Leaves out white space and comments from here on.
    fn blank(&mut self) -> Result<(), Refused> {
        self.flush(self.cursor.pos);
        loop {
            self.cursor.skip_spaces();
            match (self.cursor.peek(), self.cursor.peek_at(1)) {
                (Some(b'-'), Some(b'-')) => {
                    self.shape.comments = true;
                    self.cursor.skip_line();
                }
                (Some(b'/'), Some(b'*')) => self.comment()?,
                _ => break,
            }
        }
        self.copied = self.cursor.pos;
        self.gap = true;
        Ok(())
    }

    fn comment(&mut self) -> Result<(), Refused> {
        let start = self.cursor.pos;
        self.cursor.skip_comment()?;
        self.shape.comments = true;
        let inside = self.cursor.slice(start + 2, self.cursor.pos);
        if inside.first() == Some(&b'+') {
            self.shape.hint = true;
        }
        if self.shape.directive.is_none() && inside.trim_ascii_start().starts_with(b"pgdial:") {
            self.shape.directive = Some(start..self.cursor.pos);
        }
        Ok(())
    }

    fn minus(&mut self) -> Result<(), Refused> {
        if self.cursor.peek_at(1) == Some(b'-') {
            return self.blank();
        }
        self.cursor.advance(1);
        Ok(())
    }

    fn slash(&mut self) -> Result<(), Refused> {
        if self.cursor.peek_at(1) == Some(b'*') {
            return self.blank();
        }
        self.cursor.advance(1);
        Ok(())
    }

    fn semicolon(&mut self) -> Result<(), Refused> {
        self.cursor.advance(1);
        self.blank()?;
        if !matches!(self.cursor.peek(), None | Some(b';')) {
            self.shape.several = true;
        }
        Ok(())
    }

    /// A dot, `..`, or a number such as `.5`.
    fn dot(&mut self) -> Result<(), Refused> {
        match self.cursor.peek_at(1) {
            Some(b'.') => self.cursor.advance(2),
            Some(b'0'..=b'9') => return self.number(),
            _ => self.cursor.advance(1),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Refused> {
        let start = self.cursor.pos;
        let class = self.cursor.number()?;
        self.literal(start, class);
        Ok(())
    }

    fn string(&mut self) -> Result<(), Refused> {
        let start = self.cursor.pos;
        let continued = self.cursor.string()?;
        self.text_literal(start, continued);
        Ok(())
    }

    fn bits(&mut self, start: usize, class: LiteralClass) -> Result<(), Refused> {
        self.cursor.bits()?;
        self.literal(start, class);
        Ok(())
    }

    fn escape_string(&mut self, start: usize) -> Result<(), Refused> {
        let escaped = self.cursor.escape_string()?;
        self.text_literal(start, escaped);
        Ok(())
    }

    fn unicode_string(&mut self, start: usize) -> Result<(), Refused> {
        self.cursor.string()?;
        // UESCAPE may follow with any escape character: nothing is known of the value.
        self.text_literal(start, true);
        Ok(())
    }

    fn dollar(&mut self) -> Result<(), Refused> {
        let start = self.cursor.pos;
        if self.cursor.dollar()? {
            self.text_literal(start, false);
        }
        Ok(())
    }

    /// `hidden`: the value is not what the source shows, so that it may hold any word.
    fn text_literal(&mut self, start: usize, hidden: bool) {
        let is_time = hidden || has_time_word(self.cursor.slice(start, self.cursor.pos));
        self.literal(start, if is_time { LiteralClass::TimeWord } else { LiteralClass::String });
    }

    fn literal(&mut self, start: usize, class: LiteralClass) {
        self.flush(start);
        self.close_gap();
        let end = self.cursor.pos;
        self.shape.text.push(class.marker());
        self.shape.literals.push(Literal { span: start..end, class });
        self.copied = end;
    }

    /// Copies what was passed since the last copy, up to `end`.
    fn flush(&mut self, end: usize) {
        if end > self.copied {
            self.close_gap();
            self.shape.text.extend_from_slice(self.cursor.slice(self.copied, end));
            self.copied = end;
        }
    }

    fn close_gap(&mut self) {
        if std::mem::take(&mut self.gap) && !self.shape.text.is_empty() {
            self.shape.text.push(b' ');
        }
    }
}

#[cfg(test)]
mod tests;
