//! Random wire sessions, straight and through pgdial: what the client reads must be the same, message by message.
//!
//! `PGDIAL_SESSIONS` (200, with session state 100) how many, `PGDIAL_SEED` the first seed, `PGDIAL_SESSION_MIX=no-ddl,no-settings,no-prepare,no-state` leaves kinds
//! of statements out, `everything` takes in what is known to differ. A failure prints its seed and the shortest session that still shows it.

use crate::support::diff::diff;
use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::session::{Mix, Run, Step, contents, play, prepare, session, startup};
use crate::support::wire::Client;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sessions at a time, unless `PGDIAL_SESSION_WORKERS` says otherwise.
const WORKERS: u64 = 8;

/// Clients at once where it is about session state: four for each server.
const CROWD: u64 = 16;

/// Runs that the search for a shorter session may cost.
const SHRINK_RUNS: usize = 60;

#[test]
fn straight_twice_is_equal() {
    let postgres = Postgres::shared();
    let databases = [postgres.database("random"), postgres.database("random")];
    let doors = [(postgres.addr(), databases[0].as_str()), (postgres.addr(), databases[1].as_str())];
    compare_all(doors, count(200).min(60), WORKERS, mix(true));
}

#[test]
fn through_pgdial() {
    check(|config| config.pool(4), 200, WORKERS, mix(false));
}

#[test]
fn through_pgdial_on_alternating_servers_with_tiny_plan_cache() {
    let alternating = |config: Config| config.pool(4).text("pool", "order", "round-robin").set("plans", "per_server", "2");
    check(alternating, 200, WORKERS, mix(false));
}

#[test]
fn through_pgdial_with_results_cached() {
    check(|config| config.pool(4).cached(), 200, WORKERS, mix(false));
}

// With currval = "auto" the first look of a program may come too late, and each of these sessions is a program of its own.
#[test]
fn session_state_through_pgdial() {
    check(|config| config.pool(4).text("pool", "currval", "pin"), 100, CROWD, mix(true));
}

#[test]
fn session_state_through_pgdial_on_alternating_servers() {
    let alternating = |config: Config| config.pool(4).text("pool", "order", "round-robin").text("pool", "currval", "pin");
    check(alternating, 100, CROWD, mix(true));
}

fn check(config: fn(Config) -> Config, gating: u64, workers: u64, mix: Mix) {
    let postgres = Postgres::shared();
    let databases = [postgres.database("random"), postgres.database("random")];
    let config = config(Config::new(postgres, &databases[1])).text("pool", "checkout_timeout", "60s");
    let pgdial = Pgdial::start(&config.text("log", "level", "info"));
    provoke_changed_columns(pgdial.addr(), &databases[1]);
    let doors = [(postgres.addr(), databases[0].as_str()), (pgdial.addr(), databases[1].as_str())];
    compare_all(doors, count(gating), workers, mix);
}

/// pgdial words its own refusals for changed columns as Postgres has worded one, source fields and all: it must have seen one.
fn provoke_changed_columns(addr: SocketAddr, database: &str) {
    let mut client = Client::login(addr, &[("user", "app"), ("database", database)]);
    client.rows("begin; create temp table changing (a int)");
    client.send(&Out::new().parse("s", "select * from changing", &[]).sync().0);
    client.until_ready(1);
    client.rows("alter table changing add column b int");
    client.send(&Out::new().bind("", "s", &[], &[], &[]).sync().0);
    client.until_ready(1);
    client.rows("rollback");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn count(gating: u64) -> u64 {
    number("PGDIAL_SESSIONS").unwrap_or(gating)
}

fn mix(state: bool) -> Mix {
    let left_out = std::env::var("PGDIAL_SESSION_MIX").unwrap_or_default();
    let with = |name: &str| !left_out.split(',').any(|word| word.trim() == name);
    Mix {
        ddl: with("no-ddl"),
        settings: with("no-settings"),
        prepare: with("no-prepare"),
        state: state && with("no-state"),
        everything: !with("everything"),
    }
}

/// Names the session that a panic has ended.
struct Announce(u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was session PGDIAL_SEED={}", self.0);
        }
    }
}

/// Whose session it is: the schema it has for its own, and what it says at login.
struct Who<'a> {
    schema: &'a str,
    startup: Vec<(&'static str, &'static str)>,
}

