//! Floor 2. The server's bytes, header by header: whose reply is it, and what does it end?

use std::time::Instant;

use crate::error::{Error, Kind as ErrorKind};
use crate::pg::TransactionStatus;
use crate::session::{Unnamed, UnnamedId};
use crate::wire::Header;
use crate::wire::backend::{CommandComplete, ParameterStatus, tag};
use crate::wire::diagnostics::{Fields, Severity};

use super::columns::GONE;
use super::ledger::{Ask, Owed, Owner, Receipt};
use super::renamed::told_by;
use super::route::Route;
use super::undo::Undo;
use super::{Engine, Finished, Release, Rest, Server, Sink, Taken, Want, synth};

/// ParameterStatus, CommandComplete and ReadyForQuery are read whole, errors up to this length; nothing that Postgres sends in them is longer.
pub(super) const READ_MAX: usize = 64 * 1024;

impl Engine {
    /// Takes bytes of the server. The relay is the client's.
    pub fn on_server(&mut self, input: &[u8], now: Instant) -> Result<Taken, Error> {
        self.now = now;
        let mut route = Route::new(input);
        let taken = self.take_replies(input, &mut route);
        if taken.is_err() {
            // What came before is the client's: what it is told now must not stand in the middle of a message.
            route.settle(&mut self.client_out);
        }
        taken.map(|(consumed, want)| Taken { consumed, relay: route.into_relay(), want })
    }

