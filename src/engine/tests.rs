//! Floor 2. Engines against scripted servers. Whatever is sent arrives in pieces of every size.

mod ledger;
mod listen;
mod memory;
mod plans;
mod sequences;
mod sessions;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{CacheShared, Engine, Reader, Release, Server, Shared, Taken, Want};
use crate::cache::Join;
use crate::error::{Error, Kind};
use crate::listen::{Gate, Passage};
use crate::pg::TransactionStatus;
use crate::query::Classifier;
use crate::wire::backend::{self, CommandComplete, CopyResponse, ParameterStatus};
use crate::wire::diagnostics::{Fields, Report, Severity, SqlState};
use crate::wire::frontend::{self, Message, Target};
use crate::wire::{Formats, Header, Oids};

/// One client, the servers it may be given, and what either has been told.
pub(super) struct Rig {
    pub(super) engine: Engine,
    pub(super) free: VecDeque<Box<Server>>,
    reader: Arc<Reader>,
    chunk: usize,
    inbox: Vec<u8>,
    server_inbox: Vec<u8>,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    pub(super) wants_server: bool,
    pub(super) flight: Option<Join>,
    pub(super) gate: Option<Gate>,
    now: Instant,
}

/// Runs a scenario with input in pieces of many sizes.
pub(super) fn in_pieces(scenario: impl Fn(usize)) {
    (1..24).chain([64, 1 << 20]).for_each(scenario);
}

pub(super) fn shared(cache: Option<CacheShared>) -> Arc<Shared> {
    Arc::new(Shared::new(Arc::new(Classifier::new(100, 1 << 20)), "_p_", cache))
}

pub(super) fn reader() -> Arc<Reader> {
    Arc::new(Reader {
        set: 0,
        role: "app".into(),
        search_path: vec!["public".into()],
        settings: Box::default(),
        read_committed: true,
    })
}

impl Rig {
    pub(super) fn new(chunk: usize) -> Self {
        Self::of(chunk, &shared(None), 2)
    }

    pub(super) fn of(chunk: usize, shared: &Arc<Shared>, servers: usize) -> Self {
        let (now, reader) = (Instant::now(), reader());
        let mut rig = Self {
            engine: Engine::new(Arc::clone(shared), Arc::clone(&reader), Arc::default(), now),
            free: VecDeque::new(),
            reader,
            chunk,
            inbox: Vec::new(),
            server_inbox: Vec::new(),
            to_server: Vec::new(),
            to_client: Vec::new(),
            wants_server: false,
            flight: None,
            gate: None,
            now,
        };
        (0..servers).for_each(|_| rig.add_server(100));
        rig
    }

    /// One more server, with room for so many statements.
    pub(super) fn add_server(&mut self, plans: usize) {
        let server = Server::new(None, Arc::default(), Arc::clone(&self.reader), plans);
        self.free.push_back(Box::new(server));
    }

    /// The client sends; what the server is sent, in words.
    pub(super) fn send(&mut self, messages: &[Vec<u8>]) -> String {
        for piece in messages.concat().chunks(self.chunk) {
            self.inbox.extend_from_slice(piece);
            self.feed();
        }
        self.sent()
    }

    /// What the server was sent since it was last asked.
    pub(super) fn sent(&mut self) -> String {
        frontend_words(&std::mem::take(&mut self.to_server))
    }

    pub(super) fn feed(&mut self) {
        loop {
            let taken = match self.engine.on_client(&self.inbox, self.now) {
                Ok(taken) => taken,
                Err(error) => return self.engine.refuse(&error),
            };
            self.write(&taken);
            self.inbox.drain(..taken.consumed);
            self.wants_server = false;
            match taken.want {
                Want::Server => match self.free.pop_front() {
                    Some(server) => self.engine.lease(server),
                    None => {
                        self.wants_server = true;
                        return;
                    }
                },
                Want::Flight(join) => {
                    self.flight = Some(join);
                    return;
                }
                Want::Gate(gate) => {
                    self.gate = Some(gate);
                    return;
                }
                Want::Input { .. } | Want::Replies | Want::Goodbye => return,
            }
        }
    }

    fn write(&mut self, taken: &Taken) {
        self.to_server.append(&mut self.engine.server_out);
        self.to_server.extend_from_slice(&self.inbox[taken.relay.clone()]);
        self.to_client.append(&mut self.engine.client_out);
    }

