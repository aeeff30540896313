//! Floor 2. Answers from memory.

use super::*;
use crate::cache::{Cache, Counter, Database, Rules, Settings};
use crate::config::{self, Freshness, Rule, TableName, Ttl};
use crate::pg::Oid;
use crate::query::{OperatorRow, RelationRow, RoleRow, Rows, SchemaRow, Snapshot, TypeRow};

const TEXT: Oid = Oid(25);

fn cached() -> (Arc<Shared>, Database) {
    let database = Cache::new(Settings { memory: 1 << 20, max_result: 4096, observe: false }, Counter::default()).database("app");
    let rule = Rule {
        tables: vec![TableName::All],
        shape: None,
        ttl: Ttl::Forever,
        stale_while_revalidate: Default::default(),
        stale_if_error: Default::default(),
        revalidate: false,
        empty_ttl: None,
        tags: Vec::new(),
        freshness: Freshness::Strict,
    };
    let rules = config::Cache {
        mode: config::CacheMode::On,
        memory: 1 << 20,
        max_result: 4096,
        verify: 0.0,
        default_ttl: None,
        rules: vec![rule],
    };
    let rows = Rows {
        schemas: vec![SchemaRow { oid: Oid(2200), name: "public".into(), usage: vec![Oid(0)] }],
        roles: vec![RoleRow { oid: Oid(10), name: "app".into(), ..RoleRow::default() }],
        types: vec![TypeRow { oid: TEXT, name: "text".into(), builtin: true, kind: 'b', category: 'S', ..TypeRow::default() }],
        operators: vec![OperatorRow { name: "=".into(), builtin: true, left: TEXT, right: TEXT }],
        relations: ["t", "u"]
            .into_iter()
            .zip([Oid(16_500), Oid(16_501)])
            .map(|(name, oid)| RelationRow {
                oid,
                schema: Oid(2200),
                name: name.into(),
                kind: 'r',
                column_types: vec![TEXT],
                ..RelationRow::default()
            })
            .collect(),
        ..Rows::default()
    };
    let snapshot = Arc::new(Snapshot::build(database.catalog_mark().unwrap(), "", &rows));
    let cache = CacheShared::new(database.clone(), Rules::new(&rules), Box::new(move || Some(Arc::clone(&snapshot))));
    (shared(Some(cache)), database)
}

const READ: &str = "select a from t";

fn read_by_query(rig: &mut Rig) -> String {
    let sent = rig.send(&[query(READ)]);
    if sent.is_empty() {
        return rig.told();
    }
    assert_eq!(sent, format!("Q {READ}"));
    rig.answer(&[columns(), row(b"x"), complete("SELECT 1"), ready(I)]);
    rig.release();
    "from Postgres".to_owned()
}

#[test]
fn a_read_is_kept_and_given_again() {
    in_pieces(|chunk| {
        let (shared, database) = cached();
        let mut rig = Rig::of(chunk, &shared, 1);
        assert_eq!(read_by_query(&mut rig), "from Postgres");
        assert_eq!(database.totals().fills, 1);
        rig.free.clear();
        // No server is needed now; neither for another client.
        assert_eq!(read_by_query(&mut rig), "T, D, C SELECT 1, Z I");
        assert_eq!(read_by_query(&mut Rig::of(chunk, &shared, 0)), "T, D, C SELECT 1, Z I");
    });
}

#[test]
fn the_extended_protocol_has_answers_of_its_own_form() {
    in_pieces(|chunk| {
        // A look needs the whole batch: in pieces it goes to a server.
        let whole = 1 << 20;
        let (shared, _) = cached();
        let mut rig = Rig::of(whole, &shared, 1);
        rig.send(&[parse("", READ), bind(""), describe_portal(), execute(), sync()]);
        rig.chunk = chunk;
        assert_eq!(
            rig.answer(&[parsed(), bound(), columns(), row(b"x"), complete("SELECT 1"), ready(I)]),
            "1, 2, T, D, C SELECT 1, Z I"
        );
        rig.release();
        rig.free.clear();
        rig.chunk = whole;
        for (batch, told) in [
            (vec![parse("", READ), bind(""), describe_portal(), execute(), sync()], "1, 2, T, D, C SELECT 1, Z I"),
            (vec![parse("s", READ), bind("s"), execute(), sync()], "1, 2, D, C SELECT 1, Z I"),
            (vec![bind("s"), execute(), sync()], "2, D, C SELECT 1, Z I"),
            (vec![bind(""), execute(), sync()], "2, D, C SELECT 1, Z I"),
            (vec![query(READ)], "T, D, C SELECT 1, Z I"),
        ] {
            assert_eq!(rig.send(&batch), "");
            assert_eq!(rig.told(), told);
        }
        // The Query has destroyed the unnamed statement, memory or not.
        rig.send(&[bind(""), execute(), sync()]);
        assert!(rig.wants_server);
    });
}

#[test]
fn a_write_keeps_memory_out_until_it_is_answered() {
    in_pieces(|chunk| {
        let (shared, _) = cached();
        let (mut writer, mut other) = (Rig::of(chunk, &shared, 1), Rig::of(chunk, &shared, 3));
        read_by_query(&mut other);
        assert_eq!(writer.send(&[query("delete from t")]), "Q delete from t");
        assert_eq!(read_by_query(&mut other), "from Postgres", "the fence is up");
        writer.answer(&[complete("DELETE 1"), ready(I)]);
        writer.release();
        assert_eq!(read_by_query(&mut other), "from Postgres", "what is older is dead, what was read behind the fence not kept");
        assert_eq!(read_by_query(&mut other), "T, D, C SELECT 1, Z I");
        // A write of another table is nobody's business.
        writer.query("delete from u", "DELETE 1", I);
        assert_eq!(read_by_query(&mut other), "T, D, C SELECT 1, Z I");
    });
}

