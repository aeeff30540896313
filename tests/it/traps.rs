//! What went wrong in other result caches: each trap is read through pgdial until it comes from memory, sprung, and read
//! again. The answer must be the one that Postgres itself gives then.

mod outages;
mod rights;
mod table;
mod waits;

use crate::support::encode::Out;
use crate::support::message::Message;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::eventually;
use crate::support::wire::{Client, PATIENCE, rows};
use std::collections::BTreeMap;

use table::{Memory, TRAPS, Trap};

/// What an answer says, without the positions of object ids.
fn said(answer: &[Message]) -> Vec<String> {
    let mut ids = crate::support::message::Ids::default();
    answer.iter().map(|message| crate::support::message::render(message, &mut ids)).collect()
}

fn unnamed(text: &str) -> Vec<u8> {
    Out::new().parse("", text, &[]).bind_text("", "", &[]).describe(b'P', "").execute("", 0).sync().0
}

fn binary(text: &str) -> Vec<u8> {
    Out::new().parse("", text, &[]).bind("", "", &[], &[], &[1]).describe(b'P', "").execute("", 0).sync().0
}

struct Rig {
    pgdial: Pgdial,
    database: String,
    clients: BTreeMap<String, Client>,
}

impl Rig {
    fn new(what: &str, setup: &[String], more: impl Fn(Config) -> Config) -> Self {
        let postgres = Postgres::shared();
        let database = postgres.database(what);
        let mut owner = postgres.client("app", &database);
        for text in setup {
            rows(&owner.query(text), text);
        }
        let config = Config::new(postgres, &database).pool(6).cached().text("log", "level", "info").text(
            "invalidation",
            "catalog_check",
            "1s",
        );
        Self { pgdial: Pgdial::start(&more(config)), database, clients: BTreeMap::new() }
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let (pgdial, database) = (&self.pgdial, &self.database);
        let login = || if name == "x" { Postgres::shared().client("app", database) } else { pgdial.client(database) };
        self.clients.entry(name.to_string()).or_insert_with(login)
    }

    fn hits(&self) -> u64 {
        self.pgdial.stat("cache.hits")
    }

    /// Reads until an answer comes from memory, in each protocol.
    fn warm(&mut self, text: &str) {
        for out in [Out::new().query(text).0, unnamed(text), binary(text)] {
            let before = self.hits();
            let what = format!("{text} comes from memory; {}", self.pgdial.stats()["cache"]);
            eventually(&what, PATIENCE, || {
                let client = self.client("r");
                client.send(&out);
                client.until_ready(1);
                self.hits() > before
            });
        }
    }

    /// The read, in each protocol, must be what Postgres says.
    fn compare(&mut self, name: &str, text: &str) -> Result<(), String> {
        for (how, out) in [("simple", Out::new().query(text).0), ("unnamed", unnamed(text)), ("binary", binary(text))] {
            let [here, there] = ["r", "x"].map(|who| {
                let client = self.client(who);
                client.send(&out);
                said(&client.until_ready(1))
            });
            if here != there {
                return Err(format!("{name}, {how}: {text}\n  through pgdial {here:?}\n  Postgres       {there:?}"));
            }
        }
        Ok(())
    }

    fn spring(&mut self, trap: &Trap) -> Result<(), String> {
        let fill = |text: &str| text.replace("{read}", trap.read).replace("{s}", trap.name);
        let read = fill(trap.read);
        let before = self.hits();
        match trap.memory {
            Memory::Yes => self.warm(&read),
            Memory::Never => (0..5).for_each(|_| drop(self.client("r").query(&read))),
        }
        self.compare(trap.name, &read)?;
        for step in trap.steps {
            match step.split_once(": ") {
                Some((who, text)) => drop(self.client(who).query(&fill(text))),
                None => self.warm(&read),
            }
        }
        self.compare(trap.name, &read)?;
        self.compare(trap.name, &read)?;
        if trap.memory == Memory::Never && self.hits() > before {
            return Err(format!("{}: came from memory", trap.name));
        }
        for client in ["a", "b"] {
            self.clients.remove(client);
        }
        Ok(())
    }
}

#[test]
fn what_postgres_says_after_each_trap() {
    let mut setup = Vec::new();
    for trap in TRAPS {
        setup.push(format!("create schema {}", trap.name));
        setup.extend(trap.setup.iter().map(|text| text.replace("{s}", trap.name)));
    }
    let mut rig = Rig::new("traps", &setup, |config| config);
    let only = std::env::var("PGDIAL_TRAP").ok();
    let traps = TRAPS.iter().filter(|trap| only.as_deref().is_none_or(|only| only == trap.name));
    let failed: Vec<String> = traps.filter_map(|trap| rig.spring(trap).err()).collect();
    assert!(failed.is_empty(), "{} traps:\n{}", failed.len(), failed.join("\n"));
}

/// One table, read from memory as `app`.
fn one(what: &str, more: impl Fn(Config) -> Config) -> Rig {
    let setup = ["create table t (k int primary key, n int)", "insert into t values (1, 0)", "grant select on t to public"];
    Rig::new(what, &setup.map(String::from), more)
}
