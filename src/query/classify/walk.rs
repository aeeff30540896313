//! Floor 1. The walk over a whole parse tree that cannot forget a node type.
//!
//! It goes over the tree as JSON: every field of every node is visited, whatever the grammar adds. Nodes that stand in a
//! field of their own type carry no name there, therefore they are known by their fields.

use serde_json::{Map, Value};

use super::super::routine::{effects_of_call, runs_text};
use super::super::{Effects, FunctionName, OperatorName, RelationName, Statement};

type Object = Map<String, Value>;

const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];
const SESSION_RELATIONS: [&str; 3] = ["pg_prepared_statements", "pg_cursors", "pg_stat_activity"];
const SESSION_FUNCTIONS: [&str; 14] = [
    "pg_backend_pid",
    "pg_prepared_statement",
    "pg_cursor",
    "pg_listening_channels",
    "current_query",
    "pg_my_temp_schema",
    "pg_is_other_temp_schema",
    "pg_stat_get_activity",
    "pg_conf_load_time",
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "pg_notification_queue_usage",
];

/// Adds all that stands in `tree` to `found`.
pub(super) fn walk(tree: &Value, found: &mut Statement) {
    match tree {
        Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
        Value::Object(object) => node(object, found),
        Value::String(text) => {
            if text == "pg_temp" || text.starts_with("pg_temp_") {
                found.effects.insert(Effects::TEMP);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn node(object: &Object, found: &mut Statement) {
    for (key, value) in object {
        // A constant's value must not decide anything: it is not part of the shape.
        if key == "AConst" {
            continue;
        }
        if let Value::Object(fields) = value {
            named(key, fields, found);
        }
        walk(value, found);
    }
    by_fields(object, found);
}

/// Nodes that stand in a place for any node, and so under their name.
fn named(name: &str, fields: &Object, found: &mut Statement) {
    match name {
        "ColumnRef" => column(fields, found),
        "AIndirection" => found.fields.extend(strings(fields.get("indirection")).map(Into::into)),
        "AExpr" => operator(fields, found),
        "SubLink" | "CaseExpr" | "JoinExpr" => {
            // IN, CASE x WHEN and USING compare with `=` without saying so.
            found.operators.push(OperatorName::new(None, "="));
            push_operator(fields.get("oper_name"), found);
        }
        "SortBy" => push_operator(fields.get("use_op"), found),
        "SqlvalueFunction" => found.value_functions = true,
        "LockingClause" => found.locking = true,
        "SetToDefault" => found.assigns_default = true,
        "ParamRef" => {
            let number = fields.get("number").and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok());
            found.parameters = found.parameters.zip(number).map(|(highest, number)| highest.max(number));
        }
        "RangeTableSample" => found.sampling = true,
        "CommonTableExpr" => cte(fields, found),
        // CREATE TABLE .. AS EXECUTE.
        "ExecuteStmt" => found.effects.insert(Effects::PREPARE),
        "CallContext" | "MergeSupportFunc" => {}
        // SQL/JSON and XML have a syntax of their own for what are stable functions underneath.
        name if name.starts_with("Json") => found.functions.push(FunctionName::new(Some("pg_catalog"), "to_json")),
        name if name.starts_with("Xml") || name == "RangeTableFunc" => {
            found.functions.push(FunctionName::new(Some("pg_catalog"), "query_to_xml"));
        }
        _ => {}
    }
}

/// Nodes that may stand in a field of their own type.
fn by_fields(object: &Object, found: &mut Statement) {
    if object.contains_key("relname") && object.contains_key("relpersistence") {
        let relation = range_var(object);
        if text(object, "relpersistence") == "t" {
            found.effects.insert(Effects::TEMP);
        }
        found.sees_session |= SESSION_RELATIONS.contains(&&*relation.name);
        found.sees_statements |= &*relation.name == "pg_prepared_statements";
        found.reads.push(relation);
    } else if object.contains_key("funcname") && object.contains_key("agg_order") {
        call(object, found);
    } else if object.contains_key("pct_type") && object.contains_key("typmods") {
        found.types.extend(qualified(object.get("names")));
    }
}

fn column(fields: &Object, found: &mut Statement) {
    let names: Vec<&str> = strings(fields.get("fields")).collect();
    let Some(last) = names.last() else { return };
    found.system_columns |= SYSTEM_COLUMNS.contains(last);
    let parts = fields.get("fields").and_then(Value::as_array).map_or(0, Vec::len);
    if parts > 1 && names.len() == parts {
        found.fields.push((*last).into());
    }
}

fn operator(fields: &Object, found: &mut Statement) {
    match strings(fields.get("name")).last() {
        Some("BETWEEN" | "NOT BETWEEN" | "BETWEEN SYMMETRIC" | "NOT BETWEEN SYMMETRIC") => {
            for name in ["<", "<=", ">", ">="] {
                found.operators.push(OperatorName::new(None, name));
            }
        }
        _ => push_operator(fields.get("name"), found),
    }
}

fn cte(fields: &Object, found: &mut Statement) {
    found.cte_names.push(text(fields, "ctename").into());
    let query = fields.get("ctequery").and_then(|q| q.get("node")).and_then(Value::as_object);
    found.writes_in_cte |= query.is_some_and(|q| q.keys().any(|key| key != "SelectStmt"));
}

fn call(fields: &Object, found: &mut Statement) {
    let Some(function) = qualified(fields.get("funcname")) else {
        return;
    };
    if function.schema.as_deref().is_none_or(|schema| schema == "pg_catalog") {
        found.effects.insert(call_effects(&function.name, fields.get("args")));
        found.sees_session |= SESSION_FUNCTIONS.contains(&&*function.name);
        found.sees_statements |= &*function.name == "pg_prepared_statement";
        if &*function.name == "set_config" {
            found.sets_local = true;
            configured(fields.get("args"), found);
        }
    }
    found.functions.push(function);
}

/// Which setting set_config() changes, unless only for its transaction.
fn configured(args: Option<&Value>, found: &mut Statement) {
    let arg = |at: usize| args.and_then(|args| args.get(at));
    let local = is_true(arg(2));
    let name = arg(0);
    // A literal, perhaps with a cast to text around it.
    let inner = name.and_then(|name| name.pointer("/node/TypeCast")).filter(|cast| is_to_text(cast));
    let inner = inner.and_then(|cast| cast.get("arg")).or(name);
    let literal = inner.and_then(|name| name.pointer("/node/AConst/val/Sval/sval")).and_then(Value::as_str);
    let parameter = inner.and_then(|name| name.pointer("/node/ParamRef/number")).and_then(Value::as_u64);
    match (literal, parameter.and_then(|number| u16::try_from(number).ok())) {
        (Some(name), _) => named_setting(&name.to_ascii_lowercase(), local, found),
        (None, Some(number)) => found.setting_parameters.push(number),
        // Though the value may end with the transaction: a name that users make up stays known.
        (None, None) => found.effects.insert(Effects::OPAQUE_SETTING),
    }
}

fn named_setting(name: &str, local: bool, found: &mut Statement) {
    // What the generator gives from then on is not undone by any end of a transaction.
    if name == "seed" {
        found.effects.insert(Effects::SETSEED);
    }
    if local {
        found.local_settings.extend(name.contains('.').then(|| name.into()));
        return;
    }
    if name == "session_authorization" {
        found.settings.push("role".into());
    }
    found.settings.push(name.into());
}

/// A cast that changes nothing in a name.
fn is_to_text(cast: &Value) -> bool {
    let to = cast.get("type_name");
    let plain = to.and_then(|to| to.get("typmods")).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let name = to.and_then(|to| qualified(to.get("names")));
    plain && name.is_some_and(|name| matches!(&*name.name, "text" | "varchar"))
}

/// What a built-in function leaves behind in its session.
fn call_effects(name: &str, args: Option<&Value>) -> Effects {
    match name {
        "set_config" if is_true(args.and_then(|args| args.get(2))) => Effects::NONE,
        "set_config" => Effects::SETTING | Effects::ROLE,
        "pg_advisory_unlock" | "pg_advisory_unlock_shared" | "pg_advisory_unlock_all" => Effects::RESTORE,
        name if runs_text(name) => Effects::OPAQUE,
        name => effects_of_call(name),
    }
}

/// The keyword TRUE, and nothing that only amounts to it: a constant of another type is not part of the shape.
fn is_true(arg: Option<&Value>) -> bool {
    arg.and_then(|arg| arg.pointer("/node/AConst/val/Boolval/boolval")) == Some(&Value::Bool(true))
}

fn push_operator(name: Option<&Value>, found: &mut Statement) {
    if let Some(name) = qualified(name) {
        found.operators.push(name);
    }
}

pub(super) fn range_var(object: &Object) -> RelationName {
    RelationName::new(Some(text(object, "schemaname")), text(object, "relname"))
}

fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A list of String nodes as a name: the last is the name, the one before it the schema.
fn qualified(list: Option<&Value>) -> Option<RelationName> {
    let mut parts = strings(list).collect::<Vec<_>>().into_iter().rev();
    let name = parts.next()?;
    Some(RelationName::new(parts.next(), name))
}

/// The String nodes of a list.
fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    let items = list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|item| item.pointer("/node/String/sval")?.as_str())
}

/// Adds the targets of every INSERT, UPDATE, DELETE and MERGE in `tree` to `writes`.
pub(super) fn targets(tree: &Value, writes: &mut Vec<RelationName>) {
    match tree {
        Value::Array(items) => items.iter().for_each(|item| targets(item, writes)),
        Value::Object(object) => {
            for (key, value) in object {
                if matches!(key.as_str(), "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt") {
                    writes.extend(value.get("relation").and_then(Value::as_object).map(range_var));
                }
                targets(value, writes);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
