//! Statements as the model runs them.

use pgdial::wire::Formats;
use pgdial::wire::backend::{self, CopyResponse};
use pgdial::wire::diagnostics::Severity;

use super::super::sql::{Key, Op};
use super::{Block, Copy, Model, Portal, Refusal, refusal, report, row_description};

impl Model {
    pub(super) fn run(&mut self, portal: &mut Portal, max: usize, extended: bool) -> Result<(), Refusal> {
        portal.run = true;
        let op = portal.op.clone();
        match &op {
            Op::Empty | Op::Unknown => {}
            Op::Const(text) => return self.rows(portal, &[text.as_str()], max),
            Op::Long(text) => return self.rows(portal, &[text.repeat(40_000).as_str()], max),
            Op::Series(text, rows) => return self.rows(portal, &vec![text.as_str(); *rows], max),
            Op::ShowName => return self.rows(portal, &[format!("name={}", self.name).as_str()], max),
            Op::Warn(text) => {
                report(Severity::Notice, b"00000", text).encode_notice(&mut self.out);
                return self.rows(portal, &[text.as_str()], max);
            }
            Op::Read(table, key) => {
                let row = self.read(*table, &self.key(key, portal));
                return self.rows(portal, &[row.as_str()], max);
            }
            Op::Write(table, key) => {
                self.pending.push((*table, self.key(key, portal)));
                self.complete("UPDATE 1");
            }
            Op::DivideByZero => return refusal(b"22012", "division by zero"),
            Op::Begin | Op::Commit | Op::Rollback => self.transaction(&op),
            Op::CopyIn(table) => {
                CopyResponse { overall_format: 0, formats: Formats::default() }
                    .encode(backend::tag::COPY_IN_RESPONSE, &mut self.out);
                self.copy = Some(Copy { table: *table, extended, rows: Vec::new() });
            }
            Op::CopyOut(text) => {
                CopyResponse { overall_format: 0, formats: Formats::default() }
                    .encode(backend::tag::COPY_OUT_RESPONSE, &mut self.out);
                backend::copy_data(text.as_bytes(), &mut self.out);
                backend::copy_done(&mut self.out);
                self.complete("COPY 1");
            }
            _ => return self.run_on_session(&op, extended),
        }
        Ok(())
    }

    /// What prepares, discards and sets.
    fn run_on_session(&mut self, op: &Op, extended: bool) -> Result<(), Refusal> {
        match op {
            Op::SetName(name) => {
                self.set_name(name.clone());
                self.complete("SET");
            }
            Op::DiscardAll => {
                if self.block != Block::None || !self.pending.is_empty() || extended {
                    return refusal(b"25001", "DISCARD ALL cannot run inside a transaction block");
                }
                self.portals.clear();
                self.statements.clear();
                self.set_name(String::new());
                self.complete("DISCARD ALL");
            }
            Op::DeallocateAll => {
                self.statements.retain(|name, _| name.is_empty());
                self.complete("DEALLOCATE ALL");
            }
            Op::DiscardSequences => self.complete("DISCARD SEQUENCES"),
            Op::Prepare(name, inner) => {
                if **inner == Op::Unknown {
                    return refusal(b"42703", "column does not exist");
                }
                if **inner == Op::ShowName || !inner.returns_rows() && !matches!(**inner, Op::Write(..)) {
                    return refusal(b"42601", "syntax error");
                }
                if self.statements.contains_key(name.as_bytes()) {
                    return refusal(b"42P05", format!("prepared statement {name:?} already exists"));
                }
                self.statements.insert(name.clone().into_bytes(), (**inner).clone());
                self.complete("PREPARE");
            }
            Op::Execute(name) => {
                let inner = self.statement(name.as_bytes())?.clone();
                if inner.parameters() > 0
                    || matches!(
                        inner,
                        Op::Empty
                            | Op::Prepare(..)
                            | Op::Execute(_)
                            | Op::Begin
                            | Op::Commit
                            | Op::Rollback
                            | Op::DiscardAll
                            | Op::DiscardSequences
                            | Op::CopyIn(_)
                    )
                {
                    return refusal(b"42601", format!("wrong use of prepared statement {name:?}"));
                }
                if inner.returns_rows() && !extended {
                    row_description(&inner, &mut self.out);
                }
                let mut portal = Portal { op: inner, parameter: String::new(), sent: 0, run: false };
                return self.run(&mut portal, 0, false);
            }
            Op::Deallocate(name) => {
                self.statement(name.as_bytes())?;
                self.statements.remove(name.as_bytes());
                self.complete("DEALLOCATE");
            }
            _ => {}
        }
        Ok(())
    }

    fn key(&self, key: &Key, portal: &Portal) -> String {
        match key {
            Key::Text(key) => key.clone(),
            Key::Parameter => portal.parameter.clone(),
        }
    }

    fn read(&self, table: u8, key: &str) -> String {
        let own = self.pending.iter().filter(|(t, k)| *t == table && k == key).count();
        let value = self.db.borrow().get(&(table, key.to_owned())).copied().unwrap_or(0);
        // A value that is not committed looks like no other.
        if own > 0 { format!("{table}{key}=u{own}") } else { format!("{table}{key}={value}") }
    }

    fn rows(&mut self, portal: &mut Portal, rows: &[&str], max: usize) -> Result<(), Refusal> {
        let from = portal.sent.min(rows.len());
        let to = if max == 0 { rows.len() } else { rows.len().min(from + max) };
        for row in &rows[from..to] {
            backend::data_row([Some(row.as_bytes())].into_iter(), &mut self.out);
        }
        portal.sent = to;
        if max > 0 && to - from == max {
            backend::portal_suspended(&mut self.out);
        } else {
            self.complete(&format!("SELECT {}", to - from));
        }
        Ok(())
    }

    fn transaction(&mut self, op: &Op) {
        match (op, self.block) {
            (Op::Begin, Block::None) => self.block = Block::In,
            (Op::Begin, _) => {
                report(Severity::Warning, b"25001", "there is already a transaction in progress").encode_notice(&mut self.out)
            }
            (_, Block::None) => {
                report(Severity::Warning, b"25P01", "there is no transaction in progress").encode_notice(&mut self.out)
            }
            _ => {}
        }
        let word = match (op, self.block) {
            (Op::Begin, _) => return self.complete("BEGIN"),
            (Op::Commit, Block::None | Block::In) => {
                self.commit();
                "COMMIT"
            }
            _ => {
                self.abort();
                "ROLLBACK"
            }
        };
        self.block = Block::None;
        self.portals.clear();
        self.complete(word);
    }
}
