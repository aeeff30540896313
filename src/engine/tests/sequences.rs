//! Floor 2. Whose values `currval()` and `lastval()` show.

use super::*;
use crate::config::Currval;
use crate::engine::Sequences;
use crate::session::Pin;

const ADVANCE: &str = "select nextval('s')";
const LOOK: &str = "select currval('s')";
const DISCARDED: &str = "DISCARD SEQUENCES";

fn with(currval: Currval) -> Arc<Shared> {
    let mut shared = Shared::new(Arc::new(Classifier::new(100, 1 << 20)), "_p_", None);
    shared.currval = currval;
    Arc::new(shared)
}

/// Two clients, and one server that is handed from one to the other.
struct Two {
    a: Rig,
    b: Rig,
}

impl Two {
    fn new(chunk: usize, currval: Currval) -> Self {
        let shared = with(currval);
        Self { a: Rig::of(chunk, &shared, 1), b: Rig::of(chunk, &shared, 0) }
    }

    fn give_b(&mut self) {
        assert_eq!(self.a.release(), Some(Release::Reuse));
        self.b.free.append(&mut self.a.free);
    }

    fn give_a(&mut self) {
        assert_eq!(self.b.release(), Some(Release::Reuse));
        self.a.free.append(&mut self.b.free);
    }
}

/// A Query that has DISCARD SEQUENCES in front of it.
fn discards(rig: &mut Rig, text: &str, status: TransactionStatus) {
    assert_eq!(rig.send(&[query(text)]), format!("Q {DISCARDED}, Q {text}"));
    assert_eq!(rig.answer(&[complete(DISCARDED), ready(status)]), "", "the client hears nothing of it");
    rig.answer(&[complete("SELECT 1"), ready(status)]);
}

fn is_pinned(rig: &Rig) -> bool {
    rig.engine.pins().has(Pin::Sequence)
}

#[test]
fn whoever_only_advances_pays_nothing() {
    in_pieces(|chunk| {
        let mut two = Two::new(chunk, Currval::Auto);
        two.a.query(ADVANCE, "SELECT 1", I);
        for _ in 0..4 {
            two.give_b();
            two.b.query("update t set a = 1", "UPDATE 1", I);
            two.give_a();
            two.a.query("delete from t", "DELETE 1", I);
        }
        assert!(two.a.engine.pins().is_empty() && two.b.engine.pins().is_empty());
    });
}

#[test]
fn no_snapshot_is_taken_before_set_transaction() {
    for text in ["set transaction isolation level serializable; select nextval('s')", "lock table t; insert into t values (1)"] {
        let mut two = Two::new(1 << 20, Currval::Auto);
        two.a.query(ADVANCE, "SELECT 1", I);
        two.give_b();
        two.b.query("begin", "BEGIN", T);
        let sent = two.b.send(&[query(text)]);
        assert!(!sent.contains(DISCARDED), "{sent}");
    }
}

#[test]
fn a_look_never_shows_what_another_client_has_left() {
    for currval in [Currval::Auto, Currval::Off, Currval::Pin] {
        in_pieces(|chunk| {
            let mut two = Two::new(chunk, currval);
            // A write may have advanced something through a default or a rule.
            two.a.query("update t set a = 1", "UPDATE 1", I);
            two.give_b();
            discards(&mut two.b, LOOK, I);
            assert!(two.b.engine.pins().is_empty(), "it has not advanced anything");
            // There is nothing left.
            two.b.query(LOOK, "SELECT 1", I);
        });
    }
}

#[test]
fn in_a_transaction_as_well() {
    in_pieces(|chunk| {
        let mut two = Two::new(chunk, Currval::Auto);
        two.a.query(ADVANCE, "SELECT 1", I);
        two.give_b();
        two.b.query("begin", "BEGIN", T);
        discards(&mut two.b, LOOK, T);
        two.b.query("commit", "COMMIT", I);
        two.give_a();
        two.a.query(LOOK, "SELECT 1", I);
    });
}

#[test]
fn not_before_it_is_known_that_the_transaction_has_not_failed() {
    for behind in ["select count(*) from t", "select currval('s')", "insert into t values (1)"] {
        let mut two = Two::new(1 << 20, Currval::Auto);
        two.a.query(ADVANCE, "SELECT 1", I);
        two.give_b();
        let sent = two.b.send(&[query("begin"), query("create table t (a int)"), query(behind)]);
        assert_eq!(sent, "Q begin, Q create table t (a int)");
        let refused = [complete("BEGIN"), ready(T), failed(b"42P07"), ready(E)];
        assert_eq!(two.b.answer(&refused), "C BEGIN, Z T, E 42P07, Z E");
        assert_eq!(two.b.sent(), format!("Q {behind}"));
        assert_eq!(two.b.answer(&[failed(b"25P02"), ready(E)]), "E 25P02, Z E");
    }
}

