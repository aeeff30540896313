//! Floor 2. Client's names become plans: what is sent instead of, and in front of, the client's own messages.
//!
//! Postgres is the judge of every error. A name that the client does not have is passed on as it is, since the server
//! does not have it either; a name that the client has twice is really prepared twice, so that the second is refused in
//! Postgres's own words. What is sent ahead of the outcome is noted as [`Undo`].

use std::ops::Range;
use std::sync::Arc;

use crate::pg::TransactionStatus;
use crate::plan::Plan;
use crate::query::Statement;
use crate::session::{Pin, Unnamed, UnnamedId};
use crate::wire::frontend::{Bind, Close, Describe, Parse, Target, tag};
use crate::wire::{Frame, Header, Oids};

use super::depend::{bind_follows, sees_names};
use super::failed::requires;
use super::intake::may_copy;
use super::ledger::{Ask, Local, Owner};
use super::message::{Message, TEXT_MAX};
use super::route::Route;
use super::sequences::Before;
use super::undo::Undo;
use super::{Engine, Server};

impl Engine {
    pub(super) fn parse(&mut self, message: &Message<'_>, behind: &[u8], route: &mut Route<'_>) {
        let Ok(parse) = Parse::decode(message.body) else {
            return self.send(Ask::Parse, message, route);
        };
        let class = self.class_of_text(message, parse.text);
        // EXECUTE looks for its statement when it is described, which is before it is bound.
        self.provide_names(&class, false, route);
        if parse.name.is_empty() {
            return self.parse_unnamed(class, message, route);
        }
        if !self.session.materialised && self.session.statements.get(parse.name).is_some() {
            return self.parse_again(&parse, message, route);
        }
        if self.local_settings {
            self.pin(Pin::ParseSettings);
        }
        let plan = self.shared.plans.intern(parse.text, parse.types.as_bytes(), self.session.epoch, &class);
        let previous = self.session.statements.insert(parse.name, Arc::clone(&plan));
        self.session.statements.set_as_of(parse.name, self.shared.schema_generation());
        let name: Box<[u8]> = parse.name.into();
        if self.session.materialised {
            return self.send_undoable(Ask::Parse, Undo::Named { name, previous, written: None }, message, route);
        }
        let known = self.server.as_mut().is_some_and(|server| server.plans.touch(plan.id()));
        if known && self.may_elide(&plan, behind) {
            self.tally.plan_hits += 1;
            let undo = Undo::Named { name, previous, written: None };
            return self.local(Local::ParseComplete, Some(undo), route);
        }
        self.tally.plan_misses += 1;
        self.make_room(&plan, known, route);
        self.write_parse(&plan, Owner::Client, Undo::Named { name, previous, written: Some(plan.id()) }, route);
        self.learn(&plan);
    }

    fn parse_unnamed(&mut self, class: Arc<Statement>, message: &Message<'_>, route: &mut Route<'_>) {
        let id = UnnamedId(self.shared.next_epoch());
        let whole = route.input.get(message.range.clone()).unwrap_or_default().to_vec();
        let epoch = self.session.epoch;
        let previous = self.session.statements.unnamed.replace(Box::new(Unnamed { id, message: whole, class, epoch }));
        let Some(server) = self.server.as_mut() else { return };
        let undo = Undo::Unnamed { client: previous, server: server.unnamed.replace(id) };
        server.ledger.push(Ask::Parse, Owner::Client, Some(Box::new(undo)));
        self.tally.prepared += 1;
        route.verbatim(message.range.clone(), &mut self.server_out);
    }

    /// The name is taken: let Postgres say so. It must have the name for that, and lose it again afterwards.
    fn parse_again(&mut self, parse: &Parse<'_>, message: &Message<'_>, route: &mut Route<'_>) {
        self.sweep_litter(Some(parse.name), route);
        route.settle(&mut self.server_out);
        let Some(server) = self.server.as_mut() else { return };
        Parse { name: parse.name, text: b"", types: Oids::default() }.encode(&mut self.server_out);
        server.ledger.push(Ask::Parse, Owner::Inject, None);
        server.litter.push(parse.name.into());
        self.send(Ask::Parse, message, route);
    }