    /// The server answers; what the client is told, in words.
    pub(super) fn answer(&mut self, messages: &[Vec<u8>]) -> String {
        self.try_answer(messages).unwrap_or_else(|error| panic!("{}", error.message()));
        self.told()
    }

    pub(super) fn try_answer(&mut self, messages: &[Vec<u8>]) -> Result<(), Error> {
        for piece in messages.concat().chunks(self.chunk) {
            self.server_inbox.extend_from_slice(piece);
            if self.gate.is_some() {
                continue;
            }
            let taken = self.engine.on_server(&self.server_inbox, self.now)?;
            self.to_client.append(&mut self.engine.client_out);
            self.to_client.extend_from_slice(&self.server_inbox[taken.relay]);
            self.to_server.append(&mut self.engine.server_out);
            self.server_inbox.drain(..taken.consumed);
            if let Want::Gate(gate) = taken.want {
                self.gate = Some(gate);
                continue;
            }
            if self.engine.is_leased() {
                self.feed();
            }
        }
        Ok(())
    }

    /// The gate that is waited for opens, or not; both sides go on.
    pub(super) fn pass(&mut self, passage: Passage) {
        assert!(self.gate.take().is_some(), "no gate is waited for");
        self.engine.gate_passed(passage);
        let rest = std::mem::take(&mut self.server_inbox);
        self.try_answer(&[rest]).unwrap_or_else(|error| panic!("{}", error.message()));
        if self.gate.is_none() {
            self.feed();
        }
    }

    /// What the client was told since it was last asked.
    pub(super) fn told(&mut self) -> String {
        self.to_client.append(&mut self.engine.client_out);
        backend_words(&std::mem::take(&mut self.to_client))
    }

    /// The server goes back to the pool, if the engine lets it.
    pub(super) fn release(&mut self) -> Option<Release> {
        let (server, release) = self.engine.take_release()?;
        if release == Release::Reuse {
            self.free.push_back(server);
        }
        Some(release)
    }

    /// What was left behind is asked for, and told: what was asked, in words.
    pub(super) fn inquiry(&mut self, answers: &[&str]) -> String {
        let asked = self.sent();
        let row = made(|out| backend::data_row(answers.iter().map(|value| Some(value.as_bytes())), out));
        assert_eq!(self.answer(&[columns(), row, complete("SELECT 1"), ready(I)]), "", "the client hears nothing of it");
        asked
    }

    /// A whole exchange of a Query that answers with this tag and status.
    pub(super) fn query(&mut self, text: &str, tag: &str, status: TransactionStatus) {
        assert_eq!(self.send(&[query(text)]), format!("Q {text}"));
        assert_eq!(self.answer(&[complete(tag), ready(status)]), format!("C {tag}, Z {}", status.as_byte() as char));
    }
}

pub(super) const I: TransactionStatus = TransactionStatus::Idle;
pub(super) const T: TransactionStatus = TransactionStatus::InTransaction;
pub(super) const E: TransactionStatus = TransactionStatus::Failed;

