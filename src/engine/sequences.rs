//! Floor 2. `currval()` and `lastval()`: what a server's sequences show is the client's own, or is discarded.
//!
//! ```text
//!   nextval(), an INSERT, any write        the server notes who      Sequences: nobody, one client, several
//!   currval(), lastval() where another     DISCARD SEQUENCES goes in front
//!   ... by an application that looks       it keeps the server on which it advances, and finds none of another's there
//! ```
//!
//! Most applications advance sequences all day and never look: they pay nothing and are tied to nothing. Which ones look is
//! learnt from the first look, see [`Lookers`].

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use lru::LruCache;
use parking_lot::Mutex;

use crate::config::Currval;
use crate::pg::TransactionStatus;
use crate::query::{Effects, Kind, Statement};
use crate::session::Pin;
use crate::wire::Oids;
use crate::wire::frontend::{self, Close, Execute, Parse, Query, Target, tag};

use super::Engine;
use super::ledger::{Ask, Owner};
use super::message::Message;
use super::parse_settings::Bound;
use super::route::Route;
use super::shared::Judged;

/// Whose values `currval()` and `lastval()` may show on a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sequences {
    /// None are there.
    #[default]
    Nobodys,
    /// Those of the client with this number.
    Of(u64),
    /// Those of several clients: of no value can be told whose it is.
    Mixed,
}

impl Sequences {
    /// Whether another than `client` may have left values.
    fn has_others(self, client: u64) -> bool {
        self != Self::Nobodys && self != Self::Of(client)
    }

    /// The same after `client` has advanced a sequence.
    fn advanced_by(self, client: u64) -> Self {
        if self.has_others(client) { Self::Mixed } else { Self::Of(client) }
    }
}

/// A client's dealings with sequences.
#[derive(Debug)]
pub(super) struct Use {
    /// Tells it from all others.
    id: u64,
    /// What the statement at hand does: [`Effects::SEQUENCE`], [`Effects::CURRVAL`], or [`Effects::OPAQUE`] for perhaps both.
    noted: Effects,
    /// It may have advanced a sequence since the last DISCARD SEQUENCES that was sent.
    advanced: bool,
    /// DISCARD SEQUENCES stands in this batch, and what follows in the batch only runs when that has.
    in_front: bool,
    /// Its application is known to look.
    looks: bool,
    /// How many were known to look when it was last asked whether this one does.
    asked_at: u64,
    /// So often it starts clean although it is not known to look: its first look may follow.
    trials: u8,
}

/// The first statements of a session that advance a sequence. More often would burn what sequences with CACHE hold ready.
const TRIALS: u8 = 4;

impl Use {
    pub(super) fn new(id: u64) -> Self {
        Self { id, noted: Effects::NONE, advanced: false, in_front: false, looks: false, asked_at: 0, trials: TRIALS }
    }

    /// Notes what a statement, or a function that it runs, does.
    pub(super) fn note(&mut self, effects: Effects) {
        for effect in [Effects::SEQUENCE, Effects::CURRVAL, Effects::OPAQUE] {
            if effects.contains(effect) {
                self.noted.insert(effect);
            }
        }
    }

    /// The client has another name: whether that one looks is another question.
    pub(super) fn renamed(&mut self) {
        (self.looks, self.asked_at) = (false, 0);
    }

    /// The batch has ended. True when what comes next is to wait, since it cannot rely on DISCARD SEQUENCES.
    pub(super) fn end_batch(&mut self) -> bool {
        std::mem::take(&mut self.in_front)
    }
}

/// User and application_name.
type Application = (Box<str>, Box<str>);

/// The applications, by user and application_name, that were seen to use `currval()` or `lastval()`.
#[derive(Debug)]
pub(super) struct Lookers {
    known: Mutex<LruCache<Application, ()>>,
    /// How many were ever added.
    count: AtomicU64,
}

impl Default for Lookers {
    fn default() -> Self {
        Self { known: Mutex::new(LruCache::new(MAX_LOOKERS)), count: AtomicU64::new(0) }
    }
}

impl Lookers {
    fn add(&self, user: &str, application: &str) {
        if self.known.lock().put((user.into(), application.into()), ()).is_none() {
            self.count.fetch_add(1, AcqRel);
        }
    }

    fn has(&self, user: &str, application: &str) -> bool {
        self.known.lock().get(&(user.into(), application.into())).is_some()
    }
}

const MAX_LOOKERS: NonZeroUsize = match NonZeroUsize::new(10_000) {
    Some(n) => n,
    None => NonZeroUsize::MIN,
};

