//! Floor 1. Interning and the per-server LRU.

use std::sync::Arc;

use super::*;
use crate::query::Statement;

fn plans() -> (Plans, Arc<Statement>) {
    (Plans::new("_pgd_7_"), Arc::new(Statement::opaque()))
}

#[test]
fn equal_text_and_types_share_a_plan_and_nothing_else_does() {
    let (plans, class) = plans();
    let a = plans.intern(b"select $1", b"", 0, &class);
    assert_eq!(a.id(), plans.intern(b"select $1", b"", 0, &class).id());
    for (text, types, epoch) in [(&b"select  $1"[..], &b""[..], 0), (b"select $1", b"\0\0\0\x17", 0), (b"select $1", b"", 9)] {
        assert_ne!(a.id(), plans.intern(text, types, epoch, &class).id());
    }
    assert_eq!(a.name(), b"_pgd_7_1");
}

#[test]
fn a_plan_that_nobody_uses_is_forgotten() {
    let (plans, class) = plans();
    for n in 0..10_000 {
        plans.intern(format!("select {n}").as_bytes(), b"", 0, &class);
    }
    assert!(plans.is_empty());
    assert!(plans.table_len() <= 2048, "the table must not grow with dead plans");
}

#[test]
fn the_least_recently_used_plan_is_evicted() {
    let (plans, class) = plans();
    let [a, b, c] = ["a", "b", "c"].map(|text| plans.intern(text.as_bytes(), b"", 0, &class));
    let mut server = ServerPlans::new(2);
    assert_eq!(server.insert(&a, 0), Insert { evict: None });
    assert_eq!(server.insert(&b, 0), Insert { evict: None });
    assert!(server.touch(a.id()));
    assert_eq!(server.insert(&c, 0), Insert { evict: Some((b.id(), b.name().into())) });
    server.restore(b.id(), b.name().into(), 0);
    assert_eq!(server.len(), 3);
    let d = plans.intern(b"d", b"", 0, &class);
    assert_eq!(server.insert(&d, 0), Insert { evict: Some((b.id(), b.name().into())) }, "a restored one goes first");
    server.clear();
    assert!(server.is_empty() && !server.touch(a.id()));
}
