//! Floor 2. The cache's side of a connection: what this transaction may have written, which fences are up for it, and
//! which read is being kept.

use std::sync::Arc;

use crate::cache::{Answer, Fence, FillPermit, Joined, KeyBuilder, NoCache, Open, Origin};
use crate::invalidation::{Footprint, Names};
use crate::query::Statement;
use crate::session::Pin;
use crate::wire::backend::tag;

use super::Engine;
use super::ledger::Owner;
use super::shared::{CacheShared, Reader};

/// Present while the cache is on.
pub(super) struct Reads {
    /// With which eyes the session reads.
    pub(super) reader: Arc<Reader>,
    /// The same without the session's own settings.
    base: Arc<Reader>,
    pub(super) key: KeyBuilder,
    /// What the open transaction, or the batch that is being sent, may have written.
    written: Footprint,
    /// Up since before the first byte that could commit; down at the ReadyForQuery that finds nothing outstanding.
    fences: Vec<Fence>,
    /// The fences cover all of `written`.
    covered: bool,
    /// The read that is on its way, and what has come of it.
    fill: Option<Fill>,
    /// The flight that was waited for is over.
    pub(super) joined: Option<Joined>,
    /// The batch that begins next goes to a server, whatever memory may say by then: a reader that holds a server must
    /// not wait for one that needs it.
    pub(super) decided: bool,
}

struct Fill {
    permit: FillPermit,
    kept: Vec<u8>,
    columns: Option<usize>,
    tag_at: usize,
    rows: u64,
}

impl Reads {
    pub(super) fn new(cache: &CacheShared, reader: Arc<Reader>) -> Self {
        Self {
            base: Arc::clone(&reader),
            reader,
            key: cache.database.key_builder(),
            written: Footprint::Nothing,
            fences: Vec::new(),
            covered: false,
            fill: None,
            joined: None,
            decided: false,
        }
    }

    /// Something that may have written, or may still write, is under way.
    pub(super) fn is_writing(&self) -> bool {
        !self.fences.is_empty() || !self.written.is_nothing()
    }

    pub(super) fn begin_fill(&mut self, permit: FillPermit) {
        self.fill = Some(Fill { permit, kept: Vec::new(), columns: None, tag_at: 0, rows: 0 });
    }
}

impl Engine {
    /// Adds what the statement may write to the transaction's footprint, and raises its fence at once if the statement
    /// can commit by itself.
    pub(super) fn note_for_cache(&mut self, class: &Arc<Statement>) {
        let (Some(cache), Some(reads)) = (self.shared.cache.as_ref(), self.reads.as_mut()) else { return };
        if self.session.pins.has(Pin::SessionMode) && cache.calls_user_code(class) {
            // It may have left settings behind, and in this mode the client may rely on them.
            self.session.pins.add(Pin::OpaqueSettings);
        }
        let names = if self.session.pins.has(Pin::TempTable) {
            Names::AnyOrTemporary
        } else if self.aftermath.is_some() || self.local_settings || self.session.pins.has(Pin::OpaqueSettings) {
            // Its search_path and role may be others by now.
            Names::AnySchema
        } else {
            Names::AtLogin
        };
        reads.add(cache.footprint(class, &reads.reader, names));
        if class.transaction.is_some() || class.self_committing {
            self.raise_fences();
        }
    }

    /// A statement that is only known to the server.
    pub(super) fn note_unknown_for_cache(&mut self) {
        if let Some(reads) = self.reads.as_mut() {
            reads.add(Footprint::Catalog);
        }
    }

    /// Before bytes that may commit are written.
    pub(super) fn raise_fences(&mut self) {
        let in_block = self.status == crate::pg::TransactionStatus::InTransaction && !self.unsettled;
        let (Some(cache), Some(reads)) = (self.shared.cache.as_ref(), self.reads.as_mut()) else { return };
        if in_block || reads.covered || reads.written.is_nothing() {
            return;
        }
        let pid = self.server.as_ref().and_then(|server| server.key.as_ref()).map_or(0, |key| key.pid);
        let origin = Origin { pid, since: self.now };
        reads.fences.push(Fence::raise(&cache.database, &reads.written, origin));
        reads.covered = true;
    }

    /// Nothing is outstanding any more: whatever was to be committed is, or never will be.
    pub(super) fn lower_fences(&mut self) {
        let idle = self.status == crate::pg::TransactionStatus::Idle;
        let Some(reads) = self.reads.as_mut() else { return };
        reads.covered = false;
        if idle {
            reads.written = Footprint::Nothing;
        }
        reads.fences.drain(..).for_each(Fence::lower);
    }

