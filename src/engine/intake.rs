//! Floor 2. The client's bytes, message by message: what can be done now, what must wait, what needs a server.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, Kind as ErrorKind};
use crate::pg::TransactionStatus;
use crate::query::{CopyKind, Effects, Kind, Statement};
use crate::wire::Header;
use crate::wire::frontend::{Query, tag};

use super::depend::sees_names;
use super::ledger::{Ask, Owner};
use super::message::{Message, check_kind, enough_of, is_known};
use super::route::Route;
use super::sequences::Before;
use super::{Doubt, Engine, Rest, Sink, Stall, Taken, Want, synth};

/// What the named statements of one client may take.
const STATEMENTS_MAX: usize = 128 << 20;

impl Engine {
    /// Takes bytes of the client. What is not consumed must be presented again, with more behind it.
    pub fn on_client(&mut self, input: &[u8], now: Instant) -> Result<Taken, Error> {
        self.now = now;
        let mut route = Route::new(input);
        let mut at = 0;
        let want = loop {
            let rest = input.get(at..).unwrap_or_default();
            if self.rest_in.left > 0 {
                let taken = self.pass_rest(at, rest.len(), &mut route);
                at += taken;
                if taken == 0 {
                    break Want::Input { room: 0 };
                }
                continue;
            }
            match self.next_message(at, rest, &mut route)? {
                Next::Took(n) => at += n,
                Next::Wants(want) => break want,
            }
        };
        Ok(Taken { consumed: at, relay: route.into_relay(), want })
    }

    fn pass_rest(&mut self, at: usize, available: usize, route: &mut Route<'_>) -> usize {
        let n = self.rest_in.left.min(available);
        self.rest_in.left -= n;
        if self.rest_in.to != Sink::Drop && n > 0 {
            route.verbatim(at..at + n, &mut self.server_out);
        }
        if n > 0 && self.rest_in.left == 0 {
            if self.rest_in.to == Sink::Drop { self.offer_release() } else { self.passed(route) }
        }
        n
    }

    /// Half a message is on its way to the server: nothing may come between it and its end.
    pub(super) fn is_passing(&self) -> bool {
        self.rest_in.left > 0 && self.rest_in.to != Sink::Drop
    }

    /// If it was data of a COPY that had failed before all of it was here, the transaction's end has waited for that.
    fn passed(&mut self, route: &mut Route<'_>) {
        let over = self.server.as_ref().is_some_and(|server| server.ledger.is_empty() && !server.ledger.is_skipping());
        if over && self.status == TransactionStatus::Idle && !self.open_batch {
            route.settle(&mut self.server_out);
            self.settle_server();
        }
    }

