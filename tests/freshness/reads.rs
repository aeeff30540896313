//! The readers.

use std::sync::atomic::Ordering::SeqCst;

use super::support::encode::Out;
use super::support::rng::Rng;
use super::support::wire::{Client, error};
use super::{WRITERS, World};

/// What a read shows: of which registers, and their values.
type Shown = Vec<((usize, usize), i64)>;

const BY_NAME: [&str; 2] = ["t", "f"];

pub(crate) fn run(world: &World, mut rng: Rng) {
    let mut client = None;
    while world.goes_on() {
        let connected = client.get_or_insert_with(|| prepared(world));
        let (writer, which) = (rng.below(WRITERS), usize::from(rng.chance(15)));
        let how = rng.below(6);
        let asked = if how == 5 { vec![(writer, 0), ((writer + 1) % WRITERS, 0)] } else { vec![(writer, which)] };
        let floors: Vec<i64> = asked.iter().map(|at| floor(world, *at)).collect();
        match read(connected, how, &asked) {
            Some(shown) => {
                world.reads.fetch_add(1, SeqCst);
                check(world, how, &shown, &floors);
            }
            None => {
                world.failed.fetch_add(1, SeqCst);
                client = None;
            }
        }
    }
}

/// What a read that begins now must show at least.
pub(crate) fn floor(world: &World, (writer, which): (usize, usize)) -> i64 {
    let register = &world.registers[writer][which];
    register.acknowledged.load(SeqCst).max(register.seen.load(SeqCst))
}

fn check(world: &World, how: usize, shown: &Shown, floors: &[i64]) {
    for (((writer, which), value), floor) in shown.iter().zip(floors) {
        let register = &world.registers[*writer][*which];
        let begun = register.begun.load(SeqCst);
        if value < floor || *value > begun {
            let what = if *value < 0 { "was rolled back" } else { "is not of its time" };
            let (name, way) = (BY_NAME[*which], register.way.lock().unwrap());
            world.breaks(format!(
                "read {how} of {name}{writer} shows {value}, which {what}: at least {floor}, at most {begun}; written by {way}"
            ));
        }
        register.seen.fetch_max(*value, SeqCst);
    }
}

/// A client with a prepared statement for each register.
fn prepared(world: &World) -> Client {
    loop {
        let mut client = world.client();
        let mut out = Out::new();
        for writer in 0..WRITERS {
            for name in BY_NAME {
                out = out.parse(&format!("{name}{writer}"), &format!("select n from {name}{writer} where k = $1"), &[23]).sync();
            }
        }
        client.send(&out.0);
        let answer = client.until_ready(2 * WRITERS);
        if error(&answer).is_none() && answer.iter().filter(|message| message.tag == b'Z').count() == 2 * WRITERS {
            return client;
        }
    }
}

fn read(client: &mut Client, how: usize, asked: &[(usize, usize)]) -> Option<Shown> {
    let (writer, which) = asked[0];
    let table = format!("{}{writer}", BY_NAME[which]);
    let by_parameter = format!("select n from {table} where k = $1");
    let one = [Some(1_i32.to_be_bytes().to_vec())];
    let out = match how {
        0 => Out::new().query(&format!("select n from {table} where k = 1")),
        1 => Out::new().parse("", &by_parameter, &[23]).bind_text("", "", &["1"]).describe(b'P', "").execute("", 0).sync(),
        2 => Out::new().bind_text("", &table, &["1"]).execute("", 0).sync(),
        3 => Out::new().bind("", &table, &[1], &one, &[1]).execute("", 0).sync(),
        4 => Out::new().query(&format!("select r.n from {table} r join label l on l.k = r.k where l.name = 'one'")),
        _ => {
            let other = asked[1].0;
            Out::new().query(&format!("select a.n, b.n from t{writer} a, t{other} b where a.k = 1 and b.k = 1"))
        }
    };
    client.send(&out.0);
    let answer = client.until_ready(1);
    if error(&answer).is_some() || answer.last().is_none_or(|message| message.tag != b'Z') {
        return None;
    }
    let rows: Vec<_> = answer.iter().filter(|message| message.tag == b'D').collect();
    assert_eq!(rows.len(), 1, "a register is one row: read {how} of {table}");
    if how == 3 {
        let value = i64::from_be_bytes(rows[0].body[rows[0].body.len() - 8..].try_into().unwrap());
        return Some(vec![(asked[0], value)]);
    }
    let values = rows[0].columns().into_iter().map(|column| column.unwrap().parse().unwrap());
    Some(asked.iter().copied().zip(values).collect())
}
