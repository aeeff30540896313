//! Floor 1. Which settings a body changes: SET, RESET, `set_config()`.

use std::borrow::Cow;

use super::super::Effects;
use super::super::scan::Token;
use super::body::{REACH, Reader};

/// SET at the start of a statement.
pub(super) fn set(reader: &mut Reader<'_, '_>) {
    if names_temporary(reader) {
        reader.found.effect(Effects::TEMP);
    }
    let mut at = reader.at + 1;
    if reader.is(at, "LOCAL") {
        return dotted(reader, at + 1).into_iter().for_each(|(name, _)| local(reader, &name));
    }
    if reader.is(at, "SESSION") && !reader.is(at + 1, "AUTHORIZATION") {
        at += 1;
    }
    if reader.is(at, "CHARACTERISTICS") {
        return add(
            reader,
            &["default_transaction_deferrable", "default_transaction_isolation", "default_transaction_read_only"],
        );
    }
    if reader.is(at, "TRANSACTION") || reader.is(at, "CONSTRAINTS") || special(reader, at) {
        return;
    }
    for (word, name) in [("NAMES", "client_encoding"), ("SCHEMA", "search_path"), ("XML", "xmloption")] {
        if reader.is(at, word) && matches!(reader.tokens.get(at + 1), Some(Token::String(_) | Token::Word(_))) {
            // SET names TO 1 has another meaning, and is found below.
            add(reader, &[name]);
        }
    }
    let Some((name, end)) = dotted(reader, at) else { return };
    let equals = matches!(reader.tokens.get(end), Some(Token::Operator(run)) if run.starts_with(b"="));
    if equals || reader.is(end, "TO") || reader.is(end, "FROM") {
        one(reader, &name);
    }
}

/// RESET at the start of a statement.
pub(super) fn reset(reader: &mut Reader<'_, '_>) {
    let at = reader.at + 1;
    if reader.is(at, "ALL") {
        reader.found.effect(Effects::SETTING | Effects::OPAQUE_SETTING);
    } else if !special(reader, at) && !reader.is(at, "TRANSACTION") {
        let ends = |end: usize| reader.tokens.get(end).is_none_or(|token| *token == Token::Other(b';'));
        if let Some((name, _)) = dotted(reader, at).filter(|(_, end)| ends(*end)) {
            one(reader, &name);
        }
    }
}

/// `set_config(` at the reader's place.
pub(super) fn set_config(reader: &mut Reader<'_, '_>) {
    let tokens = reader.tokens;
    let Some(arguments) = arguments(tokens.get(reader.at + 2..).unwrap_or_default()) else {
        return unknown(reader);
    };
    let [name, value, local] = ["setting_name", "new_value", "is_local"].map(|name| named(&arguments, name));
    let setting = name.or_else(|| arguments.first().copied()).and_then(constant);
    let value = value.or_else(|| arguments.get(1).copied()).unwrap_or_default();
    if value.iter().any(|token| matches!(token, Token::String(Some(text)) if memchr::memmem::find(text, b"pg_temp").is_some())) {
        reader.found.effect(Effects::TEMP);
    }
    let ends = local.or_else(|| arguments.get(2).copied()).is_some_and(is_true);
    match setting.map(|name| String::from_utf8_lossy(&name).to_ascii_lowercase()) {
        Some(name) if ends => self::local(reader, &name),
        Some(name) => one(reader, &name),
        None if ends => reader.found.effect(Effects::OPAQUE_SETTING),
        None => unknown(reader),
    }
}

/// It ends with the transaction. What does not: that there is a name that users made up, and what the generator was given.
fn local(reader: &mut Reader<'_, '_>, name: &str) {
    if name.contains('.') {
        add(reader, &[name]);
    } else if name == "seed" {
        reader.found.effect(Effects::SETSEED);
    }
}

/// The role may be among them.
fn unknown(reader: &mut Reader<'_, '_>) {
    reader.found.effect(Effects::SETTING | Effects::ROLE | Effects::OPAQUE_SETTING);
}

