//! Eight clients on two servers, each with a session of its own: none ever sees another's, whatever is cut meanwhile.
//!
//! `PGDIAL_STATEMENTS` (3,000) how many statements each of the two runs takes, `PGDIAL_SEED` the seed.

use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::eventually;
use crate::support::rng::Rng;
use crate::support::wire::{Client, PATIENCE, rows, sqlstate};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const CLIENTS: usize = 8;

/// Settings that everybody changes, and what they are before.
const SETTINGS: [(&str, &str); 5] =
    [("search_path", "public"), ("timezone", "Etc/UTC"), ("statement_timeout", "0"), ("role", "none"), ("work_mem", "4MB")];

/// Names that users made up: `app.x` is for all but the first two, who must not hear of it.
const CUSTOM: [&str; 3] = ["app.x", "app.own", "app.z$1"];

#[test]
fn no_client_sees_another() {
    run(|_, _| {});
}

#[test]
fn no_client_sees_another_while_servers_die_and_clients_vanish() {
    let town = run(|town, rng| {
        let found = town.postgres.sql(&town.database, "select pid from pg_stat_activity where usename = 'app' order by pid");
        if !found.is_empty() {
            let pid = rng.pick(&found)[0].clone().unwrap();
            town.postgres.sql(&town.database, &format!("select pg_terminate_backend({pid})"));
        }
    });
    assert!(town.lost.load(Relaxed) > 0, "nothing was cut");
}

/// What all of them share.
struct Town {
    postgres: Postgres,
    database: String,
    pgdial: Pgdial,
    left: AtomicU64,
    lost: AtomicU64,
}

