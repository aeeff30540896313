//! What clients send: batches of messages that need not make sense.

use pgdial::pg::Oid;
use pgdial::wire::frontend::{self, Close, CopyData, CopyFail, Describe, Execute, FunctionCall, Parse, Query, Target};
use pgdial::wire::{Formats, Oids};

use super::rng::Rng;

/// One client's habits.
pub(crate) struct Habits {
    /// What its own rows and constants are called.
    pub(crate) tag: String,
    /// SET, PREPARE and what else ties it to a server.
    pub(crate) pins: bool,
    pub(crate) copies: bool,
    /// Mostly reads and writes of shared rows.
    pub(crate) busy_rows: bool,
}

const NAMES: [&[u8]; 6] = [b"", b"", b"", b"s0", b"s1", b"s2"];
const PORTALS: [&[u8]; 5] = [b"", b"", b"", b"", b"p0"];

impl Habits {
    fn key(&self, rng: &mut Rng) -> String {
        match rng.below(4) {
            0 | 1 => self.tag.clone(),
            n => format!("s{}", n - 2),
        }
    }

    fn text(&self, rng: &mut Rng, parameters: bool) -> String {
        let tag = &self.tag;
        let table = rng.below(2);
        let key = if parameters && rng.chance(50) { "$1".to_owned() } else { format!("'{}'", self.key(rng)) };
        if self.busy_rows && rng.chance(80) {
            return if rng.chance(70) {
                format!("select v from kv{table} where k = {key}")
            } else {
                format!("update kv{table} set v = v + 1 where k = {key}")
            };
        }
        match rng.below(if self.pins { 26 } else { 20 }) {
            0..=3 => format!("select v from kv{table} where k = {key}"),
            4..=6 => format!("update kv{table} set v = v + 1 where k = {key}"),
            7 | 8 => format!("select '{tag}'"),
            9 => format!("select '{tag}' from generate_series(1, {})", 1 + rng.below(5)),
            10 => "select 1/0".to_owned(),
            11 => format!("select nosuch, '{tag}'"),
            12 | 13 => "begin".to_owned(),
            14 => "commit".to_owned(),
            15 => "rollback".to_owned(),
            16 => String::new(),
            17 => format!("select warn('{tag}')"),
            18 if rng.chance(20) => format!("select repeat('{tag}', 40000)"),
            18 => format!("copy (select '{tag}') to stdout"),
            19 if self.copies => format!("copy kv{table} from stdin"),
            20 => format!("set application_name = '{tag}'"),
            21 => "show application_name".to_owned(),
            22 if parameters => format!("prepare s{} as select '{tag}'", rng.below(3)),
            23 if parameters => format!("execute s{}", rng.below(3)),
            24 if parameters => format!("deallocate s{}", rng.below(3)),
            _ => format!("select '{tag}{}'", rng.below(3)),
        }
    }

    fn simple(&self, rng: &mut Rng) -> String {
        let name = rng.below(3);
        match rng.below(if self.pins { 14 } else { 10 }) {
            0 => format!("select '{}'; {}", self.tag, "select v from kv0 where k = 's0'"),
            1 => format!("update kv1 set v = v + 1 where k = 's1'; {}", self.text(rng, false)),
            10 => format!("prepare s{name} as {}", self.text(rng, false)),
            11 => format!("execute s{name}"),
            12 => format!("deallocate s{name}"),
            13 => (*rng.pick(&["discard all", "deallocate all"])).to_owned(),
            _ => self.text(rng, false),
        }
    }

    /// Messages that a client would write at once.
    pub(crate) fn batch(&self, rng: &mut Rng) -> Vec<u8> {
        let mut out = Vec::new();
        if self.busy_rows && rng.chance(80) {
            self.one(rng, &mut out);
            return out;
        }
        if rng.chance(30) {
            let text = self.simple(rng);
            // Transaction control next to other statements has rules of its own.
            let text = if text.contains("; ") && control(&text) { "select 'x'".to_owned() } else { text };
            self.query(&text, rng, &mut out);
            return out;
        }
        for _ in 0..=rng.below(3) {
            self.group(rng, &mut out);
        }
        match rng.below(20) {
            0 => {}
            1 => frontend::flush(&mut out),
            _ => frontend::sync(&mut out),
        }
        out
    }

