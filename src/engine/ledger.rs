//! Floor 2. The reply ledger: for each message sent to a server, whose reply it is.
//!
//! One queue per server connection. Postgres answers in order, so the head of the queue always owns the next reply that
//! is not asynchronous. What the queue has to know beyond that:
//!
//! * after an error in the extended protocol the server drops everything up to Sync: so does the queue, and it hands
//!   back what must be undone, newest first;
//! * a Query or FunctionCall that is dropped this way owes no ReadyForQuery;
//! * in COPY FROM STDIN the server swallows Sync and Flush until CopyDone or CopyFail, and such a Sync owes nothing. When
//!   the COPY fails it cannot be told how many of them it had swallowed: the ledger is then *uncertain*, and a marker of
//!   our own finds out before the server is used again;
//! * answers that are made locally ([`Ask::Local`]) wait for their turn in the same queue, which is bounded for their sake.

use std::collections::VecDeque;

use super::undo::Undo;
use crate::plan::PlanId;
use crate::wire::backend::tag;

/// What was asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Parse.
    Parse,
    /// Bind.
    Bind,
    /// Describe of a statement or a portal.
    Describe,
    /// Execute.
    Execute,
    /// Close of a statement or a portal.
    Close,
    /// Sync: owes ReadyForQuery.
    Sync,
    /// Query: owes ReadyForQuery.
    Query,
    /// FunctionCall: owes ReadyForQuery.
    FunctionCall,
    /// CopyDone or CopyFail: owes nothing.
    CopyEnd,
    /// Nothing was asked: the answer is known, and given when all before it has been answered.
    Local(Local),
}

/// Answers that pgdial gives itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// The statement is prepared already.
    ParseComplete,
    /// The statement was only ever virtual.
    CloseComplete,
}

/// To whom the replies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// To the client.
    Client,
    /// To the client, and a copy to the cache.
    Capture,
    /// Sent on the client's behalf: success is swallowed, an error is the client's.
    Inject,
    /// Sent to learn what a statement of the client's looks like: swallowed and remembered.
    Learn,
    /// pgdial's own business between transactions: all swallowed, an error condemns the server.
    Own,
    /// The server's settings become the client's: all swallowed, an error condemns the server.
    Adapt,
    /// What the client's transaction has left behind: the row is read, an error is no harm.
    Inquire,
}

impl Owner {
    /// A group of pgdial's own, of which the client has heard nothing.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Own | Self::Adapt | Self::Inquire)
    }
}

/// One entry.
#[derive(Debug)]
pub struct Owed {
    /// What was asked.
    pub ask: Ask,
    /// Whose reply.
    pub owner: Owner,
    /// Tells, with [`hint_of`], which of the client's names the message had: several may stand for one plan.
    pub hint: u32,
    /// What to take back if the server does not do it.
    pub undo: Option<Box<Undo>>,
    /// What that keeps of memory.
    held: usize,
}

/// What a message from the server is.
#[derive(Debug)]
pub enum Receipt {
    /// Part of the head's reply; more follows.
    Part(Owner),
    /// The end of the head's reply.
    End(Owed),
    /// The head failed, and what stood behind it up to Sync is skipped.
    Failed {
        /// Whose message failed.
        owner: Owner,
        /// The name it had, see [`Owed`].
        hint: u32,
        /// What it had changed.
        own: Option<Box<Undo>>,
        /// What the skipped ones had changed, newest first.
        skipped: Vec<Undo>,
    },
    /// An error with nothing outstanding: the server is about to hang up.
    Unasked,
}

/// The server said something that no message of ours can have caused.
#[derive(Debug, PartialEq, Eq)]
pub struct Desync {
    /// The message's tag.
    pub tag: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Copy {
    #[default]
    None,
    /// The server reads CopyData.
    Open,
    /// The client has ended it; the outcome is awaited.
    Ended,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    queue: VecDeque<Owed>,
    /// Entries in the queue that have something to take back.
    undos: usize,
    /// What they keep of memory.
    held: usize,
    skipping: bool,
    /// Entries ever pushed: numbers them.
    pushed: u64,
    /// The number of the last one that the client has sent Flush behind.
    flushed: u64,
    copy: Copy,
    swallowed_syncs: u32,
    uncertain: bool,
}

impl Ledger {
    /// Nothing is outstanding in either direction: the server may go to somebody else.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.skipping && self.copy == Copy::None && !self.uncertain
    }

