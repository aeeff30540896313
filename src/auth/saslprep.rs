//! Floor 1. What Postgres hashes for a password: SASLprep (RFC 4013) where it applies, the bytes as they are where it does not.

use std::borrow::Cow;

use stringprep::tables;
use unicode_normalization::UnicodeNormalization;

/// ASCII passes unchanged, control characters included: Postgres skips SASLprep for it. Text that is not UTF-8, or holds
/// what SASLprep prohibits, is hashed raw.
pub(super) fn prepare(password: &[u8]) -> Cow<'_, [u8]> {
    if password.is_ascii() {
        return Cow::Borrowed(password);
    }
    let prepared = std::str::from_utf8(password).ok().and_then(saslprep);
    prepared.map_or(Cow::Borrowed(password), |text| Cow::Owned(text.into_bytes()))
}

/// As Postgres does it: what is prohibited is looked for before the text is normalised, not after. (The crate's own function
/// does it the other way round, and lets through what Postgres hashes raw.)
fn saslprep(text: &str) -> Option<String> {
    let as_space = |c| if tables::non_ascii_space_character(c) { ' ' } else { c };
    let mapped: String = text.chars().map(as_space).filter(|c| !tables::commonly_mapped_to_nothing(*c)).collect();
    if mapped.is_empty() || mapped.contains(is_prohibited) || is_prohibited_bidirectional(&mapped) {
        return None;
    }
    Some(mapped.nfkc().collect())
}

fn is_prohibited(c: char) -> bool {
    tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::surrogate_code(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
        || tables::unassigned_code_point(c)
}

/// A text that runs from right to left does so from end to end.
fn is_prohibited_bidirectional(text: &str) -> bool {
    let from_right = tables::bidi_r_or_al;
    text.contains(from_right) && (text.contains(tables::bidi_l) || !text.starts_with(from_right) || !text.ends_with(from_right))
}

#[cfg(test)]
mod tests {
    use super::prepare;

    #[test]
    fn as_postgres_prepares_them() {
        for (password, hashed) in [
            ("secret", "secret"),
            ("tab\there", "tab\there"),
            ("pässwörd", "pässwörd"),
            ("pa\u{308}ss", "päss"),
            ("pässwörd‑Ⅸ", "pässwörd‐IX"),
            ("I\u{AD}X", "IX"),
            ("\u{AA}", "a"),
            ("no\u{A0}break", "no break"),
            // Nothing is left, or something is prohibited: as they are.
            ("\u{AD}", "\u{AD}"),
            ("pä\u{7}", "pä\u{7}"),
            ("\u{E000}ä", "\u{E000}ä"),
            ("\u{340}ä", "\u{340}ä"),
            ("\u{32FF}", "\u{32FF}"),
            // Right to left.
            ("\u{627}1\u{628}", "\u{627}1\u{628}"),
            ("\u{627}1\u{AA}", "\u{627}1\u{AA}"),
            ("\u{FE8D}1", "\u{FE8D}1"),
            ("\u{FE8D}1\u{FE8D}", "\u{627}1\u{627}"),
        ] {
            assert_eq!(prepare(password.as_bytes()), hashed.as_bytes(), "{password:?}");
        }
        assert_eq!(prepare(b"\xff\xfe"), b"\xff\xfe".as_slice());
    }
}
