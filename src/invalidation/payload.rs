//! Floor 1. Payloads of the feed: `schema.table`, quoted where SQL would quote, or `*`.

use crate::pg::RelationId;
use crate::query::Snapshot;

/// What one notification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A table was written.
    Table {
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// `*`: anything may have been written, and the catalog may have changed (the event trigger for DDL sends it).
    All,
    /// Not understood: anything may have been written.
    Unknown,
}

/// What a set of notifications means for one database.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Change {
    /// No change.
    #[default]
    Nothing,
    /// These relations were written; sorted, each once.
    Relations(Vec<RelationId>),
    /// Anything may have been written.
    Everything,
    /// The catalog has changed as well.
    Catalog,
}

/// Reads one payload. What is not understood means everything: a change must not be lost to a spelling.
pub fn parse_payload(payload: &str) -> Notice {
    if payload == "*" {
        return Notice::All;
    }
    let table = || {
        let (schema, rest) = identifier(payload)?;
        let (name, rest) = identifier(rest.strip_prefix('.')?)?;
        rest.is_empty().then_some(Notice::Table { schema, name })
    };
    table().unwrap_or(Notice::Unknown)
}

impl Change {
    /// What a notice means under a catalog. A table that the catalog does not know may be new: then reads of it may have
    /// been planned under a newer catalog than this one.
    pub fn of(notice: &Notice, snapshot: Option<&Snapshot>) -> Self {
        let (schema, name) = match notice {
            Notice::Table { schema, name } => (schema, name),
            Notice::All => return Self::Catalog,
            Notice::Unknown => return Self::Everything,
        };
        match snapshot.and_then(|snapshot| snapshot.relation(schema, name)) {
            // Readers of a parent or of a view depend on relations that this name does not tell.
            Some(relation) if relation.plain_read => Self::Relations(vec![relation.id]),
            Some(_) | None => Self::Everything,
        }
    }

    /// Both changes in one.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        match (self, other) {
            (Self::Catalog, _) | (_, Self::Catalog) => Self::Catalog,
            (Self::Everything, _) | (_, Self::Everything) => Self::Everything,
            (Self::Nothing, other) => other,
            (this, Self::Nothing) => this,
            (Self::Relations(mut ids), Self::Relations(more)) => {
                ids.extend(more);
                ids.sort_unstable();
                ids.dedup();
                Self::Relations(ids)
            }
        }
    }
}

/// An identifier at the start, and what follows. Unquoted ones are folded as Postgres folds them.
fn identifier(text: &str) -> Option<(String, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted_identifier(quoted),
        None => {
            let end = text.find(|c: char| !is_identifier(c)).unwrap_or(text.len());
            let (name, rest) = text.split_at_checked(end)?;
            let starts_well = name.starts_with(|c: char| !c.is_ascii_digit() && c != '$');
            starts_well.then(|| (name.to_ascii_lowercase(), rest))
        }
    }
}

fn quoted_identifier(mut rest: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return (!name.is_empty()).then_some((name, after)),
        }
    }
}

/// Letters beyond ASCII are folded by the server's locale, which is not known here: such a name must be quoted.
fn is_identifier(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(schema: &str, name: &str) -> Notice {
        Notice::Table { schema: schema.into(), name: name.into() }
    }

    #[test]
    fn payloads_as_they_may_come() {
        let cases = [
            ("public.products", table("public", "products")),
            ("Public.PRODUCTS", table("public", "products")),
            ("\"Public\".\"Pro\"\"duct.s\"", table("Public", "Pro\"duct.s")),
            ("a.\"b\"", table("a", "b")),
            ("_a$1.b2", table("_a$1", "b2")),
            ("\"größe\".t", table("größe", "t")),
        ];
        for (payload, expected) in cases {
            assert_eq!(parse_payload(payload), expected, "{payload:?}");
        }
        assert_eq!(parse_payload("*"), Notice::All);
        for payload in ["**", "", ".", "a", "a.", ".b", "a.b.c", "a.b ", " a.b", "\"\".b", "\"a.b", "1a.b", "größe.t", "a.\"b\"c"]
        {
            assert_eq!(parse_payload(payload), Notice::Unknown, "{payload:?}");
        }
    }

    #[test]
    fn an_unknown_table_is_everything() {
        assert_eq!(Change::of(&table("public", "new"), None), Change::Everything);
        assert_eq!(Change::of(&table("public", "new"), Some(&Snapshot::default())), Change::Everything);
        assert_eq!(Change::of(&Notice::Unknown, None), Change::Everything);
        assert_eq!(Change::of(&Notice::All, None), Change::Catalog);
    }

    #[test]
    fn union_takes_the_larger_and_joins_lists() {
        use crate::pg::Oid;
        let list = |ids: &[u32]| Change::Relations(ids.iter().map(|id| RelationId(Oid(*id))).collect());
        assert_eq!(list(&[3]).union(list(&[1, 3])), list(&[1, 3]));
        assert_eq!(list(&[3]).union(Change::Nothing), list(&[3]));
        assert_eq!(Change::Nothing.union(list(&[3])), list(&[3]));
        assert_eq!(list(&[3]).union(Change::Everything), Change::Everything);
        assert_eq!(Change::Everything.union(Change::Catalog), Change::Catalog);
    }

    proptest! {
        #[test]
        fn quoted_names_come_back(schema in "[^\0]{1,8}", name in "[^\0]{1,8}") {
            let quote = |s: &str| format!("\"{}\"", s.replace('"', "\"\""));
            let payload = format!("{}.{}", quote(&schema), quote(&name));
            prop_assert_eq!(parse_payload(&payload), Notice::Table { schema, name });
        }

        #[test]
        fn any_text_is_read(payload in ".*") {
            let _ = parse_payload(&payload);
        }
    }
}
