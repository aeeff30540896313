//! The writers, and every way to write.

use std::sync::atomic::Ordering::SeqCst;

use super::World;
use super::reads::floor;
use super::support::encode::Out;
use super::support::rng::Rng;
use super::support::wire::{Client, error};

/// A way to write `{v}` into `t{w}`; `-{v}` is never committed. Each line is a Query of its own, answered before the next.
type Way = (&'static str, &'static [&'static str]);

/// What is written is known from the text.
const NARROW: &[Way] = &[
    ("update", &["update t{w} set n = {v} where k = 1"]),
    ("on_conflict", &["insert into t{w} values (1, {v}) on conflict (k) do update set n = excluded.n"]),
    ("cte", &["with w as (update t{w} set n = {v} where k = 1 returning n) select * from w"]),
    ("several", &["select 1; update t{w} set n = {v}; select 2"]),
    ("block_in_one", &["begin; update t{w} set n = -{v}; update t{w} set n = {v}; commit"]),
    ("block", &["begin", "update t{w} set n = -{v}", "update t{w} set n = {v}", "commit"]),
    ("chain", &["begin", "update t{w} set n = {v}", "commit and chain", "update t{w} set n = -{v}", "rollback"]),
    ("merge", &["merge into t{w} using (values (1, {v}::bigint)) s (k, n) on t{w}.k = s.k when matched then update set n = s.n"]),
    ("truncate", &["begin", "truncate t{w}", "insert into t{w} values (1, {v})", "commit"]),
    ("rolled_back", &["begin", "update t{w} set n = -{v}", "rollback", "update t{w} set n = {v}"]),
    ("savepoint", &["begin", "savepoint s", "update t{w} set n = -{v}", "rollback to s", "update t{w} set n = {v}", "commit"]),
    ("explain", &["explain analyze update t{w} set n = {v}"]),
];

/// Anything may have been written.
const WIDE: &[Way] = &[
    ("function", &["select set_t{w}({v})"]),
    ("function_in_a_block", &["begin", "select set_t{w}({v})", "commit"]),
    ("trigger", &["update source{w} set n = {v}"]),
    ("view", &["update v{w} set n = {v}"]),
    ("search_path", &["begin; set local search_path = other, public; update only{w} set n = {v}; commit"]),
];

/// The catalog may have changed as well: it is read again, and nothing comes from memory meanwhile.
const CATALOG: &[Way] = &[
    ("do", &["do $$ begin update t{w} set n = {v}; end $$"]),
    (
        "do_with_commit",
        &[
            "do $$ begin update t{w} set n = -{v}; rollback; update t{w} set n = {v}; commit; update t{w} set n = -{v}; rollback; end $$",
        ],
    ),
    ("call", &["call put_t{w}({v})"]),
];

/// What a writer has, and how its registers begin.
pub(crate) fn schema(writer: usize) -> String {
    "create table t{w} (k int primary key, n bigint not null); insert into t{w} values (1, 0);
     create table source{w} (n bigint); insert into source{w} values (0);
     create function copy{w}() returns trigger language plpgsql as $$ begin update t{w} set n = new.n; return new; end $$;
     create trigger copy after update on source{w} for each row execute function copy{w}();
     create function set_t{w}(v bigint) returns bigint language plpgsql as $$ begin update t{w} set n = v; return v; end $$;
     create procedure put_t{w}(v bigint) language plpgsql as $$ begin update t{w} set n = -v; rollback; update t{w} set n = v; commit; end $$;
     create view v{w} as select * from t{w};
     create schema if not exists other; create view other.only{w} as select * from public.t{w}; create table only{w} (k int, n bigint);
     create table parent{w} (n bigint primary key); insert into parent{w} values (0);
     create table f{w} (k int primary key, n bigint references parent{w} on update cascade); insert into f{w} values (1, 0)"
        .replace("{w}", &writer.to_string())
}

pub(crate) fn run(world: &World, writer: usize, mut rng: Rng, storm: bool) {
    let mut client = None;
    while world.goes_on() {
        let connected = client.get_or_insert_with(|| world.client());
        std::thread::sleep(std::time::Duration::from_micros(rng.below(6000) as u64));
        let which = usize::from(rng.chance(1));
        let register = &world.registers[writer][which];
        let value = register.begun.fetch_add(1, SeqCst) + 1;
        let vanishes = storm && which == 0 && rng.chance(2);
        let (way, done) = match (which, vanishes) {
            (1, _) => ("cascade", lines(connected, &["update parent{w} set n = {v}"], writer, value)),
            (_, true) => ("vanished", false),
            _ => write(connected, writer, value, &mut rng),
        };
        *register.way.lock().unwrap() = way;
        *world.ways.lock().unwrap().entry(way).or_default() += 1;
        if vanishes {
            vanish(client.take(), writer, value);
            continue;
        }
        if !done {
            // Killed: whether it was committed is not known, and the next write will be in its place.
            assert!(storm, "writer {writer}: {way} failed");
            world.failed.fetch_add(1, SeqCst);
            client = None;
            continue;
        }
        register.acknowledged.fetch_max(value, SeqCst);
        world.writes.fetch_add(1, SeqCst);
        if CATALOG.iter().any(|(name, _)| *name == way) {
            // It is pinned from here on.
            client = None;
        } else if rng.chance(25) {
            client = own(world, writer, which, value, client);
        }
    }
}

/// Its own write, on the same connection.
fn own(world: &World, writer: usize, which: usize, value: i64, client: Option<Client>) -> Option<Client> {
    let mut client = client?;
    let name = ["t", "f"][which];
    let answer = client.query(&format!("select n from {name}{writer} where k = 1"));
    let row = answer.iter().find(|message| message.tag == b'D').filter(|_| error(&answer).is_none())?;
    let seen: i64 = row.columns()[0].as_deref().unwrap().parse().unwrap();
    if seen != value || floor(world, (writer, which)) > value {
        world.breaks(format!(
            "writer {writer} has written {value} by {} and reads {seen}",
            world.registers[writer][which].way.lock().unwrap()
        ));
    }
    Some(client)
}

/// COMMIT is sent and the client is gone. The row is locked until Postgres has seen to it.
fn vanish(client: Option<Client>, writer: usize, value: i64) {
    let Some(mut client) = client else { return };
    if lines(&mut client, &["begin", "update t{w} set n = {v}"], writer, value) {
        client.send(&Out::new().query("commit").0);
    }
    client.vanish();
}

fn write(client: &mut Client, writer: usize, value: i64, rng: &mut Rng) -> (&'static str, bool) {
    let update = format!("update t{writer} set n = $1 where k = 1");
    let text = value.to_string();
    let (way, out, ready) = match if rng.chance(12) { 7 } else { rng.below(8) } {
        0 => ("unnamed", Out::new().parse("", &update, &[]).bind_text("", "", &[&text]).execute("", 0).sync(), 1),
        1 => {
            let out = Out::new().query("begin").parse("", &update, &[]).bind_text("", "", &[&text]).execute("", 0).sync();
            ("pipelined_block", out.parse("", "commit", &[]).bind_text("", "", &[]).execute("", 0).sync(), 3)
        }
        2 => {
            // All in one group: COMMIT runs before the Sync, and the last write in a transaction of its own.
            let out = Out::new().parse("", "begin", &[]).bind_text("", "", &[]).execute("", 0);
            let out = out.parse("", &update, &[]).bind_text("", "", &[&format!("-{text}")]).execute("", 0);
            let out = out.bind_text("", "", &[&text]).execute("", 0);
            ("commit_in_a_group", out.parse("", "commit", &[]).bind_text("", "", &[]).execute("", 0).sync(), 1)
        }
        3 => {
            let out = Out::new().close(b'S', "put").parse("put", &update, &[]).sync();
            ("named", out.bind_text("", "put", &[&text]).execute("", 0).sync(), 2)
        }
        4 => {
            let out =
                Out::new().query("begin").query(&format!("delete from t{writer}")).query(&format!("copy t{writer} from stdin"));
            client.send(&out.0);
            let answer = client.until_ready(2);
            if error(&answer).is_some() {
                return ("copy", false);
            }
            let data = format!("1\t{text}\n");
            ("copy", Out::new().copy_data(data.as_bytes()).copy_done().query("commit"), 2)
        }
        5 => {
            // In the extended protocol; the Sync comes while the COPY still runs.
            let out = Out::new().query("begin").query(&format!("truncate t{writer}"));
            client.send(&out.0);
            if error(&client.until_ready(2)).is_some() {
                return ("extended_copy", false);
            }
            let data = format!("1\t{text}\n");
            let out = Out::new().parse("", &format!("copy t{writer} from stdin"), &[]).bind_text("", "", &[]).execute("", 0);
            ("extended_copy", out.copy_data(data.as_bytes()).copy_done().sync().query("commit"), 2)
        }
        6 => {
            // A Query that ends the group of an Execute without Sync.
            let out = Out::new().parse("", &update, &[]).bind_text("", "", &[&text]).execute("", 0);
            ("query_in_a_batch", out.query("select 1"), 1)
        }
        _ => {
            let wide = if rng.chance(3) { CATALOG } else { WIDE };
            let list = if rng.chance(85) { NARROW } else { wide };
            let (way, texts) = *rng.pick(list);
            return (way, lines(client, texts, writer, value));
        }
    };
    client.send(&out.0);
    let answer = client.until_ready(ready);
    (way, error(&answer).is_none() && answer.iter().filter(|message| message.tag == b'Z').count() == ready)
}

fn lines(client: &mut Client, texts: &[&str], writer: usize, value: i64) -> bool {
    texts.iter().all(|text| {
        let text = text.replace("{w}", &writer.to_string()).replace("{v}", &value.to_string());
        let answer = client.query(&text);
        error(&answer).is_none() && answer.last().is_some_and(|message| message.tag == b'Z')
    })
}
