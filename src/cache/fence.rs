//! Floor 1. Fences: a write's footprint, held up while its outcome is open.
//!
//! ```text
//!  raise ── bytes that can commit are sent ── ReadyForQuery ── lower ── the reply is released
//!             │
//!             └─ connection lost ── keep_up (bumped, still up) ── outcome known ── resolve (bumped, down)
//! ```
//! A fence that is dropped is one whose outcome nobody waited for: it is kept up.

use std::collections::BTreeMap;
use std::time::Instant;

use super::database::Database;
use super::versions::Slot;
use crate::invalidation::Footprint;

/// A raised fence. It ends by [`Fence::lower`] or [`Fence::keep_up`]; dropping it keeps it up.
#[must_use = "a fence that is dropped stays up until it is resolved"]
pub struct Fence {
    database: Database,
    footprint: Footprint,
    words: Vec<Slot>,
    /// The catalog version of a footprint that names relations.
    catalog: Option<u64>,
    origin: Origin,
    up: bool,
}

/// Who raised a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The server process that may commit.
    pub pid: i32,
    /// When the fence went up.
    pub since: Instant,
}

/// Names a fence that stayed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceId(pub u64);

/// Why a fence stayed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// The server connection was lost after bytes that can commit were sent.
    ServerLost,
    /// The one who held it went away without a word.
    Dropped,
    /// Too many fences stayed up; this one stands for the rest, over everything, until all servers are known to be gone.
    Overflow,
}

/// A fence that stayed up, as `/stats` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// For [`Database::resolve`].
    pub id: FenceId,
    /// Who raised it.
    pub origin: Origin,
    /// Why it stayed up.
    pub open: Open,
    /// What it covers.
    pub footprint: Footprint,
}

/// What a database knows of its fences. One small lock, held for a few instructions per write.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Fences over single relations, by the catalog version their footprint was made under.
    narrow: BTreeMap<u64, u32>,
    open: Vec<Kept>,
    next_id: u64,
}

#[derive(Debug)]
struct Kept {
    shown: Unresolved,
    words: Vec<Slot>,
    catalog: Option<u64>,
}

impl Fence {
    /// Before the first byte that can make the server commit. A footprint made under another catalog than the current
    /// one may be too small and is taken as everything.
    pub fn raise(database: &Database, footprint: &Footprint, origin: Origin) -> Self {
        let (footprint, catalog) = database.admit(footprint);
        let words = database.words(&footprint);
        words.iter().for_each(|word| word.raise());
        Self { database: database.clone(), footprint, words, catalog, origin, up: true }
    }

    /// At the ReadyForQuery that ends the group, before it is released, whatever the outcome was: new versions, and down.
    pub fn lower(mut self) {
        self.up = false;
        let fresh = self.database.fresh();
        self.words.iter().for_each(|word| word.lower(fresh));
        self.database.leave(self.catalog);
        self.database.count_invalidations(&self.footprint);
    }

    /// The outcome is unknown: new versions now, and the fence stays until [`Database::resolve`].
    pub fn keep_up(mut self, open: Open) -> Option<FenceId> {
        self.stay(open)
    }

    /// Whether it covers nothing.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    fn stay(&mut self, open: Open) -> Option<FenceId> {
        self.up = false;
        if self.words.is_empty() {
            return None;
        }
        let fresh = self.database.fresh();
        self.words.iter().for_each(|word| word.bump(fresh));
        let (words, catalog) = (std::mem::take(&mut self.words), self.catalog.take());
        let shown = Unresolved { id: FenceId(0), origin: self.origin, open, footprint: self.footprint.clone() };
        Some(self.database.keep(shown, words, catalog))
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        if self.up {
            let _listed = self.stay(Open::Dropped);
        }
    }
}

impl Open {
    /// The word in `/stats` and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServerLost => "server_lost",
            Self::Dropped => "dropped",
            Self::Overflow => "overflow",
        }
    }
}