    /// Every message has been answered.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The server drops what we send up to the next Sync.
    pub fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// The server is in COPY FROM STDIN and the client has not ended it.
    pub fn is_copy_open(&self) -> bool {
        self.copy == Copy::Open
    }

    /// A COPY FROM STDIN has been ended that had swallowed a Sync. If it failed, that may have been before the Sync: whether
    /// what is sent now would be skipped cannot be told.
    pub(super) fn is_copy_outcome_open(&self) -> bool {
        self.copy == Copy::Ended && self.swallowed_syncs > 0
    }

    /// It is not known how many ReadyForQuery are still to come.
    pub fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    /// A marker has been sent that will settle the uncertainty.
    pub fn mark(&mut self) {
        self.uncertain = false;
        self.push(Ask::Close, Owner::Own, None);
        self.push(Ask::Sync, Owner::Own, None);
    }

    /// The message sent last ends a batch: the server will say ReadyForQuery after it.
    pub fn ends_with_sync(&self) -> bool {
        self.queue.back().is_some_and(|owed| matches!(owed.ask, Ask::Sync | Ask::Query | Ask::FunctionCall))
    }

    /// Flush has been sent.
    pub(super) fn flush(&mut self) {
        self.flushed = self.pushed;
    }

    /// The server will say something without being sent more: a ReadyForQuery, or what Flush has asked for. The `last` entries
    /// are still being sent.
    pub fn owes_answers(&self, last: usize) -> bool {
        if self.copy == Copy::Open {
            return false;
        }
        let sent = self.queue.iter().rev().skip(last);
        !self.is_past(self.flushed) || sent.into_iter().any(|owed| matches!(owed.ask, Ask::Sync | Ask::Query | Ask::FunctionCall))
    }

    /// Messages outstanding.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Notes a message that goes to the server. Not for the time of [`Ledger::is_copy_open`], see [`Ledger::copy_message`].
    pub fn push(&mut self, ask: Ask, owner: Owner, undo: Option<Box<Undo>>) {
        if ask == Ask::Sync {
            self.skipping = false;
        }
        self.pushed += 1;
        self.undos += usize::from(undo.is_some());
        let held = undo.as_ref().map_or(0, |undo| undo.weight());
        self.held += held;
        self.queue.push_back(Owed { ask, owner, hint: 0, undo, held });
    }

    /// Notes which of the client's statement names the message had that was pushed last.
    pub fn hint_last(&mut self, name: &[u8]) {
        if let Some(last) = self.queue.back_mut() {
            last.hint = hint_of(name);
        }
    }

    fn take(&mut self) -> Option<Owed> {
        let owed = self.queue.pop_front()?;
        self.undos -= usize::from(owed.undo.is_some());
        self.held -= owed.held;
        Some(owed)
    }

