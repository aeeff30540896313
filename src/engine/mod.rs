//! Floor 2. One client connection, without IO: bytes of a client and of the server it may hold go in, bytes for both come out.
//!
//! ```text
//!                       on_client(bytes)                              on_server(bytes)
//!                            |                                             |
//!   +------------------------v-----------------------+     +---------------v----------------+
//!   | intake    frame by frame; stalls while a COPY  |     | replies   header by header     |
//!   |           may begin, a marker is out, a flight |     |           the ledger says whose|
//!   |           is waited for, the ledger is full    |     |           Client  -> relay     |
//!   |   |                                            |     |           Capture -> relay+keep|
//!   |   v                                            |     |           Inject  -> swallow   |
//!   | decide    a whole batch, idle, a rule: memory? |     |           Own     -> swallow   |
//!   |   | Fill/Bypass        | Hit                   |     |   |  ReadyForQuery 'I': follow,|
//!   |   v                    v                       |     |   v  tidy; ledger idle, no pin |
//!   | rewrite   names ->   synth -> client_out       |     | Release(Reuse)                 |
//!   |   plans, undo,                                 |     +--------------------------------+
//!   |   ledger.push() -> server_out                  |
//!   +------------------------------------------------+
//! ```
//!
//! Both directions hand back a *relay*: a range of the very bytes that came in, to be written on behind `*_out` without
//! a copy. The engine never waits: what it waits for is a [`Want`], and the driver comes back when it is there.
//!
//! Invariants: a server is given back only with an idle ledger, in no transaction and without a pin; bytes from a server
//! reach the client only while the ledger's head is the client's; nothing of the client is sent behind a message whose
//! outcome decides how the next one must be sent.

mod blocks;
mod columns;
mod decide;
mod depend;
mod end;
mod failed;
mod follow;
mod heard;
mod intake;
mod judge;
mod ledger;
mod listen;
mod message;
mod own_names;
mod parse_settings;
mod read;
mod renamed;
mod replies;
mod rewrite;
mod route;
mod sequences;
mod server;
mod shared;
mod stale;
mod synth;
#[cfg(test)]
mod tests;
mod tidy;
mod undo;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::cache;
use crate::listen::Gate;
use crate::pg::TransactionStatus;
use crate::query::Statement;
use crate::session::{Pin, Pins, Session, Settings};

use self::follow::Aftermath;
use self::listen::Listening;
use self::parse_settings::Bound;
use self::read::Reads;

pub use self::ledger::{Ask, Desync, Ledger, Local, Owner, Receipt};
pub use self::sequences::Sequences;
pub use self::server::{Parameters, Server, StandIn};
pub use self::shared::{CacheShared, Reader, Shared};

/// See the module.
pub struct Engine {
    shared: Arc<Shared>,
    session: Session,
    server: Option<Box<Server>>,
    status: TransactionStatus,
    /// The transaction may change the schema: once more at its end, when others see it.
    changes_schema: bool,
    /// The transaction may change with what sessions begin.
    changes_defaults: bool,
    /// And what statements run unnamed.
    hides_code: bool,
    /// The session has done so before.
    makes_code: bool,
    /// A text that was not understood is outstanding.
    doubt: Option<Doubt>,
    /// What the transaction may leave behind, to be asked for at its end.
    aftermath: Option<Box<Aftermath>>,
    /// The server's settings are being changed, and nothing of the client is sent before that is done.
    adapting: bool,
    /// The server's settings before that.
    adapted_from: Option<Arc<Settings>>,
    /// How often that was cancelled in a row.
    adapt_failures: u8,
    /// The client's own statement that DEALLOCATE is about to drop.
    deallocating: Option<Box<[u8]>>,
    /// Something is outstanding after which `status` may be another.
    unsettled: bool,
    /// The ledger's last entry when that was sent: the next ReadyForQuery behind it settles it.
    unsettled_at: u64,
    stall: Stall,
    /// The batch holds something whose outcome decides how the next batch is sent.
    barrier: bool,
    /// The batch has bound a statement that may be COPY FROM STDIN.
    copy_bound: bool,
    /// Bytes of a client message that are still to be passed on.
    rest_in: Rest,
    /// The rest of the message at hand is not to be passed on.
    skip_rest: bool,
    /// The same from the server, and what to do with them.
    rest_out: Rest,
    /// The server's bytes ended with a piece of a header, or of a message that is read whole.
    piece_out: bool,
    /// COMMIT or ROLLBACK has run since the last ReadyForQuery.
    left_block: bool,
    /// The transaction has settings of its own (SET LOCAL).
    local_settings: bool,
    /// The server is free to go.
    release: Option<Release>,
    reads: Option<Box<Reads>>,
    sequences: sequences::Use,
    /// With whose eyes the client reads since its login.
    login: Arc<Reader>,
    listening: Option<Box<Listening>>,
    /// A statement that may listen has been prepared.
    may_listen: bool,
    /// The client's process id, as far as it knows.
    pid: i32,
    /// CommandComplete of a read that is kept is in the bytes at hand.
    complete_fill: bool,
    /// Messages of a batch have been sent, but not its Sync.
    open_batch: bool,
    /// What they have bound.
    bound_in_batch: Bound,
    /// The batch has failed without a server: its rest, up to Sync, is dropped.
    refused: bool,
    /// A FATAL error of the server has been passed on: the client knows why the connection ends.
    fatal: bool,
    /// The client has said goodbye, and is told what it is owed.
    parting: bool,
    /// The driver's clock, as of the call that is under way.
    now: Instant,
    /// ReadyForQuery messages that the client is owed, from the first of a busy spell to the last.
    busy: bool,
    /// What the client believes ParameterStatus to be.
    parameters: Arc<Parameters>,
    /// To be written to the client, before any relay.
    pub client_out: Vec<u8>,
    /// To be written to the server, before any relay.
    pub server_out: Vec<u8>,
    /// What has happened since the driver looked last.
    pub tally: Tally,
    /// The statement that ran last, for the statistics.
    pub finished: Option<Finished>,
    /// The statement that runs, and the rows it has given.
    running: Option<Arc<Statement>>,
    rows: u64,
}