    /// The server is gone with an unknown outcome: fences stay up until somebody has asked Postgres.
    pub(super) fn lose_reads(&mut self) {
        let Some(reads) = self.reads.as_mut() else { return };
        reads.fill = None;
        reads.joined = None;
        reads.covered = false;
        reads.written = Footprint::Nothing;
        for fence in reads.fences.drain(..) {
            fence.keep_up(Open::ServerLost);
        }
    }

    /// The server that was leased reads with these settings.
    pub(super) fn read_as(&mut self, reader: &Arc<Reader>) {
        if let Some(reads) = self.reads.as_mut() {
            reads.base = Arc::clone(reader);
        }
        self.read_under_settings();
    }

    /// The session's own settings are others, or its server's are.
    pub(super) fn read_under_settings(&mut self) {
        let (Some(cache), Some(reads)) = (self.shared.cache.as_ref(), self.reads.as_mut()) else { return };
        let reader = cache.reader_under(&reads.base, &self.session.settings);
        if !Arc::ptr_eq(&reads.reader, &reader) {
            // What is to be kept was keyed under other settings than it will be read with.
            reads.fill = None;
            reads.reader = reader;
        }
    }

    /// Who is to have the reply of the read that is being sent.
    pub(super) fn reading_owner(&self) -> Owner {
        match self.reads.as_ref() {
            Some(reads) if reads.fill.is_some() => Owner::Capture,
            _ => Owner::Client,
        }
    }

    /// Bytes of the reply that is to be kept.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        let now = self.now;
        let Some(reads) = self.reads.as_mut() else { return };
        let Some(fill) = reads.fill.as_mut() else { return };
        fill.kept.extend_from_slice(bytes);
        if fill.kept.len() as u64 > fill.permit.max_bytes()
            && let Some(fill) = reads.fill.take()
        {
            let _refused = fill.permit.too_large(now);
        }
    }

    /// A message whose bytes [`Engine::keep`] is about to get.
    pub(super) fn note_kept(&mut self, message: u8, len: usize) {
        let Some(fill) = self.reads.as_mut().and_then(|reads| reads.fill.as_mut()) else { return };
        match message {
            tag::ROW_DESCRIPTION if fill.kept.is_empty() => fill.columns = Some(len),
            tag::DATA_ROW => fill.rows += 1,
            tag::COMMAND_COMPLETE => fill.tag_at = fill.kept.len(),
            // Nothing else belongs to the reply of a single read.
            tag::READY_FOR_QUERY | tag::NO_DATA => {}
            _ => self.fail_fill(),
        }
    }

    /// CommandComplete has been kept: the answer is whole.
    pub(super) fn publish_fill(&mut self) {
        let now = self.now;
        let Some(fill) = self.reads.as_mut().and_then(|reads| reads.fill.take()) else { return };
        let Fill { permit, kept, columns, tag_at, rows } = fill;
        let columns_end = columns.unwrap_or(0);
        let answer = Answer {
            columns: columns.and_then(|end| kept.get(..end)),
            rows: kept.get(columns_end..tag_at).unwrap_or_default(),
            tag: kept.get(tag_at..).unwrap_or_default(),
            row_count: rows,
        };
        let _published = permit.publish(&answer, now);
    }

    /// The client does not take what it is sent: others that wait for the same answer go on their own.
    pub fn client_stalls(&mut self) {
        if let Some(fill) = self.reads.as_mut().and_then(|reads| reads.fill.as_mut()) {
            fill.permit.let_go();
        }
    }

    /// The read has failed, or has said something that a later reader would miss.
    pub(super) fn fail_fill(&mut self) {
        if let Some(reads) = self.reads.as_mut() {
            reads.fill = None;
        }
    }

    pub(super) fn bypass(&self, reason: NoCache) {
        tracing::trace!(reason = reason.as_str(), "not from memory");
        if let Some(cache) = self.shared.cache.as_ref() {
            cache.database.count_bypass(reason);
        }
    }

    /// The flight that [`super::Want::Flight`] spoke of is over; the client's bytes are to be presented again.
    pub fn joined(&mut self, outcome: Joined) {
        if let Some(reads) = self.reads.as_mut() {
            reads.joined = Some(outcome);
        }
    }

    /// Nothing that was read before counts any more.
    pub(super) fn forget_everything(&self) {
        if let Some(cache) = self.shared.cache.as_ref() {
            cache.database.bump_everything();
        }
    }

    /// The client is gone: a commit of its that is still open must not be forgotten.
    pub(super) fn abandon_reads(&mut self) {
        self.lose_reads();
    }
}

impl Reads {
    fn add(&mut self, more: Footprint) {
        if more.is_nothing() {
            return;
        }
        let before = std::mem::replace(&mut self.written, Footprint::Nothing);
        let all = before.clone().union(more);
        // A client that pipelines without end must not raise a fence for each of its writes: their number is bounded.
        self.covered &= all == before;
        self.written = all;
    }
}
