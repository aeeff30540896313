//! Floor 4. The loop of a console client: messages in, answers out; an order that takes time can be cancelled.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use crate::admin::console::{Goes, Operator, Order, Session, Step};
use crate::error::{Error, Kind, Result, SqlState};
use crate::net::{Fault, Stream, next_message};
use crate::pg::TransactionStatus;
use crate::server::Slot;
use crate::wire::backend::{self, BackendKeyData};

use super::gate::Gate;
use super::login::LoggedIn;

/// Commands are short; nothing longer is waited for.
const MAX_MESSAGE: usize = 64 * 1024;

/// One console client.
struct Console {
    session: Session,
    operator: Arc<dyn Operator>,
    stream: Stream,
    slot: Arc<Slot>,
    user: Box<str>,
    inbox: Vec<u8>,
    out: Vec<u8>,
}

/// Serves the client until it goes.
pub(super) async fn serve(client: LoggedIn, gate: &Gate, operator: Arc<dyn Operator>) -> Result<()> {
    let slot = super::session::register(&client, gate, None)?;
    let mut out = client.pending;
    Session::greet(&mut out);
    let key = slot.key();
    BackendKeyData { pid: key.pid, secret: &key.secret }.encode(&mut out);
    backend::ready_for_query(TransactionStatus::Idle, &mut out);
    let session = Session::default();
    let inbox = client.leftover;
    let mut console =
        Console { session, operator, stream: client.stream, slot: Arc::clone(&slot), user: client.user, inbox, out };
    let ended = console.run().await;
    gate.registry.remove(&slot);
    if let Err(error) = &ended
        && error.kind() != Kind::ClientGone
    {
        error.encode(&mut console.out);
        // Whether it arrives is the client's affair.
        let _ = timeout(FAREWELL_LIMIT, console.write()).await;
    }
    let _ = timeout(FAREWELL_LIMIT, console.stream.shutdown()).await;
    debug!(user = %console.user, "console session ended");
    ended
}

/// What others want of the client.
enum Signal {
    Leave,
    Cancel,
}

impl Console {
    async fn run(&mut self) -> Result<()> {
        loop {
            self.flush().await?;
            let left = told_to_leave(Arc::clone(&self.slot));
            let message = tokio::select! {
                message = next_message(&mut self.stream, &mut self.inbox, MAX_MESSAGE) => message.map_err(lost)?,
                () = left => return Err(leaving()),
            };
            match self.session.on_message(message.tag, &message.body, &mut self.out)? {
                Goes::Away => return Ok(()),
                Goes::On => self.work().await?,
            }
        }
    }

    async fn work(&mut self) -> Result<()> {
        loop {
            match self.session.step(&*self.operator, &mut self.out) {
                Step::Done => return Ok(()),
                Step::Full => self.flush().await?,
                Step::Order(order) => {
                    let outcome = self.carry_out(&order).await?;
                    if let Err(error) = &outcome {
                        debug!(user = %self.user, order = order.as_str(), %error, "console: refused");
                    }
                    self.session.carried_out(&order, outcome, &mut self.out);
                }
            }
        }
    }

    /// The outer error ends the session, the inner one is the answer.
    async fn carry_out(&mut self, order: &Order) -> Result<Result<()>> {
        info!(user = %self.user, ?order, "console");
        let mut wait = match self.operator.order(order) {
            Ok(wait) => wait,
            Err(error) => return Ok(Err(error)),
        };
        self.flush().await?;
        self.slot.set_waiting(true);
        // What is done is said first: SHUTDOWN, and KILL_CLIENT of oneself, tell this very client to leave.
        let ended = tokio::select! {
            biased;
            () = &mut wait => Ok(Ok(())),
            signal = signal(Arc::clone(&self.slot)) => match signal {
                Signal::Leave => Err(leaving()),
                Signal::Cancel => {
                    let error = Error::new(Kind::Unsupported, "canceling statement due to user request");
                    Ok(Err(error.with_sqlstate(SqlState(*b"57014"))))
                }
            },
            _ = gone(&self.stream) => Err(lost(Fault::Closed)),
        };
        self.slot.set_waiting(false);
        if !matches!(ended, Ok(Ok(()))) {
            self.operator.withdraw(order);
        }
        ended
    }

    /// A client that does not read is waited for, but it can be told to leave.
    async fn flush(&mut self) -> Result<()> {
        let left = told_to_leave(Arc::clone(&self.slot));
        tokio::select! {
            biased;
            written = self.write() => written,
            // What is half sent cannot be followed by an error.
            () = left => Err(Error::new(Kind::ClientGone, "the client was told to leave and does not read")),
        }
    }

    async fn write(&mut self) -> Result<()> {
        let written = self.stream.write_all(&self.out).await;
        self.out = Vec::new();
        written.map_err(|error| lost(error.into()))?;
        self.stream.flush().await.map_err(|error| lost(error.into()))
    }
}

async fn told_to_leave(slot: Arc<Slot>) {
    while let Signal::Cancel = signal(Arc::clone(&slot)).await {}
}

async fn signal(slot: Arc<Slot>) -> Signal {
    poll_fn(|cx| {
        slot.set_waker(cx.waker());
        if slot.is_draining() {
            Poll::Ready(Signal::Leave)
        } else if slot.take_queued_cancel() {
            Poll::Ready(Signal::Cancel)
        } else {
            Poll::Pending
        }
    })
    .await
}

/// The client has closed its connection. What it sends meanwhile is read later.
async fn gone(stream: &Stream) {
    loop {
        match poll_fn(|cx| stream.poll_idle(cx)).await {
            crate::net::Idle::Closed => return,
            crate::net::Idle::Readable | crate::net::Idle::Quiet => sleep(LOOK_AGAIN).await,
        }
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// For a client to read why its session has ended.
const FAREWELL_LIMIT: Duration = Duration::from_secs(5);

fn leaving() -> Error {
    Error::new(Kind::Draining, "terminating connection due to administrator command")
}

fn lost(fault: Fault) -> Error {
    match fault {
        Fault::Violation(violation) => Error::from(violation).fatal(),
        Fault::Closed | Fault::Io(_) => Error::new(Kind::ClientGone, "the client left").with_source(fault),
    }
}