#[test]
fn in_front_of_a_bind_stands_a_group_of_its_own() {
    in_pieces(|chunk| {
        let mut two = Two::new(chunk, Currval::Auto);
        two.a.query(ADVANCE, "SELECT 1", I);
        two.give_b();
        let sent = two.b.send(&[parse("", LOOK), bind(""), execute(), sync()]);
        let ours = "C _p_0d, P _p_0d DISCARD SEQUENCES, B _p_0d, E, C _p_0d, C _p_0d";
        assert_eq!(sent, format!("P  {LOOK}, {ours}, B, E, S"));
        let group = [closed(), parsed(), bound(), complete(DISCARDED), closed(), closed()].concat();
        let told = two.b.answer(&[parsed(), group, bound(), complete("SELECT 1"), ready(I)]);
        assert_eq!(told, "1, 2, C SELECT 1, Z I");
        assert_eq!(two.b.engine.server.as_ref().unwrap().sequences, Sequences::Nobodys);
    });
}

/// From Postgres 18 on it would not commit behind an Execute.
#[test]
fn in_front_of_what_commits_by_itself_stands_no_execute() {
    in_pieces(|chunk| {
        let mut two = Two::new(chunk, Currval::Auto);
        two.a.query(ADVANCE, "SELECT 1", I);
        two.give_b();
        let sent = two.b.send(&[parse("", "call p()"), bind(""), execute(), sync()]);
        assert_eq!(sent, format!("P  call p(), Q {DISCARDED}, P  call p(), B, E, S"), "a Query drops the unnamed statement");
        let told = two.b.answer(&[parsed(), complete(DISCARDED), ready(I), parsed(), bound(), complete("CALL"), ready(I)]);
        assert_eq!(told, "1, 2, C CALL, Z I");
    });
    in_pieces(|chunk| {
        let mut two = Two::new(chunk, Currval::Auto);
        two.a.query(ADVANCE, "SELECT 1", I);
        two.give_b();
        let sent = two.b.send(&[parse("", "select nonsense"), query(LOOK)]);
        assert_eq!(sent, format!("P  select nonsense, Q {DISCARDED}, Q {LOOK}"));
        assert_eq!(two.b.answer(&[failed(b"42703")]), "E 42703");
        assert_eq!(two.b.send(&[sync()]), "S");
        assert_eq!(two.b.answer(&[ready(I)]), "Z I");
        discards(&mut two.b, LOOK, I);
    });
}

#[test]
fn what_was_skipped_has_not_discarded_anything() {
    in_pieces(|chunk| {
        let mut two = Two::new(chunk, Currval::Auto);
        two.a.query(ADVANCE, "SELECT 1", I);
        two.give_b();
        let look = [parse("", LOOK), bind(""), execute(), sync()].concat();
        let sent = two.b.send(&[parse("", "select nonsense"), bind(""), execute(), look]);
        assert!(sent.ends_with("C _p_0d, C _p_0d, B, E, S"), "{sent}");
        two.b.answer(&[parsed(), failed(b"42703"), ready(I)]);
        assert_eq!(two.b.release(), Some(Release::Reuse));
        let server = two.b.free.pop_front().unwrap();
        assert!(matches!(server.sequences, Sequences::Of(_) | Sequences::Mixed));
        two.b.free.push_back(server);
        discards(&mut two.b, "select lastval()", I);
    });
}

#[test]
fn a_batch_that_discards_is_answered_before_the_next() {
    in_pieces(|chunk| {
        let mut two = Two::new(chunk, Currval::Auto);
        two.a.query(ADVANCE, "SELECT 1", I);
        two.give_b();
        let batch = |text| [parse("", text), bind(""), execute(), sync()].concat();
        let sent = two.b.send(&[batch(LOOK), batch(LOOK)]);
        assert_eq!(sent.matches("S").count() - sent.matches("DISCARD SEQUENCES").count() * 3, 1, "{sent}");
        let group = [closed(), parsed(), bound(), complete(DISCARDED), closed(), closed()].concat();
        two.b.answer(&[parsed(), group, bound(), complete("SELECT 1"), ready(I)]);
        assert_eq!(two.b.sent(), format!("P  {LOOK}, B, E, S"));
    });
}

