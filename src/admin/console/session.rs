//! Floor 3. The protocol of one console client, without IO: simple and extended, results in text and in binary.

use std::collections::{HashMap, VecDeque};

use crate::error::{Error, Kind, Result, SqlState};
use crate::pg::TransactionStatus;
use crate::wire::Oids;
use crate::wire::backend::{self, CommandComplete, ParameterDescription, ParameterStatus};
use crate::wire::diagnostics::{Report, Severity};
use crate::wire::frontend::{Bind, Close, Describe, Execute, Message, Parse, Query, Target};

use super::command::{self, Command};
use super::drivers;
use super::table::{self, Formats, Row, Type, Value};
use super::{Operator, Order, refusal};

/// Names a client may hold at a time.
const MAX_NAMES: usize = 1_000;

/// Portals that may hold rows which are still to be fetched: each keeps a whole table.
const MAX_SUSPENDED: usize = 8;

/// A short text may ask for thousands of tables: what is there is sent before the next one is made.
const ENOUGH: usize = 64 * 1024;

/// One client of the console.
#[derive(Default)]
pub struct Session {
    statements: HashMap<Vec<u8>, Command>,
    portals: HashMap<Vec<u8>, Portal>,
    tasks: VecDeque<Task>,
    /// The order that the driver carries out.
    running: Option<Task>,
    status: Status,
    /// The batch has failed: all up to Sync is skipped.
    skipping: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Idle,
    InBlock,
    Failed,
}

struct Portal {
    command: Command,
    formats: Formats,
    /// Rows that are still to be sent; None until it has run.
    rows: Option<std::vec::IntoIter<Row>>,
}

enum Task {
    Statement(Command),
    Portal {
        name: Vec<u8>,
        max_rows: usize,
    },
    /// ReadyForQuery.
    Ready,
}

impl Session {
    /// What a client is told behind AuthenticationOk, but for its key and ReadyForQuery.
    pub fn greet(out: &mut Vec<u8>) {
        for (name, value) in drivers::REPORTED {
            ParameterStatus { name: name.as_bytes(), value: value.as_bytes() }.encode(out);
        }
    }

