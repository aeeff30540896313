//! Floor 1. From text to [`Statement`], by the real grammar, once per shape.
//!
//! A single SELECT, INSERT, UPDATE, DELETE or MERGE is remembered by its shape, since nothing in its [`Statement`] depends on
//! the value of a literal (words for the present have a class of their own). Anything else may (`SET x = 'y'`), and is remembered by its text.

mod large;
mod setting;
mod utility;
mod walk;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use super::{Kind, LiteralClass, Shape, Shown, Statement, scan};

/// Longer texts are not parsed: the parser takes a hundred times the text's size in memory.
const MAX_TEXT: usize = 64 * 1024;
const SHARDS: usize = 16;

/// Says what a text may do, remembering the answer. One for the whole process: a text means the same in every database.
pub struct Classifier {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

impl Default for Classifier {
    fn default() -> Self {
        Self::new(10_000, 32 << 20)
    }
}

impl Classifier {
    /// Remembers at most `entries` texts and about `bytes` bytes.
    pub fn new(entries: usize, bytes: usize) -> Self {
        let shard = || Mutex::new(Shard::new(entries.div_ceil(SHARDS), bytes.div_ceil(SHARDS)));
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect(), hasher: RandomState::new() }
    }

    /// What `sql` may do. `scs` is the session's standard_conforming_strings. Never fails: what is not understood is opaque.
    pub fn classify(&self, sql: &[u8], scs: bool) -> Arc<Statement> {
        let mut shape = Shape::default();
        if scan(sql, scs, &mut shape).is_err() {
            return Arc::new(Statement::opaque());
        }
        self.classify_shape(sql, &shape)
    }

    /// The same for a text that was scanned already: `shape` is what [`scan`] made of `sql`.
    pub fn classify_shape(&self, sql: &[u8], shape: &Shape) -> Arc<Statement> {
        if sql.len() > MAX_TEXT {
            let mut statement = large::describe(shape).unwrap_or_else(Statement::opaque);
            statement.shown = Shown::new(&shape.text);
            return Arc::new(statement);
        }
        let key = if depends_on_shape_alone(shape) { Key::Shape(&shape.text) } else { Key::Text(sql) };
        // A text of this shape may be one that the parser refused before.
        if let Some(known) = self.get(key).or_else(|| self.get(Key::Text(sql))) {
            return known;
        }
        let (mut statement, key) = match parse(sql, shape) {
            // A setting's name is a literal, and which one it is makes a difference.
            Some(statement) if statement.sets_local || !statement.settings.is_empty() => (statement, Key::Text(sql)),
            Some(statement) => (statement, key),
            // Whether the parser fails may depend on a literal (a bad escape): remembered for this text only.
            None => (Statement::opaque(), Key::Text(sql)),
        };
        statement.shown = Shown::new(&shape.text);
        let statement = Arc::new(statement);
        self.put(key, &statement);
        statement
    }

