//! A small but faithful Postgres, as far as its protocol goes: implicit transactions, skip-to-Sync, portals, statements
//! by name, COPY in both directions, transaction status, and two tables whose rows count their writes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pgdial::pg::TransactionStatus;
use pgdial::wire::backend::{self, CommandComplete, ParameterDescription, ParameterStatus};
use pgdial::wire::diagnostics::{Report, Severity, SqlState};
use pgdial::wire::frontend::{Bind, Close, CopyFail, Describe, Execute, Message, Parse, Target};
use pgdial::wire::{Header, Oids};

use super::sql::Op;

mod run;

/// Committed rows.
pub(crate) type Db = Rc<RefCell<BTreeMap<(u8, String), u64>>>;

/// One server process.
pub(crate) struct Model {
    db: Db,
    statements: BTreeMap<Vec<u8>, Op>,
    portals: BTreeMap<Vec<u8>, Portal>,
    block: Block,
    /// Writes of the open transaction.
    pending: Vec<(u8, String)>,
    skipping: bool,
    /// Messages since the last Sync.
    open: bool,
    copy: Option<Copy>,
    name: String,
    committed_name: String,
    inbox: Vec<u8>,
    /// What it has said and nobody has read.
    pub(crate) out: Vec<u8>,
    /// Rows that were committed, in order, with their new value.
    pub(crate) commits: Vec<(u8, String, u64)>,
    /// It is gone, or about to be.
    pub(crate) dead: bool,
    /// For the trace.
    pub(crate) heard: Vec<String>,
}

struct Portal {
    op: Op,
    parameter: String,
    sent: usize,
    run: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Block {
    None,
    In,
    Failed,
}

struct Copy {
    table: u8,
    extended: bool,
    rows: Vec<String>,
}

/// An error of Postgres: code and text.
type Refusal = (&'static [u8; 5], String);

fn refusal<T>(code: &'static [u8; 5], text: impl Into<String>) -> Result<T, Refusal> {
    Err((code, text.into()))
}

fn aborted<T>() -> Result<T, Refusal> {
    refusal(b"25P02", "current transaction is aborted, commands ignored until end of transaction block")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Model {
    pub(crate) fn new(db: &Db) -> Self {
        Self {
            db: Rc::clone(db),
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            block: Block::None,
            pending: Vec::new(),
            skipping: false,
            open: false,
            copy: None,
            name: String::new(),
            committed_name: String::new(),
            inbox: Vec::new(),
            out: Vec::new(),
            commits: Vec::new(),
            dead: false,
            heard: Vec::new(),
        }
    }

    /// Bytes from the other end.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        while !self.dead {
            let Some(header) = Header::peek(&self.inbox).unwrap() else { return };
            if self.inbox.len() < header.len {
                return;
            }
            let message: Vec<u8> = self.inbox.drain(..header.len).collect();
            self.heard.push(super::transcript::frontend_words(&message) + " ");
            let decoded = Message::decode(message[0], &message[Header::LEN..]);
            self.message(&decoded.unwrap_or_else(|violation| panic!("malformed {:?}: {violation}", message[0] as char)));
        }
    }

    /// Whether it will read these bytes and do nothing.
    pub(crate) fn ignores(&self, link: &[u8]) -> bool {
        super::transcript::only_copy_data(&[&self.inbox, link].concat())
    }

    /// Why another client must not have it, if so.
    pub(crate) fn unfit(&self, prefix: &str) -> Option<String> {
        let theirs = self.statements.keys().find(|name| !name.is_empty() && !name.starts_with(prefix.as_bytes()));
        let checks = [
            (self.block != Block::None || !self.pending.is_empty(), "a transaction is open"),
            (self.skipping, "it skips to Sync"),
            (self.copy.is_some(), "a COPY is open"),
            (!self.out.is_empty(), "it has said more"),
            (!self.inbox.is_empty(), "half a message is in it"),
            (!self.name.is_empty(), "a setting was left behind"),
        ];
        let found = checks.iter().find(|(holds, _)| *holds).map(|(_, why)| (*why).to_owned());
        found.or_else(|| theirs.map(|name| format!("statement {:?} was left behind", lossy(name))))
    }

    /// Between transactions, and nothing is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.block == Block::None && !self.skipping && !self.open && self.copy.is_none()
    }

    /// With a statement that always stands ready.
    pub(crate) fn with_statement(mut self, name: &str) -> Self {
        self.statements.insert(name.as_bytes().to_vec(), Op::Const("stand-in".to_owned()));
        self
    }

    /// How many statements it holds.
    pub(crate) fn statements(&self) -> usize {
        self.statements.keys().filter(|name| !name.is_empty()).count()
    }

    /// A message that nobody asked for.
    pub(crate) fn asynchronous(&mut self) {
        report(Severity::Notice, b"00000", "async").encode_notice(&mut self.out);
    }

    /// An administrator ends it, or it just dies.
    pub(crate) fn crash(&mut self, politely: bool) {
        if politely {
            let text = "terminating connection due to administrator command";
            report(Severity::Fatal, b"57P01", text).encode_error(&mut self.out);
        }
        self.dead = true;
    }