fn made(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

pub(super) fn query(text: &str) -> Vec<u8> {
    made(|out| frontend::Query { text: text.as_bytes() }.encode(out))
}
pub(super) fn parse(name: &str, text: &str) -> Vec<u8> {
    made(|out| frontend::Parse { name: name.as_bytes(), text: text.as_bytes(), types: Oids::default() }.encode(out))
}
pub(super) fn bind(name: &str) -> Vec<u8> {
    made(|out| frontend::bind(b"", name.as_bytes(), &[], [].into_iter(), &[], out))
}
pub(super) fn describe(name: &str) -> Vec<u8> {
    made(|out| frontend::Describe { target: Target::Statement, name: name.as_bytes() }.encode(out))
}
pub(super) fn describe_portal() -> Vec<u8> {
    made(|out| frontend::Describe { target: Target::Portal, name: b"" }.encode(out))
}
pub(super) fn close(name: &str) -> Vec<u8> {
    made(|out| frontend::Close { target: Target::Statement, name: name.as_bytes() }.encode(out))
}
pub(super) fn execute() -> Vec<u8> {
    made(|out| frontend::Execute { portal: b"", max_rows: 0 }.encode(out))
}
pub(super) fn sync() -> Vec<u8> {
    made(frontend::sync)
}
pub(super) fn flush() -> Vec<u8> {
    made(frontend::flush)
}
pub(super) fn copy_data(data: &[u8]) -> Vec<u8> {
    made(|out| frontend::CopyData { data }.encode(out))
}
pub(super) fn copy_done() -> Vec<u8> {
    made(frontend::copy_done)
}
pub(super) fn parsed() -> Vec<u8> {
    made(backend::parse_complete)
}
pub(super) fn bound() -> Vec<u8> {
    made(backend::bind_complete)
}
pub(super) fn closed() -> Vec<u8> {
    made(backend::close_complete)
}
pub(super) fn no_data() -> Vec<u8> {
    made(backend::no_data)
}
/// The answer to pgdial's own question behind a Parse by name.
pub(super) fn learnt() -> Vec<u8> {
    made(|out| {
        backend::ParameterDescription { types: Oids::default() }.encode(out);
        backend::no_data(out);
    })
}
pub(super) fn columns() -> Vec<u8> {
    made(|out| backend::row_description([].into_iter(), out))
}
pub(super) fn row(value: &[u8]) -> Vec<u8> {
    made(|out| backend::data_row([Some(value)].into_iter(), out))
}
pub(super) fn complete(tag: &str) -> Vec<u8> {
    made(|out| CommandComplete { tag: tag.as_bytes() }.encode(out))
}
pub(super) fn copy_in() -> Vec<u8> {
    made(|out| CopyResponse { overall_format: 0, formats: Formats::default() }.encode(backend::tag::COPY_IN_RESPONSE, out))
}
pub(super) fn ready(status: TransactionStatus) -> Vec<u8> {
    made(|out| backend::ready_for_query(status, out))
}
pub(super) fn failed(code: &[u8; 5]) -> Vec<u8> {
    report(Severity::Error, code)
}
pub(super) fn report(severity: Severity, code: &[u8; 5]) -> Vec<u8> {
    made(|out| Report { severity, sqlstate: SqlState(*code), message: "as it is", detail: None, hint: None }.encode_error(out))
}
pub(super) fn notice() -> Vec<u8> {
    made(|out| {
        Report { severity: Severity::Notice, sqlstate: SqlState(*b"00000"), message: "by the way", detail: None, hint: None }
            .encode_notice(out)
    })
}
pub(super) fn parameter(name: &str, value: &str) -> Vec<u8> {
    made(|out| ParameterStatus { name: name.as_bytes(), value: value.as_bytes() }.encode(out))
}
pub(super) fn no_server() -> Error {
    Error::new(Kind::CheckoutTimeout, "no server")
}

fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let Some(header) = Header::peek(bytes).unwrap() {
        frames.push((header.tag, &bytes[Header::LEN..header.len]));
        bytes = &bytes[header.len..];
    }
    assert!(bytes.is_empty(), "half a message");
    frames
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(40).collect()
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the rest has no words")]
fn frontend_words(bytes: &[u8]) -> String {
    let word = |(tag, body): (u8, &[u8])| match Message::decode(tag, body).unwrap() {
        Message::Query(query) => format!("Q {}", text(query.text)),
        Message::Parse(parse) => format!("P {} {}", text(parse.name), text(parse.text)),
        Message::Bind(bind) => format!("B {}", text(bind.statement)),
        Message::Describe(describe) => format!("D {}", text(describe.name)),
        Message::Close(close) => format!("C {}", text(close.name)),
        _ => (tag as char).to_string(),
    };
    frames(bytes).into_iter().map(word).map(|word| word.trim_end().to_owned()).collect::<Vec<_>>().join(", ")
}

fn backend_words(bytes: &[u8]) -> String {
    let word = |(tag, body): (u8, &[u8])| match tag {
        backend::tag::ERROR_RESPONSE => format!("E {}", Fields::decode(body).unwrap().sqlstate().unwrap().as_str()),
        backend::tag::READY_FOR_QUERY | backend::tag::COMMAND_COMPLETE => {
            format!("{} {}", tag as char, text(body).trim_end_matches('\0'))
        }
        backend::tag::PARAMETER_STATUS => format!("S {}", text(body).trim_end_matches('\0').replace('\0', "=")),
        backend::tag::NOTIFICATION_RESPONSE => {
            let note = backend::NotificationResponse::decode(body).unwrap();
            format!("A {} {} {}", note.pid, text(note.channel), text(note.payload))
        }
        _ => (tag as char).to_string(),
    };
    frames(bytes).into_iter().map(word).collect::<Vec<_>>().join(", ")
}