/// Two addresses and databases that must not be told apart.
type Doors<'a> = [(SocketAddr, &'a str); 2];

/// Several sessions at a time, more than the pool has servers.
fn compare_all(doors: Doors<'_>, count: u64, workers: u64, mix: Mix) {
    let first = number("PGDIAL_SEED").unwrap_or(1);
    let next = AtomicU64::new(first);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..number("PGDIAL_SESSION_WORKERS").unwrap_or(workers).min(count) {
            let (next, failures) = (&next, &failures);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || failures.lock().unwrap().len() >= 3 {
                        break;
                    }
                    let schema = format!("worker{worker}");
                    let _announce = Announce(seed);
                    let steps = session(seed, &schema, mix);
                    let who = Who { schema: &schema, startup: startup(seed, mix) };
                    if std::env::var_os("PGDIAL_SESSION_SHOW").is_some() {
                        println!("{seed}:\n{}", notes(&steps));
                    }
                    if let Some(difference) = compare(doors, &who, &steps) {
                        let text = explain(doors, &who, seed, steps, difference);
                        failures.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} sessions differ\n{}", failures.len(), failures.join("\n"));
}

/// Where two runs part.
struct Difference {
    step: usize,
    text: String,
}

fn compare(doors: Doors<'_>, who: &Who<'_>, steps: &[Step]) -> Option<Difference> {
    let schema = who.schema;
    let mut admins = doors.map(|(_, database)| Postgres::shared().client("postgres", database));
    for admin in &mut admins {
        prepare(admin, schema);
        admin.rows(&format!("grant all on schema {schema} to app"));
        admin.rows(&format!("grant all on all tables in schema {schema} to app"));
        admin.rows(&format!("alter table {schema}.t owner to app"));
        admin.rows(&format!("alter table {schema}.u owner to app; alter table {schema}.v owner to app"));
        admin.rows(&format!("grant all on all sequences in schema {schema} to app"));
    }
    let straight = play(steps, &who.startup, doors[0].0, doors[0].1, None);
    let other = play(steps, &who.startup, doors[1].0, doors[1].1, Some(&straight));
    // A server that has called a function before goes on to call it in errors what its search_path made of it then.
    let [expected, found] =
        [&straight, &other].map(|run| run.lines.iter().map(|line| unqualified(line, schema)).collect::<Vec<_>>());
    if let Some(text) = diff(&expected, &found) {
        let same = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
        return Some(Difference { step: furthest(&straight, &other, same), text });
    }
    let [left, right] = &mut admins;
    let text = diff(&contents(left, schema), &contents(right, schema))?;
    Some(Difference { step: steps.len(), text: format!("the tables differ at the end\n{text}") })
}

fn unqualified(line: &str, schema: &str) -> String {
    line.replace(&format!("PL/pgSQL function {schema}."), "PL/pgSQL function ")
}

fn furthest(straight: &Run, other: &Run, line: usize) -> usize {
    straight.step_of(line).max(other.step_of(line))
}

/// Cuts the session behind the difference, then leaves out every step that is not needed to show it.
fn explain(doors: Doors<'_>, who: &Who<'_>, seed: u64, steps: Vec<Step>, first: Difference) -> String {
    // A shorter session may differ for another reason, or for what this one has left behind.
    eprintln!("seed {seed} differs first at step {} of {}:\n{}", first.step, steps.len(), first.text);
    let mut steps = steps;
    let mut shown = first;
    let mut budget = SHRINK_RUNS;
    steps.truncate(shown.step + 1);
    let mut index = 0;
    while index < steps.len() && budget > 0 {
        budget -= 1;
        let mut fewer = steps.clone();
        fewer.remove(index);
        match compare(doors, who, &fewer) {
            Some(difference) => {
                fewer.truncate(difference.step + 1);
                (steps, shown) = (fewer, difference);
            }
            None => index += 1,
        }
    }
    format!(
        "seed {seed} (PGDIAL_SEED={seed} PGDIAL_SESSIONS=1 plays it alone), startup {:?}; the steps needed:\n{}- straight, + the other\n{}",
        who.startup,
        notes(&steps),
        shown.text
    )
}

fn notes(steps: &[Step]) -> String {
    steps.iter().map(|step| format!("  {}\n", step.note)).collect()
}
