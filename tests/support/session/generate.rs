//! From a seed to the steps of a session.

use super::super::encode::Out;
use super::super::play::ready_owed;
use super::super::rng::Rng;
use super::sql::{parsed, simple, values};
use super::{Step, Until, state};

/// What may be in a session besides queries, pipelines, portals, COPY, errors and transactions.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    pub(crate) ddl: bool,
    pub(crate) settings: bool,
    pub(crate) prepare: bool,
    /// Temp tables, cursors WITH HOLD, LISTEN, advisory locks, sequences, SET in every form, roles, cancels.
    pub(crate) state: bool,
    /// Also what is known to differ.
    pub(crate) everything: bool,
}

const STATEMENTS: &[&str] = &["", "", "", "a", "b", "c"];
const PORTALS: &[&str] = &["", "", "", "p", "q"];

/// The session of a seed.
pub(crate) fn session(seed: u64, schema: &str, mix: Mix) -> Vec<Step> {
    let mut maker = Maker { rng: Rng::new(seed), mix, schema: schema.into(), key: seed };
    let count = 6 + maker.rng.below(14);
    let mut steps: Vec<Step> = (0..count).flat_map(|_| maker.steps()).collect();
    if maker.rng.chance(5) {
        steps.push(step("unknown message", Out::new().message(b'y', &[]), Until::Silence));
    }
    steps
}

/// What its client says at login, besides user and database.
pub(crate) fn startup(seed: u64, mix: Mix) -> Vec<(&'static str, &'static str)> {
    if mix.state { state::startup(&mut Rng::new(!seed)) } else { Vec::new() }
}

struct Maker {
    rng: Rng,
    mix: Mix,
    schema: String,
    key: u64,
}

impl Maker {
    fn steps(&mut self) -> Vec<Step> {
        if self.mix.state && self.rng.chance(55) {
            return self.state();
        }
        match self.rng.below(100) {
            0..=19 => vec![self.simple()],
            20..=39 => vec![self.well_formed()],
            40..=52 => vec![self.random_batch()],
            53..=66 => vec![self.pipeline()],
            67..=73 => self.flushed(),
            74..=79 => vec![self.query_inside_batch()],
            80..=86 => self.portals(),
            87..=91 => vec![self.copy_simple()],
            92..=96 => vec![self.copy_extended()],
            97 => vec![step("sync", Out::new().sync().sync().flush().sync(), Until::Ready(3))],
            _ => vec![self.function_call()],
        }
    }

    /// Session state, by simple and extended queries, now and then in one write.
    fn state(&mut self) -> Vec<Step> {
        if self.rng.chance(4) {
            let text = *self.rng.pick(&["select {s}.slow()", "select 'before'; select {s}.slow(); select 'behind'"]);
            let text = text.replace("{s}", &self.schema);
            return vec![step(&format!("cancelled {text}"), Out::new().query(&text), Until::Cancelled)];
        }
        let texts = state::texts(&mut self.rng, &self.schema, self.key, self.mix.everything);
        let pipelined = self.rng.chance(15);
        let mut steps: Vec<Step> = Vec::new();
        for text in texts {
            // One statement only fits into a Parse.
            let out = if !text.contains(';') && self.rng.chance(35) {
                Out::new().parse("", &text, &[]).bind("", "", &[], &[], &[]).execute("", 0).sync()
            } else {
                Out::new().query(&text)
            };
            match steps.last_mut().filter(|_| pipelined) {
                Some(last) => {
                    last.note.push_str(&format!(" state {text}"));
                    last.writes[0].0.extend(&out.0);
                    last.until = Until::Ready(ready_owed(&last.writes[0].0));
                }
                None => steps.push(step(&format!("state {text}"), out, Until::Ready(1))),
            }
        }
        steps
    }

    fn simple(&mut self) -> Step {
        let text = simple(&mut self.rng, self.mix, &self.schema);
        step(&format!("query {text}"), Out::new().query(&text), Until::Ready(1))
    }

