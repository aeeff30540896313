//! Floor 2. Messages to the client that no server has sent.

use crate::cache::Entry;
use crate::pg::TransactionStatus;
use crate::wire::backend::{self, ParameterStatus};

use super::ledger::Local;

pub(super) fn ready_for_query(status: TransactionStatus, out: &mut Vec<u8>) {
    backend::ready_for_query(status, out);
}

pub(super) fn close_complete(out: &mut Vec<u8>) {
    backend::close_complete(out);
}

pub(super) fn local(local: Local, out: &mut Vec<u8>) {
    match local {
        Local::ParseComplete => backend::parse_complete(out),
        Local::CloseComplete => backend::close_complete(out),
    }
}

pub(super) fn parameter_status(name: &str, value: &str, out: &mut Vec<u8>) {
    ParameterStatus { name: name.as_bytes(), value: value.as_bytes() }.encode(out);
}

/// Which messages a batch is to be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answering {
    Simple,
    Extended { parse: bool, describe: bool },
}

/// The whole reply of a batch, from memory.
pub(super) fn answer(entry: &Entry, how: Answering, out: &mut Vec<u8>) {
    let columns = entry.columns.as_deref().unwrap_or_default();
    out.reserve(columns.len() + entry.rows.len() + entry.tag.len() + 32);
    match how {
        Answering::Simple => out.extend_from_slice(columns),
        Answering::Extended { parse, describe } => {
            if parse {
                backend::parse_complete(out);
            }
            backend::bind_complete(out);
            if describe {
                out.extend_from_slice(columns);
            }
        }
    }
    out.extend_from_slice(&entry.rows);
    out.extend_from_slice(&entry.tag);
    backend::ready_for_query(TransactionStatus::Idle, out);
}