    fn next_message(&mut self, at: usize, rest: &[u8], route: &mut Route<'_>) -> Result<Next, Error> {
        let header = match Header::peek(rest).map_err(Error::from).and_then(check_kind) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(Next::Wants(Want::Input { room: Header::LEN })),
            Err(_) if self.is_copy_open() && rest.first().is_some_and(|tag| !is_known(*tag)) => {
                // Postgres has its own words for that, and hangs up.
                if let Some(server) = self.server.as_mut() {
                    server.ledger.copy_message(Some(Ask::CopyEnd));
                }
                route.verbatim(at..at + rest.len(), &mut self.server_out);
                return Ok(Next::Took(rest.len()));
            }
            Err(_) if self.has_answers_due(route) => return Ok(Next::Wants(Want::Replies)),
            Err(error) => return Err(error),
        };
        if let Some(want) = self.must_wait(header.tag, route) {
            return Ok(Next::Wants(want));
        }
        let drop = self.is_dropped(header.tag);
        let enough = if drop { Header::LEN } else { enough_of(header)? };
        if rest.len() < enough {
            return Ok(Next::Wants(Want::Input { room: enough }));
        }
        let here = header.len.min(rest.len());
        if drop {
            self.rest_in = Rest { left: header.len - here, to: Sink::Drop };
            return Ok(Next::Took(here));
        }
        let message = Message {
            tag: header.tag,
            range: at..at + here,
            body: rest.get(Header::LEN..here).unwrap_or_default(),
            whole_len: header.len,
            class: OnceCell::new(),
        };
        // In COPY it ends the session with an error.
        if header.tag == tag::TERMINATE && !self.is_copy_open() {
            return Ok(Next::Wants(self.goodbye()));
        }
        self.check_statements(&message)?;
        if let Some(next) = self.refuse_block(&message, rest, route) {
            return Ok(next);
        }
        if let Some(next) = self.without_server(&message, rest, header)? {
            return Ok(next);
        }
        if self.server.is_none() {
            return Ok(Next::Wants(Want::Server));
        }
        if self.must_learn(&message, route) || self.must_settle(&message, route) {
            return Ok(Next::Wants(Want::Replies));
        }
        // Last, since the server stops listening whenever it has answered everything.
        if let Some(want) = self.must_listen(&message, rest.get(here..).unwrap_or_default(), route) {
            return Ok(Next::Wants(want));
        }
        let in_copy = self.is_copy_open();
        if header.tag == tag::FLUSH && header.len == Header::LEN && self.has_nothing_to_flush() {
            return Ok(Next::Took(here));
        }
        self.busy = true;
        // Not fetched by the driver: it has seen that there is more to do.
        self.release = None;
        if let Some(reads) = self.reads.as_mut() {
            reads.decided = false;
            reads.joined = None;
        }
        self.dispatch(&message, rest.get(here..).unwrap_or_default(), route);
        if !in_copy {
            self.open_batch = leaves_open(message.tag, message.whole_len > Header::LEN, self.open_batch);
            self.note_bound_in_batch(message.tag);
        }
        let to = if std::mem::take(&mut self.skip_rest) { Sink::Drop } else { Sink::Client };
        self.rest_in = Rest { left: header.len - here, to };
        Ok(Next::Took(here))
    }

    /// They are kept here, so that every server can have them: one client must not take all memory there is.
    fn check_statements(&self, message: &Message<'_>) -> Result<(), Error> {
        let named = message.tag == tag::PARSE && message.body.first().is_some_and(|byte| *byte != 0);
        if !named || self.session.statements.bytes() <= STATEMENTS_MAX {
            return Ok(());
        }
        let (count, limit) = (self.session.statements.len(), STATEMENTS_MAX >> 20);
        let text = format!("too many prepared statements: this session has {count}, which take more than {limit} MiB");
        let error = Error::new(ErrorKind::TooLarge, text);
        Err(error.with_hint("Close statements that are not needed any more, or use unnamed ones."))
    }

    /// Postgres answers what came before, and then reads on.
    fn goodbye(&mut self) -> Want {
        self.parting = true;
        if self.awaits_answers() { Want::Replies } else { Want::Goodbye }
    }

    fn has_nothing_to_flush(&self) -> bool {
        !self.open_batch && self.server.as_ref().is_some_and(|server| server.ledger.is_idle())
    }

    fn is_copy_open(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.ledger.is_copy_open())
    }

    /// Postgres answers what came before a message that it cannot read.
    fn has_answers_due(&mut self, route: &mut Route<'_>) -> bool {
        let due = self.server.as_ref().is_some_and(|server| !server.ledger.is_empty() && !server.ledger.is_skipping());
        if due {
            route.settle(&mut self.server_out);
            crate::wire::frontend::flush(&mut self.server_out);
        }
        due && !self.fatal
    }

    /// Stalls. See [`Stall`] and the ledger's uncertainty.
    fn must_wait(&mut self, message: u8, route: &mut Route<'_>) -> Option<Want> {
        let Some(server) = self.server.as_mut() else {
            self.stall = Stall::None;
            return None;
        };
        if self.fatal {
            return Some(Want::Replies);
        }
        if server.ledger.is_uncertain() && !server.ledger.is_skipping() {
            if server.ledger.is_empty() {
                route.settle(&mut self.server_out);
                self.send_marker();
            }
            return Some(Want::Replies);
        }
        if server.ledger.is_copy_outcome_open() && !is_copy_time_message(message) {
            if !server.ledger.ends_with_sync() && self.open_batch {
                // So that the outcome is told without a Sync.
                route.settle(&mut self.server_out);
                crate::wire::frontend::flush(&mut self.server_out);
            }
            return Some(Want::Replies);
        }
        if self.stall == Stall::None && server.ledger.is_full() {
            // So that all of it is answered even if the client sends no Sync.
            route.settle(&mut self.server_out);
            crate::wire::frontend::flush(&mut self.server_out);
            self.stall = Stall::UntilAnswered;
        }
        match self.stall {
            // A Sync that the COPY has swallowed is not answered: the client is to end the COPY.
            Stall::UntilAnswered if server.ledger.is_copy_open() => None,
            // And its outcome is only told once another Sync has come.
            Stall::UntilAnswered if server.ledger.is_copy_outcome_open() && is_copy_time_message(message) => None,
            Stall::None => None,
            // Skipping with nothing outstanding: what the stall waited for was skipped, and only the client's Sync goes on.
            Stall::UntilAnswered if server.ledger.is_idle() || (server.ledger.is_empty() && server.ledger.is_skipping()) => {
                self.stall = Stall::None;
                None
            }
            Stall::MaybeCopy(index) if server.ledger.is_copy_open() || server.ledger.is_past(index) => {
                self.stall = Stall::None;
                None
            }
            Stall::MaybeCopy(_) if is_copy_time_message(message) => None,
            Stall::UntilAnswered | Stall::MaybeCopy(_) => Some(Want::Replies),
        }
    }

    /// What Postgres would read and ignore.
    fn is_dropped(&self, message: u8) -> bool {
        if self.refused {
            return message != tag::SYNC && message != tag::TERMINATE;
        }
        match self.server.as_ref().map(|server| &server.ledger) {
            Some(ledger) if ledger.is_copy_open() => false,
            Some(ledger) if ledger.is_skipping() => message != tag::SYNC && message != tag::TERMINATE,
            Some(ledger) if !ledger.is_empty() => false,
            Some(_) | None => matches!(message, tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL),
        }
    }

    /// Answers that need no server connection, while none is held.
    fn without_server(&mut self, message: &Message<'_>, rest: &[u8], header: Header) -> Result<Option<Next>, Error> {
        if self.server.is_some() && !self.may_read_memory() {
            return Ok(None);
        }
        if self.server.is_none() {
            match message.tag {
                // Postgres has its own words for a body where none belongs.
                tag::SYNC | tag::FLUSH if header.len > Header::LEN => return Ok(None),
                tag::SYNC => {
                    self.refused = false;
                    synth::ready_for_query(TransactionStatus::Idle, &mut self.client_out);
                    self.tally.batches += 1;
                    self.tally.local += 1;
                    return Ok(Some(Next::Took(header.len)));
                }
                tag::FLUSH => return Ok(Some(Next::Took(header.len))),
                tag::CLOSE if self.close_locally(message.body) => return Ok(Some(Next::Took(header.len))),
                _ => {}
            }
        }
        self.recall(message, rest)
    }

    fn dispatch(&mut self, message: &Message<'_>, behind: &[u8], route: &mut Route<'_>) {
        if self.server.as_ref().is_some_and(|server| server.ledger.is_copy_open()) {
            self.during_copy(message, route);
            return;
        }
        match message.tag {
            tag::QUERY => self.query(message, route),
            tag::PARSE => {
                self.tally.client_parses += 1;
                self.parse(message, behind, route);
            }
            tag::BIND => self.bind(message, route),
            tag::DESCRIBE => self.describe(message, route),
            tag::CLOSE => self.close(message, route),
            tag::EXECUTE => self.execute(message, route),
            tag::SYNC => self.sync(message, route),
            tag::FUNCTION_CALL => {
                let class = self.shared.function_call();
                self.note(&class);
                self.sequences.note(Effects::OPAQUE);
                self.follow_sequences(&class, Before::Query, route);
                self.raise_fences();
                self.send(Ask::FunctionCall, message, route);
                self.barrier_at_boundary();
            }
            tag::COPY_DONE | tag::COPY_FAIL => self.send(Ask::CopyEnd, message, route),
            // With a body it is refused, and what follows skipped up to Sync: as a Describe is that fails.
            tag::FLUSH if message.whole_len > Header::LEN => self.send(Ask::Describe, message, route),
            tag::FLUSH => {
                if let Some(server) = self.server.as_mut() {
                    server.ledger.flush();
                }
                route.verbatim(message.range.clone(), &mut self.server_out);
            }
            // CopyData owes nothing.
            _ => route.verbatim(message.range.clone(), &mut self.server_out),
        }
    }

    fn during_copy(&mut self, message: &Message<'_>, route: &mut Route<'_>) {
        let ask = match message.tag {
            tag::COPY_DATA | tag::FLUSH => None,
            tag::SYNC => Some(Ask::Sync),
            _ => Some(Ask::CopyEnd),
        };
        if let Some(server) = self.server.as_mut() {
            server.ledger.copy_message(ask);
        }
        route.verbatim(message.range.clone(), &mut self.server_out);
    }

    /// A message that goes as it is.
    pub(super) fn send(&mut self, ask: Ask, message: &Message<'_>, route: &mut Route<'_>) {
        if let Some(server) = self.server.as_mut() {
            server.ledger.push(ask, Owner::Client, None);
        }
        route.verbatim(message.range.clone(), &mut self.server_out);
    }

    fn sync(&mut self, message: &Message<'_>, route: &mut Route<'_>) {
        self.refused = false;
        self.raise_fences();
        self.send(Ask::Sync, message, route);
        self.barrier_at_boundary();
    }

    fn execute(&mut self, message: &Message<'_>, route: &mut Route<'_>) {
        let owner = self.reading_owner();
        if let Some(server) = self.server.as_mut() {
            server.ledger.push(Ask::Execute, owner, None);
        }
        route.verbatim(message.range.clone(), &mut self.server_out);
        if self.copy_bound {
            // Flush: so that the answer comes even if it is not a COPY and the client sends no Sync.
            route.settle(&mut self.server_out);
            crate::wire::frontend::flush(&mut self.server_out);
            self.stall_for_copy();
        }
    }

    fn query(&mut self, message: &Message<'_>, route: &mut Route<'_>) {
        let text = Query::decode(message.body).map(|query| query.text).unwrap_or_default();
        let class = if message.is_whole() { self.class_of_text(message, text) } else { self.shared.opaque() };
        self.provide_names(&class, true, route);
        if class.is_opaque() {
            let spoiled = self.server.as_ref().is_some_and(|server| server.spoiled);
            self.doubt = Some(Doubt { pins: self.session.pins, epoch: self.session.epoch, spoiled });
            self.barrier = true;
        }
        self.note(&class);
        self.follow_sequences(&class, Before::Query, route);
        self.raise_fences();
        let undo = self.drop_unnamed();
        let owner = self.reading_owner();
        if let Some(server) = self.server.as_mut() {
            server.ledger.push(Ask::Query, owner, undo);
        }
        route.verbatim(message.range.clone(), &mut self.server_out);
        self.barrier_at_boundary();
        if may_copy(&class, text) {
            self.stall_for_copy();
        }
    }

    fn stall_for_copy(&mut self) {
        self.copy_bound = false;
        if let Some(server) = self.server.as_ref() {
            self.stall = Stall::MaybeCopy(server.ledger.last_index());
        }
    }

    fn barrier_at_boundary(&mut self) {
        if std::mem::take(&mut self.barrier) | self.sequences.end_batch() {
            self.stall = Stall::UntilAnswered;
        }
    }

    /// What a statement that is about to run means for the session and for the cache. Called when it is bound, which is
    /// before it runs: being early is safe, being late is not.
    pub(super) fn note(&mut self, class: &Arc<Statement>) {
        self.running = Some(Arc::clone(class));
        if !class.effects.is_empty() || !class.local_settings.is_empty() || !self.session.pins.is_empty() {
            self.note_effects(class);
        }
        self.note_listening(class);
        if class.kind == Kind::Prepare {
            self.note_prepared(class);
        } else {
            self.note_functions(class);
        }
        if class.kind != Kind::Prepare && class.effects.contains(Effects::PREPARE) {
            if class.statement_name.is_none() {
                // Among other statements there may be a PREPARE.
                self.note_prepared(class);
            }
            self.note_executed();
        }
        self.barrier |= class.kind == Kind::Discard || sees_names(class) || may_discard(class) || class.changes_strings();
        if may_change_status(class) {
            self.unsettle();
        }
        if may_change_schema(class) {
            self.note_schema_change(class);
        }
        self.local_settings |= class.sets_local;
        self.note_for_cache(class);
    }

    /// What is being sent may change the transaction status.
    pub(super) fn unsettle(&mut self) {
        self.unsettled = true;
        self.unsettled_at = self.server.as_ref().map_or(0, |server| server.ledger.last_index());
    }

    pub(super) fn classify(&self, text: &[u8]) -> Arc<Statement> {
        // Where a backslash escapes, the text falls into other words than the parser sees.
        if memchr::memchr(b'\\', text).is_some() && self.parameters.get("standard_conforming_strings") == Some("off") {
            return self.shared.opaque();
        }
        self.shared.classifier.classify(text, true)
    }

    /// The same of the text of a message: several have to know before it is sent.
    pub(super) fn class_of_text(&self, message: &Message<'_>, text: &[u8]) -> Arc<Statement> {
        Arc::clone(message.class.get_or_init(|| self.classify(text)))
    }

    pub(super) fn note_copy(&mut self, class: &Statement, text: &[u8]) {
        self.copy_bound |= may_copy(class, text);
    }
}

