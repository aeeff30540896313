//! Floor 1. Words that date and time types read as "the present moment".

const WORDS: [&[u8]; 5] = [b"now", b"today", b"tomorrow", b"yesterday", b"allballs"];

/// Whether a date or time type may read a part of `bytes` as a word for the present: such a value means something else later.
/// It looks for whole words in any case; a text that merely speaks of tomorrow is taken too, and that is only a miss.
pub fn has_time_word(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(start) = rest.iter().position(|&b| matches!(b | 0x20, b'n' | b't' | b'y' | b'a')) {
        let Some(word) = rest.get(start..) else {
            return false;
        };
        let before = start.checked_sub(1).and_then(|i| rest.get(i));
        let length = word.iter().position(|b| !b.is_ascii_alphabetic()).unwrap_or(word.len());
        let found = word.get(..length).is_some_and(|w| WORDS.iter().any(|t| t.eq_ignore_ascii_case(w)));
        if found && !before.is_some_and(u8::is_ascii_alphabetic) {
            return true;
        }
        rest = word.get(length.max(1)..).unwrap_or_default();
    }
    false
}