#[test]
fn a_transaction_neither_reads_memory_nor_fences_before_its_commit() {
    in_pieces(|chunk| {
        let (shared, _) = cached();
        let (mut writer, mut other) = (Rig::of(chunk, &shared, 1), Rig::of(chunk, &shared, 3));
        read_by_query(&mut other);
        writer.query("begin", "BEGIN", T);
        writer.query("delete from t", "DELETE 1", T);
        assert_eq!(writer.send(&[query(READ)]), format!("Q {READ}"));
        writer.answer(&[columns(), complete("SELECT 0"), ready(T)]);
        assert_eq!(read_by_query(&mut other), "T, D, C SELECT 1, Z I", "nothing is committed");
        assert_eq!(writer.send(&[query("commit")]), "Q commit");
        assert_eq!(read_by_query(&mut other), "from Postgres");
        writer.answer(&[complete("COMMIT"), ready(I)]);
        assert_eq!(read_by_query(&mut other), "from Postgres");
    });
}

#[test]
fn a_read_that_a_write_overtakes_is_not_kept() {
    let (shared, database) = cached();
    let (mut reader, mut writer) = (Rig::of(1 << 20, &shared, 1), Rig::of(1 << 20, &shared, 1));
    reader.send(&[query(READ)]);
    writer.query("delete from t", "DELETE 1", I);
    assert_eq!(reader.answer(&[columns(), row(b"old"), complete("SELECT 1"), ready(I)]), "T, D, C SELECT 1, Z I");
    assert_eq!(database.totals().fills, 0);
}

#[test]
fn a_write_in_the_same_batch_goes_with_it() {
    let (shared, _) = cached();
    let mut rig = Rig::of(1 << 20, &shared, 2);
    read_by_query(&mut rig);
    let sent = rig.send(&[parse("", "delete from t"), bind(""), execute(), parse("", READ), bind(""), execute(), sync()]);
    assert_eq!(sent, format!("P  delete from t, B, E, P  {READ}, B, E, S"));
}

#[test]
fn behind_a_write_of_its_own_a_read_is_sent() {
    let (shared, _) = cached();
    let mut rig = Rig::of(1 << 20, &shared, 2);
    read_by_query(&mut rig);
    assert_eq!(rig.send(&[query("delete from t"), query(READ)]), format!("Q delete from t, Q {READ}"));
}

#[test]
fn behind_other_reads_a_hit_waits_for_its_turn() {
    in_pieces(|chunk| {
        let (shared, _) = cached();
        let mut rig = Rig::of(chunk, &shared, 2);
        read_by_query(&mut rig);
        assert_eq!(rig.send(&[query("select b from t"), query(READ)]), "Q select b from t");
        assert_eq!(rig.answer(&[columns(), complete("SELECT 0"), ready(I)]), "T, C SELECT 0, Z I, T, D, C SELECT 1, Z I");
        assert_eq!(rig.sent(), "");
        assert_eq!(rig.release(), Some(Release::Reuse));
    });
}

#[test]
fn readers_of_the_same_share_one_flight() {
    in_pieces(|chunk| {
        let (shared, _) = cached();
        let (mut leader, mut other) = (Rig::of(chunk, &shared, 1), Rig::of(chunk, &shared, 1));
        leader.send(&[query(READ)]);
        assert_eq!(other.send(&[query(READ)]), "");
        let join = other.flight.take().expect("it waits");
        assert!(join.try_landed().is_none());
        leader.answer(&[columns(), row(b"x"), complete("SELECT 1"), ready(I)]);
        other.engine.joined(join.try_landed().expect("it has landed"));
        other.feed();
        assert_eq!(other.told(), "T, D, C SELECT 1, Z I");
        // A leader that fails sends the others on their own.
        leader.query("delete from t", "DELETE 1", I);
        leader.send(&[query(READ)]);
        other.send(&[query(READ)]);
        let join = other.flight.take().expect("it waits");
        leader.answer(&[failed(b"57014"), ready(I)]);
        other.engine.joined(join.try_landed().expect("it is over"));
        other.feed();
        assert_eq!(other.sent(), format!("Q {READ}"));
    });
}

#[test]
fn an_unknown_outcome_keeps_the_fence_up() {
    let (shared, database) = cached();
    let (mut writer, mut other) = (Rig::of(1 << 20, &shared, 1), Rig::of(1 << 20, &shared, 3));
    read_by_query(&mut other);
    writer.send(&[query("delete from t")]);
    writer.engine.hang_up();
    assert_eq!(read_by_query(&mut other), "from Postgres");
    let open = database.unresolved();
    assert_eq!(open.len(), 1);
    assert!(database.resolve(open[0].id));
    assert_eq!(read_by_query(&mut other), "from Postgres");
    assert_eq!(read_by_query(&mut other), "T, D, C SELECT 1, Z I");
}

#[test]
fn a_session_with_settings_of_its_own_is_not_served() {
    let (shared, _) = cached();
    let mut rig = Rig::of(1 << 20, &shared, 2);
    read_by_query(&mut rig);
    rig.query("set datestyle = 'german'", "SET", I);
    rig.inquiry(&["German, DMY"]);
    assert_eq!(read_by_query(&mut rig), "from Postgres");
    assert_eq!(read_by_query(&mut rig), "T, D, C SELECT 1, Z I", "by its own settings it is");
    let mut other = Rig::of(1 << 20, &shared, 2);
    assert_eq!(read_by_query(&mut other), "T, D, C SELECT 1, Z I", "what was kept under other settings");
}
