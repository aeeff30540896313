//! Floor 1. Reads the body of a function, word by word.
//!
//! It knows no grammar but where a statement begins and how a call looks. What is no statement and no call may be taken for
//! one (a column list behind a table's name is a "call" of the table): that finds too much, never too little.

use std::collections::BTreeSet;

use super::super::scan::{Token, tokens};
use super::super::search_path::truncated;
use super::super::{Effects, FunctionName};
use super::{Body, Traces, builtin, command, common, settings};

/// What the body of a function in `language` may leave behind, and what it calls.
pub fn scan_body(source: &[u8], language: &str) -> Body {
    scan(source, language, &|_| false).body
}

/// A body, and what only the closure over all routines asks for.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) body: Body,
    /// The wanted ones among all names in it.
    pub(super) names: BTreeSet<Box<str>>,
    /// Those of `names` that stand behind a dot.
    pub(super) fields: BTreeSet<Box<str>>,
    /// Runs of characters that operators are made of.
    pub(super) operators: BTreeSet<Box<str>>,
    /// It may write relations.
    pub(super) writes: bool,
    /// It may change the catalog.
    pub(super) ddl: bool,
}

impl Found {
    /// It may leave anything behind.
    pub(super) fn everything(&mut self) {
        self.body.traces = Traces::everything();
    }

    /// It runs text that is not here.
    pub(super) fn dynamic(&mut self) {
        self.everything();
        self.body.dynamic = true;
    }

    pub(super) fn effect(&mut self, effects: Effects) {
        self.body.traces.effects.insert(effects);
    }
}

/// `wanted`: which names are worth keeping.
pub(super) fn scan(source: &[u8], language: &str, wanted: &dyn Fn(&str) -> bool) -> Found {
    let mut found = Found::default();
    match language {
        "sql" | "plpgsql" => text(source, language, 0, wanted, &mut found),
        // The source is the name of a function inside Postgres.
        "internal" => found.effect(builtin::effects_of_symbol(source)),
        _ => found.dynamic(),
    }
    found.body.calls.sort_unstable();
    found.body.calls.dedup();
    found
}

/// Adds what `source` does. `depth`: how many texts it stands in.
pub(super) fn text(source: &[u8], language: &str, depth: u8, wanted: &dyn Fn(&str) -> bool, found: &mut Found) {
    let readable = depth < MAX_DEPTH && matches!(language, "sql" | "plpgsql");
    let Some(Ok(plain)) = readable.then(|| tokens(source, true)) else {
        return found.dynamic();
    };
    let pl = language == "plpgsql";
    Reader { tokens: &plain.list, at: 0, pl, depth, wanted, found }.run();
    // How it is read is decided by the session that runs it.
    let other = if plain.backslash { tokens(source, false).ok() } else { None };
    if let Some(other) = other {
        Reader { tokens: &other.list, at: 0, pl, depth, wanted, found }.run();
    }
}

/// Goes over the tokens of one text.
pub(super) struct Reader<'a, 'f> {
    pub(super) tokens: &'a [Token<'a>],
    pub(super) at: usize,
    /// PL/pgSQL.
    pub(super) pl: bool,
    pub(super) depth: u8,
    pub(super) wanted: &'a dyn Fn(&str) -> bool,
    pub(super) found: &'f mut Found,
}