    /// So much is unanswered that the client has to wait: what stands here costs it a few bytes each, or nothing.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= ENTRIES_MAX || self.held >= HELD_MAX
    }

    /// Whether anything outstanding may have to be taken back.
    pub(super) fn has_undos(&self) -> bool {
        self.undos > 0
    }

    /// What may have to be taken back, of batches before the one that is being sent.
    pub(super) fn undos_of_earlier_batches(&self) -> impl Iterator<Item = &Undo> {
        let end = self.queue.iter().rposition(|owed| owed.ask == Ask::Sync).unwrap_or(0);
        self.queue.iter().take(end).filter_map(|owed| owed.undo.as_deref())
    }

    /// Whether a batch before the one that is being sent is still unanswered.
    pub(super) fn has_earlier_batch(&self) -> bool {
        self.queue.iter().any(|owed| matches!(owed.ask, Ask::Sync | Ask::Query | Ask::FunctionCall))
    }

    /// All that may have to be taken back, oldest first.
    pub(super) fn undos(&self) -> impl Iterator<Item = &Undo> + Clone {
        self.queue.iter().filter_map(|owed| owed.undo.as_deref())
    }

    /// Whether an earlier batch decides what the unnamed statement is.
    pub(super) fn is_unnamed_open(&self) -> bool {
        for owed in self.queue.iter().rev() {
            if owed.undo.as_ref().is_some_and(|undo| undo.concerns_unnamed()) {
                return self.undos_of_earlier_batches().any(Undo::concerns_unnamed) && !self.sets_unnamed_in_this_batch();
            }
        }
        false
    }

    /// A Close of the client's is not enough: it says nothing of what the server holds.
    fn sets_unnamed_in_this_batch(&self) -> bool {
        let this_batch = self.queue.iter().rev().take_while(|owed| owed.ask != Ask::Sync);
        this_batch.filter_map(|owed| owed.undo.as_deref()).any(|undo| undo.server_before().is_some())
    }

    /// The oldest outstanding changes that satisfy `concerns`: they were made on top of one that is being taken back.
    pub(super) fn later_undo(&mut self, concerns: impl Fn(&Undo) -> bool) -> Option<&mut Undo> {
        self.queue.iter_mut().filter_map(|owed| owed.undo.as_deref_mut()).find(|undo| concerns(undo))
    }

    /// Tells the first Close of the plan that is outstanding whether there is anything to close: if it is skipped, that is
    /// what stays. False when there is none.
    pub(super) fn mark_evicted(&mut self, plan: PlanId, is_absent: bool) -> bool {
        match self.later_undo(|undo| matches!(undo, Undo::Evicted { id, .. } if *id == plan)) {
            Some(Undo::Evicted { absent, .. }) => {
                *absent = is_absent;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The number of the entry pushed last.
    pub fn last_index(&self) -> u64 {
        self.pushed
    }

    /// Whether the entry of that number has been answered.
    pub fn is_past(&self, index: u64) -> bool {
        self.pushed - self.queue.len() as u64 >= index
    }

    /// Notes a message that goes to a server in COPY FROM STDIN: it reads Sync and Flush without a word, is ended by
    /// CopyDone and CopyFail, and fails on anything else.
    pub fn copy_message(&mut self, ask: Option<Ask>) {
        match ask {
            Some(Ask::Sync) => self.swallowed_syncs += 1,
            None => {}
            Some(_) => self.copy = Copy::Ended,
        }
    }

    /// Takes the local answers that have come to the front.
    pub fn next_local(&mut self) -> Option<Local> {
        loop {
            let head = self.queue.front()?;
            match head.ask {
                Ask::Local(local) => {
                    self.take();
                    return Some(local);
                }
                // A CopyDone that no COPY was waiting for: the server ignores it as well.
                Ask::CopyEnd => {
                    self.take();
                }
                Ask::Parse
                | Ask::Bind
                | Ask::Describe
                | Ask::Execute
                | Ask::Close
                | Ask::Sync
                | Ask::Query
                | Ask::FunctionCall => {
                    return None;
                }
            }
        }
    }

    /// The head's owner, for messages that are not looked at (rows).
    pub fn owner(&self) -> Option<Owner> {
        self.queue.front().map(|owed| owed.owner)
    }

    /// What the message that is being answered now would take back.
    pub(super) fn head_undo(&self) -> Option<&Undo> {
        self.queue.front()?.undo.as_deref()
    }

    /// What is being answered now.
    pub fn head(&self) -> Option<Ask> {
        self.queue.front().map(|owed| owed.ask)
    }

    /// A message from the server, other than an asynchronous one.
    pub fn receive(&mut self, message: u8) -> Result<Receipt, Desync> {
        let desync = Desync { tag: message };
        if message == tag::ERROR_RESPONSE {
            return Ok(self.fail());
        }
        let Some(head) = self.queue.front() else {
            // After a COPY failed: the ReadyForQuery of a Sync that it had not swallowed after all.
            return if message == tag::READY_FOR_QUERY && self.uncertain {
                self.skipping = false;
                Ok(Receipt::Part(Owner::Client))
            } else {
                Err(desync)
            };
        };
        let owner = head.owner;
        match (message, head.ask) {
            (tag::PARSE_COMPLETE, Ask::Parse)
            | (tag::BIND_COMPLETE, Ask::Bind)
            | (tag::CLOSE_COMPLETE, Ask::Close)
            | (tag::NO_DATA | tag::ROW_DESCRIPTION, Ask::Describe)
            | (tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED, Ask::Execute)
            | (tag::READY_FOR_QUERY, Ask::Sync | Ask::Query | Ask::FunctionCall) => self.pop(desync),
            (tag::COMMAND_COMPLETE, Ask::Execute) => {
                self.end_copy();
                self.pop(desync)
            }
            (tag::COMMAND_COMPLETE, Ask::Query) => {
                self.end_copy();
                Ok(Receipt::Part(owner))
            }
            (tag::COPY_IN_RESPONSE, Ask::Execute | Ask::Query) => {
                self.begin_copy();
                Ok(Receipt::Part(owner))
            }
            (tag::PARAMETER_DESCRIPTION, Ask::Describe)
            | (tag::EMPTY_QUERY_RESPONSE | tag::ROW_DESCRIPTION, Ask::Query)
            | (tag::FUNCTION_CALL_RESPONSE, Ask::FunctionCall)
            | (
                tag::DATA_ROW | tag::COPY_OUT_RESPONSE | tag::COPY_DATA | tag::COPY_DONE | tag::COPY_BOTH_RESPONSE,
                Ask::Execute | Ask::Query,
            ) => Ok(Receipt::Part(owner)),
            // The marker was sent while the server still owed the client for a Sync that a failed COPY had not read.
            (tag::READY_FOR_QUERY, Ask::Close) if owner == Owner::Own => Ok(Receipt::Part(Owner::Client)),
            _ => Err(desync),
        }
    }

    fn pop(&mut self, desync: Desync) -> Result<Receipt, Desync> {
        self.take().map(Receipt::End).ok_or(desync)
    }

    fn fail(&mut self) -> Receipt {
        let Some(head) = self.take() else {
            return Receipt::Unasked;
        };
        let Owed { ask, owner, hint, undo, .. } = head;
        let mut skipped = Vec::new();
        self.uncertain |= self.copy != Copy::None && self.swallowed_syncs > 0;
        self.end_copy();
        match ask {
            // These answer ReadyForQuery after their error, and nothing behind them is skipped.
            Ask::Sync | Ask::Query | Ask::FunctionCall => self.queue.push_front(Owed { ask, owner, hint, undo: None, held: 0 }),
            Ask::Parse | Ask::Bind | Ask::Describe | Ask::Execute | Ask::Close | Ask::CopyEnd | Ask::Local(_) => {
                self.skip_to_sync(&mut skipped)
            }
        }
        skipped.reverse();
        Receipt::Failed { owner, hint, own: undo, skipped }
    }

    fn skip_to_sync(&mut self, skipped: &mut Vec<Undo>) {
        while self.head().is_some_and(|ask| ask != Ask::Sync) {
            skipped.extend(self.take().and_then(|owed| owed.undo).map(|undo| *undo));
        }
        self.skipping = self.queue.is_empty();
    }

    fn begin_copy(&mut self) {
        self.copy = Copy::Open;
        self.swallowed_syncs = 0;
        while let Some(next) = self.queue.get(1).map(|owed| owed.ask) {
            match next {
                Ask::Sync => self.swallowed_syncs += 1,
                Ask::CopyEnd => self.copy = Copy::Ended,
                Ask::Parse
                | Ask::Bind
                | Ask::Describe
                | Ask::Execute
                | Ask::Close
                | Ask::Query
                | Ask::FunctionCall
                | Ask::Local(_) => return,
            }
            self.queue.remove(1);
            if self.copy == Copy::Ended {
                return;
            }
        }
    }

    fn end_copy(&mut self) {
        self.copy = Copy::None;
        self.swallowed_syncs = 0;
    }
}

/// More than any driver has under way at once.
const ENTRIES_MAX: usize = 16 * 1024;
/// Texts of statements that have been replaced or closed.
const HELD_MAX: usize = 16 << 20;

/// A short hash: a wrong guess costs a name in an error text, where two names stand for one plan.
pub(super) fn hint_of(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