/// Where DISCARD SEQUENCES is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// A Query or FunctionCall.
    Query,
    /// A Bind.
    Bind,
}

const DISCARD: &[u8] = b"DISCARD SEQUENCES";

impl Engine {
    /// A statement has been noted, and is about to be sent.
    pub(super) fn follow_sequences(&mut self, class: &Statement, before: Before, route: &mut Route<'_>) {
        let mut noted = std::mem::take(&mut self.sequences.noted);
        // What a failed transaction refuses draws nothing, and would refuse what goes in front as well.
        if self.shared.session_mode || self.status == TransactionStatus::Failed {
            return;
        }
        if may_draw(class) {
            noted.insert(Effects::SEQUENCE);
        }
        let writes = class.may_write && class.kind != Kind::Discard;
        if noted.is_empty() && !writes {
            if class.kind == Kind::Discard {
                self.sequences.advanced = false;
            }
            return;
        }
        if self.server.as_ref().is_some_and(|server| server.sequences.has_others(self.sequences.id)) {
            let looks = noted.intersects(Effects::CURRVAL | Effects::OPAQUE) && class.copy.is_none();
            // Behind a COPY a Sync may be read before it is known whether the COPY has begun: nothing is to wait there.
            // Nor does it stand in front of several statements in a block: SET TRANSACTION or LOCK may be the first, and it
            // takes a snapshot.
            let several = class.kind == Kind::Opaque && (self.unsettled || self.status != TransactionStatus::Idle);
            let tries = noted.contains(Effects::SEQUENCE) && self.sequences.trials > 0 && class.copy.is_none() && !several;
            self.sequences.trials -= u8::from(tries && !looks);
            if looks || tries {
                self.discard_in_front(before, class, route);
            }
        }
        if writes {
            self.note_advance();
        }
        self.settle_sequences(noted);
    }

    /// What a transaction has done, as far as it was only found out at its end.
    pub(super) fn follow_judged_sequences(&mut self) {
        let noted = std::mem::take(&mut self.sequences.noted);
        if !noted.is_empty() && !self.shared.session_mode {
            self.settle_sequences(noted);
        }
    }

    fn settle_sequences(&mut self, noted: Effects) {
        if noted.intersects(Effects::SEQUENCE | Effects::OPAQUE) {
            self.note_advance();
        }
        let looks = noted.contains(Effects::CURRVAL) && !noted.contains(Effects::OPAQUE);
        if looks && !self.is_looker() {
            self.shared.lookers.add(self.user(), self.application());
            self.sequences.looks = true;
        }
        let own = self.server.as_ref().is_some_and(|server| server.sequences == Sequences::Of(self.sequences.id));
        let pins = match self.shared.currval {
            Currval::Pin => noted.contains(Effects::SEQUENCE),
            Currval::Auto => (noted.contains(Effects::SEQUENCE) || (looks && own)) && self.is_looker(),
            Currval::Off => false,
        };
        if pins {
            self.pin(Pin::Sequence);
        }
    }

    fn note_advance(&mut self) {
        self.sequences.advanced = true;
        if let Some(server) = self.server.as_mut() {
            server.sequences = server.sequences.advanced_by(self.sequences.id);
        }
    }

    /// Whether the client is of an application that looks.
    fn is_looker(&mut self) -> bool {
        if self.sequences.looks || self.shared.currval == Currval::Pin {
            return true;
        }
        let count = self.shared.lookers.count.load(Acquire);
        if count != self.sequences.asked_at {
            self.sequences.asked_at = count;
            self.sequences.looks = self.shared.lookers.has(self.user(), self.application());
        }
        self.sequences.looks
    }

    fn user(&self) -> &str {
        &self.login.role
    }

    fn application(&self) -> &str {
        self.parameters.get("application_name").unwrap_or_default()
    }

    /// A server has been leased: an application that looks finds no values of another client on it.
    pub(super) fn sequences_leased(&mut self) {
        let others = self.server.as_ref().is_some_and(|server| server.sequences.has_others(self.sequences.id));
        if others && !self.shared.session_mode && self.is_looker() {
            self.discard_by_query();
        }
    }