pub(super) enum Next {
    Took(usize),
    Wants(Want),
}

/// Whether a batch is open after the message: Flush (a proper one) and COPY's own messages change nothing about that.
fn leaves_open(message: u8, has_body: bool, open: bool) -> bool {
    match message {
        tag::SYNC | tag::QUERY | tag::FUNCTION_CALL => false,
        tag::FLUSH if !has_body => open,
        tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => open,
        _ => true,
    }
}

/// What may come while a COPY FROM STDIN is open.
pub(super) fn is_copy_time_message(message: u8) -> bool {
    matches!(message, tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL | tag::SYNC | tag::FLUSH | tag::TERMINATE)
}

/// Whether a server that was idle may be in a transaction after it, or the reverse.
fn may_change_status(class: &Statement) -> bool {
    class.transaction.is_some() || class.self_committing || matches!(class.kind, Kind::Opaque | Kind::Execute)
}

/// Whether DISCARD or DEALLOCATE ALL may be one of several statements.
fn may_discard(class: &Statement) -> bool {
    class.kind == Kind::Opaque && class.effects.intersects(Effects::RESTORE | Effects::OPAQUE)
}

pub(super) fn may_copy(class: &Statement, text: &[u8]) -> bool {
    class.copy == Some(CopyKind::FromStdin) || (class.is_opaque() && contains_word_copy(text))
}

fn contains_word_copy(text: &[u8]) -> bool {
    text.windows(4).any(|window| window.eq_ignore_ascii_case(b"copy"))
}

/// What DO and CALL run is not known either, but an application that calls procedures all day must not have all its
/// statements looked at again after each.
pub(super) fn may_change_schema(class: &Statement) -> bool {
    let definition = class.kind == Kind::Ddl && !class.effects.contains(Effects::TEMP);
    definition || (class.kind == Kind::Opaque && (class.is_opaque() || class.writes_unknown()))
}
