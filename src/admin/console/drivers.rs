//! Floor 3. What drivers say to every server they meet: answered as a Postgres would, and nothing is done.

use crate::error::Error;

use super::command::{Command, Token};
use super::refusal;

/// Settings of Postgres that drivers read or set at login. The value is what SHOW says.
const PARAMETERS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "on"),
    ("jit", "off"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("search_path", "\"$user\", public"),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "150000"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("timezone", "GMT"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "off"),
];

/// Some drivers read a number from it and refuse what is too old; the rest tells people.
pub(super) const SERVER_VERSION: &str = concat!("15.0 (pgdial ", env!("CARGO_PKG_VERSION"), ")");

/// Told to each client of the console at login.
pub(super) const REPORTED: &[(&str, &str)] = &[
    ("server_version", SERVER_VERSION),
    ("client_encoding", "UTF8"),
    ("server_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "GMT"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "on"),
];

/// None: it is none of these.
pub(super) fn command(verb: &str, rest: &[Token]) -> Option<Result<Command, Error>> {
    let done = |tag| Some(Ok(Command::Done(tag)));
    let first = |words: &[&str]| rest.first().is_some_and(|token| words.iter().any(|word| token.is(word)));
    match verb {
        "begin" => Some(Ok(Command::Begin)),
        "start" if first(&["transaction"]) => Some(Ok(Command::Begin)),
        "commit" | "end" => Some(Ok(Command::Commit)),
        "rollback" | "abort" => Some(Ok(Command::Rollback)),
        "discard" => done("DISCARD ALL"),
        "deallocate" => done("DEALLOCATE ALL"),
        "close" => done("CLOSE CURSOR ALL"),
        "unlisten" => done("UNLISTEN"),
        "reset" => done("RESET"),
        "set" => set(rest),
        "show" => parameter(rest, "SHOW"),
        "select" => select(rest),
        _ => None,
    }
}

fn set(rest: &[Token]) -> Option<Result<Command, Error>> {
    let rest = match rest {
        [scope, rest @ ..] if scope.is("session") || scope.is("local") => rest,
        rest => rest,
    };
    let name = rest.first()?;
    let special = ["names", "time", "transaction", "characteristics", "role", "constraints"].iter().any(|word| name.is(word));
    let known = PARAMETERS.iter().any(|(known, _)| name.is(known));
    Some(if special || known { Ok(Command::Done("SET")) } else { Err(unknown_setting()) })
}

pub(super) fn unknown_setting() -> Error {
    refusal(*b"0A000", "settings are not changed on the console").with_hint("Change the config file, then RELOAD.")
}

fn parameter(rest: &[Token], tag: &'static str) -> Option<Result<Command, Error>> {
    let name = match rest {
        [transaction, isolation, level] if transaction.is("transaction") && isolation.is("isolation") && level.is("level") => {
            "transaction_isolation"
        }
        [time, zone] if time.is("time") && zone.is("zone") => "timezone",
        [Token::Word(name) | Token::Name(name)] => name,
        _ => return None,
    };
    let (column, value) = PARAMETERS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known))?;
    Some(Ok(Command::Answer { column, value: (*value).to_owned(), tag }))
}

/// Health checks, and what drivers want to know of the server.
fn select(rest: &[Token]) -> Option<Result<Command, Error>> {
    let answer = |column, value: &str| Some(Ok(Command::Answer { column, value: value.to_owned(), tag: "SELECT 1" }));
    let rest = match rest {
        [schema, Token::Symbol('.'), rest @ ..] if schema.is("pg_catalog") => rest,
        rest => rest,
    };
    match rest {
        [] => answer("?column?", ""),
        [Token::Word(number)] if number.parse::<i64>().is_ok() => answer("?column?", number),
        [Token::Text(text)] => answer("?column?", text),
        [word] if word.is("current_user") || word.is("session_user") => answer("current_user", super::CONSOLE_NAME),
        [function, Token::Symbol('('), Token::Symbol(')')] => {
            let known = FUNCTIONS.iter().find(|(known, _)| function.is(known))?;
            answer(known.0, known.1)
        }
        _ => None,
    }
}

const FUNCTIONS: &[(&str, &str)] = &[
    ("version", concat!("PostgreSQL 15.0 (pgdial ", env!("CARGO_PKG_VERSION"), ")")),
    ("current_schema", "public"),
    ("current_database", super::CONSOLE_NAME),
    ("pg_is_in_recovery", "f"),
    ("pg_advisory_unlock_all", ""),
];