    /// Parse may be answered here only when Postgres would have accepted it for certain: outside a transaction, with the
    /// text parsed on this server since the last change of the schema, and with a Bind behind it that would tell.
    fn may_elide(&self, plan: &Plan, behind: &[u8]) -> bool {
        let Some(server) = self.server.as_ref() else { return false };
        self.status == TransactionStatus::Idle
            && !self.unsettled
            && server.plans.generation(plan.id()) == Some(self.shared.schema_generation())
            && bind_follows(behind)
    }

    /// All servers are busy, and the client only wants to prepare what Postgres has accepted before, under the same startup
    /// parameters and schema: it need not wait. (A driver that prepares while its other connections hold every server in
    /// open transactions would wait for itself.) Gives the length of what was answered.
    pub fn prepare_without_server(&mut self, input: &[u8], set: u32) -> Option<usize> {
        let (frame, rest) = Frame::split(input, TEXT_MAX).ok()??;
        let (sync, behind) = Frame::split(rest, TEXT_MAX).ok()??;
        let quiet = self.server.is_none() && !self.refused && self.rest_in.left == 0 && !self.session.materialised;
        if !quiet || frame.tag != tag::PARSE || sync.tag != tag::SYNC || !sync.body.is_empty() {
            return None;
        }
        let parse = Parse::decode(frame.body).ok()?;
        if parse.name.is_empty() || self.is_doubtful() || self.session.statements.get(parse.name).is_some() {
            return None;
        }
        let class = self.classify(parse.text);
        let plan = self.shared.plans.intern(parse.text, parse.types.as_bytes(), self.session.epoch, &class);
        if !plan.is_accepted(set, self.shared.schema_generation()) {
            return None;
        }
        self.session.statements.insert(parse.name, plan);
        self.session.statements.set_as_of(parse.name, self.shared.schema_generation());
        super::synth::local(Local::ParseComplete, &mut self.client_out);
        super::synth::ready_for_query(TransactionStatus::Idle, &mut self.client_out);
        self.tally.batches += 1;
        self.tally.local += 1;
        self.tally.plan_hits += 1;
        Some(input.len() - behind.len())
    }

    pub(super) fn bind(&mut self, message: &Message<'_>, route: &mut Route<'_>) {
        let Ok(bind) = Bind::decode(message.body) else {
            return self.send(Ask::Bind, message, route);
        };
        if let Some(class) = self.class_of(bind.statement).filter(|class| sees_names(class)) {
            self.provide_names(&class, true, route);
        }
        if bind.statement.is_empty() {
            if self.is_unnamed_refused() && self.bind_stand_in(&bind, self.unnamed_requires(), route) {
                return self.drop_rest(message);
            }
            if let Some(class) = self.session.statements.unnamed.as_ref().map(|unnamed| Arc::clone(&unnamed.class)) {
                self.note_bound(&class, route);
                self.note_bound_settings(&class, &bind);
                self.note_copy_of_unnamed();
            }
            // Last, since what goes in front may drop it.
            self.provide_unnamed(route);
            return self.send(Ask::Bind, message, route);
        }
        if let Some(plan) = self.known_stale(bind.statement)
            && self.refuse_changed_bind(&bind, &plan, route)
        {
            return self.drop_rest(message);
        }
        let Some(plan) = self.session.statements.get(bind.statement).cloned() else {
            self.sweep_litter(Some(bind.statement), route);
            self.note_unknown();
            return self.send(Ask::Bind, message, route);
        };
        // What is refused for certain changes nothing.
        let refused = self.is_refused_by_failure(&plan.class);
        if refused && !self.session.materialised && self.lacks(&plan) && self.bind_stand_in(&bind, requires(&plan), route) {
            return self.drop_rest(message);
        }
        if !refused {
            self.note_bound(&plan.class, route);
            self.note_bound_settings(&plan.class, &bind);
            self.note_copy(&plan.class, plan.text());
        }
        if self.session.materialised {
            return self.send(Ask::Bind, message, route);
        }
        if self.has_changed(bind.statement, &plan) && self.refuse_changed_bind(&bind, &plan, route) {
            return self.drop_rest(message);
        }
        let own = plan.id();
        let plan = self.suited(plan);
        self.provide_for(bind.statement, &plan, route);
        route.settle(&mut self.server_out);
        let left = message.body.len();
        rename_bind(&bind, plan.name(), message, left, &mut self.server_out);
        // An error finds the client's name by the client's plan, which this is not.
        let told = (plan.id() != own).then(|| Box::new(Undo::StandIn { name: bind.statement.into(), requires: None }));
        if let Some(server) = self.server.as_mut() {
            server.ledger.push(Ask::Bind, Owner::Client, told);
            server.ledger.hint_last(bind.statement);
        }
    }