fn run(mut disturb: impl FnMut(&Town, &mut Rng)) -> Town {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("PGDIAL_SEED").unwrap_or(1);
    let postgres = Postgres::start_with(&[("timezone", "Etc/UTC")]);
    let database = postgres.database("isolation");
    postgres.sql(&database, "create table public.who as select 'nobody'::text as name; grant select on public.who to public");
    for me in 0..CLIENTS {
        let text = format!(
            "create role iso_{me}; grant iso_{me} to app; create schema home_{me}; create table home_{me}.who as select 'client {me}'::text as name;
             grant usage on schema home_{me} to public; grant select on home_{me}.who to public"
        );
        postgres.sql(&database, &text);
    }
    postgres.sql(
        &database,
        &format!("alter database {database} set search_path = public; grant temp on database {database} to public"),
    );
    let config = Config::new(&postgres, &database).pool(2).text("pool", "order", "round-robin");
    let pgdial = Pgdial::start(&config.text("pool", "checkout_timeout", "60s").text("log", "level", "info"));
    let left = AtomicU64::new(number("PGDIAL_STATEMENTS").unwrap_or(3_000));
    let town = Town { postgres, database, pgdial, left, lost: AtomicU64::new(0) };
    std::thread::scope(|scope| {
        let town = &town;
        let clients: Vec<_> = (0..CLIENTS).map(|me| scope.spawn(move || Citizen::new(town, me, seed).live())).collect();
        let mut rng = Rng::new(seed);
        while !clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            disturb(town, &mut rng);
            std::thread::sleep(Duration::from_millis(20));
        }
        for client in clients {
            client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    eventually("no server is kept", PATIENCE, || town.pgdial.stat("pool.active") == 0);
    assert!(!town.pgdial.log().contains("panicked"), "{}", town.pgdial.log());
    town
}

type Rows = Vec<Vec<Option<String>>>;

/// One client, and what its session must be. `None` of a question = the connection is lost, which only counts while others cut it.
struct Citizen<'a> {
    town: &'a Town,
    me: usize,
    rng: Rng,
    client: Client,
    /// Missing = as at login.
    settings: BTreeMap<&'static str, String>,
    /// Protocol-prepared under the name that all of them use.
    prepared: bool,
    /// SQL-prepared under the same.
    sql_prepared: bool,
    temp: bool,
    /// What it has said of late, for the one who has to find out why.
    said: Vec<String>,
}

impl<'a> Citizen<'a> {
    fn new(town: &'a Town, me: usize, seed: u64) -> Self {
        let rng = Rng::new(seed * 100 + me as u64);
        Self {
            client: login(town, me),
            town,
            me,
            rng,
            settings: BTreeMap::new(),
            prepared: false,
            sql_prepared: false,
            temp: false,
            said: Vec::new(),
        }
    }

    fn live(mut self) {
        while self.town.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            if self.step().is_none() {
                self.town.lost.fetch_add(1, Relaxed);
                self.again();
            }
        }
    }

    /// Another connection, and so another session.
    fn again(&mut self) {
        self.said.clear();
        self.client = login(self.town, self.me);
        self.settings.clear();
        (self.prepared, self.sql_prepared, self.temp) = (false, false, false);
    }

    fn step(&mut self) -> Option<()> {
        match self.rng.below(100) {
            0..30 => self.set("set", "")?,
            30..38 => self.reset()?,
            38..44 => self.in_transaction(false)?,
            44..48 => self.in_transaction(true)?,
            48..55 => self.temporary()?,
            55..63 => self.protocol()?,
            63..68 => self.sql_prepare()?,
            68..70 => self.seed()?,
            70 => self.discard("discard all")?,
            71 => self.discard("reset all")?,
            72..74 => self.vanish(),
            74..76 => self.pipeline()?,
            _ => {}
        }
        self.check()
    }

    fn ask(&mut self, text: &str) -> Option<Rows> {
        self.said.push(text.chars().take(80).collect());
        let answer = self.client.query(text);
        if answer.last().is_none_or(|last| last.tag != b'Z') || sqlstate(&answer).is_some_and(|code| is_of_a_lost_server(&code)) {
            return None;
        }
        Some(rows(&answer, text))
    }

    fn value_for(&mut self, name: &str) -> String {
        let me = self.me;
        match name {
            "search_path" => format!("home_{me}, public"),
            "timezone" => format!("Etc/GMT-{}", me + 1 + self.rng.below(2)),
            "statement_timeout" => format!("{}s", me + 61),
            "role" => format!("iso_{me}"),
            "work_mem" => format!("{}kB", 1025 + me),
            "application_name" => format!("busy {me}"),
            _ => format!("{me}'\\ü{}", "x".repeat(self.rng.below(300))),
        }
    }

    fn any_name(&mut self) -> &'static str {
        let names = SETTINGS.iter().map(|(name, _)| *name).chain(["application_name"]);
        let names: Vec<_> = names.chain(CUSTOM.into_iter().filter(|name| *name != "app.x" || self.me >= 2)).collect();
        names[self.rng.below(names.len())]
    }

    /// SET in one of its forms.
    fn set(&mut self, verb: &str, end: &str) -> Option<()> {
        let name = self.any_name();
        let value = self.value_for(name);
        let text = self.spelled(verb, name, &value);
        self.ask(&(text + end))?;
        self.settings.insert(name, value);
        Some(())
    }

    fn spelled(&mut self, verb: &str, name: &str, value: &str) -> String {
        let literal = value.replace('\'', "''");
        let dotted = name.replace('.', "\".\"");
        match (name, self.rng.chance(50)) {
            ("search_path", false) => format!("{verb} search_path to {value}"),
            (_, false) => format!("{verb} \"{dotted}\" to '{literal}'"),
            (_, true) => format!("select set_config('{name}', '{literal}', {})", verb == "set local"),
        }
    }

    fn reset(&mut self) -> Option<()> {
        let name = self.any_name();
        self.ask(&format!("reset \"{}\"", name.replace('.', "\".\"")))?;
        self.forget(name);
        Some(())
    }

    /// What a user made up stays known, and empty.
    fn forget(&mut self, name: &'static str) {
        if name.contains('.') {
            self.settings.insert(name, String::new());
        } else {
            self.settings.remove(name);
        }
    }

    /// Settings that end with their transaction.
    fn in_transaction(&mut self, local: bool) -> Option<()> {
        let name = self.any_name();
        let value = self.value_for(name);
        let text = self.spelled(if local { "set local" } else { "set" }, name, &value);
        self.ask("begin")?;
        self.ask(&text)?;
        let before = self.settings.insert(name, value);
        self.check()?;
        self.ask(if local { "commit" } else { "rollback" })?;
        match before {
            Some(before) => drop(self.settings.insert(name, before)),
            None => self.forget(name),
        }
        Some(())
    }

    fn temporary(&mut self) -> Option<()> {
        let text = if self.temp {
            "drop table pg_temp.mine".to_owned()
        } else {
            format!("create temp table mine as select 'temp {}'::text as name; grant select on mine to public", self.me)
        };
        // Whoever makes it must be the one who drops it.
        self.ask("set role none")?;
        self.settings.remove("role");
        self.ask(&text)?;
        self.temp = !self.temp;
        Some(())
    }

    fn protocol(&mut self) -> Option<()> {
        if self.sql_prepared {
            return Some(());
        }
        let close = self.prepared && self.rng.chance(30);
        let out = match (self.prepared, close) {
            (_, true) => Out::new().close(b'S', "shared").sync(),
            (true, false) => Out::new().bind("", "shared", &[], &[], &[]).execute("", 0).sync(),
            (false, _) => Out::new().parse("shared", &format!("select 'protocol {}'", self.me), &[]).sync(),
        };
        self.client.send(&out.0);
        let answer = self.client.until_ready(1);
        if answer.last().is_none_or(|last| last.tag != b'Z') || sqlstate(&answer).is_some_and(|code| is_of_a_lost_server(&code)) {
            return None;
        }
        if self.prepared && !close {
            assert_eq!(rows(&answer, "shared"), [[Some(format!("protocol {}", self.me))]]);
        }
        self.prepared = !close;
        Some(())
    }

    fn sql_prepare(&mut self) -> Option<()> {
        if self.prepared {
            return Some(());
        }
        if self.sql_prepared {
            assert_eq!(self.ask("execute shared")?, [[Some(format!("sql {}", self.me))]]);
            self.ask("deallocate shared")?;
        } else {
            self.ask(&format!("prepare shared as select 'sql {}'", self.me))?;
        }
        self.sql_prepared = !self.sql_prepared;
        Some(())
    }

    /// The same seed gives the same numbers, whoever asks in between. It pins for good, so the session ends with it.
    fn seed(&mut self) -> Option<()> {
        let draw = |client: &mut Self| -> Option<Vec<Rows>> {
            client.ask(&format!("select setseed(0.{})", client.me + 1))?;
            (0..3).map(|_| client.ask("select random()")).collect()
        };
        assert_eq!(draw(self)?, draw(self)?, "client {}", self.me);
        self.again();
        Some(())
    }

    fn discard(&mut self, text: &str) -> Option<()> {
        self.ask(text)?;
        let role = self.settings.remove("role");
        let known: Vec<_> = self.settings.keys().copied().collect();
        known.into_iter().for_each(|name| self.forget(name));
        if text == "discard all" {
            (self.prepared, self.sql_prepared, self.temp) = (false, false, false);
        } else if let Some(role) = role {
            self.settings.insert("role", role);
        }
        Some(())
    }

    /// Gone in the middle of something.
    fn vanish(&mut self) {
        let text = *self.rng.pick(&[
            "select pg_sleep(0.02)",
            "begin; set timezone = 'Asia/Tokyo'; select pg_sleep(0.01)",
            "set app.y = 'gone'",
        ]);
        self.client.send(&Out::new().query(text).query("set role iso_0").0);
        if self.rng.chance(50) {
            std::thread::sleep(Duration::from_millis(self.rng.below(10) as u64));
        }
        let client = std::mem::replace(&mut self.client, login(self.town, self.me));
        client.vanish();
        self.again();
    }

    /// Several Syncs in flight, each behind a setting that it depends on.
    fn pipeline(&mut self) -> Option<()> {
        let (zone, me) = (self.value_for("timezone"), self.me);
        let show = |out: Out, name: &str| {
            out.parse("", &format!("select current_setting('{name}')"), &[]).bind("", "", &[], &[], &[]).execute("", 0).sync()
        };
        let set = |out: Out, name: &str, value: &str| {
            let out = out.parse("", "select set_config($1, $2, false)", &[]);
            out.bind_text("", "", &[name, value]).execute("", 0).sync()
        };
        let path = format!("home_{me}, public");
        let out = show(set(show(set(Out::new(), "timezone", &zone), "timezone"), "search_path", &path), "search_path");
        self.client.send(&out.0);
        let answer = self.client.until_ready(4);
        if answer.iter().filter(|message| message.tag == b'Z').count() < 4
            || sqlstate(&answer).is_some_and(|code| is_of_a_lost_server(&code))
        {
            return None;
        }
        let said: Vec<_> = rows(&answer, "a pipeline").into_iter().flatten().flatten().collect();
        assert_eq!(said, [zone.as_str(), &zone, &path, &path], "client {me}");
        self.settings.insert("timezone", zone);
        self.settings.insert("search_path", path);
        Some(())
    }

    /// Everything that can be seen of the session.
    fn check(&mut self) -> Option<()> {
        let names: Vec<_> = SETTINGS.iter().map(|(name, _)| *name).chain(["application_name"]).chain(CUSTOM).collect();
        let columns: Vec<_> = names.iter().map(|name| format!("current_setting('{name}', true)")).collect();
        let text = format!(
            "select {}, current_user, session_user, (select name from who), to_regclass('pg_temp.mine') is not null",
            columns.join(", ")
        );
        let found = self.ask(&text)?.remove(0);
        let at_login = format!("client {}", self.me);
        let default = |name: &str| {
            let setting = SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            setting.or((name == "application_name").then_some(&*at_login)).map(Into::into)
        };
        let mut expected: Vec<_> = names.iter().map(|name| self.settings.get(name).cloned().or_else(|| default(name))).collect();
        if let Some(timeout) = self.settings.get("statement_timeout") {
            let seconds: u64 = timeout.trim_end_matches('s').parse().unwrap();
            expected[2] = Some(if seconds % 60 == 0 { format!("{}min", seconds / 60) } else { timeout.clone() });
        }
        let role = self.settings.get("role").cloned();
        let home = if self.settings.contains_key("search_path") { at_login.clone() } else { "nobody".into() };
        let temp = if self.temp { "t" } else { "f" };
        expected.extend([role.unwrap_or_else(|| "app".into()), "app".into(), home, temp.into()].map(Some));
        assert_eq!(found, expected, "client {}, which has said {:#?}", self.me, self.said);
        if self.temp {
            assert_eq!(self.ask("select name from pg_temp.mine")?, [[Some(format!("temp {}", self.me))]]);
        }
        Some(())
    }
}