    fn message(&mut self, message: &Message<'_>) {
        if self.copy.is_some() {
            return self.copying(message);
        }
        match message {
            Message::Sync | Message::Query(_) | Message::FunctionCall(_)
                if !self.skipping || matches!(message, Message::Sync) =>
            {
                self.open = false
            }
            Message::Parse(_) | Message::Bind(_) | Message::Describe(_) | Message::Execute(_) | Message::Close(_) => {
                self.open = true
            }
            _ => {}
        }
        if self.skipping && !matches!(message, Message::Sync) {
            return;
        }
        let outcome = match message {
            Message::Query(query) => return self.query(&lossy(query.text)),
            Message::FunctionCall(_) => return self.function_call(),
            Message::Sync => {
                self.skipping = false;
                self.end_implicit();
                return self.ready();
            }
            Message::Parse(parse) => self.parse(parse),
            Message::Bind(bind) => self.bind(bind),
            Message::Describe(describe) => self.describe(describe),
            Message::Execute(execute) => self.execute(execute),
            Message::Close(close) => {
                match close {
                    Close { target: Target::Statement, name } => drop(self.statements.remove(*name)),
                    Close { target: Target::Portal, name } => drop(self.portals.remove(*name)),
                }
                backend::close_complete(&mut self.out);
                Ok(())
            }
            Message::Terminate => {
                self.dead = true;
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(refused) = outcome {
            self.fail(&refused);
            self.skipping = true;
        }
    }

    fn query(&mut self, text: &str) {
        self.statements.remove(&b""[..]);
        self.portals.remove(&b""[..]);
        if let Err(refused) = self.run_query(text) {
            self.fail(&refused);
        }
        if self.copy.is_none() {
            self.end_implicit();
            self.ready();
        }
    }

    fn run_query(&mut self, text: &str) -> Result<(), Refusal> {
        let parts: Vec<&str> = text.split("; ").collect();
        for part in &parts {
            let op = Op::parse(part);
            if op == Op::Empty && parts.len() == 1 {
                backend::empty_query(&mut self.out);
                return Ok(());
            }
            if self.block == Block::Failed && !op.is_exit() {
                return aborted();
            }
            if op == Op::Unknown {
                return refusal(b"42703", format!("column of {part:?} does not exist"));
            }
            if op.parameters() > 0 {
                return refusal(b"42P02", "there is no parameter $1");
            }
            if op.returns_rows() {
                row_description(&op, &mut self.out);
            }
            let mut portal = Portal { op, parameter: String::new(), sent: 0, run: false };
            self.run(&mut portal, 0, false)?;
        }
        Ok(())
    }

    fn function_call(&mut self) {
        if self.block == Block::Failed {
            self.fail(&aborted::<()>().unwrap_err());
        } else {
            backend::FunctionCallResponse { value: None }.encode(&mut self.out);
            self.end_implicit();
        }
        self.ready();
    }

    fn parse(&mut self, parse: &Parse<'_>) -> Result<(), Refusal> {
        if parse.name.is_empty() {
            self.statements.remove(&b""[..]);
        }
        let op = Op::parse(&lossy(parse.text));
        if self.block == Block::Failed && !op.is_exit() && op != Op::Empty {
            return aborted();
        }
        if op == Op::Unknown {
            return refusal(b"42703", format!("column of {:?} does not exist", lossy(parse.text)));
        }
        if self.statements.contains_key(parse.name) {
            return refusal(b"42P05", format!("prepared statement {:?} already exists", lossy(parse.name)));
        }
        self.statements.insert(parse.name.to_vec(), op);
        backend::parse_complete(&mut self.out);
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<&Op, Refusal> {
        match self.statements.get(name) {
            Some(op) => Ok(op),
            None if name.is_empty() => refusal(b"26000", "unnamed prepared statement does not exist"),
            None => refusal(b"26000", format!("prepared statement {:?} does not exist", lossy(name))),
        }
    }

    fn bind(&mut self, bind: &Bind<'_>) -> Result<(), Refusal> {
        let op = self.statement(bind.statement)?.clone();
        let parameters = bind.parameters().unwrap();
        let parameter = parameters.values.iter().next().flatten().map(lossy).unwrap_or_default();
        if self.block == Block::Failed && !op.is_exit() {
            return aborted();
        }
        if !bind.portal.is_empty() && self.portals.contains_key(bind.portal) {
            return refusal(b"42P03", format!("cursor {:?} already exists", lossy(bind.portal)));
        }
        self.portals.insert(bind.portal.to_vec(), Portal { op, parameter, sent: 0, run: false });
        backend::bind_complete(&mut self.out);
        Ok(())
    }

    fn portal_missing(name: &[u8]) -> Refusal {
        (b"34000", format!("portal {:?} does not exist", lossy(name)))
    }

    fn describe(&mut self, describe: &Describe<'_>) -> Result<(), Refusal> {
        let op = match describe.target {
            Target::Statement => self.statement(describe.name)?.clone(),
            Target::Portal => self.portals.get(describe.name).ok_or_else(|| Self::portal_missing(describe.name))?.op.clone(),
        };
        if self.block == Block::Failed && op.returns_rows() {
            return aborted();
        }
        if describe.target == Target::Statement {
            let text_type = 25u32.to_be_bytes();
            let types = if op.parameters() > 0 { &text_type[..] } else { b"" };
            ParameterDescription { types: Oids::from_bytes(types).unwrap() }.encode(&mut self.out);
        }
        if op.returns_rows() {
            row_description(&op, &mut self.out);
        } else {
            backend::no_data(&mut self.out);
        }
        Ok(())
    }

    fn execute(&mut self, execute: &Execute<'_>) -> Result<(), Refusal> {
        let mut portal = self.portals.remove(execute.portal).ok_or_else(|| Self::portal_missing(execute.portal))?;
        let outcome = self.execute_portal(&mut portal, usize::try_from(execute.max_rows).unwrap_or(0));
        // The end of a transaction takes its portals along.
        let ends = outcome.is_ok() && portal.op.is_exit();
        if !ends && (outcome.is_ok() || self.block != Block::None) {
            self.portals.insert(execute.portal.to_vec(), portal);
        }
        outcome
    }

    fn execute_portal(&mut self, portal: &mut Portal, max: usize) -> Result<(), Refusal> {
        if portal.op == Op::Empty {
            backend::empty_query(&mut self.out);
            return Ok(());
        }
        if self.block == Block::Failed && !portal.op.is_exit() {
            return aborted();
        }
        if portal.run && !portal.op.returns_rows() {
            return refusal(b"55000", "portal cannot be run");
        }
        self.run(portal, max, true)
    }

    fn copying(&mut self, message: &Message<'_>) {
        let Some(copy) = self.copy.as_mut() else { return };
        let refused = match message {
            Message::CopyData(data) if data.data.starts_with(b"bad") => {
                (b"22P04", "extra data after last expected column".to_owned())
            }
            Message::CopyData(data) => return copy.rows.push(lossy(data.data)),
            Message::Sync | Message::Flush => return,
            Message::CopyDone => return self.copied(),
            Message::CopyFail(CopyFail { message }) => (b"57014", format!("COPY from stdin failed: {}", lossy(message))),
            _ => (b"08P01", "unexpected message type during COPY from stdin".to_owned()),
        };
        let extended = copy.extended;
        self.copy = None;
        self.fail(&refused);
        if extended {
            self.skipping = true;
        } else {
            self.end_implicit();
            self.ready();
        }
    }

    fn copied(&mut self) {
        let Some(copy) = self.copy.take() else { return };
        let count = copy.rows.len();
        self.pending.extend(copy.rows.into_iter().map(|key| (copy.table, key)));
        self.complete(&format!("COPY {count}"));
        if !copy.extended {
            self.end_implicit();
            self.ready();
        }
    }

    fn fail(&mut self, (code, text): &Refusal) {
        report(Severity::Error, code, text).encode_error(&mut self.out);
        self.abort();
        match self.block {
            Block::In => self.block = Block::Failed,
            Block::None => self.portals.clear(),
            Block::Failed => {}
        }
    }

    fn end_implicit(&mut self) {
        if self.block == Block::None {
            self.commit();
            self.portals.clear();
        }
    }

    fn commit(&mut self) {
        for row in self.pending.drain(..) {
            let mut db = self.db.borrow_mut();
            let value = db.entry(row.clone()).or_default();
            *value += 1;
            self.commits.push((row.0, row.1, *value));
        }
        self.committed_name.clone_from(&self.name);
    }

    fn abort(&mut self) {
        self.pending.clear();
        self.set_name(self.committed_name.clone());
    }

    fn set_name(&mut self, name: String) {
        if self.name != name {
            ParameterStatus { name: b"application_name", value: name.as_bytes() }.encode(&mut self.out);
            self.name = name;
        }
    }

    fn complete(&mut self, tag: &str) {
        CommandComplete { tag: tag.as_bytes() }.encode(&mut self.out);
    }

    fn ready(&mut self) {
        let status = match self.block {
            Block::None => TransactionStatus::Idle,
            Block::In => TransactionStatus::InTransaction,
            Block::Failed => TransactionStatus::Failed,
        };
        backend::ready_for_query(status, &mut self.out);
    }
}

fn report<'a>(severity: Severity, code: &[u8; 5], message: &'a str) -> Report<'a> {
    Report { severity, sqlstate: SqlState(*code), message, detail: None, hint: None }
}

fn row_description(op: &Op, out: &mut Vec<u8>) {
    let name = match op {
        Op::Read(..) => "v",
        Op::ShowName => "application_name",
        _ => "?column?",
    };
    let column = backend::Column {
        name: name.as_bytes(),
        table: Default::default(),
        attribute: 0,
        type_oid: pgdial::pg::Oid(25),
        type_len: -1,
        type_mod: -1,
        format: 0,
    };
    backend::row_description([column].into_iter(), out);
}