/// Forms with words of their own.
fn special(reader: &mut Reader<'_, '_>, at: usize) -> bool {
    if reader.is(at, "SESSION") && reader.is(at + 1, "AUTHORIZATION") {
        one(reader, "session_authorization");
    } else if reader.is(at, "ROLE") {
        one(reader, "role");
    } else if reader.is(at, "TIME") && reader.is(at + 1, "ZONE") {
        one(reader, "timezone");
    } else {
        return false;
    }
    true
}

fn one(reader: &mut Reader<'_, '_>, name: &str) {
    match name {
        // These are the transaction's own.
        "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => {}
        // It resets the role.
        "session_authorization" => add(reader, &["role", "session_authorization"]),
        _ => add(reader, &[name]),
    }
}

fn add(reader: &mut Reader<'_, '_>, names: &[&str]) {
    names.iter().for_each(|name| reader.found.body.traces.add_setting(name));
}

/// A string with the temporary schema in it; the name itself is found anywhere.
fn names_temporary(reader: &Reader<'_, '_>) -> bool {
    let rest = reader.tokens.iter().skip(reader.at).take(REACH);
    rest.take_while(|token| **token != Token::Other(b';'))
        .any(|token| matches!(token, Token::String(Some(text)) if memchr::memmem::find(text, b"pg_temp").is_some()))
}

/// A setting's name, and where it ends.
fn dotted(reader: &Reader<'_, '_>, at: usize) -> Option<(String, usize)> {
    let mut name = reader.folded(at)?.to_ascii_lowercase();
    let mut end = at + 1;
    while reader.tokens.get(end) == Some(&Token::Other(b'.')) {
        name.push('.');
        name.push_str(&reader.folded(end + 1)?.to_ascii_lowercase());
        end += 2;
    }
    Some((name, end))
}

/// The arguments of a call, from behind its parenthesis; `None`: it has no end, or not soon.
fn arguments<'a>(tokens: &'a [Token<'a>]) -> Option<Vec<&'a [Token<'a>]>> {
    let mut found = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, token) in tokens.iter().take(REACH).enumerate() {
        match token {
            Token::Other(b'(' | b'[') => depth += 1,
            Token::Other(b')' | b']') if depth > 0 => depth -= 1,
            Token::Other(b')') => {
                found.extend(tokens.get(start..at));
                return Some(found);
            }
            Token::Other(b',') if depth == 0 => {
                found.extend(tokens.get(start..at));
                start = at + 1;
            }
            Token::Word(_) | Token::Name(_) | Token::String(_) | Token::Value | Token::Operator(_) | Token::Other(_) => {}
        }
    }
    None
}

/// The argument that is given by name: `is_local => true`, `is_local := true`.
fn named<'a>(arguments: &[&'a [Token<'a>]], name: &str) -> Option<&'a [Token<'a>]> {
    arguments.iter().find_map(|argument| match argument {
        [Token::Word(word), rest @ ..] if word.eq_ignore_ascii_case(name.as_bytes()) => match rest {
            [Token::Operator(arrow), value @ ..] if *arrow == b"=>" => Some(value),
            [Token::Other(b':'), Token::Operator(equals), value @ ..] if *equals == b"=" => Some(value),
            _ => None,
        },
        _ => None,
    })
}

/// A string and nothing else but casts of it.
fn constant<'a>(argument: &'a [Token<'a>]) -> Option<Cow<'a, [u8]>> {
    match argument {
        [Token::String(Some(value)), rest @ ..] if is_cast(rest) => Some(Cow::Borrowed(value)),
        _ => None,
    }
}

fn is_true(argument: &[Token<'_>]) -> bool {
    let is_word = |word: &[u8]| TRUE.iter().any(|truth| truth.as_bytes().eq_ignore_ascii_case(word));
    match argument {
        [Token::Word(word), rest @ ..] => word.eq_ignore_ascii_case(b"true") && is_cast(rest),
        [Token::String(Some(value)), rest @ ..] => is_word(value) && is_cast(rest),
        _ => false,
    }
}

/// Nothing, or `::text`.
fn is_cast(rest: &[Token<'_>]) -> bool {
    rest.chunks(3).all(|part| matches!(part, [Token::Other(b':'), Token::Other(b':'), Token::Word(_)]))
}

const TRUE: [&str; 6] = ["t", "true", "y", "yes", "on", "1"];