    /// Parse, Bind, Describe, Execute: what a driver sends.
    fn whole(&mut self, out: Out, note: &mut String) -> Out {
        let name = *self.rng.pick(STATEMENTS);
        let portal = if self.rng.chance(80) { "" } else { *self.rng.pick(PORTALS) };
        let (text, parameters) = parsed(&mut self.rng, self.mix, &self.schema);
        note.push_str(&format!(" [{name:?} {text}]"));
        let mut out = if !name.is_empty() && self.rng.chance(50) { out.close(b'S', name) } else { out };
        out = out.parse(name, &text, &[]);
        if self.rng.chance(40) {
            out = out.describe(b'S', name);
        }
        out = self.bind(out, portal, name, parameters);
        if self.rng.chance(50) {
            out = out.describe(b'P', portal);
        }
        let limit = if self.rng.chance(15) { 1 + self.rng.below(4) as i32 } else { 0 };
        out.execute(portal, limit)
    }

    fn bind(&mut self, out: Out, portal: &str, name: &str, parameters: usize) -> Out {
        let values = values(&mut self.rng, parameters);
        let results: &[i16] = match self.rng.below(12) {
            0 => &[1],
            1 => &[0],
            2 => &[0, 1],
            _ => &[],
        };
        out.bind(portal, name, &[], &values, results)
    }

    fn well_formed(&mut self) -> Step {
        let mut note = "batch".to_string();
        let out = self.whole(Out::new(), &mut note).sync();
        self.cut(step(&note, out, Until::Ready(1)))
    }

    /// Messages in any order, valid or not; no simple Query, so that one Sync owes one ReadyForQuery.
    /// A portal that a failed Bind left half made crashes Postgres 15 itself when it is run later in the same transaction:
    /// portals of earlier batches are closed first.
    fn random_messages(&mut self, mut out: Out, note: &mut String) -> Out {
        let mut fresh: Vec<&str> = Vec::new();
        for _ in 0..1 + self.rng.below(7) {
            let name = *self.rng.pick(STATEMENTS);
            let portal = *self.rng.pick(PORTALS);
            if !fresh.contains(&portal) {
                fresh.push(portal);
                out = out.close(b'P', portal);
            }
            out = match self.rng.below(14) {
                0..=2 => {
                    let (text, _) = parsed(&mut self.rng, self.mix, &self.schema);
                    note.push_str(&format!(" parse {name:?} {text};"));
                    out.parse(name, &text, &[])
                }
                3..=5 => {
                    note.push_str(&format!(" bind {portal:?} {name:?};"));
                    let parameters = self.rng.below(3);
                    self.bind(out, portal, name, parameters)
                }
                6..=8 => {
                    let limit = self.rng.below(3) as i32;
                    note.push_str(&format!(" execute {portal:?} {limit};"));
                    out.execute(portal, limit)
                }
                9 => out.describe(b'S', name),
                10 => out.describe(b'P', portal),
                11 => out.close(b'S', name),
                12 => out.close(b'P', portal),
                _ => out.flush(),
            };
        }
        out
    }

    fn random_batch(&mut self) -> Step {
        let mut note = "random".to_string();
        let out = self.random_messages(Out::new(), &mut note).sync();
        self.cut(step(&note, out, Until::Ready(1)))
    }

    /// Several batches and queries in one write.
    fn pipeline(&mut self) -> Step {
        let mut note = "pipeline".to_string();
        let mut out = Out::new();
        for _ in 0..2 + self.rng.below(6) {
            out = match self.rng.below(10) {
                0..=2 => {
                    let text = simple(&mut self.rng, self.mix, &self.schema);
                    note.push_str(&format!(" query {text}"));
                    out.query(&text)
                }
                3..=7 => self.whole(out, &mut note).sync(),
                _ => self.random_messages(out, &mut note).sync(),
            };
        }
        let ready = ready_owed(&out.0);
        self.cut(step(&note, out, Until::Ready(ready)))
    }

    /// A batch that is flushed first and synced only later.
    fn flushed(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..1 + self.rng.below(3) {
            let mut note = "flushed".to_string();
            let out =
                if self.rng.chance(60) { self.whole(Out::new(), &mut note) } else { self.random_messages(Out::new(), &mut note) };
            steps.push(step(&note, out.flush(), Until::Silence));
        }
        steps.push(step("sync", Out::new().sync(), Until::Ready(1)));
        steps
    }

