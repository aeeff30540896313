//! Floor 1. What Postgres hashes for a password: SASLprep where it applies, the bytes as they are where it does not.

/// ASCII passes unchanged, control characters included: Postgres skips SASLprep for it. Text that is not UTF-8, or
/// holds what SASLprep prohibits, is hashed raw by Postgres; composed text (NFC) without compatibility characters is its
/// own SASLprep form. What is left, and would need Unicode tables, is decomposed and compatibility characters.
pub(super) fn prepare(password: &[u8]) -> &[u8] {
    password
}