#[test]
fn an_application_that_looks_keeps_the_server_where_it_advances() {
    in_pieces(|chunk| {
        let mut two = Two::new(chunk, Currval::Auto);
        two.a.query(LOOK, "SELECT 1", I);
        two.give_b();
        two.b.query("insert into t values (1)", "INSERT 0 1", I);
        assert!(is_pinned(&two.b) && two.b.release().is_none());
        two.b.query("discard sequences", DISCARDED, I);
        assert!(!is_pinned(&two.b));
        two.b.query(ADVANCE, "SELECT 1", I);
        assert!(is_pinned(&two.b));
        two.b.query("discard all", "DISCARD ALL", I);
        assert!(!is_pinned(&two.b));
        two.give_a();
        two.a.query(LOOK, "SELECT 1", I);
    });
}

#[test]
fn an_application_that_looks_finds_no_values_of_others_from_the_start() {
    in_pieces(|chunk| {
        let shared = with(Currval::Auto);
        let (mut a, mut b) = (Rig::of(chunk, &shared, 1), Rig::of(chunk, &shared, 0));
        a.query("update t set a = 1", "UPDATE 1", I);
        assert_eq!(a.release(), Some(Release::Reuse));
        b.add_server(10);
        b.query(LOOK, "SELECT 1", I);
        assert_eq!(b.release(), Some(Release::Reuse));
        b.free.clear();
        b.free.append(&mut a.free);
        // Whatever comes first.
        discards(&mut b, "select 1", I);
        b.query("begin", "BEGIN", T);
        b.query("insert into t values (1)", "INSERT 0 1", T);
        b.query("select lastval()", "SELECT 1", T);
        b.query("commit", "COMMIT", I);
        assert!(is_pinned(&b));
    });
}

#[test]
fn a_first_look_finds_what_the_client_has_advanced_there() {
    in_pieces(|chunk| {
        let mut two = Two::new(chunk, Currval::Auto);
        two.a.query(ADVANCE, "SELECT 1", I);
        two.give_b();
        // It may be about to look.
        discards(&mut two.b, ADVANCE, I);
        assert!(two.b.engine.pins().is_empty());
        two.b.query(LOOK, "SELECT 1", I);
        assert!(is_pinned(&two.b), "from now on it keeps its server");
    });
}

#[test]
fn other_applications_are_not_followed() {
    in_pieces(|chunk| {
        let mut two = Two::new(chunk, Currval::Auto);
        two.a.query(LOOK, "SELECT 1", I);
        two.give_b();
        assert_eq!(two.b.send(&[query("set application_name = 'b'")]), "Q set application_name = 'b'");
        two.b.answer(&[complete("SET"), parameter("application_name", "b"), ready(I)]);
        two.b.inquiry(&["b"]);
        two.b.query(ADVANCE, "SELECT 1", I);
        assert!(two.b.engine.pins().is_empty());
    });
}

#[test]
fn a_late_cancel_request_ends_the_wait_for_functions_and_nothing_else() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        assert_eq!(rig.send(&[query("select of_a_user()")]), "Q select of_a_user()");
        assert_eq!(rig.answer(&[failed(b"57014"), ready(I)]), "E 57014, Z I");
        assert!(rig.sent().starts_with("Q SELECT FROM pg_catalog.pg_sleep"));
        assert_eq!(rig.answer(&[failed(b"57014"), ready(I)]), "", "the client has been told");
        assert!(rig.sent().starts_with("Q SELECT FROM pg_catalog.pg_sleep"));
    });
}

#[test]
fn pin_and_off() {
    in_pieces(|chunk| {
        let mut two = Two::new(chunk, Currval::Pin);
        two.a.query("update t set a = default", "UPDATE 1", I);
        assert!(is_pinned(&two.a) && two.a.release().is_none());
        two.a.engine.hang_up();
        assert!(two.a.engine.is_cleaning());
        let mut two = Two::new(chunk, Currval::Off);
        two.a.query(LOOK, "SELECT 1", I);
        two.a.query(ADVANCE, "SELECT 1", I);
        two.a.query(LOOK, "SELECT 1", I);
        assert!(two.a.engine.pins().is_empty());
        two.give_b();
        discards(&mut two.b, LOOK, I);
    });
}

#[test]
fn in_a_failed_transaction_postgres_says_so() {
    in_pieces(|chunk| {
        let mut two = Two::new(chunk, Currval::Auto);
        two.a.query("delete from t", "DELETE 1", I);
        two.give_b();
        two.b.query("begin", "BEGIN", T);
        // Behind something that may fail, the look waits.
        assert_eq!(two.b.send(&[query("select nonsense"), query(LOOK)]), "Q select nonsense");
        two.b.answer(&[failed(b"42703"), ready(E)]);
        assert_eq!(two.b.sent(), format!("Q {LOOK}"));
        two.b.answer(&[failed(b"25P02"), ready(E)]);
        two.b.query("rollback", "ROLLBACK", I);
        discards(&mut two.b, LOOK, I);
    });
}
