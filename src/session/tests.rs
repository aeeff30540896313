//! Floor 1. Pins and statements.

use std::sync::Arc;

use super::*;
use crate::plan::Plans;
use crate::query::{Effects, Statement};

#[test]
fn labels_are_distinct_and_numbers_follow_the_list() {
    for (at, pin) in Pin::ALL.into_iter().enumerate() {
        assert_eq!(pin as usize, at);
        assert_eq!(Pin::ALL.iter().filter(|other| other.as_str() == pin.as_str()).count(), 1);
    }
}

#[test]
fn discard_all_keeps_what_it_cannot_undo() {
    let mut session = Session::default();
    for pin in Pin::ALL {
        assert!(session.pins.add(pin));
        assert!(!session.pins.add(pin));
    }
    session.discard_all();
    let left: Vec<_> = session.pins.iter().collect();
    assert_eq!(left, [Pin::SessionMode, Pin::Backend]);
}

#[test]
fn effects_become_pins() {
    assert!(Pins::of(Effects::default()).is_empty());
    let pins = Pins::of(Effects::TEMP | Effects::SETSEED);
    assert_eq!(pins.iter().collect::<Vec<_>>(), [Pin::TempTable, Pin::Backend]);
    assert!(!pins.undone_by_discard_all());
}

#[test]
fn names_belong_to_the_client() {
    let plans = Plans::new("p");
    let class = Arc::new(Statement::opaque());
    let plan = plans.intern(b"select 1", b"", 0, &class);
    let mut statements = Statements::default();
    assert!(statements.insert(b"s1", Arc::clone(&plan)).is_none());
    assert!(statements.get(b"s2").is_none());
    assert_eq!(statements.iter().count(), 1);
    let one = statements.bytes();
    assert!(one > 0);
    statements.insert(b"s1", Arc::clone(&plan));
    assert_eq!(statements.bytes(), one, "a name that is taken over is not counted twice");
    statements.insert(b"s2", plan);
    assert_eq!(statements.bytes(), 2 * one);
    assert!(statements.remove(b"s1").is_some());
    assert!(statements.remove(b"s2").is_some());
    assert!(statements.is_empty());
    assert_eq!(statements.bytes(), 0);
}

#[test]
fn what_no_session_can_change_differs_nowhere() {
    let defaults: Defaults =
        [("work_mem", "4MB"), ("role", "none")].map(|(n, v)| (n.to_owned(), v.to_owned())).into_iter().collect();
    assert!(defaults.differ("work_mem", "5MB") && !defaults.differ("work_mem", "4MB"));
    assert!(defaults.differ("app.user", "7"), "what users make up has no default");
    // SET max_connections fails, and asking for it afterwards says what every session sees.
    assert!(!defaults.differ("max_connections", "100"));
    assert!(Defaults::default().differ("work_mem", "4MB"), "nothing is known");
}

#[test]
fn what_only_the_user_may_set_is_set_as_the_user() {
    let table = SettingsTable::default();
    let settings = |pairs: &[(&str, &str)]| table.intern(pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())));
    let before = settings(&[("application_name", "a"), ("session_authorization", "guest")]);
    let wanted = settings(&[("lo_compat_privileges", "on"), ("session_authorization", "guest")]);
    let text = "RESET SESSION AUTHORIZATION;RESET \"application_name\";SET \"lo_compat_privileges\" TO 'on';SET SESSION AUTHORIZATION 'guest';";
    assert_eq!(before.replay(&wanted).text.replace("; ", ";"), text);
    let renamed = settings(&[("application_name", "b"), ("session_authorization", "guest")]);
    assert_eq!(before.replay(&renamed).text, "SET \"application_name\" TO 'b';");
}