    pub(super) fn describe(&mut self, message: &Message<'_>, route: &mut Route<'_>) {
        match Describe::decode(message.body) {
            Ok(Describe { target: Target::Statement, name: b"" }) => self.provide_unnamed(route),
            Ok(Describe { target: Target::Statement, name }) => {
                if let Some(plan) = self.virtual_plan(name) {
                    if self.lacks(&plan) && self.is_refused_by_failure(&plan.class) && self.describe_stand_in(&plan, route) {
                        return;
                    }
                    if self.has_changed(name, &plan) && self.refuse_changed(plan.described().parameters, route) {
                        return;
                    }
                    let plan = self.suited(plan);
                    self.provide_for(name, &plan, route);
                    route.settle(&mut self.server_out);
                    Describe { target: Target::Statement, name: plan.name() }.encode(&mut self.server_out);
                    if let Some(server) = self.server.as_mut() {
                        server.ledger.push(Ask::Describe, Owner::Client, None);
                        server.ledger.hint_last(name);
                    }
                    return;
                }
                if let Some(plan) = self.known_stale(name)
                    && self.refuse_changed(plan.described().parameters, route)
                {
                    return;
                }
                self.sweep_litter(Some(name), route);
            }
            Ok(Describe { target: Target::Portal, .. }) | Err(_) => {}
        }
        let owner = self.reading_owner();
        if let Some(server) = self.server.as_mut() {
            server.ledger.push(Ask::Describe, owner, None);
        }
        route.verbatim(message.range.clone(), &mut self.server_out);
    }

    pub(super) fn close(&mut self, message: &Message<'_>, route: &mut Route<'_>) {
        let Ok(Close { target: Target::Statement, name }) = Close::decode(message.body) else {
            return self.send(Ask::Close, message, route);
        };
        let undo = if name.is_empty() {
            let client = self.session.statements.unnamed.take();
            let later = self.server.as_ref().is_some_and(|server| server.ledger.has_undos());
            (client.is_some() || later).then_some(Undo::UnnamedClosed { client })
        } else {
            self.session.statements.remove(name).map(|plan| Undo::Closed { name: name.into(), plan })
        };
        if self.session.materialised && !name.is_empty() {
            if let Some(server) = self.server.as_mut() {
                server.ledger.push(Ask::Close, Owner::Client, undo.map(Box::new));
            }
            return route.verbatim(message.range.clone(), &mut self.server_out);
        }
        self.local(Local::CloseComplete, undo, route);
    }

    /// Close while no server is held. False when it is malformed: Postgres will say so.
    pub(super) fn close_locally(&mut self, body: &[u8]) -> bool {
        let Ok(close) = Close::decode(body) else { return false };
        if close.target == Target::Statement {
            if close.name.is_empty() {
                self.session.statements.unnamed = None;
            } else {
                self.session.statements.remove(close.name);
            }
        }
        super::synth::close_complete(&mut self.client_out);
        true
    }