    /// One statement as an ordinary driver sends it, of few different ones.
    fn one(&self, rng: &mut Rng, out: &mut Vec<u8>) {
        let verb = if rng.chance(80) { "select v from kv0 where" } else { "update kv0 set v = v + 1 where" };
        let key = if rng.chance(80) { "s0" } else { self.tag.as_str() };
        if rng.chance(50) {
            return Query { text: format!("{verb} k = '{key}'").as_bytes() }.encode(out);
        }
        let name: &[u8] = if rng.chance(50) { b"" } else { b"s3" };
        if name.is_empty() || rng.chance(20) {
            Parse { name, text: format!("{verb} k = $1").as_bytes(), types: Oids::default() }.encode(out);
        }
        frontend::bind(b"", name, &[], [Some(key.as_bytes())].into_iter(), &[], out);
        if rng.chance(40) {
            Describe { target: Target::Portal, name: b"" }.encode(out);
        }
        Execute { portal: b"", max_rows: 0 }.encode(out);
        frontend::sync(out);
    }

    fn query(&self, text: &str, rng: &mut Rng, out: &mut Vec<u8>) {
        Query { text: text.as_bytes() }.encode(out);
        if text.ends_with("from stdin") {
            self.copy(rng, out);
        }
    }

    fn copy(&self, rng: &mut Rng, out: &mut Vec<u8>) {
        // A COPY that fails after a Sync, followed by more before the answer: not even the client could tell what is skipped.
        let syncs = rng.chance(30);
        let mut bad = false;
        for _ in 0..rng.below(4) {
            match rng.below(12) {
                0 if syncs => frontend::sync(out),
                1 if !syncs => {
                    bad = true;
                    CopyData { data: b"bad" }.encode(out);
                }
                2 => frontend::flush(out),
                _ => CopyData { data: self.key(rng).as_bytes() }.encode(out),
            }
        }
        match rng.below(8) {
            0 if !syncs && !bad => {}
            1 if !syncs => CopyFail { message: b"no more" }.encode(out),
            _ => frontend::copy_done(out),
        }
    }

    fn group(&self, rng: &mut Rng, out: &mut Vec<u8>) {
        let (name, portal) = (*rng.pick(&NAMES), *rng.pick(&PORTALS));
        match rng.below(20) {
            0 => return Close { target: Target::Statement, name }.encode(out),
            1 => return Close { target: Target::Portal, name: portal }.encode(out),
            2 => return Describe { target: Target::Statement, name }.encode(out),
            3 => return self.execute(portal, rng, out),
            4 => return frontend::flush(out),
            5 if rng.chance(50) => return self.query(&self.text(rng, false), rng, out),
            6 if rng.chance(20) => {
                return FunctionCall {
                    function: Oid(715),
                    formats: Formats::default(),
                    arguments: Default::default(),
                    result_format: 0,
                }
                .encode(out);
            }
            7 if rng.chance(20) => return CopyData { data: b"stray" }.encode(out),
            8 if rng.chance(20) => return frontend::copy_done(out),
            9 => return Parse { name, text: self.text(rng, true).as_bytes(), types: Oids::default() }.encode(out),
            _ => {}
        }
        let mut copies = false;
        if rng.chance(60) {
            let text = self.text(rng, true);
            copies = text.ends_with("from stdin");
            if !name.is_empty() && rng.chance(50) {
                Close { target: Target::Statement, name }.encode(out);
            }
            Parse { name, text: text.as_bytes(), types: Oids::default() }.encode(out);
        }
        let key = self.key(rng);
        frontend::bind(portal, name, &[], [Some(key.as_bytes())].into_iter(), &[], out);
        if rng.chance(40) {
            Describe { target: Target::Portal, name: portal }.encode(out);
        }
        self.execute(portal, rng, out);
        if copies {
            self.copy(rng, out);
        }
    }

    fn execute(&self, portal: &[u8], rng: &mut Rng, out: &mut Vec<u8>) {
        let max_rows = if rng.chance(15) { 1 + rng.below(3) as i32 } else { 0 };
        Execute { portal, max_rows }.encode(out);
    }
}

fn control(text: &str) -> bool {
    ["begin", "commit", "rollback", "copy", "set "].iter().any(|word| text.contains(word)) || text.ends_with("; ")
}