/// A batch that has been answered.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its last statement.
    pub statement: Arc<Statement>,
    /// Answered from memory.
    pub hit: bool,
    /// Rows it returned or wrote.
    pub rows: u64,
}

/// Why no more of the client's input is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Stall {
    #[default]
    None,
    /// Until all replies are there: what follows depends on the outcome.
    UntilAnswered,
    /// Only COPY's own messages, until it is known whether the ledger's entry of this number has begun a COPY FROM STDIN.
    MaybeCopy(u64),
}

/// The session as it was before a text that was not understood. Most of those are not understood by Postgres either, and
/// then have done nothing.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    pins: Pins,
    epoch: u64,
    spoiled: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    left: usize,
    to: Sink,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Sink {
    #[default]
    Drop,
    Client,
    Capture,
}

/// What becomes of a server that the engine has no more use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Another client may have it.
    Reuse,
    /// Its state cannot be trusted, or cannot be undone.
    Close,
}

/// How much was taken of the bytes that went in.
#[derive(Debug)]
pub struct Taken {
    /// So many bytes are dealt with.
    pub consumed: usize,
    /// Of these, the ones to be written on as they are, behind what stands in the outbox.
    pub relay: Range<usize>,
    /// What the engine waits for.
    pub want: Want,
}

/// What the engine waits for before it takes more of the client's bytes.
#[derive(Debug)]
pub enum Want {
    /// More bytes of the client. `room` = how long a buffer must be for the message that has begun.
    Input {
        /// Whole length of the message that is incomplete, 0 when there is none.
        room: usize,
    },
    /// A server connection: [`Engine::lease`].
    Server,
    /// Replies of the server.
    Replies,
    /// The result of another client's query: [`Engine::joined`].
    Flight(cache::Join),
    /// The connection that listens for all clients: [`Engine::gate_passed`]. Until then neither side is read.
    Gate(Gate),
    /// Nothing: the client has said goodbye.
    Goodbye,
}

/// Counts for the statistics, taken by the driver with [`std::mem::take`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// ReadyForQuery given to the client.
    pub batches: u32,
    /// Of these, answered without a server.
    pub local: u32,
    /// Transactions ended.
    pub transactions: u32,
    /// Errors passed on to the client.
    pub errors: u32,
    /// Parse messages of the client.
    pub client_parses: u32,
    /// Parse messages written to servers.
    pub prepared: u32,
    /// Statements found on the server they were needed on.
    pub plan_hits: u32,
    /// Statements that had to be prepared first.
    pub plan_misses: u32,
    /// Statements closed to make room.
    pub plan_evictions: u32,
    /// New pins.
    pub pins: Pins,
}