    /// How many texts are remembered, and the bytes they take.
    pub fn usage(&self) -> (usize, usize) {
        self.shards.iter().map(|shard| shard.lock().usage()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    }

    fn get(&self, key: Key<'_>) -> Option<Arc<Statement>> {
        self.shard(key)?.lock().get(key)
    }

    fn put(&self, key: Key<'_>, statement: &Arc<Statement>) {
        if let Some(shard) = self.shard(key) {
            shard.lock().put(key, Arc::clone(statement));
        }
    }

    fn shard(&self, key: Key<'_>) -> Option<&Mutex<Shard>> {
        let hash = self.hasher.hash_one(key.bytes());
        self.shards.get(usize::try_from(hash % SHARDS as u64).unwrap_or(0))
    }
}

/// One statement that can only be SELECT, INSERT, UPDATE, DELETE or MERGE.
fn depends_on_shape_alone(shape: &Shape) -> bool {
    const VERBS: [&[u8]; 8] = [b"select", b"insert", b"update", b"delete", b"with", b"values", b"merge", b"table"];
    let end = shape.text.iter().position(|b| !b.is_ascii_alphabetic()).unwrap_or(shape.text.len());
    let word = shape.text.get(..end).unwrap_or_default();
    let is_dml = VERBS.iter().any(|verb| verb.eq_ignore_ascii_case(word)) || shape.text.first() == Some(&b'(');
    is_dml && !shape.several
}

/// `None`: the parser did not understand it, or it nests deeper than the parser's tree can be read.
fn parse(sql: &[u8], shape: &Shape) -> Option<Statement> {
    let text = std::str::from_utf8(sql).ok()?;
    let parsed = pg_query::parse(text, 0).ok()?;
    let mut statements = parsed.protobuf.stmts.iter().map(|raw| {
        let node = raw.stmt.as_ref()?.node.as_ref()?;
        utility::describe(node)
    });
    let mut statement = match statements.next() {
        None => Statement { count: 0, ..Statement::empty(Kind::Empty) },
        Some(first) => first?,
    };
    for other in statements {
        statement = united(statement, other?);
    }
    statement.time_words = shape.literals.iter().any(|literal| literal.class == LiteralClass::TimeWord);
    Some(statement)
}

/// Two statements of one text.
fn united(mut a: Statement, b: Statement) -> Statement {
    let writes_unknown = a.writes_unknown() || b.writes_unknown();
    a.kind = Kind::Opaque;
    a.count += b.count;
    a.effects |= b.effects;
    a.transaction = None;
    a.setting = None;
    a.statement_name = None;
    if let Some(body) = b.body {
        match a.body.as_mut() {
            Some(first) => {
                first.traces.add(&body.traces);
                first.calls.extend(body.calls);
            }
            None => a.body = Some(body),
        }
    }
    a.settings.extend(b.settings);
    a.local_settings.extend(b.local_settings);
    a.setting_parameters.extend(b.setting_parameters);
    a.reads.extend(b.reads);
    a.writes.extend(b.writes);
    a.cte_names.extend(b.cte_names);
    a.functions.extend(b.functions);
    a.fields.extend(b.fields);
    a.types.extend(b.types);
    a.operators.extend(b.operators);
    a.locking |= b.locking;
    a.value_functions |= b.value_functions;
    a.writes_in_cte |= b.writes_in_cte;
    a.system_columns |= b.system_columns;
    a.sampling |= b.sampling;
    a.sees_statements |= b.sees_statements;
    a.sees_session |= b.sees_session;
    a.sets_local |= b.sets_local;
    a.listens.extend(b.listens);
    a.copy = a.copy.or(b.copy);
    a.single_read = false;
    a.may_write |= b.may_write;
    a.self_committing = true;
    a.parameters = None;
    if writes_unknown {
        a.writes.clear();
    }
    a
}

/// What a statement is remembered by. Compared whole.
#[derive(Clone, Copy)]
enum Key<'a> {
    Shape(&'a [u8]),
    Text(&'a [u8]),
}

impl<'a> Key<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Shape(bytes) | Self::Text(bytes) => bytes,
        }
    }
}

type Known = LruCache<Box<[u8]>, Arc<Statement>>;

struct Shard {
    shapes: Known,
    texts: Known,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

impl Shard {
    fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { shapes: LruCache::unbounded(), texts: LruCache::unbounded(), bytes: 0, max_entries, max_bytes }
    }

    fn usage(&self) -> (usize, usize) {
        (self.shapes.len() + self.texts.len(), self.bytes)
    }

    fn get(&mut self, key: Key<'_>) -> Option<Arc<Statement>> {
        match key {
            Key::Shape(bytes) => self.shapes.get(bytes),
            Key::Text(bytes) => self.texts.get(bytes),
        }
        .map(Arc::clone)
    }

    fn put(&mut self, key: Key<'_>, statement: Arc<Statement>) {
        self.bytes += weight(key.bytes(), &statement);
        let replaced = match key {
            Key::Shape(bytes) => self.shapes.put(bytes.into(), statement),
            Key::Text(bytes) => self.texts.put(bytes.into(), statement),
        };
        if let Some(old) = replaced {
            self.bytes = self.bytes.saturating_sub(weight(key.bytes(), &old));
        }
        while self.bytes > self.max_bytes || self.usage().0 > self.max_entries {
            // Texts go first: most of them are seen once.
            let Some((key, old)) = self.texts.pop_lru().or_else(|| self.shapes.pop_lru()) else {
                return;
            };
            self.bytes = self.bytes.saturating_sub(weight(&key, &old));
        }
    }
}

fn weight(key: &[u8], statement: &Statement) -> usize {
    key.len() + statement.weight() + 128
}

#[cfg(test)]
mod tests;