    fn discard_in_front(&mut self, before: Before, class: &Statement, route: &mut Route<'_>) {
        // VACUUM and its like bear no other statement in front of them in their batch.
        let alone = class.self_committing && !matches!(class.kind, Kind::Call | Kind::Do | Kind::Opaque);
        if self.sequences.in_front || (before == Before::Bind && alone) {
            return;
        }
        route.settle(&mut self.server_out);
        if before == Before::Query && !self.open_batch {
            return self.discard_by_query();
        }
        self.sequences.in_front = true;
        self.sequences.advanced = false;
        // From Postgres 18 on, what comes behind an Execute in a batch is in an implicit block: no Query and no procedure commits,
        // and DECLARE is not refused. A Query ends what has been bound; in front of another it does no harm to what does nothing.
        let bound = if before == Before::Query { Bound::Empty } else { Bound::Nothing };
        let differs = before == Before::Query || class.self_committing || class.kind == Kind::Declare;
        if differs && self.status == TransactionStatus::Idle && self.bound_in_batch <= bound {
            return self.query_in_batch(DISCARD, route);
        }
        let name = self.shared.plans.discarder();
        let name = name.as_bytes();
        let out = &mut self.server_out;
        let Some(server) = self.server.as_mut() else { return };
        let mut sent = |ask| server.ledger.push(ask, Owner::Inject, None);
        // It may be there still: what closes it can be skipped.
        Close { target: Target::Statement, name }.encode(out);
        sent(Ask::Close);
        Parse { name, text: DISCARD, types: Oids::default() }.encode(out);
        sent(Ask::Parse);
        // A portal of its own: the client may still read from the unnamed one.
        frontend::bind(name, name, &[], [].into_iter(), &[], out);
        sent(Ask::Bind);
        Execute { portal: name, max_rows: 0 }.encode(out);
        sent(Ask::Execute);
        for target in [Target::Portal, Target::Statement] {
            Close { target, name }.encode(out);
            sent(Ask::Close);
        }
    }

    /// It is not skipped, and so has happened when anything behind it runs.
    fn discard_by_query(&mut self) {
        let Some(server) = self.server.as_mut() else { return };
        Query { text: DISCARD }.encode(&mut self.server_out);
        server.ledger.push(Ask::Query, Owner::Own, None);
        server.unnamed = None;
        server.sequences = Sequences::Nobodys;
        self.sequences.advanced = false;
    }

    /// DISCARD SEQUENCES or DISCARD ALL has been done, in front of the client's statement or by itself.
    pub(super) fn sequences_discarded(&mut self) {
        let (id, advanced) = (self.sequences.id, self.sequences.advanced);
        if let Some(server) = self.server.as_mut() {
            server.sequences = if advanced { Sequences::Of(id) } else { Sequences::Nobodys };
        }
        if !advanced {
            self.session.pins.remove(Pin::Sequence);
        }
    }

    /// Whether a look has to wait: DISCARD SEQUENCES must go in front of it, unless the transaction has failed, and whether it
    /// has is not known yet.
    pub(super) fn must_know_for_sequences(&self, message: &Message<'_>) -> bool {
        let Some(server) = self.server.as_ref() else { return false };
        let may_fail = self.unsettled || self.status != TransactionStatus::Idle;
        if !may_fail || !server.sequences.has_others(self.sequences.id) || !server.ledger.has_earlier_batch() {
            return false;
        }
        let class = match message.tag {
            tag::QUERY => Query::decode(message.body).ok().map(|query| self.class_of_text(message, query.text)),
            tag::BIND => frontend::Bind::decode(message.body).ok().and_then(|bind| self.class_of(bind.statement)),
            tag::FUNCTION_CALL => return true,
            _ => return false,
        };
        class.is_some_and(|class| {
            let looks = Effects::CURRVAL | Effects::OPAQUE;
            let draws = class.effects.contains(Effects::SEQUENCE) || may_draw(&class);
            let seen = class.effects.intersects(looks) || (self.sequences.trials > 0 && draws);
            seen || match self.traces(&class) {
                Judged::Known(traces) => traces.effects.intersects(looks | Effects::SEQUENCE),
                Judged::Unknown | Judged::Unseen | Judged::NoSuchFunction => true,
            }
        })
    }
}

/// Whether the statement itself may draw numbers for rows that it adds.
#[allow(clippy::wildcard_enum_match_arm, reason = "no other adds rows by itself")]
fn may_draw(class: &Statement) -> bool {
    let by_kind = match class.kind {
        Kind::Update | Kind::Delete => class.assigns_default || class.writes_in_cte,
        // What procedures and blocks do is known with them.
        Kind::Call | Kind::Do => false,
        Kind::Insert | Kind::Merge | Kind::Copy | Kind::Select | Kind::Explain | Kind::Declare | Kind::Execute => true,
        // Several statements, and not a text that was not understood: nothing is told by that.
        Kind::Opaque => class.count > 1,
        _ => false,
    };
    by_kind && class.may_write
}