impl Engine {
    /// For a client that has just logged in.
    pub fn new(shared: Arc<Shared>, reader: Arc<Reader>, parameters: Arc<Parameters>, now: Instant) -> Self {
        let reads = shared.cache.as_ref().map(|cache| Box::new(Reads::new(cache, Arc::clone(&reader))));
        let sequences = sequences::Use::new(shared.next_epoch());
        let mut session = Session::new(shared.settings.none());
        if shared.session_mode {
            session.pins.add(Pin::SessionMode);
            session.materialised = true;
        }
        Self {
            shared,
            session,
            server: None,
            status: TransactionStatus::Idle,
            changes_schema: false,
            changes_defaults: false,
            hides_code: false,
            makes_code: false,
            doubt: None,
            aftermath: None,
            adapting: false,
            adapted_from: None,
            adapt_failures: 0,
            deallocating: None,
            unsettled: false,
            unsettled_at: 0,
            stall: Stall::None,
            barrier: false,
            copy_bound: false,
            rest_in: Rest::default(),
            skip_rest: false,
            rest_out: Rest::default(),
            piece_out: false,
            left_block: false,
            local_settings: false,
            release: None,
            reads,
            sequences,
            login: reader,
            listening: None,
            may_listen: false,
            pid: 0,
            complete_fill: false,
            open_batch: false,
            bound_in_batch: Bound::Nothing,
            refused: false,
            fatal: false,
            parting: false,
            now,
            busy: false,
            parameters,
            client_out: Vec::new(),
            server_out: Vec::new(),
            tally: Tally::default(),
            finished: None,
            running: None,
            rows: 0,
        }
    }

    /// A server connection for the client. ParameterStatus that differ from what the client knows are told first.
    pub fn lease(&mut self, mut server: Box<Server>) {
        debug_assert!(self.server.is_none() && server.ledger.is_idle());
        let is_adapted = server.applied == self.session.settings;
        if self.parameters == server.parameters {
            // The next comparison is one of addresses.
            server.parameters = Arc::clone(&self.parameters);
        } else if is_adapted {
            self.tell_parameters(Arc::clone(&server.parameters));
        }
        self.read_as(&server.reader);
        self.release = None;
        self.server = Some(server);
        self.listen_leased();
        if !is_adapted {
            self.adapt();
        }
        self.sequences_leased();
    }

    fn tell_parameters(&mut self, now: Arc<Parameters>) {
        for (name, value) in self.parameters.changed_in(&now) {
            synth::parameter_status(name, value, &mut self.client_out);
        }
        self.parameters = now;
        self.sequences.renamed();
    }

    /// Whether a server is held.
    pub fn is_leased(&self) -> bool {
        self.server.is_some()
    }

    /// The server, when the engine has no more use for it.
    pub fn take_release(&mut self) -> Option<(Box<Server>, Release)> {
        if !self.wants_release() {
            return None;
        }
        (self.rest_out, self.piece_out) = (Rest::default(), false);
        let release = self.release.take()?;
        // What this server has not taken (data of a COPY that had failed) is not for the next one.
        let release = if self.server_out.is_empty() { release } else { Release::Close };
        self.server_out.clear();
        self.server.take().map(|server| (server, release))
    }

    /// Whether [`Engine::take_release`] would give one.
    pub fn wants_release(&self) -> bool {
        // The end of a message that nobody asked for must not reach the next client.
        let at_boundary = self.rest_out.left == 0 && !self.piece_out;
        let reusable = at_boundary && self.server.as_ref().is_some_and(|server| server.ledger.is_idle());
        self.release.is_some_and(|release| release == Release::Close || reusable)
    }

    /// The client was told by the server that its session is over.
    pub fn is_over(&self) -> bool {
        self.fatal
    }

    /// Whether replies are outstanding.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Whether the server will say more by itself.
    pub fn awaits_answers(&self) -> bool {
        let half = usize::from(self.rest_in.left > 0);
        self.server.as_ref().is_some_and(|server| server.ledger.owes_answers(half))
    }

    /// The transaction status that the client was told last.
    pub fn status(&self) -> TransactionStatus {
        self.status
    }

    /// The client's pins.
    pub fn pins(&self) -> Pins {
        self.session.pins
    }

    /// Nothing is under way: the moment to let a client go when pgdial drains.
    pub fn is_quiet(&self) -> bool {
        !self.busy
            && !self.open_batch
            && self.rest_in.left == 0
            && self.status == TransactionStatus::Idle
            && self.server.as_ref().is_none_or(|s| s.ledger.is_idle())
    }
}