    /// Takes a message. Call [`Session::step`] next, until it wants nothing.
    ///
    /// # Errors
    /// Those that end the session.
    pub fn on_message(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Result<Goes> {
        let message = Message::decode(tag, body)?;
        if self.skipping && !matches!(message, Message::Sync | Message::Terminate) {
            return Ok(Goes::On);
        }
        let done = match message {
            Message::Terminate => return Ok(Goes::Away),
            Message::Query(query) => {
                self.query(&query, out);
                Ok(())
            }
            Message::Sync => {
                self.skipping = false;
                self.tasks.push_back(Task::Ready);
                Ok(())
            }
            Message::Parse(parse) => self.parse(&parse, out),
            Message::Bind(bind) => self.bind(&bind, out),
            Message::Describe(describe) => self.describe(&describe, out),
            Message::Execute(execute) => self.execute(&execute),
            Message::Close(close) => {
                self.close(&close, out);
                Ok(())
            }
            Message::FunctionCall(_) => {
                refusal(*b"0A000", "the console has no functions").encode(out);
                self.tasks.push_back(Task::Ready);
                Ok(())
            }
            Message::Flush | Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => Ok(()),
            Message::Password(_) => Err(Error::new(Kind::Protocol, "a password was not asked for")),
        };
        match done {
            Err(error) if error.level() == Severity::Fatal => return Err(error),
            Err(error) => self.fail(&error, out),
            Ok(()) => {}
        }
        Ok(Goes::On)
    }

    /// Answers what can be answered now. The client's messages are all answered when it gives [`Step::Done`].
    pub fn step(&mut self, operator: &dyn Operator, out: &mut Vec<u8>) -> Step {
        while let Some(task) = self.tasks.pop_front() {
            if out.len() >= ENOUGH {
                self.tasks.push_front(task);
                return Step::Full;
            }
            let outcome = match &task {
                Task::Ready => {
                    self.ready(out);
                    continue;
                }
                Task::Statement(Command::Order(order)) => self.may_run(None).map(|()| Some(order.clone())),
                Task::Statement(command) => self.statement(&command.clone(), operator, out).map(|()| None),
                Task::Portal { name, max_rows } => self.portal(name, *max_rows, operator, out),
            };
            match outcome {
                Ok(None) => {}
                Ok(Some(order)) => {
                    self.running = Some(task);
                    return Step::Order(order);
                }
                Err(error) => self.fail_task(&task, &error, out),
            }
        }
        Step::Done
    }

    /// The order that [`Session::step`] gave has ended so.
    pub fn carried_out(&mut self, order: &Order, outcome: Result<()>, out: &mut Vec<u8>) {
        let Some(task) = self.running.take() else { return };
        match outcome {
            Ok(()) => complete(order.as_str(), out),
            Err(error) => self.fail_task(&task, &error, out),
        }
    }

    fn query(&mut self, query: &Query<'_>, out: &mut Vec<u8>) {
        // As in Postgres, a simple query takes the unnamed ones with it.
        self.statements.remove(b"".as_slice());
        self.portals.remove(b"".as_slice());
        match text(query.text).and_then(command::parse) {
            Ok(commands) if commands.is_empty() => backend::empty_query(out),
            Ok(commands) => self.tasks.extend(commands.into_iter().map(Task::Statement)),
            Err(error) => self.tell(&error, out),
        }
        self.tasks.push_back(Task::Ready);
    }

    fn parse(&mut self, parse: &Parse<'_>, out: &mut Vec<u8>) -> Result<()> {
        if !parse.name.is_empty() && self.statements.contains_key(parse.name) {
            let name = String::from_utf8_lossy(parse.name);
            return Err(refusal(*b"42P05", format!("prepared statement \"{name}\" already exists")));
        }
        let mut commands = command::parse(text(parse.text)?)?;
        let command = commands.pop().unwrap_or(Command::Empty);
        if !commands.is_empty() {
            return Err(refusal(*b"42601", "cannot insert multiple commands into a prepared statement"));
        }
        room(self.statements.len())?;
        self.statements.insert(parse.name.to_vec(), command);
        backend::parse_complete(out);
        Ok(())
    }

    fn bind(&mut self, bind: &Bind<'_>, out: &mut Vec<u8>) -> Result<()> {
        let command = self.find_statement(bind.statement)?.clone();
        let parameters = bind.parameters()?;
        if !parameters.values.is_empty() {
            let count = parameters.values.len();
            let text = format!("bind message supplies {count} parameters, but the console's commands take none");
            return Err(refusal(*b"08P01", text));
        }
        let formats = Formats::new(parameters.result_formats.iter().collect());
        if let Some(format) = formats.unknown() {
            return Err(refusal(*b"22023", format!("unsupported format code: {format}")));
        }
        let columns = command.columns().map_or(0, |columns| columns.len());
        if !formats.fits(columns) {
            return Err(refusal(*b"08P01", format!("bind message has result formats that do not fit {columns} columns")));
        }
        if !bind.portal.is_empty() && self.portals.contains_key(bind.portal) {
            let name = String::from_utf8_lossy(bind.portal);
            return Err(refusal(*b"42P03", format!("cursor \"{name}\" already exists")));
        }
        room(self.portals.len())?;
        self.portals.insert(bind.portal.to_vec(), Portal { command, formats, rows: None });
        backend::bind_complete(out);
        Ok(())
    }

    fn describe(&self, describe: &Describe<'_>, out: &mut Vec<u8>) -> Result<()> {
        let (columns, formats) = match describe.target {
            Target::Statement => {
                let columns = self.find_statement(describe.name)?.columns();
                ParameterDescription { types: Oids::default() }.encode(out);
                (columns, Formats::default())
            }
            Target::Portal => {
                let portal = self.portals.get(describe.name).ok_or_else(|| no_portal(describe.name))?;
                (portal.command.columns(), portal.formats.clone())
            }
        };
        match columns {
            Some(columns) => table::describe(&columns, &formats, out),
            None => backend::no_data(out),
        }
        Ok(())
    }

    fn execute(&mut self, execute: &Execute<'_>) -> Result<()> {
        if !self.portals.contains_key(execute.portal) {
            return Err(no_portal(execute.portal));
        }
        let max_rows = usize::try_from(execute.max_rows).unwrap_or(0);
        self.tasks.push_back(Task::Portal { name: execute.portal.to_vec(), max_rows });
        Ok(())
    }

    fn close(&mut self, close: &Close<'_>, out: &mut Vec<u8>) {
        match close.target {
            Target::Statement => drop(self.statements.remove(close.name)),
            Target::Portal => drop(self.portals.remove(close.name)),
        }
        backend::close_complete(out);
    }

    fn find_statement(&self, name: &[u8]) -> Result<&Command> {
        self.statements.get(name).ok_or_else(|| {
            let text = match String::from_utf8_lossy(name).as_ref() {
                "" => "unnamed prepared statement does not exist".to_owned(),
                name => format!("prepared statement \"{name}\" does not exist"),
            };
            refusal(*b"26000", text)
        })
    }

    /// A statement of a simple query, in one piece.
    fn statement(&mut self, command: &Command, operator: &dyn Operator, out: &mut Vec<u8>) -> Result<()> {
        self.may_run(Some(command))?;
        let rows = rows(command, operator);
        if let Some(columns) = command.columns() {
            table::describe(&columns, &Formats::default(), out);
            rows.iter().for_each(|row| table::row(&columns, &Formats::default(), row, out));
        }
        self.end(command, rows.len(), out);
        Ok(())
    }

    fn portal(&mut self, name: &[u8], max_rows: usize, operator: &dyn Operator, out: &mut Vec<u8>) -> Result<Option<Order>> {
        let command = self.portals.get(name).map(|portal| portal.command.clone()).ok_or_else(|| no_portal(name))?;
        if let Command::Order(order) = command {
            return self.may_run(None).map(|()| Some(order));
        }
        self.may_run(Some(&command))?;
        let suspended = self.portals.values().filter(|portal| portal.rows.as_ref().is_some_and(|rows| rows.len() > 0)).count();
        let Some(portal) = self.portals.get_mut(name) else { return Ok(None) };
        if portal.rows.is_none() && max_rows > 0 && suspended >= MAX_SUSPENDED {
            return Err(refusal(
                *b"53400",
                format!("the console keeps at most {MAX_SUSPENDED} tables for a client that fetches"),
            ));
        }
        let columns: Vec<(&str, Type)> = command.columns().unwrap_or_default();
        let left = portal.rows.get_or_insert_with(|| rows(&command, operator).into_iter());
        let limit = if max_rows == 0 { usize::MAX } else { max_rows };
        let mut sent = 0;
        while sent < limit
            && let Some(row) = left.next()
        {
            table::row(&columns, &portal.formats, &row, out);
            sent += 1;
        }
        if max_rows > 0 && sent == max_rows {
            backend::portal_suspended(out);
        } else {
            self.end(&command, sent, out);
        }
        Ok(None)
    }

    /// The end of a command that is no order.
    fn end(&mut self, command: &Command, rows: usize, out: &mut Vec<u8>) {
        let failed = self.status == Status::Failed;
        match command {
            Command::Empty => backend::empty_query(out),
            Command::Show(_) => complete("SHOW", out),
            Command::Help => {
                help().encode_notice(out);
                complete("SHOW", out);
            }
            Command::Answer { tag: "SELECT 1", .. } => complete(&format!("SELECT {rows}"), out),
            Command::Answer { tag, .. } | Command::Done(tag) => complete(tag, out),
            Command::Begin => {
                self.status = Status::InBlock;
                complete("BEGIN", out);
            }
            Command::Commit => {
                self.status = Status::Idle;
                complete(if failed { "ROLLBACK" } else { "COMMIT" }, out);
            }
            Command::Rollback => {
                self.status = Status::Idle;
                complete("ROLLBACK", out);
            }
            // Completed when it is carried out.
            Command::Order(_) => {}
        }
    }

    fn may_run(&self, command: Option<&Command>) -> Result<()> {
        let ends = matches!(command, Some(Command::Commit | Command::Rollback | Command::Empty));
        if self.status != Status::Failed || ends {
            return Ok(());
        }
        Err(refusal(*b"25P02", "current transaction is aborted, commands ignored until end of transaction block"))
    }

    fn fail_task(&mut self, task: &Task, error: &Error, out: &mut Vec<u8>) {
        match task {
            // The rest of the text is not run.
            Task::Statement(_) => {
                self.tasks.retain(|task| matches!(task, Task::Ready));
                self.tell(error, out);
            }
            Task::Portal { .. } | Task::Ready => self.fail(error, out),
        }
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        self.tasks.clear();
        self.skipping = true;
        self.tell(error, out);
    }

    fn tell(&mut self, error: &Error, out: &mut Vec<u8>) {
        error.encode(out);
        if self.status == Status::InBlock {
            self.status = Status::Failed;
        }
    }

    fn ready(&mut self, out: &mut Vec<u8>) {
        let status = match self.status {
            Status::Idle => TransactionStatus::Idle,
            Status::InBlock => TransactionStatus::InTransaction,
            Status::Failed => TransactionStatus::Failed,
        };
        if self.status == Status::Idle {
            self.portals.clear();
        }
        backend::ready_for_query(status, out);
    }
}

/// What is to be done before [`Session::step`] is called again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: the next message may come.
    Done,
    /// The answers so far are sent.
    Full,
    /// This is carried out, and [`Session::carried_out`] is told how that ended.
    Order(Order),
}

