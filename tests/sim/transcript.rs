//! What a client must be told: what a private server would have told it.

use std::collections::{BTreeMap, VecDeque};

use pgdial::wire::Header;
use pgdial::wire::backend::tag;
use pgdial::wire::diagnostics::Fields;
use pgdial::wire::frontend::Message;

use super::model::{Db, Model};

/// Table and key.
pub(crate) type Row = (u8, String);

/// One client's.
pub(crate) struct Transcript {
    private: Model,
    expected: Vec<Expected>,
    at: usize,
    partial: Vec<u8>,
    /// For the trace.
    pub(crate) heard: Vec<String>,
    /// What the client's servers have committed, in order; what it has not heard of yet.
    pub(crate) committed: VecDeque<(u8, String, u64)>,
    /// Its server has crashed: the session may end with one error.
    pub(crate) may_end: bool,
    ended: bool,
    /// Not looked at any more.
    pub(crate) waived: bool,
}

struct Expected {
    message: Vec<u8>,
    /// For a row that others write too: the client knew that it had this value when it asked.
    floor: Option<u64>,
    /// So many rows are committed when this is said.
    commits: usize,
}

impl Default for Transcript {
    fn default() -> Self {
        Self {
            private: Model::new(&Db::default()),
            expected: Vec::new(),
            at: 0,
            partial: Vec::new(),
            heard: Vec::new(),
            committed: VecDeque::new(),
            may_end: false,
            ended: false,
            waived: false,
        }
    }
}

