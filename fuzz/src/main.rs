//! Runs every target on stable: blind mutation of the seeds, repeatable by its seed number.
//! `pgdial-fuzz [SECONDS per target, default 10] [TARGET]`

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pgdial_fuzz::{TARGETS, Target};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10);
    let only = arguments.next();
    let chosen = TARGETS
        .iter()
        .filter(|(name, ..)| only.as_deref().is_none_or(|only| only == *name));
    let sound = chosen.fold(true, |sound, target| {
        run(target, Duration::from_secs(seconds)) && sound
    });
    if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run((name, target, seeds): &Target, time: Duration) -> bool {
    let seeds = seeds();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let begin = Instant::now();
    let mut runs = 0_u64;
    while begin.elapsed() < time {
        for _ in 0..1000 {
            let mut input = seeds[random.below(seeds.len())].clone();
            for _ in 0..random.below(6) {
                mutate(&mut input, &mut random);
            }
            if catch_unwind(|| target(&input)).is_err() {
                println!("{name}: broken by {input:02x?}");
                return false;
            }
        }
        runs += 1000;
    }
    println!("{name}: {runs} runs");
    true
}

fn mutate(input: &mut Vec<u8>, random: &mut Random) {
    const TELLING: [u8; 6] = [0, 1, 4, 0x7f, 0x80, 0xff];
    if input.is_empty() {
        return;
    }
    let at = random.below(input.len());
    match random.below(6) {
        0 => input[at] = TELLING[random.below(TELLING.len())],
        1 => input[at] ^= 1 << random.below(8),
        2 => input.insert(at, TELLING[random.below(TELLING.len())]),
        3 => drop(input.remove(at)),
        4 => input.truncate(at),
        _ => input.extend_from_within(at..),
    }
}

/// xorshift64*: no more is needed to pick bytes.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}
