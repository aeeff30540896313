//! Random wire sessions: made from a seed, played straight and through pgdial, compared message by message.

mod generate;
mod sql;
mod state;

pub(crate) use generate::{Mix, session, startup};

use super::encode::Out;
use super::message::{Ids, render};
use super::wire::{Client, Received, cancel};
use std::net::SocketAddr;
use std::time::Duration;

/// Long enough for a loaded machine; a hang costs this once per session that shows it.
const HANG: Duration = Duration::from_secs(15);

/// Silence after which the straight run takes a step of unknown length as over. It paces the session only: what is
/// compared is the whole order of messages, so a wrong guess changes nothing.
const SILENCE: Duration = Duration::from_millis(40);

/// One write (or several, cut at odd places) and what is read before the next.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) note: String,
    pub(crate) writes: Vec<Out>,
    pub(crate) until: Until,
}

#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// So many ReadyForQuery.
    Ready(usize),
    /// One ReadyForQuery, asked for by cancel requests.
    Cancelled,
    /// Whatever comes: how much depends on what Postgres makes of it.
    Silence,
}

/// What a run has said, per step.
pub(crate) struct Run {
    pub(crate) lines: Vec<String>,
    /// Messages read in each step: the second run waits for as many where the first waited for silence.
    counts: Vec<usize>,
    /// Where each step's messages start in `lines`.
    starts: Vec<usize>,
}

impl Run {
    /// The step a line belongs to.
    pub(crate) fn step_of(&self, line: usize) -> usize {
        self.starts.partition_point(|start| *start <= line).saturating_sub(1)
    }
}

/// Plays steps on a fresh connection. `pace` = the run whose message counts to wait for, if there was one.
pub(crate) fn play(steps: &[Step], startup: &[(&str, &str)], addr: SocketAddr, database: &str, pace: Option<&Run>) -> Run {
    let mut run = Run { lines: Vec::new(), counts: Vec::new(), starts: Vec::new() };
    let mut ids = Ids::default();
    let parameters = [&[("user", "app"), ("database", database)], startup].concat();
    let mut client = Client::login(addr, &parameters);
    for (index, step) in steps.iter().enumerate() {
        run.starts.push(run.lines.len());
        for (part, out) in step.writes.iter().enumerate() {
            if part > 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            client.send(&out.0);
        }
        let expected = pace.and_then(|run| run.counts.get(index).copied());
        if matches!(step.until, Until::Cancelled) {
            cancel_until_answered(&mut client, addr, &mut run.lines, &mut ids);
        }
        let ended = read(&mut client, step.until, expected, &mut run.lines, &mut ids);
        run.counts.push(run.lines.len() - run.starts[index]);
        if ended {
            return run;
        }
    }
    // What is still on its way when the session is over shows as well.
    run.starts.push(run.lines.len());
    client.send(&Out::new().terminate().0);
    read(&mut client, Until::Ready(usize::MAX), None, &mut run.lines, &mut ids);
    run
}

/// The statement has begun when its INFO is here: a client that is cancelled while it waits for a server reads pgdial's own
/// words. An answer that came without a request is no harm. A ReadyForQuery before that is of an earlier step, which a loaded
/// machine has answered late; or the statement was refused, and nothing more comes.
fn cancel_until_answered(client: &mut Client, addr: SocketAddr, lines: &mut Vec<String>, ids: &mut Ids) {
    let key = client.key();
    let (mut begun, mut ready, mut quiet) = (false, false, 0);
    for _ in 0..200 {
        match client.next(Duration::from_millis(150)) {
            Received::Message(message) => {
                (ready, quiet) = (message.tag == b'Z', 0);
                let line = without_source(render(&message, ids));
                begun |= line.starts_with("NoticeResponse S=\"INFO\"");
                lines.push(line);
                if begun && ready {
                    return;
                }
            }
            Received::Nothing if begun => cancel(addr, &key),
            Received::Nothing if ready && quiet >= 5 => return,
            Received::Nothing => quiet += 1,
            Received::Closed => return,
        }
    }
}

/// Reads what a step is answered with; true if the connection is over.
fn read(client: &mut Client, until: Until, expected: Option<usize>, lines: &mut Vec<String>, ids: &mut Ids) -> bool {
    let (mut ready, mut count) = (0, 0);
    loop {
        let (enough, limit) = match (until, expected) {
            (Until::Cancelled, _) => (lines.last().is_some_and(|line| line.starts_with("ReadyForQuery")), HANG),
            (Until::Ready(wanted), _) => (ready >= wanted, HANG),
            (Until::Silence, Some(wanted)) => (count >= wanted, HANG),
            (Until::Silence, None) => (false, SILENCE),
        };
        if enough {
            return false;
        }
        match client.next(limit) {
            Received::Message(message) => {
                count += 1;
                ready += usize::from(message.tag == b'Z');
                lines.push(without_source(render(&message, ids)));
            }
            Received::Closed => {
                lines.push("closed".into());
                return true;
            }
            Received::Nothing if limit < HANG => return false,
            Received::Nothing => {
                lines.push(format!("NOTHING for {HANG:?}"));
                return true;
            }
        }
    }
}

/// A FATAL may be pgdial's own, which has no place in Postgres's source.
fn without_source(line: String) -> String {
    match line.split_once(" F=\"") {
        Some((head, _)) if line.starts_with("ErrorResponse S=\"FATAL\"") => head.into(),
        _ => line,
    }
}

/// What the tables of a session must hold at its end, too.
pub(crate) fn contents(straight: &mut Client, schema: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for table in ["t", "u"] {
        let rows = straight.rows(&format!("select * from {schema}.{table} order by 1, 2"));
        lines.extend(rows.iter().map(|row| format!("{table}: {row:?}")));
    }
    lines
}

/// The tables of a session, in a schema of its own, so that its results depend on nothing else.
pub(crate) fn prepare(straight: &mut Client, schema: &str) {
    straight.rows("set client_min_messages = warning");
    straight.rows(&format!("drop schema if exists {schema} cascade"));
    straight.rows(&format!("create schema {schema}"));
    straight.rows(&format!("create table {schema}.t (a int primary key, b text)"));
    straight.rows(&format!("create table {schema}.u (a int, b text)"));
    straight.rows(&format!("insert into {schema}.t select i, 'row ' || i from generate_series(1, 5) i"));
    straight.rows(&format!("create sequence {schema}.sq; create table {schema}.v (id serial, b text)"));
    straight.rows(&format!("create function {schema}.init(text) returns void language plpgsql as $$ begin perform set_config('my.app', $1, false); end $$"));
    straight.rows(&format!("create function {schema}.lock(bigint) returns text language plpgsql as $$ begin perform pg_advisory_lock($1); return 'held'; end $$"));
    // INFO is sent whatever client_min_messages says.
    let slow = "begin raise info 'begun'; perform pg_sleep(20); end";
    straight.rows(&format!("create function {schema}.slow() returns void language plpgsql as $$ {slow} $$"));
    straight.rows(&format!("grant usage on schema {schema} to random_role; grant select on {schema}.t to random_role"));
    let body = "begin raise notice 'note %', i; if i = 3 then raise exception 'three'; end if; return i; end";
    straight.rows(&format!("create function {schema}.f(i int) returns int language plpgsql as $$ {body} $$"));
}
