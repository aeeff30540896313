//! Floor 1. Commands that leave something behind, told by their first words.

use super::super::Effects;
use super::super::scan::Token;
use super::body::{Reader, text};
use super::settings;

/// Reads the statement that may begin here.
pub(super) fn read(reader: &mut Reader<'_, '_>) {
    let at = reader.at;
    let Some(word) = COMMANDS.iter().find(|(word, _)| reader.is(at, word)) else { return };
    match word.1 {
        Command::Load if !matches!(reader.tokens.get(at + 1), Some(Token::String(_))) => {}
        Command::Load => reader.found.effect(Effects::LOAD),
        Command::Leaves(effects) => reader.found.effect(effects),
        Command::Set => settings::set(reader),
        Command::Reset => settings::reset(reader),
        // PREPARE TRANSACTION is another matter, and fails in a function.
        Command::Prepare if reader.is(at + 1, "TRANSACTION") => {}
        Command::Prepare => reader.found.effect(Effects::PREPARE),
        Command::Do => block(reader),
        Command::Define => define(reader),
        Command::Discard => reader.found.everything(),
    }
}

#[derive(Clone, Copy)]
enum Command {
    Leaves(Effects),
    Set,
    Reset,
    Prepare,
    Load,
    Do,
    Define,
    Discard,
}

const COMMANDS: &[(&str, Command)] = &[
    ("SET", Command::Set),
    ("RESET", Command::Reset),
    ("PREPARE", Command::Prepare),
    ("DEALLOCATE", Command::Leaves(Effects::PREPARE)),
    ("LISTEN", Command::Leaves(Effects::LISTEN)),
    ("UNLISTEN", Command::Leaves(Effects::LISTEN)),
    ("LOAD", Command::Load),
    ("DISCARD", Command::Discard),
    ("DO", Command::Do),
    ("CREATE", Command::Define),
    ("ALTER", Command::Define),
    ("DROP", Command::Define),
    ("GRANT", Command::Define),
    ("REVOKE", Command::Define),
    ("COMMENT", Command::Define),
    ("SECURITY", Command::Define),
    ("REFRESH", Command::Define),
    ("REINDEX", Command::Define),
    ("IMPORT", Command::Define),
    ("REASSIGN", Command::Define),
];

/// DDL runs event triggers, and may write tables anew. What a new function or extension does is not read here.
fn define(reader: &mut Reader<'_, '_>) {
    reader.found.ddl = true;
    reader.found.writes = true;
    let mut at = reader.at + 1;
    if reader.is(at, "OR") && reader.is(at + 1, "REPLACE") {
        at += 2;
    }
    if reader.is(reader.at, "ALTER") && ["ROLE", "USER", "DATABASE"].iter().any(|word| reader.is(at, word)) {
        reader.found.effect(Effects::DEFAULTS);
    }
    let altered = !reader.is(reader.at, "CREATE");
    let hidden: &[&str] = if altered { &["EXTENSION"] } else { &["FUNCTION", "PROCEDURE", "EXTENSION"] };
    if !reader.is(reader.at, "DROP") && hidden.iter().any(|word| reader.is(at, word)) {
        reader.found.everything();
    }
}

/// DO with its text, but not ON CONFLICT DO, DO ALSO, DO NOTHING.
fn block(reader: &mut Reader<'_, '_>) {
    let mut language: Box<str> = "plpgsql".into();
    let mut source = None;
    let mut at = reader.at + 1;
    let first = reader.tokens.get(at);
    if !matches!(first, Some(Token::String(_))) && !reader.is(at, "LANGUAGE") {
        return;
    }
    while let Some(token) = reader.tokens.get(at).filter(|token| **token != Token::Other(b';')) {
        if reader.is(at, "LANGUAGE") {
            at += 1;
            match (reader.folded(at), reader.tokens.get(at)) {
                (Some(name), _) => language = name,
                (None, Some(Token::String(Some(name)))) => language = String::from_utf8_lossy(name).to_ascii_lowercase().into(),
                _ => return reader.found.dynamic(),
            }
        } else if let Token::String(value) = token {
            source = value.as_deref();
        }
        at += 1;
    }
    match source {
        Some(source) => text(source, &language, reader.depth + 1, reader.wanted, reader.found),
        None => reader.found.dynamic(),
    }
}