impl Transcript {
    /// The client sends these whole messages.
    pub(crate) fn expect(&mut self, batch: &[u8], known: &BTreeMap<Row, u64>) {
        for message in frames(batch) {
            self.private.feed(message);
            let out = std::mem::take(&mut self.private.out);
            for message in frames(&out).filter(|message| message[0] != tag::PARAMETER_STATUS) {
                let floor = shared_row(message).map(|(row, _)| known.get(&row).copied().unwrap_or(0));
                self.expected.push(Expected { message: message.to_vec(), floor, commits: 0 });
            }
            let commits = self.private.commits.drain(..).count();
            if let Some(last) = self.expected.last_mut() {
                last.commits += commits;
            }
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.at == self.expected.len() && self.partial.is_empty()
    }

    /// Postgres would be between transactions now.
    pub(crate) fn is_quiet(&self) -> bool {
        self.private.is_quiet()
    }

    pub(crate) fn next_words(&self) -> String {
        self.expected.get(self.at).map_or_else(|| "nothing".to_owned(), |expected| words(&expected.message))
    }

    /// The client reads these bytes.
    pub(crate) fn got(&mut self, bytes: &[u8], known: &mut BTreeMap<Row, u64>, db: &Db) -> Result<(), String> {
        self.partial.extend_from_slice(bytes);
        while let Some(header) = Header::peek(&self.partial).map_err(|violation| violation.to_string())? {
            if self.partial.len() < header.len {
                return Ok(());
            }
            let message: Vec<u8> = self.partial.drain(..header.len).collect();
            self.heard.push(words(&message) + " ");
            if message[0] != tag::PARAMETER_STATUS && !is_asynchronous(&message) {
                self.message(&message, known, db)?;
            }
        }
        Ok(())
    }

    fn message(&mut self, message: &[u8], known: &mut BTreeMap<Row, u64>, db: &Db) -> Result<(), String> {
        if self.waived {
            return Ok(());
        }
        if self.ended {
            return Err(format!("{} after the end of the session", words(message)));
        }
        let expected = self.expected.get(self.at);
        if let Some(expected) = expected
            && expected.message == message
            && expected.floor.is_none()
        {
            self.advance(known);
            return Ok(());
        }
        if self.may_end && is_end(message) {
            self.ended = true;
            return Ok(());
        }
        if expected.is_some_and(|expected| expected.message[0] == tag::PARAMETER_DESCRIPTION) && is_error(message, "25P02") {
            // Known: in a failed transaction, the description of a statement that this server lacks and that returns no rows.
            self.ended = true;
            self.waived = true;
            return Ok(());
        }
        let wanted = expected.map_or_else(|| "nothing".to_owned(), |expected| words(&expected.message));
        let differs = Err(format!("{} instead of {wanted}", words(message)));
        let Some(expected) = expected else { return differs };
        let (Some((row, value)), Some((other, _)), Some(floor)) =
            (shared_row(message), shared_row(&expected.message), expected.floor)
        else {
            return differs;
        };
        if row != other {
            return differs;
        }
        if value < floor {
            return Err(format!("{} is older than {floor}, which was acknowledged before the read began", words(message)));
        }
        if value > db.borrow().get(&row).copied().unwrap_or(0) {
            return Err(format!("{} is not committed", words(message)));
        }
        self.advance(known);
        Ok(())
    }

    fn advance(&mut self, known: &mut BTreeMap<Row, u64>) {
        let commits = self.expected[self.at].commits;
        for (table, key, value) in self.committed.drain(..commits.min(self.committed.len())) {
            let newest = known.entry((table, key)).or_default();
            *newest = value.max(*newest);
        }
        self.at += 1;
    }
}

/// A committed value of a row that all clients write.
fn shared_row(message: &[u8]) -> Option<(Row, u64)> {
    if message[0] != tag::DATA_ROW {
        return None;
    }
    let text = std::str::from_utf8(message.get(11..)?).ok()?;
    let (name, value) = text.split_once('=')?;
    let (table, key) = name.split_at_checked(1)?;
    let row = (table.parse().ok()?, key.to_owned());
    key.starts_with('s').then_some((row, value.parse().ok()?))
}

fn is_asynchronous(message: &[u8]) -> bool {
    message[0] == tag::NOTICE_RESPONSE && Fields::decode(&message[Header::LEN..]).is_ok_and(|fields| fields.message() == b"async")
}

fn is_end(message: &[u8]) -> bool {
    is_error(message, "57P01") || is_error(message, "08006")
}

fn is_error(message: &[u8], code: &str) -> bool {
    let state = Fields::decode(&message[Header::LEN..]).ok().and_then(|fields| fields.sqlstate());
    message[0] == tag::ERROR_RESPONSE && state.is_some_and(|state| state.as_str() == code)
}

/// Whole notices that nobody asked for are for whoever reads next.
pub(crate) fn drop_notices(out: &mut Vec<u8>) {
    while let Ok(Some(header)) = Header::peek(out)
        && out.len() >= header.len
        && is_asynchronous(&out[..header.len])
    {
        out.drain(..header.len);
    }
}

/// Whole messages that a server outside of COPY reads and ignores.
pub(crate) fn only_copy_data(link: &[u8]) -> bool {
    let mut len = 0;
    frames(link).all(|frame| {
        len += frame.len();
        matches!(frame[0], b'd' | b'c' | b'f' | b'H')
    }) && len == link.len()
}

fn frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let header = Header::peek(bytes).ok()??;
        let (frame, rest) = bytes.split_at_checked(header.len)?;
        bytes = rest;
        Some(frame)
    })
}

fn words(message: &[u8]) -> String {
    let text: String =
        message.iter().skip(5).take(60).map(|byte| if (32..127).contains(byte) { *byte as char } else { '.' }).collect();
    format!("{}[{text}]", message[0] as char)
}

/// What a batch says.
pub(crate) fn frontend_words(batch: &[u8]) -> String {
    let one = |frame: &[u8]| match Message::decode(frame[0], &frame[Header::LEN..]) {
        Ok(Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) | Message::Sync | Message::Flush) => {
            (frame[0] as char).to_string()
        }
        _ => words(frame),
    };
    frames(batch).map(one).collect::<Vec<_>>().join(" ")
}