/// Whether the client stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goes {
    /// It does.
    On,
    /// It has said goodbye.
    Away,
}

fn rows(command: &Command, operator: &dyn Operator) -> Vec<Row> {
    match command {
        Command::Show(shown) => (shown.rows)(operator),
        Command::Answer { value, .. } => vec![vec![Value::Text(value.clone())]],
        Command::Empty
        | Command::Help
        | Command::Done(_)
        | Command::Begin
        | Command::Commit
        | Command::Rollback
        | Command::Order(_) => Vec::new(),
    }
}

fn help() -> Report<'static> {
    Report { severity: Severity::Notice, sqlstate: SqlState(*b"00000"), message: "Console usage", detail: Some(HELP), hint: None }
}

fn complete(tag: &str, out: &mut Vec<u8>) {
    CommandComplete { tag: tag.as_bytes() }.encode(out);
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| refusal(*b"22021", "invalid byte sequence for encoding \"UTF8\""))
}

fn room(taken: usize) -> Result<()> {
    if taken < MAX_NAMES {
        return Ok(());
    }
    Err(refusal(*b"53400", format!("the console keeps at most {MAX_NAMES} statements and portals for a client")))
}

fn no_portal(name: &[u8]) -> Error {
    refusal(*b"34000", format!("portal \"{}\" does not exist", String::from_utf8_lossy(name)))
}

const HELP: &str = "
\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION
\tSHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE
\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS
\tSHOW PINS|CACHE|SHAPES|RULES
\tRELOAD
\tPAUSE [<db>]
\tRESUME [<db>]
\tDISABLE <db>
\tENABLE <db>
\tRECONNECT [<db>]
\tWAIT_CLOSE [<db>]
\tKILL [<db>]
\tKILL_CLIENT <client_id>
\tPURGE ALL
\tPURGE TABLE [<schema>.]<table>
\tSHUTDOWN
\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS";
