//! Floor 1. A small catalog by hand; a real one is in `catalog/tests.rs`.

use super::super::{Classifier, RelationName};
use super::{
    CastRow, FunctionClass, FunctionRow, Obstacle, OperatorRow, RelationRow, RoleRow, Rows, SchemaRow, Snapshot, TypeRow,
};
use crate::pg::Oid;

const INT: Oid = Oid(23);
const TEXT: Oid = Oid(25);
const CITEXT: Oid = Oid(20_000);
const BOX: Oid = Oid(20_001);
const MOOD: Oid = Oid(20_002);
const MOODS: Oid = Oid(20_003);
const ROW: Oid = Oid(20_004);

fn a_type(oid: Oid, name: &str, category: char) -> TypeRow {
    TypeRow { oid, name: name.into(), builtin: oid.0 < 16_384, kind: 'b', category, ..TypeRow::default() }
}

fn function(name: &str, builtin: bool, volatility: char, args: &[Oid]) -> FunctionRow {
    FunctionRow { name: name.into(), builtin, volatility, args: args.into() }
}

fn operator(name: &str, builtin: bool, left: Oid, right: Oid) -> OperatorRow {
    OperatorRow { name: name.into(), builtin, left, right }
}

/// A database with an extension that brings a string type and another type, as citext and PostGIS do.
fn rows() -> Rows {
    Rows {
        schemas: vec![SchemaRow { oid: Oid(11), name: "pg_catalog".into(), usage: vec![Oid(0)] }],
        roles: vec![RoleRow { oid: Oid(10), name: "app".into(), ..RoleRow::default() }],
        types: vec![
            a_type(INT, "int4", 'N'),
            a_type(TEXT, "text", 'S'),
            a_type(CITEXT, "citext", 'S'),
            a_type(BOX, "box3d", 'U'),
            TypeRow { kind: 'e', ..a_type(MOOD, "mood", 'E') },
            TypeRow { element: MOOD, ..a_type(MOODS, "_mood", 'A') },
            TypeRow { kind: 'c', ..a_type(ROW, "t", 'C') },
        ],
        functions: vec![
            function("max", true, 'i', &[TEXT]),
            function("max", false, 'i', &[CITEXT]),
            function("abs", true, 'i', &[INT]),
            function("abs", false, 'v', &[BOX]),
            function("split", true, 'i', &[TEXT, INT]),
            function("split", false, 'i', &[CITEXT]),
            function("upper", true, 'i', &[TEXT]),
            function("upper", false, 'i', &[INT]),
            function("lower", true, 'i', &[TEXT]),
            function("lower", false, 'i', &[MOODS]),
            function("count", true, 'i', &[TEXT]),
            function("count", false, 'i', &[ROW]),
            function("mine", false, 'i', &[BOX]),
        ],
        operators: vec![
            operator("=", true, TEXT, TEXT),
            operator("=", false, CITEXT, CITEXT),
            operator("+", true, INT, INT),
            operator("+", false, BOX, INT),
            operator("-", true, INT, INT),
            operator("-", false, TEXT, INT),
            operator("~>", false, BOX, BOX),
        ],
        relations: vec![RelationRow { oid: Oid(30_000), schema: Oid(11), name: "t".into(), kind: 'r', ..RelationRow::default() }],
        ..Rows::default()
    }
}

#[test]
fn what_an_extension_brings_for_its_own_types_is_in_nobodys_way() {
    let snapshot = Snapshot::build(1, "", &rows());
    let name = |name| RelationName::new(None, name);
    for (function, class) in [
        ("max", FunctionClass::Immutable),
        ("abs", FunctionClass::Immutable),
        ("split", FunctionClass::User),
        ("upper", FunctionClass::User),
        ("lower", FunctionClass::User),
        ("count", FunctionClass::User),
        ("mine", FunctionClass::User),
        ("none", FunctionClass::Unknown),
    ] {
        assert_eq!(snapshot.function_class(&name(function)), class, "{function}");
    }
    for (operator, builtin) in [("=", true), ("+", true), ("-", false), ("~>", false), ("@", false)] {
        assert_eq!(snapshot.operator_is_builtin(&name(operator)), builtin, "{operator}");
    }
    assert!(!snapshot.field_is_plain("count") && snapshot.field_is_plain("max"));
    assert!(snapshot.type_is_builtin(&name("int4")) && !snapshot.type_is_builtin(&name("citext")));
}

#[test]
fn a_cast_makes_a_type_reachable() {
    let implicit = CastRow { source: INT, target: BOX, context: 'i' };
    let snapshot = Snapshot::build(1, "", &Rows { casts: vec![implicit], ..rows() });
    assert_eq!(snapshot.function_class(&RelationName::new(None, "abs")), FunctionClass::User);
    assert!(!snapshot.operator_is_builtin(&RelationName::new(None, "+")));
}

#[test]
fn a_users_cast_between_built_in_types_stands_in_every_way() {
    let plain = Classifier::default().classify(b"select max('x') from t", true);
    assert_eq!(Snapshot::build(1, "", &rows()).obstacle(&plain, false), None);
    let between = CastRow { source: TEXT, target: INT, context: 'e' };
    let snapshot = Snapshot::build(1, "", &Rows { casts: vec![between], ..rows() });
    assert_eq!(snapshot.obstacle(&plain, false), Some(Obstacle::UserCast));
}
