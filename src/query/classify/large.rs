//! Floor 1. Texts that are too long for the parser: bulk INSERTs, in practice. They are read by their words alone.
//!
//! A single statement that begins with one of the data verbs, and in which none of the words below occurs anywhere outside
//! its literals, leaves nothing behind in the session that a short one could not. What it writes stays unknown.

use memchr::memmem;

use super::super::scan::Shape;
use super::super::{Kind, Statement};

/// What is known of a long text; `None`: it must be taken as opaque.
pub(super) fn describe(shape: &Shape) -> Option<Statement> {
    if shape.several {
        return None;
    }
    let text = shape.text.to_ascii_lowercase();
    let kind = kind_of(&text)?;
    if WORDS.iter().any(|word| memmem::find(&text, word.as_bytes()).is_some()) {
        return None;
    }
    Some(Statement {
        may_write: true,
        assigns_default: true,
        locking: true,
        value_functions: true,
        time_words: true,
        parameters: None,
        ..Statement::empty(kind)
    })
}

fn kind_of(text: &[u8]) -> Option<Kind> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len());
    Some(match text.get(..end)? {
        b"insert" => Kind::Insert,
        b"update" => Kind::Update,
        b"delete" => Kind::Delete,
        b"merge" => Kind::Merge,
        // WITH may hold any of them.
        b"select" | b"values" | b"with" => Kind::Select,
        _ => return None,
    })
}

/// Parts of names and keywords. A harmless text that holds one of them by accident is opaque, which is only slower.
const WORDS: [&str; 14] = [
    "set_config",
    "setseed",
    "advisory",
    "nextval",
    "setval",
    "currval",
    "lastval",
    "temp",
    "u&\"",
    "query_to_xml",
    "cursor_to_xml",
    "ts_stat",
    "ts_rewrite",
    "replication",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Classifier, Effects};

    fn long(head: &str, tail: &str) -> String {
        let rows: Vec<String> = (0..20_000).map(|n| format!("({n}, 'row {n}')")).collect();
        format!("{head} {}{tail}", rows.join(", "))
    }

    #[test]
    fn a_bulk_insert_leaves_nothing_behind() {
        let statement = Classifier::default().classify(long("INSERT INTO t (a, b) VALUES", "").as_bytes(), true);
        assert_eq!((statement.kind, statement.effects), (Kind::Insert, Effects::NONE));
        assert!(statement.writes_unknown() && !statement.is_opaque() && !statement.single_read);
    }

    #[test]
    fn anything_doubtful_is_opaque() {
        for (head, tail) in [
            ("INSERT INTO t VALUES", "; SELECT 1"),
            ("INSERT INTO pg_temp.t VALUES", ""),
            ("INSERT INTO t VALUES", " RETURNING set_config('a.b', '1', false)"),
            ("DO $$ x $$ --", ""),
            ("INSERT INTO t VALUES ('open", ""),
        ] {
            let statement = Classifier::default().classify(long(head, tail).as_bytes(), true);
            assert!(statement.is_opaque(), "{head} .. {tail}");
        }
    }
}
