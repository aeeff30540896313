//! Floor 1. Postgres's md5 passwords: `md5(md5(password + user) + salt)`, in hex, with "md5" in front.

use md5::{Digest, Md5};

/// What `pg_authid` keeps for a user with `password_encryption = md5`.
pub fn md5_password(user: &str, password: &[u8]) -> String {
    tagged(&[password, user.as_bytes()])
}

/// The answer to AuthenticationMD5Password, from what [`md5_password`] gives.
pub fn md5_response(stored: &str, salt: [u8; 4]) -> String {
    tagged(&[stored.strip_prefix("md5").unwrap_or(stored).as_bytes(), &salt])
}

fn tagged(parts: &[&[u8]]) -> String {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().iter().fold(String::from("md5"), |mut text, byte| {
        text.push(hex_digit(byte >> 4));
        text.push(hex_digit(byte & 15));
        text
    })
}

fn hex_digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0')
}