fn login(town: &Town, me: usize) -> Client {
    let name = format!("client {me}");
    let parameters = [("user", "app"), ("database", &town.database), ("application_name", &name)];
    loop {
        if let Some(client) = Client::try_login(town.pgdial.addr(), &parameters) {
            return client;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Terminated, or lost on the way. Any other error is a finding.
fn is_of_a_lost_server(code: &str) -> bool {
    code.starts_with("57P") || code.starts_with("08")
}

#[test]
fn a_role_that_is_no_longer_granted_is_never_replaced_by_another() {
    for (word, text) in [("revoked", "revoke iso_guest from app"), ("dropped", "drop role iso_guest")] {
        let postgres = Postgres::start();
        let database = postgres.database("revoked");
        postgres.sql(&database, "create role iso_guest; grant iso_guest to app");
        let pgdial = Pgdial::start(&Config::new(&postgres, &database).pool(2).text("pool", "order", "round-robin"));
        let mut client = pgdial.client(&database);
        client.rows("set role iso_guest");
        let mut other = pgdial.client(&database);
        (0..3).for_each(|_| assert_eq!(other.value("select current_user"), "app"));
        postgres.sql(&database, text);
        let mut refused = false;
        for _ in 0..6 {
            assert_eq!(other.value("select current_user"), "app", "{word}");
            let answer = client.query("select current_user, current_setting('role')");
            if let Some(code) = sqlstate(&answer) {
                refused |= answer.last().is_none_or(|last| last.tag != b'Z');
                assert!(["08006", "22023", "42501", "42704", "XX000"].contains(&&*code), "{word}: {code}");
                if refused {
                    break;
                }
                continue;
            }
            assert_eq!(rows(&answer, word), [[Some("iso_guest".into()), Some("iso_guest".into())]], "{word}");
        }
        assert!(refused, "{word}: it was never on another server");
        assert_eq!(pgdial.client(&database).value("select current_user"), "app");
    }
}

/// A trigger fires before anybody can have read that there is one.
#[test]
fn what_a_new_trigger_sets_follows_its_client_and_nobody_else() {
    let postgres = Postgres::shared();
    let database = postgres.database("new_trigger");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(2).text("pool", "order", "round-robin"));
    let function =
        "create function f() returns trigger language plpgsql as $$ begin set timezone = 'Asia/Tokyo'; return new; end $$";
    let trigger = "create trigger g before insert on t for each row execute function f()";
    for dropped in [false, true] {
        let mut client = pgdial.client(&database);
        client.rows("create table t (a int)");
        if dropped {
            client.rows("begin");
        }
        client.rows(function);
        client.rows(trigger);
        client.rows("insert into t values (1)");
        if dropped {
            client.rows("drop function f() cascade");
            client.rows("commit");
        }
        let mut others: Vec<_> = (0..3).map(|_| pgdial.client(&database)).collect();
        for _ in 0..4 {
            assert_eq!(client.value("show timezone"), "Asia/Tokyo", "dropped: {dropped}");
            others.iter_mut().for_each(|other| assert_ne!(other.value("show timezone"), "Asia/Tokyo", "dropped: {dropped}"));
        }
        client.rows("drop table t; drop function if exists f()");
    }
}