    fn send_undoable(&mut self, ask: Ask, undo: Undo, message: &Message<'_>, route: &mut Route<'_>) {
        if let Some(server) = self.server.as_mut() {
            server.ledger.push(ask, Owner::Client, Some(Box::new(undo)));
        }
        route.verbatim(message.range.clone(), &mut self.server_out);
    }

    /// The plan behind a name that exists on no server.
    fn virtual_plan(&self, name: &[u8]) -> Option<Arc<Plan>> {
        if self.session.materialised { None } else { self.session.statements.get(name).cloned() }
    }

    /// An answer of our own, in its turn.
    fn local(&mut self, local: Local, undo: Option<Undo>, route: &mut Route<'_>) {
        route.settle(&mut self.server_out);
        let Some(server) = self.server.as_mut() else { return };
        if server.ledger.is_empty() && self.rest_out.left == 0 {
            super::synth::local(local, &mut self.client_out);
        } else {
            server.ledger.push(Ask::Local(local), Owner::Client, undo.map(Box::new));
        }
    }

    fn lacks(&mut self, plan: &Plan) -> bool {
        self.server.as_mut().is_some_and(|server| !server.plans.touch(plan.id()))
    }

    /// The client's unnamed statement is elsewhere, and cannot be brought here before the failed transaction has ended.
    fn is_unnamed_refused(&self) -> bool {
        let Some(unnamed) = self.session.statements.unnamed.as_ref() else { return false };
        let here = self.server.as_ref().is_some_and(|server| server.unnamed == Some(unnamed.id));
        !here && self.is_refused_by_failure(&unnamed.class)
    }

    /// Of a message that is longer than what has been looked at, the rest is not sent.
    fn drop_rest(&mut self, message: &Message<'_>) {
        self.skip_rest = message.range.len() < message.whole_len;
    }

    /// Sees to it that the server has the plan.
    pub(super) fn provide(&mut self, plan: &Plan, route: &mut Route<'_>) {
        if self.server.as_mut().is_some_and(|server| server.plans.touch(plan.id())) {
            self.tally.plan_hits += 1;
            return;
        }
        self.tally.plan_misses += 1;
        self.make_room(plan, false, route);
        self.inject_parse(plan, route);
    }

    /// Closes what has to go before the plan is parsed: the plan itself if the server has it, the least used if it is full.
    pub(super) fn make_room(&mut self, plan: &Plan, known: bool, route: &mut Route<'_>) {
        route.settle(&mut self.server_out);
        let Some(server) = self.server.as_mut() else { return };
        // What is parsed is not doubted any more: it must not be closed for its room.
        let doubted = server.doubted.remove(&plan.id()).is_some();
        if known || doubted {
            let undo = Undo::Evicted { id: plan.id(), name: plan.name().into(), absent: false };
            inject_close(server, plan.name(), Some(undo), &mut self.server_out);
        } else if server.doubtful {
            inject_close(server, plan.name(), None, &mut self.server_out);
        }
        if let Some((id, name)) = server.one_doubted_too_many() {
            let undo = Undo::Evicted { id, name: name.clone(), absent: false };
            inject_close(server, &name, Some(undo), &mut self.server_out);
        }
        let generation = self.shared.schema_generation();
        if let Some((id, name)) = server.plans.insert(plan, generation).evict {
            self.tally.plan_evictions += 1;
            let undo = Undo::Evicted { id, name: name.clone(), absent: false };
            inject_close(server, &name, Some(undo), &mut self.server_out);
        }
    }

    pub(super) fn write_parse(&mut self, plan: &Plan, owner: Owner, undo: Undo, route: &mut Route<'_>) {
        route.settle(&mut self.server_out);
        encode_parse(plan.name(), plan, &mut self.server_out);
        self.tally.prepared += 1;
        if let Some(server) = self.server.as_mut() {
            server.ledger.push(Ask::Parse, owner, Some(Box::new(undo)));
        }
    }