    fn take_replies(&mut self, input: &[u8], route: &mut Route<'_>) -> Result<(usize, Want), Error> {
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            if self.rest_out.left > 0 {
                let n = self.rest_out.left.min(rest.len());
                if n == 0 {
                    break;
                }
                self.rest_out.left -= n;
                self.deliver(self.rest_out.to, at..at + n, route);
                at += n;
                if self.rest_out.left == 0 {
                    self.give_locals(route);
                }
                continue;
            }
            let Some(header) = Header::peek(rest).map_err(|_| broken("a message of impossible length"))? else { break };
            let here = header.len.min(rest.len());
            let whole = || self.is_learning(header) || self.is_inquiring(header) || self.is_answer(header);
            if here < header.len && (is_read_whole(header)? || whole()) {
                break;
            }
            let body = rest.get(Header::LEN..here).unwrap_or_default();
            if let Some(want) = self.before_ready(header.tag, body, route) {
                return Ok((at, want));
            }
            let sink = self.reply(header.tag, body, here == header.len, route)?;
            if sink == Sink::Capture {
                self.note_kept(header.tag, header.len);
            }
            self.deliver(sink, at..at + here, route);
            self.rest_out = Rest { left: header.len - here, to: sink };
            at += here;
            if self.rest_out.left == 0 {
                self.after(header.tag, route);
            }
        }
        self.piece_out = at < input.len();
        Ok((at, Want::Replies))
    }

    fn deliver(&mut self, sink: Sink, range: std::ops::Range<usize>, route: &mut Route<'_>) {
        match sink {
            Sink::Drop => {}
            Sink::Client => route.verbatim(range, &mut self.client_out),
            Sink::Capture => {
                self.keep(route.input.get(range.clone()).unwrap_or_default());
                route.verbatim(range, &mut self.client_out);
            }
        }
    }

    /// Settles accounts for one message and says where its bytes go.
    fn reply(&mut self, message: u8, body: &[u8], whole: bool, route: &mut Route<'_>) -> Result<Sink, Error> {
        match message {
            // Rows first: they are most of what there is, and cost the ledger nothing.
            tag::DATA_ROW if self.note_channel(body) => return Ok(Sink::Drop),
            tag::DATA_ROW => return self.row(body, whole),
            tag::NOTICE_RESPONSE => return Ok(self.sink_of_notice()),
            tag::NOTIFICATION_RESPONSE => return Ok(self.own_notification(body, route)),
            tag::PARAMETER_STATUS => return Ok(self.parameter_changed(body, route)),
            _ => {}
        }
        if matches!(message, tag::PARAMETER_DESCRIPTION | tag::ROW_DESCRIPTION | tag::NO_DATA) {
            self.learnt(message, body, whole);
        }
        let Some(server) = self.server.as_mut() else { return Ok(Sink::Drop) };
        let receipt = server
            .ledger
            .receive(message)
            .map_err(|desync| broken(&format!("message {:?} that nothing of ours asked for", char::from(desync.tag))))?;
        match receipt {
            Receipt::Part(owner) => {
                if message == tag::COPY_IN_RESPONSE && server.ledger.head() == Some(Ask::Execute) {
                    // A Sync behind it is swallowed, and does not end the batch.
                    self.open_batch |= !server.ledger.ends_with_sync();
                }
                if message == tag::READY_FOR_QUERY {
                    self.ready(body)?;
                }
                self.completed(message, body, owner);
                Ok(sink_of(owner))
            }
            Receipt::End(owed) => self.ended(message, body, &owed, route),
            Receipt::Failed { owner, hint, own, skipped } => {
                self.settle_doubt(body);
                self.deallocating = None;
                let told = told_by(own.as_deref());
                let changed = self.error_for_changed(own.as_deref(), body);
                if let Some(Undo::Probing(plan, generation)) = own.as_deref() {
                    plan.note_columns(*generation, GONE);
                    return Ok(Sink::Drop);
                }
                self.failed(own, skipped);
                let renamed = changed.or_else(|| self.renamed(body, told.as_ref(), hint));
                self.fail_fill();
                if owner.is_ours() {
                    self.refused_to_us(owner, body)?;
                    return Ok(Sink::Drop);
                }
                self.passed_on(body);
                route.settle(&mut self.client_out);
                Ok(match renamed {
                    Some(message) => {
                        self.client_out.extend_from_slice(&message);
                        Sink::Drop
                    }
                    None => Sink::Client,
                })
            }
            // Between transactions, with nothing that ties the client to this server, its end is not the client's affair.
            Receipt::Unasked if self.release.is_some() => {
                self.release = Some(Release::Close);
                Ok(Sink::Drop)
            }
            Receipt::Unasked => {
                self.passed_on(body);
                Ok(Sink::Client)
            }
        }
    }

    fn refused_to_us(&mut self, owner: Owner, error: &[u8]) -> Result<(), Error> {
        match owner {
            Owner::Adapt => self.adapt_refused(error),
            Owner::Inquire => {
                self.inquiry_refused();
                Ok(())
            }
            Owner::Own if self.survives(error) => Ok(()),
            Owner::Own | Owner::Client | Owner::Capture | Owner::Inject | Owner::Learn => {
                let said = Fields::decode(error)
                    .map(|fields| String::from_utf8_lossy(fields.message()).into_owned())
                    .unwrap_or_default();
                Err(Error::new(ErrorKind::ServerLost, format!("Postgres has refused what pgdial needed there: {said}")))
            }
        }
    }

    /// A syntax error is found before anything of a text is run: it has left nothing behind.
    fn settle_doubt(&mut self, error: &[u8]) {
        // It is the last thing that was sent, and its ReadyForQuery is still to come.
        let its_own = |server: &Server| server.ledger.len() == 1 && server.ledger.head() == Some(Ask::Query);
        if !self.server.as_deref().is_some_and(its_own) {
            return;
        }
        let Some(before) = self.doubt.take() else { return };
        let routine = Fields::decode(error).ok().and_then(|fields| fields.get(b'R'));
        if matches!(routine, Some(b"scanner_yyerror" | b"base_yyerror")) {
            self.session.pins = before.pins;
            self.session.epoch = before.epoch;
            if let Some(server) = self.server.as_mut() {
                server.spoiled = before.spoiled;
            }
        }
    }

    fn passed_on(&mut self, body: &[u8]) {
        self.tally.errors += 1;
        let Ok(fields) = Fields::decode(body) else { return };
        // Of a function that does not exist nothing has run.
        if !matches!(fields.get(b'C'), Some(b"42883" | b"3F000")) {
            self.note_completed();
        }
        self.fatal |= matches!(fields.severity(), Some(Severity::Fatal | Severity::Panic));
        if fields.get(b'R') == Some(b"RevalidateCachedQuery") && fields.get(b'C') == Some(b"0A000") {
            self.shared.learn_refusal(fields.iter().map(|(code, text)| (code, text.to_vec())).collect());
        }
    }

    fn row(&mut self, body: &[u8], whole: bool) -> Result<Sink, Error> {
        match self.server.as_ref().map(|server| (server.ledger.head(), server.ledger.owner())) {
            Some((Some(Ask::Query), Some(Owner::Inquire))) => {
                if whole {
                    self.inquired(body);
                } else {
                    self.inquiry_refused();
                }
                Ok(Sink::Drop)
            }
            Some((Some(Ask::Execute | Ask::Query), Some(owner))) => Ok(sink_of(owner)),
            _ => Err(broken("a row that nothing of ours asked for")),
        }
    }

    /// A notice of a message that the client did not send is not the client's: it has seen it when it sent its own.
    fn sink_of_notice(&mut self) -> Sink {
        match self.server.as_ref().and_then(|server| server.ledger.owner()) {
            Some(Owner::Inject | Owner::Learn | Owner::Own | Owner::Adapt | Owner::Inquire) => Sink::Drop,
            Some(Owner::Capture) => {
                // A later reader would have to be told as well.
                self.fail_fill();
                Sink::Client
            }
            Some(Owner::Client) | None => Sink::Client,
        }
    }

    fn parameter_changed(&mut self, body: &[u8], route: &mut Route<'_>) -> Sink {
        let Some(server) = self.server.as_mut() else { return Sink::Drop };
        let own = server.ledger.owner().is_some_and(Owner::is_ours);
        let mut hidden = own;
        if let Ok(status) = ParameterStatus::decode(body)
            && let (Ok(name), Ok(value)) = (std::str::from_utf8(status.name), std::str::from_utf8(status.value))
        {
            std::sync::Arc::make_mut(&mut server.parameters).set(name, value);
            // pgdial's own SET gives it the client's, which its sequences have been found with.
            if name == "application_name" && !own {
                self.sequences.renamed();
            }
            if !own && let Some(asked) = self.reset_to_startup(name, value) {
                hidden = true;
                if std::sync::Arc::make_mut(&mut self.parameters).set(name, &asked) {
                    route.settle(&mut self.client_out);
                    synth::parameter_status(name, &asked, &mut self.client_out);
                }
            } else if !hidden {
                // What comes back to what the client was told has not changed for it.
                hidden = !std::sync::Arc::make_mut(&mut self.parameters).set(name, value);
            }
        }
        if hidden { Sink::Drop } else { Sink::Client }
    }

    fn ended(&mut self, message: u8, body: &[u8], owed: &Owed, route: &mut Route<'_>) -> Result<Sink, Error> {
        if message == tag::READY_FOR_QUERY {
            self.ready(body)?;
            if owed.owner == Owner::Adapt {
                self.tell_adapted(route);
            }
            // Of what has been sent behind this batch, nothing may change the status again.
            self.unsettled &= self.server.as_ref().is_some_and(|server| !server.ledger.is_past(self.unsettled_at + 1));
            if !owed.owner.is_ours() {
                self.tally.batches += 1;
            }
        } else {
            self.completed(message, body, owed.owner);
            self.accepted(owed.undo.as_deref());
        }
        Ok(if self.withholds(message, owed.owner) { Sink::Drop } else { sink_of(owed.owner) })
    }

    /// A Parse by name has succeeded.
    fn accepted(&self, undo: Option<&Undo>) {
        if let Some(Undo::Named { name, written: Some(_), .. }) = undo
            && let (Some(plan), Some(server)) = (self.session.statements.get(name), self.server.as_ref())
        {
            plan.accept(server.reader.set, self.shared.schema_generation());
        }
    }

    /// CommandComplete ends a fill, and tells of statements that reach beyond their own transaction.
    fn completed(&mut self, message: u8, body: &[u8], owner: Owner) {
        if message != tag::COMMAND_COMPLETE || owner.is_ours() {
            return if owner == Owner::Own && body == b"DISCARD SEQUENCES\0" {
                self.sequences_discarded()
            };
        }
        self.doubt = None;
        self.note_completed();
        self.rows += CommandComplete::rows(body);
        match body {
            b"DISCARD ALL\0" => self.discarded(),
            b"DISCARD SEQUENCES\0" => self.sequences_discarded(),
            b"COMMIT\0" | b"ROLLBACK\0" => self.left_block = true,
            b"DEALLOCATE\0" => self.deallocated(),
            b"DEALLOCATE ALL\0" => self.deallocated_all(),
            _ => {}
        }
        if owner == Owner::Capture {
            self.complete_fill = true;
        }
    }

    pub(super) fn forget_statements(&mut self) {
        if let Some(server) = self.server.as_mut() {
            server.forget_statements();
        }
        self.session.materialised = self.shared.session_mode;
    }

    fn ready(&mut self, body: &[u8]) -> Result<(), Error> {
        let status = match body {
            [byte] => TransactionStatus::from_byte(*byte),
            _ => None,
        };
        self.left_block = false;
        self.status = status.ok_or_else(|| broken("a ReadyForQuery with an unknown status"))?;
        if self.shared.statement_mode && self.status != TransactionStatus::Idle {
            return Err(super::blocks::left_open());
        }
        Ok(())
    }

    /// The message has been delivered: local answers whose turn has come, and perhaps the end of a transaction.
    fn after(&mut self, message: u8, route: &mut Route<'_>) {
        if std::mem::take(&mut self.complete_fill) {
            self.publish_fill();
        }
        self.give_locals(route);
        let answered = self.server.as_ref().is_some_and(|server| server.ledger.is_empty());
        if message == tag::READY_FOR_QUERY && answered {
            self.settle_transaction();
        }
    }

    fn give_locals(&mut self, route: &mut Route<'_>) {
        let Some(server) = self.server.as_mut() else { return };
        while let Some(local) = server.ledger.next_local() {
            route.settle(&mut self.client_out);
            synth::local(local, &mut self.client_out);
        }
    }

    fn settle_transaction(&mut self) {
        if self.status == TransactionStatus::Idle {
            self.settle_changes();
        }
        if let Some(statement) = self.running.take() {
            let rows = std::mem::take(&mut self.rows);
            self.finished = Some(Finished { statement, hit: false, rows });
        }
        self.unsettled = false;
        self.lower_fences();
        if self.status != TransactionStatus::Idle {
            self.busy = false;
        } else if !self.is_passing() {
            self.settle_server();
        }
    }

    /// What pgdial itself has to ask or to clean up between two transactions, or the server is free to go.
    pub(super) fn settle_server(&mut self) {
        let Some(server) = self.server.as_ref() else { return };
        if server.ledger.is_uncertain() {
            return self.send_marker();
        }
        if self.ask_for_channels() {
            return;
        }
        self.local_settings = false;
        self.adapting = false;
        if std::mem::take(&mut self.busy) {
            self.adapt_failures = 0;
            self.tally.transactions += 1;
        }
        if self.inquire() {
            return;
        }
        self.adapt();
        if self.tidy_server() {
            return;
        }
        self.offer_release();
    }

    /// Gives the server back if nothing ties the client to it.
    pub(super) fn offer_release(&mut self) {
        let Some(server) = self.server.as_ref() else { return };
        let quiet =
            server.ledger.is_idle() && self.status == TransactionStatus::Idle && self.rest_in.left == 0 && !self.open_batch;
        if quiet && self.session.pins.is_empty() {
            self.release = Some(if server.spoiled { Release::Close } else { Release::Reuse });
        }
    }

    /// Takes back what ran ahead of a message that was refused, and of those behind it that were skipped, newest first.
    fn failed(&mut self, own: Option<Box<Undo>>, skipped: Vec<Undo>) {
        for undo in skipped {
            self.take_back(undo, false);
        }
        if let Some(undo) = own {
            self.take_back(*undo, true);
        }
    }

    /// `refused`: the message itself failed, rather than being skipped.
    fn take_back(&mut self, undo: Undo, refused: bool) {
        let Some(server) = self.server.as_mut() else { return };
        match undo {
            Undo::Named { name, previous, written } => {
                match previous {
                    Some(plan) => {
                        self.session.statements.insert(&name, plan);
                    }
                    None => {
                        self.session.statements.remove(&name);
                    }
                }
                if let Some(id) = written {
                    server.plans.remove(id);
                    server.ledger.mark_evicted(id, true);
                }
            }
            Undo::Learning(..) | Undo::Probing(..) | Undo::StandIn { .. } | Undo::ColumnsChanged(_) => {}
            Undo::Injected(id) => {
                server.plans.remove(id);
                server.ledger.mark_evicted(id, true);
            }
            Undo::Evicted { absent: true, .. } => {}
            // Perhaps a later batch closes it; then it is that batch's to restore.
            Undo::Evicted { id, name, absent: false } if !server.ledger.mark_evicted(id, false) => {
                if server.doubtful {
                    server.doubted.insert(id, name);
                } else {
                    server.plans.restore(id, name, u64::MAX);
                }
            }
            Undo::Evicted { .. } => {}
            Undo::Closed { name, plan } => {
                self.session.statements.insert(&name, plan);
            }
            // Postgres drops the unnamed statement before it looks at the new one.
            Undo::Unnamed { client, server: held } => {
                restore_unnamed(server, held.filter(|_| !refused));
                self.restore_client_unnamed(client.filter(|_| !refused));
            }
            Undo::UnnamedClosed { client } => self.restore_client_unnamed(client),
            Undo::UnnamedInjected { server: held } => restore_unnamed(server, held.filter(|_| !refused)),
        }
    }

    /// The client's unnamed statement of before; or, if a later batch has replaced it since, what that one has to restore.
    fn restore_client_unnamed(&mut self, client: Option<Box<Unnamed>>) {
        let later = self.server.as_mut().and_then(|server| server.ledger.later_undo(|undo| undo.client_before().is_some()));
        match later {
            Some(Undo::Unnamed { client: before, .. } | Undo::UnnamedClosed { client: before }) => *before = client,
            Some(_) | None => self.session.statements.unnamed = client,
        }
    }
}