    /// A simple Query before the Sync of an extended batch: answered if nothing failed before it, else dropped.
    fn query_inside_batch(&mut self) -> Step {
        let mut note = "query inside".to_string();
        let out = self.whole(Out::new(), &mut note);
        let text = simple(&mut self.rng, self.mix, &self.schema);
        note.push_str(&format!(" query {text}"));
        let out = self.whole(out.query(&text), &mut note).sync();
        step(&note, out, Until::Silence)
    }

    /// A portal run a few rows at a time over several batches of one transaction.
    fn portals(&mut self) -> Vec<Step> {
        let text = format!("select a, b from {}.t order by a", self.schema);
        let begin = Out::new().query("begin").parse("", &text, &[]).bind("p", "", &[], &[], &[]).execute("p", 2).sync();
        let mut steps = vec![step("portal p", begin, Until::Ready(2))];
        for _ in 0..1 + self.rng.below(4) {
            let rows = self.rng.below(4) as i32;
            steps.push(match self.rng.below(5) {
                0 => step("execute p, flush", Out::new().execute("p", rows).flush(), Until::Silence),
                1 => self.well_formed(),
                2 => step("query", Out::new().query("select 'between'"), Until::Silence),
                _ => step("execute p, sync", Out::new().execute("p", rows).sync(), Until::Ready(1)),
            });
        }
        let end = if self.rng.chance(70) { "commit" } else { "rollback" };
        steps.push(step("sync", Out::new().sync(), Until::Silence));
        steps.push(step(end, Out::new().query(end), Until::Ready(1)));
        steps
    }

    /// The rows of a COPY, good or bad, ended in one of three ways; a stray end after a failure is ignored by Postgres.
    fn copy_body(&mut self, mut out: Out, note: &mut String) -> Out {
        for _ in 0..self.rng.below(5) {
            let data: &[u8] = match self.rng.below(12) {
                0 => b"not a number\tx\n",
                1 => b"1\n",
                2 => b"7\thalf a r",
                _ => b"7\tseven\n8\t\\N\n",
            };
            out = out.copy_data(data);
        }
        if self.rng.chance(10) {
            out = out.flush();
        }
        if self.rng.chance(15) {
            note.push_str(" CopyFail");
            return out.copy_fail("the client gave up");
        }
        out.copy_done()
    }

    fn copy_simple(&mut self) -> Step {
        let mut note = "copy".to_string();
        let text = match self.rng.below(6) {
            0 => "copy {s}.missing from stdin",
            1 => "copy {s}.u from stdin; select count(*) from {s}.u",
            2 => "select 1; copy {s}.u from stdin",
            _ => "copy {s}.u from stdin",
        };
        let out = Out::new().query(&text.replace("{s}", &self.schema));
        let out = self.copy_body(out, &mut note);
        self.cut(step(&note, out, Until::Ready(1)))
    }

    fn copy_extended(&mut self) -> Step {
        let mut note = "copy by Execute".to_string();
        let text = format!("copy {}.u from stdin", self.schema);
        let mut out = Out::new().close(b'S', "copy").close(b'P', "copyportal").parse("copy", &text, &[]);
        out = out.bind("copyportal", "copy", &[], &[], &[]).execute("copyportal", 0);
        if self.rng.chance(30) {
            note.push_str(" early Sync");
            out = out.sync();
        }
        let out = self.copy_body(out, &mut note).sync();
        step(&note, out, Until::Silence)
    }

    fn function_call(&mut self) -> Step {
        let (oid, value) = *self.rng.pick(&[(1397, "-5"), (1397, "x"), (999_999, "1")]);
        let out = Out::new().function_call(oid, &[], &[Some(value.as_bytes().to_vec())], 0);
        step("function call", out, Until::Ready(1))
    }

    /// Now and then the write goes out in pieces, cut where no message ends.
    fn cut(&mut self, mut step: Step) -> Step {
        if self.rng.chance(15) {
            let bytes: Vec<u8> = step.writes.iter().flat_map(|out| out.0.iter().copied()).collect();
            let at = 1 + self.rng.below(bytes.len() - 1);
            let (head, tail) = bytes.split_at(at);
            step.writes = vec![Out(head.to_vec()), Out(tail.to_vec())];
        }
        step
    }
}

fn step(note: &str, out: Out, until: Until) -> Step {
    Step { note: note.into(), writes: vec![out], until }
}