    /// The server's unnamed statement becomes the client's, or none if the client has none.
    fn provide_unnamed(&mut self, route: &mut Route<'_>) {
        let wanted = self.session.statements.unnamed.as_ref();
        let wanted = wanted.map(|unnamed| (unnamed.id, unnamed.epoch, Arc::clone(&unnamed.class)));
        let Some(server) = self.server.as_mut() else { return };
        let (id, before) = (wanted.as_ref().map(|(id, ..)| *id), server.unnamed);
        if before == id {
            return;
        }
        server.unnamed = id;
        let undo = Undo::UnnamedInjected { server: before };
        route.settle(&mut self.server_out);
        let Some((_, epoch, class)) = wanted else {
            return inject_close(server, b"", Some(undo), &mut self.server_out);
        };
        self.under_settings_of(epoch, &class, route, |engine, _| {
            let (Some(unnamed), Some(server)) = (engine.session.statements.unnamed.as_ref(), engine.server.as_mut()) else {
                return;
            };
            engine.server_out.extend_from_slice(&unnamed.message);
            server.ledger.push(Ask::Parse, Owner::Inject, Some(Box::new(undo)));
            engine.tally.prepared += 1;
        });
    }

    /// A simple Query destroys the unnamed statement on both sides.
    pub(super) fn drop_unnamed(&mut self) -> Option<Box<Undo>> {
        let client = self.session.statements.unnamed.take();
        let server = self.server.as_mut().and_then(|server| server.unnamed.take());
        let later = self.server.as_ref().is_some_and(|server| server.ledger.has_undos());
        (client.is_some() || server.is_some() || later).then(|| Box::new(Undo::Unnamed { client, server }))
    }

    pub(super) fn pin(&mut self, pin: Pin) {
        if self.session.pins.add(pin) {
            self.tally.pins.add(pin);
        }
    }

    /// What follows an Execute that changes which statements there are is not sent before its outcome is known.
    fn note_bound(&mut self, class: &Arc<Statement>, route: &mut Route<'_>) {
        self.note(class);
        self.follow_sequences(class, Before::Bind, route);
        self.copy_bound |= self.barrier;
    }

    fn note_copy_of_unnamed(&mut self) {
        let Some(unnamed) = self.session.statements.unnamed.as_ref() else { return };
        let text = Parse::decode(unnamed.message.get(Header::LEN..).unwrap_or_default()).map(|parse| parse.text);
        self.copy_bound |= text.is_ok_and(|text| may_copy(&unnamed.class, text));
    }
}

pub(super) fn encode_parse(name: &[u8], plan: &Plan, out: &mut Vec<u8>) {
    Parse { name, text: plan.text(), types: Oids::from_bytes(plan.types()).unwrap_or_default() }.encode(out);
}

pub(super) fn inject_close(server: &mut Server, name: &[u8], undo: Option<Undo>, out: &mut Vec<u8>) {
    Close { target: Target::Statement, name }.encode(out);
    server.ledger.push(Ask::Close, Owner::Inject, undo.map(Box::new));
}

/// The Bind with another statement name. Only the head is written: of a long Bind the rest follows as it comes.
fn rename_bind(bind: &Bind<'_>, name: &[u8], message: &Message<'_>, have: usize, out: &mut Vec<u8>) {
    let whole = message.whole_len - Header::LEN;
    let len = whole - bind.statement.len() + name.len() + 4;
    out.push(tag::BIND);
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bind.portal);
    out.push(0);
    out.extend_from_slice(name);
    out.push(0);
    let head = bind.portal.len() + bind.statement.len() + 2;
    let tail: Range<usize> = head..have;
    out.extend_from_slice(message.body.get(tail).unwrap_or_default());
}
