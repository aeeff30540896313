//! Floor 1. Tests of how guessing is slowed down, and of how little of it is logged.

use super::*;
use std::net::IpAddr;
use std::time::{Duration, Instant};

fn from(address: &str) -> Origin {
    Origin::from(address.parse::<IpAddr>().unwrap())
}

#[test]
fn each_refusal_waits_longer_and_quiet_makes_it_forgotten() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    let place = from("10.0.0.1");
    let waits: Vec<_> = (0..40).map(|_| throttle.failed(place, "joe", now)).collect();
    assert_eq!(waits[0], Duration::from_millis(100));
    assert!(waits.is_sorted());
    assert_eq!(waits[39], Duration::from_millis(400));
    assert_eq!(throttle.failed(from("10.0.0.2"), "joe", now), Duration::from_millis(100), "another place is not concerned");
    assert_eq!(throttle.failed(place, "jim", now), Duration::from_millis(100), "and no other user");
    assert_eq!(throttle.failed(place, "joe", now + Duration::from_secs(60)), Duration::from_millis(100));
}

#[test]
fn a_place_is_what_costs_something_to_change() {
    assert_eq!(from("::ffff:10.0.0.1"), from("10.0.0.1"));
    assert_eq!(from("2001:db8::1"), from("2001:db8::2"));
    assert_ne!(from("2001:db8::1"), from("2001:db8:0:1::1"));
    assert_ne!(Origin::Local(Some(1)), Origin::Local(Some(2)));
}

#[test]
fn the_proofs_of_one_place_take_turns() {
    let throttle = Throttle::default();
    let turns = throttle.turns(from("10.0.0.1"), "joe");
    let held: Vec<_> = (0..100).map_while(|_| turns.try_acquire().ok()).collect();
    assert_eq!(held.len(), 16);
    assert!(throttle.turns(from("10.0.0.1"), "joe").try_acquire().is_err());
    assert!(throttle.turns(from("10.0.0.2"), "joe").try_acquire().is_ok());
    assert!(throttle.turns(from("10.0.0.1"), "jim").try_acquire().is_ok());
    assert!(throttle.questions(from("10.0.0.1")).try_acquire().is_ok());
}

#[test]
fn a_flood_of_refusals_is_a_few_lines() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    assert_eq!(throttle.line(from("10.0.0.1"), now), Some(0));
    assert!((0..1000).all(|_| throttle.line(from("10.0.0.1"), now).is_none()));
    assert_eq!(throttle.line(from("10.0.0.1"), now + Duration::from_secs(10)), Some(1000));
    let places = (0..200).map(|last| from(&format!("10.0.1.{last}")));
    assert!(places.filter(|place| throttle.line(*place, now).is_some()).count() < 20);
}

#[test]
fn memory_is_bounded_whatever_the_number_of_places() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    throttle.line(from("10.0.0.1"), now);
    for place in 0..5000_u32 {
        throttle.failed(Origin::Local(Some(place)), "joe", now);
    }
    assert_eq!(throttle.line(from("10.0.0.1"), now + Duration::from_secs(2)), Some(0), "forgotten");
}