impl Database {
    /// Fences whose outcome is open, oldest first.
    pub fn unresolved(&self) -> Vec<Unresolved> {
        self.book().lock().open.iter().map(|kept| kept.shown.clone()).collect()
    }

    /// The transaction behind a fence is known to have ended: new versions, and down. `false` if there is no such fence.
    pub fn resolve(&self, id: FenceId) -> bool {
        let mut book = self.book().lock();
        let Some(at) = book.open.iter().position(|kept| kept.shown.id == id) else {
            return false;
        };
        let kept = book.open.remove(at);
        drop(book);
        self.release(&kept);
        true
    }

    /// Every server process of before is known to be gone and no prepared transaction is left, as after a restart.
    pub fn resolve_all(&self) {
        let open = std::mem::take(&mut self.book().lock().open);
        open.iter().for_each(|kept| self.release(kept));
    }

    fn release(&self, kept: &Kept) {
        let fresh = self.fresh();
        kept.words.iter().for_each(|word| word.lower(fresh));
        self.leave(kept.catalog);
        self.count_invalidations(&kept.shown.footprint);
    }

    /// The footprint as it may be raised. One that names relations is entered in the book under its catalog version;
    /// the version is compared under the book's lock, see [`Database::catalog_mark`].
    fn admit(&self, footprint: &Footprint) -> (Footprint, Option<u64>) {
        let Footprint::Relations(relations) = footprint else {
            return (footprint.clone(), None);
        };
        let mut book = self.book().lock();
        if self.catalog_word().unfenced() != Some(relations.catalog()) {
            return (Footprint::Everything, None);
        }
        let held = book.narrow.entry(relations.catalog()).or_insert(0);
        *held = held.saturating_add(1);
        (footprint.clone(), Some(relations.catalog()))
    }

    fn leave(&self, catalog: Option<u64>) {
        let Some(version) = catalog else { return };
        let mut book = self.book().lock();
        let left = book.narrow.get(&version).map_or(0, |held| held.saturating_sub(1));
        if left == 0 {
            book.narrow.remove(&version);
        } else {
            book.narrow.insert(version, left);
        }
    }

    fn keep(&self, mut shown: Unresolved, words: Vec<Slot>, catalog: Option<u64>) -> FenceId {
        let mut book = self.book().lock();
        book.next_id += 1;
        shown.id = FenceId(book.next_id);
        let id = shown.id;
        if book.open.len() < MAX_UNRESOLVED {
            book.open.push(Kept { shown, words, catalog });
            return id;
        }
        // Full: one fence over everything takes the place of all further ones.
        let overflow = book.open.iter().find(|kept| kept.shown.open == Open::Overflow).map(|kept| kept.shown.id);
        let id = overflow.unwrap_or_else(|| {
            let everything = self.words(&Footprint::Catalog);
            everything.iter().for_each(|word| word.raise());
            let shown = Unresolved { open: Open::Overflow, footprint: Footprint::Catalog, ..shown };
            book.open.push(Kept { shown, words: everything, catalog: None });
            id
        });
        drop(book);
        let fresh = self.fresh();
        words.iter().for_each(|word| word.lower(fresh));
        self.leave(catalog);
        id
    }

    /// The catalog version that a [`crate::query::Snapshot`] read from now on must carry. `None` while a change of the
    /// catalog is on its way, or while writes are, whose footprints were made under an older one: they would not cover
    /// what a reader finds under the new names. Try again a moment later.
    ///
    /// The book's lock orders this against [`Fence::raise`]: a fence that compared the catalog version before it moved is
    /// in the book and seen here; one that compares it later finds it moved and covers everything.
    pub fn catalog_mark(&self) -> Option<u64> {
        let book = self.book().lock();
        let version = self.catalog_word().unfenced()?;
        book.narrow.keys().all(|held| *held == version).then_some(version)
    }
}

/// More than any pool has servers.
const MAX_UNRESOLVED: usize = 4096;
