//! Floor 1. A small model of words, fences, flights and entries, walked through every interleaving.
//!
//! One writer, three readers and one fault that may strike a leader; relations A and B; key 0 reads A, key 1 reads both.
//! The database is two registers whose values only grow. Each read must return at least what was acknowledged and what
//! any read had returned before it began. Every mutant below breaks that, so the walk can tell right from wrong.

use std::collections::HashSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    None,
    DownBeforeBump,
    DownAtCommandComplete,
    RaiseAfterCommit,
    LostComesDown,
    HitIgnoresFence,
    HitIgnoresVersions,
    JoinIgnoresFence,
    JoinIgnoresVersions,
    StampAtPublish,
    /// Not a fault: the stamp in the entry alone keeps the promise.
    PublishUnchecked,
    /// Not a fault either: its stamp is outdated as soon as the fence comes down.
    FlightUnderFence,
    /// Not a fault for these readers: until the fence comes down they find it up and go to Postgres.
    ReplyBeforeDown,
}

/// One step of the writer.
#[derive(Clone, Copy)]
enum Op {
    Raise(usize),
    Lower(usize),
    Down(usize),
    Bump(usize),
    Commit(u8),
    Acknowledge(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Word {
    version: u8,
    in_flight: u8,
}

type Values = [u8; 2];
/// The versions of a key's relations; the second is 0 for key 0.
type Stamp = [u8; 2];

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Entry {
    stamp: Stamp,
    values: Values,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Landing {
    Air,
    Values(Values),
    Alone,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Flight {
    stamp: Stamp,
    landing: Landing,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Start,
    /// Comparing an entry's versions, one load at a time.
    Check(Entry, usize),
    /// Noting the versions, one load at a time.
    Note(Stamp, usize),
    Board(Stamp),
    Wait(usize),
    Send(usize),
    Publish(usize, Values),
    Insert(usize, Entry),
    Direct,
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    written: usize,
    database: Values,
    acknowledged: Values,
    seen: Values,
    words: [Word; 2],
    versions: u8,
    store: [Option<Entry>; 2],
    table: [Option<usize>; 2],
    /// By the reader that leads: each reads once.
    flights: [Option<Flight>; 3],
    readers: [(At, Values); 3],
    faults: u8,
}

struct Model {
    program: Vec<Op>,
    footprint: Vec<usize>,
    keys: [usize; 3],
    mutant: Mutant,
}

fn reads(key: usize) -> &'static [usize] {
    if key == 0 { &[0] } else { &[0, 1] }
}

fn max(a: Values, b: Values) -> Values {
    [a[0].max(b[0]), a[1].max(b[1])]
}

impl State {
    fn new() -> Self {
        Self {
            written: 0,
            database: [0; 2],
            acknowledged: [0; 2],
            seen: [0; 2],
            words: [Word { version: 1, in_flight: 0 }, Word { version: 2, in_flight: 0 }],
            versions: 2,
            store: [None; 2],
            table: [None; 2],
            flights: [None; 3],
            readers: [(At::Start, [0; 2]); 3],
            faults: 1,
        }
    }

    fn fresh(&mut self) -> u8 {
        self.versions += 1;
        self.versions
    }

    fn fenced(&self, key: usize) -> bool {
        reads(key).iter().any(|r| self.words[*r].in_flight > 0)
    }

    fn moved(&self, key: usize, stamp: Stamp) -> bool {
        reads(key).iter().any(|r| self.words[*r].version != stamp[*r])
    }

    fn versions_now(&self, key: usize) -> Stamp {
        let mut stamp = [0; 2];
        reads(key).iter().for_each(|r| stamp[*r] = self.words[*r].version);
        stamp
    }
}

impl Model {
    fn new(mutant: Mutant, writes: &[&[usize]], lost: bool, keys: [usize; 3]) -> Self {
        let mut program = Vec::new();
        for (at, footprint) in writes.iter().enumerate() {
            program.extend(Self::write(mutant, footprint, at as u8 + 1, lost));
        }
        Self { program, footprint: writes[0].to_vec(), keys, mutant }
    }

    fn write(mutant: Mutant, footprint: &[usize], value: u8, lost: bool) -> Vec<Op> {
        let all = |op: fn(usize) -> Op| footprint.iter().map(move |r| op(*r)).collect::<Vec<_>>();
        let (raise, lower) = (all(Op::Raise), all(Op::Lower));
        let (commit, reply) = (vec![Op::Commit(value)], vec![Op::Acknowledge(value)]);
        match (mutant, lost) {
            (Mutant::LostComesDown, true) => [raise, lower, commit].concat(),
            (_, true) => [raise, all(Op::Bump), commit, lower].concat(),
            (Mutant::DownBeforeBump, _) => [raise, commit, all(Op::Down), all(Op::Bump), reply].concat(),
            (Mutant::DownAtCommandComplete, _) => [raise, lower, commit, reply].concat(),
            (Mutant::ReplyBeforeDown, _) => [raise, commit, reply, lower].concat(),
            (Mutant::RaiseAfterCommit, _) => [commit, raise, lower, reply].concat(),
            _ => [raise, commit, lower, reply].concat(),
        }
    }

    /// Walks every interleaving; the number of states, or the first violation.
    fn walk(&self) -> Result<usize, String> {
        let mut visited = HashSet::with_hasher(foldhash::fast::RandomState::default());
        let mut open = vec![State::new()];
        while let Some(state) = open.pop() {
            if !visited.insert(state) {
                continue;
            }
            let before = open.len();
            open.extend(self.write_step(&state));
            open.extend(self.fault(&state));
            for reader in 0..state.readers.len() {
                open.extend(self.read_step(&state, reader)?);
            }
            let stuck = open.len() == before && state.readers.iter().any(|(at, _)| *at != At::Done);
            if stuck {
                return Err("a reader waits for ever".into());
            }
        }
        Ok(visited.len())
    }

    fn write_step(&self, state: &State) -> Option<State> {
        let op = *self.program.get(state.written)?;
        let mut next = *state;
        next.written += 1;
        match op {
            Op::Raise(r) => next.words[r].in_flight += 1,
            Op::Down(r) => next.words[r].in_flight -= 1,
            Op::Bump(r) => next.words[r].version = next.fresh(),
            Op::Lower(r) => next.words[r] = Word { version: next.fresh(), in_flight: next.words[r].in_flight - 1 },
            Op::Commit(value) => self.footprint.iter().for_each(|r| next.database[*r] = value),
            Op::Acknowledge(value) => self.footprint.iter().for_each(|r| next.acknowledged[*r] = value),
        }
        Some(next)
    }

    /// The first reader's server is lost while it leads: it goes to Postgres again, the others on their own.
    fn fault(&self, state: &State) -> Option<State> {
        let At::Send(flight) = state.readers[0].0 else {
            return None;
        };
        let mut next = *state;
        next.faults = next.faults.checked_sub(1)?;
        self.land(&mut next, self.keys[0], flight, Landing::Alone);
        next.readers[0].0 = At::Direct;
        Some(next)
    }

    fn land(&self, state: &mut State, key: usize, flight: usize, landing: Landing) {
        if state.table[key] == Some(flight) {
            state.table[key] = None;
        }
        let waiting = state.readers.iter().any(|(at, _)| *at == At::Wait(flight));
        // Nobody will look at it again: one state less to walk.
        state.flights[flight] = state.flights[flight].filter(|_| waiting).map(|flight| Flight { landing, ..flight });
    }

    fn read_step(&self, state: &State, reader: usize) -> Result<Option<State>, String> {
        let key = self.keys[reader];
        let mut next = *state;
        let at = match state.readers[reader].0 {
            At::Start => {
                next.readers[reader].1 = max(state.acknowledged, state.seen);
                match state.store[key] {
                    Some(entry) => At::Check(entry, 0),
                    None => At::Note([0; 2], 0),
                }
            }
            At::Check(entry, word) => match self.check(state, key, entry, word) {
                Some(at) => at,
                None => return self.finish(next, reader, entry.values).map(Some),
            },
            At::Note(so_far, loads) => self.note(state, key, so_far, loads),
            At::Board(stamp) => self.board(&mut next, key, reader, stamp),
            At::Wait(flight) => match state.flights[flight].map_or(Landing::Air, |flight| flight.landing) {
                Landing::Air => return Ok(None),
                Landing::Alone => At::Direct,
                Landing::Values(values) => return self.finish(next, reader, values).map(Some),
            },
            At::Send(flight) => At::Publish(flight, state.database),
            At::Publish(flight, values) => match self.publish(state, key, flight, values) {
                Some(entry) => At::Insert(flight, entry),
                None => {
                    self.land(&mut next, key, flight, Landing::Values(values));
                    return self.finish(next, reader, values).map(Some);
                }
            },
            At::Insert(flight, entry) => {
                next.store[key] = Some(entry);
                self.land(&mut next, key, flight, Landing::Values(entry.values));
                return self.finish(next, reader, entry.values).map(Some);
            }
            At::Direct => return self.finish(next, reader, state.database).map(Some),
            At::Done => return Ok(None),
        };
        next.readers[reader].0 = at;
        Ok(Some(next))
    }

    /// One load of the hit's comparison; `None` is a hit.
    fn check(&self, state: &State, key: usize, entry: Entry, word: usize) -> Option<At> {
        let relation = reads(key).get(word)?;
        let now = state.words[*relation];
        if now.in_flight > 0 && self.mutant != Mutant::HitIgnoresFence {
            return Some(At::Direct);
        }
        if now.version != entry.stamp[*relation] && self.mutant != Mutant::HitIgnoresVersions {
            return Some(At::Note([0; 2], 0));
        }
        Some(At::Check(entry, word + 1))
    }

    fn note(&self, state: &State, key: usize, mut so_far: Stamp, loads: usize) -> At {
        let relation = reads(key)[loads];
        let now = state.words[relation];
        // These two mutants need readers that get past the stamp while a fence is up.
        let lenient = matches!(self.mutant, Mutant::JoinIgnoresFence | Mutant::FlightUnderFence);
        if now.in_flight > 0 && !lenient {
            return At::Direct;
        }
        so_far[relation] = now.version;
        if loads + 1 == reads(key).len() { At::Board(so_far) } else { At::Note(so_far, loads + 1) }
    }

    fn board(&self, next: &mut State, key: usize, reader: usize, stamp: Stamp) -> At {
        if let Some(flight) = next.table[key] {
            let known = next.flights[flight].map_or([0; 2], |flight| flight.stamp);
            let fenced = next.fenced(key) && self.mutant != Mutant::JoinIgnoresFence;
            let moved = next.moved(key, known) && self.mutant != Mutant::JoinIgnoresVersions;
            if !fenced && !moved {
                return At::Wait(flight);
            }
        }
        next.flights[reader] = Some(Flight { stamp, landing: Landing::Air });
        next.table[key] = Some(reader);
        At::Send(reader)
    }

    fn publish(&self, state: &State, key: usize, flight: usize, values: Values) -> Option<Entry> {
        let noted = state.flights[flight].map_or([0; 2], |flight| flight.stamp);
        let stamp = if self.mutant == Mutant::StampAtPublish { state.versions_now(key) } else { noted };
        let refused = state.fenced(key) || state.moved(key, stamp);
        (!refused || self.mutant == Mutant::PublishUnchecked).then_some(Entry { stamp, values })
    }

    fn finish(&self, mut next: State, reader: usize, values: Values) -> Result<State, String> {
        let floor = next.readers[reader].1;
        for relation in reads(self.keys[reader]) {
            if values[*relation] < floor[*relation] {
                return Err(format!("reader {reader} got {values:?} after {floor:?}"));
            }
            next.seen[*relation] = next.seen[*relation].max(values[*relation]);
        }
        next.readers[reader] = (At::Done, [0; 2]);
        Ok(next)
    }
}

/// Arrangements of readers that differ: a write of both relations, two writes of one, a write whose server is lost.
fn arrangements(mutant: Mutant) -> Vec<Model> {
    let both: &[&[usize]] = &[&[0, 1]];
    let twice: &[&[usize]] = &[&[0], &[0]];
    vec![
        Model::new(mutant, both, false, [0, 0, 1]),
        Model::new(mutant, both, true, [0, 0, 1]),
        Model::new(mutant, both, false, [1, 1, 0]),
        Model::new(mutant, twice, false, [0, 0, 0]),
    ]
}

#[test]
fn no_interleaving_shows_an_old_value() {
    for mutant in [Mutant::None, Mutant::PublishUnchecked] {
        for model in arrangements(mutant) {
            let states = model.walk().unwrap_or_else(|violation| panic!("{mutant:?} {:?}: {violation}", model.keys));
            assert!(states > 1000, "the walk is too short to mean anything: {states}");
        }
    }
}

#[test]
fn what_only_the_versions_hold_still_holds() {
    for mutant in [Mutant::FlightUnderFence, Mutant::ReplyBeforeDown] {
        let model = Model::new(mutant, &[&[0, 1]], false, [0, 0, 1]);
        assert_eq!(model.walk().err(), None, "{mutant:?}");
    }
}

#[test]
fn each_mutant_is_seen_to_fail() {
    let mutants = [
        Mutant::DownBeforeBump,
        Mutant::DownAtCommandComplete,
        Mutant::RaiseAfterCommit,
        Mutant::LostComesDown,
        Mutant::HitIgnoresFence,
        Mutant::HitIgnoresVersions,
        Mutant::JoinIgnoresFence,
        Mutant::JoinIgnoresVersions,
        Mutant::StampAtPublish,
    ];
    for mutant in mutants {
        let caught = arrangements(mutant).iter().any(|model| model.walk().is_err());
        assert!(caught, "{mutant:?} went unnoticed");
    }
}