/// What the server held before; or, if a later batch has replaced it since, what that one has to restore.
fn restore_unnamed(server: &mut Server, held: Option<UnnamedId>) {
    match server.ledger.later_undo(|undo| undo.server_before().is_some()) {
        Some(Undo::Unnamed { server: before, .. } | Undo::UnnamedInjected { server: before }) => *before = held,
        Some(_) | None => server.unnamed = held,
    }
}

fn sink_of(owner: Owner) -> Sink {
    match owner {
        Owner::Client => Sink::Client,
        Owner::Capture => Sink::Capture,
        Owner::Inject | Owner::Learn | Owner::Own | Owner::Adapt | Owner::Inquire => Sink::Drop,
    }
}

fn is_read_whole(header: Header) -> Result<bool, Error> {
    match header.tag {
        tag::READY_FOR_QUERY | tag::COMMAND_COMPLETE | tag::PARAMETER_STATUS | tag::NOTIFICATION_RESPONSE => {
            if header.len > READ_MAX { Err(broken("a status message of impossible length")) } else { Ok(true) }
        }
        // Its severity says whether the connection is about to end.
        tag::ERROR_RESPONSE => Ok(header.len <= READ_MAX),
        _ => Ok(false),
    }
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::ServerLost, format!("the connection to Postgres is unusable: it sent {what}"))
}