impl<'a> Reader<'a, '_> {
    fn run(mut self) {
        let mut begins = true;
        while let Some(token) = self.tokens.get(self.at) {
            if begins && !self.is_assignment() {
                command::read(&mut self);
            }
            match token {
                Token::Word(word) => self.word(word, begins),
                Token::Name(_) => self.name(),
                Token::Operator(run) => {
                    self.found.operators.insert(String::from_utf8_lossy(run).into());
                }
                Token::String(_) | Token::Value | Token::Other(_) => {}
            }
            begins = self.is_end_of_head(token);
            self.at += 1;
        }
    }

    /// A statement may begin behind it.
    fn is_end_of_head(&self, token: &Token<'_>) -> bool {
        match token {
            Token::Other(byte) => *byte == b';',
            // <<label>>
            Token::Operator(run) => *run == b">>",
            Token::Word(_) => ["BEGIN", "ATOMIC", "THEN", "ELSE", "LOOP"].iter().any(|word| self.is(self.at, word)),
            Token::Name(_) | Token::String(_) | Token::Value => false,
        }
    }

    /// `set := 1`, `load.x := 1`: a variable, whatever its name.
    fn is_assignment(&self) -> bool {
        match self.tokens.get(self.at + 1) {
            Some(Token::Other(byte)) => matches!(byte, b':' | b'.' | b'['),
            Some(Token::Operator(run)) => run.starts_with(b"="),
            _ => false,
        }
    }

    fn word(&mut self, word: &[u8], begins: bool) {
        if ["INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE"].iter().any(|verb| self.is(self.at, verb)) {
            self.found.writes = true;
            let adds = self.is(self.at, "INSERT") || self.is(self.at, "MERGE");
            if self.is(self.at, "COPY") || (adds && self.is(self.at + 1, "INTO")) {
                // A column's default may be a sequence's next value.
                self.found.effect(Effects::SEQUENCE);
            }
        } else if self.is(self.at, "DEFAULT") && self.is_assigned() {
            self.found.effect(Effects::SEQUENCE);
        } else if self.is(self.at, "EXECUTE") {
            self.execute(begins && !self.is_assignment());
        } else if self.is(self.at, "HOLD") && self.is_before("WITH") && !self.is(self.at + 1, "AS") {
            self.found.effect(Effects::CURSOR_HOLD);
        } else if word.eq_ignore_ascii_case(b"temp") || word.eq_ignore_ascii_case(b"temporary") {
            self.temporary();
        }
        self.name();
    }

    /// `a = DEFAULT`, `(a, b) = (DEFAULT, DEFAULT)`.
    fn is_assigned(&self) -> bool {
        match self.at.checked_sub(1).and_then(|at| self.tokens.get(at)) {
            Some(Token::Operator(run)) => run.ends_with(b"="),
            Some(Token::Other(byte)) => matches!(byte, b'(' | b','),
            _ => false,
        }
    }

    /// CREATE TEMP .., SELECT INTO TEMP .., but not a table that goes with its transaction.
    fn temporary(&mut self) {
        let created = ["CREATE", "REPLACE", "LOCAL", "GLOBAL"].iter().any(|word| self.is_before(word));
        // PL/pgSQL's INTO names a variable.
        let selected = !self.pl && self.is_before("INTO") && !self.at.checked_sub(2).is_some_and(|two| self.is(two, "INSERT"));
        if selected || created && !self.has_before_end(&["ON", "COMMIT", "DROP"]) {
            self.found.effect(Effects::TEMP);
        }
    }

    /// Whether these words follow one another before the statement ends.
    fn has_before_end(&self, words: &[&str]) -> bool {
        let ends = |at: &usize| self.tokens.get(*at).is_none_or(|token| *token == Token::Other(b';'));
        let mut places = (self.at..).take(REACH).take_while(|at| !ends(at));
        places.any(|at| words.iter().enumerate().all(|(offset, word)| self.is(at + offset, word)))
    }

    /// PL/pgSQL's EXECUTE of a string, or SQL's of a prepared statement: not the right of that name, not a trigger's function.
    fn execute(&mut self, begins: bool) {
        let next = self.at + 1;
        let is_right = self.is(next, "ON") || self.tokens.get(next) == Some(&Token::Other(b','));
        let is_clause = self.is(next, "FUNCTION") || self.is(next, "PROCEDURE");
        let runs = begins || ["IN", "QUERY", "FOR", "REVERSE"].iter().any(|word| self.is_before(word));
        let explained = || {
            let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
            let words = ["AS", "EXPLAIN", "ANALYZE", "ANALYSE", "VERBOSE"];
            before == Some(&Token::Other(b')')) || words.iter().any(|word| self.is_before(word))
        };
        if is_right || !runs && (is_clause || !explained()) {
            return;
        }
        match self.tokens.get(next) {
            Some(Token::String(Some(sql))) if self.ends_string(next + 1) => {
                text(sql, "sql", self.depth + 1, self.wanted, self.found)
            }
            _ => self.found.dynamic(),
        }
    }

    /// Nothing is added to the string before `at`.
    fn ends_string(&self, at: usize) -> bool {
        let is_end = self.tokens.get(at).is_none_or(|token| *token == Token::Other(b';'));
        is_end || ["INTO", "USING", "LOOP"].iter().any(|word| self.is(at, word))
    }

    /// A name, or a keyword that might be one.
    fn name(&mut self) {
        let Some(name) = self.folded(self.at) else { return };
        if &*name == "pg_temp" || name.starts_with("pg_temp_") {
            self.found.effect(Effects::TEMP);
        }
        // UPDATE ONLY pg_catalog.pg_settings: a rule makes it set_config().
        if &*name == builtin::SETTINGS_VIEW
            && (1..=4).any(|back| self.at.checked_sub(back).is_some_and(|at| self.is(at, "UPDATE")))
        {
            self.found.body.traces.add(&builtin::traces_of_call("set_config"));
        }
        let qualified = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)) == Some(&Token::Other(b'.'));
        if self.tokens.get(self.at + 1) == Some(&Token::Other(b'(')) {
            let schema = if qualified { self.at.checked_sub(2).and_then(|at| self.folded(at)) } else { None };
            self.call(&name, schema.as_deref());
        } else if qualified && (self.wanted)(&name) {
            self.found.fields.insert(name.clone());
        }
        if (self.wanted)(&name) {
            self.found.names.insert(name);
        }
    }

    fn call(&mut self, name: &str, schema: Option<&str>) {
        if matches!(self.tokens.get(self.at), Some(Token::Word(_))) && common::is_keyword(name) {
            return;
        }
        if schema.is_none_or(|schema| schema == "pg_catalog") {
            if name == "set_config" {
                settings::set_config(self);
            } else {
                self.found.effect(builtin::effects_of_call(name));
            }
        }
        self.found.body.calls.push(FunctionName::new(schema, name));
    }

    /// The name at a place, as Postgres folds it.
    pub(super) fn folded(&self, at: usize) -> Option<Box<str>> {
        match self.tokens.get(at)? {
            Token::Word(word) => Some(truncated(String::from_utf8_lossy(word).to_ascii_lowercase())),
            Token::Name(name) => Some(truncated(String::from_utf8_lossy(name).into())),
            Token::String(_) | Token::Value | Token::Operator(_) | Token::Other(_) => None,
        }
    }

    /// Whether there is this keyword.
    pub(super) fn is(&self, at: usize, keyword: &str) -> bool {
        matches!(self.tokens.get(at), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword.as_bytes()))
    }

    fn is_before(&self, keyword: &str) -> bool {
        self.at.checked_sub(1).is_some_and(|at| self.is(at, keyword))
    }
}

/// Texts in texts in texts are no longer followed.
const MAX_DEPTH: u8 = 4;
/// How many tokens are looked ahead: a body is read in a time that grows with its length only.
pub(super) const REACH: usize = 1024;
