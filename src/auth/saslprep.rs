//! Floor 1. What Postgres hashes for a password: SASLprep where it applies, the bytes as they are where it does not.

use std::borrow::Cow;

/// ASCII passes unchanged, control characters included: Postgres skips SASLprep for it. Text that is not UTF-8, or holds
/// what SASLprep prohibits, is hashed raw by Postgres.
pub(super) fn prepare(password: &[u8]) -> Cow<'_, [u8]> {
    if password.is_ascii() {
        return Cow::Borrowed(password);
    }
    let prepared = std::str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok());
    // Nothing left is not a password either.
    prepared.filter(|text| !text.is_empty()).map_or(Cow::Borrowed(password), |text| Cow::Owned(text.into_owned().into_bytes()))
}
