//! Floor 1. SET, RESET, and the options of transactions.

use pg_query::NodeEnum;
use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{AConst, Node, VariableSetKind, VariableSetStmt};

use super::super::{ALL_SETTINGS, BeginOptions, Effects, Isolation, Kind, SettingVerb, Statement, TransactionVerb};

/// Settings whose lists hold names, which Postgres quotes when it joins them.
const LISTS_OF_NAMES: [&str; 5] =
    ["search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries", "shared_preload_libraries"];

pub(super) fn describe(set: &VariableSetStmt, found: &mut Statement) {
    found.kind = Kind::Set;
    let name: Box<str> = set.name.to_ascii_lowercase().into();
    match set.kind() {
        VariableSetKind::VarSetMulti => multi(set, &name, found),
        VariableSetKind::VarReset => {
            found.kind = Kind::Reset;
            found.effects.insert(Effects::RESTORE);
            touched(&name, found);
            found.setting = Some(SettingVerb::Reset(name));
        }
        VariableSetKind::VarResetAll => {
            found.kind = Kind::Reset;
            found.effects.insert(Effects::RESTORE);
            found.settings.push(ALL_SETTINGS.into());
            found.setting = Some(SettingVerb::ResetAll);
        }
        VariableSetKind::VarSetValue
        | VariableSetKind::VarSetDefault
        | VariableSetKind::VarSetCurrent
        | VariableSetKind::Undefined => {
            one(set, name, found);
        }
    }
}

fn one(set: &VariableSetStmt, name: Box<str>, found: &mut Statement) {
    found.sets_local = set.is_local;
    let value = if set.kind() == VariableSetKind::VarSetValue {
        match joined(&name, &set.args) {
            Some(value) => Some(value),
            // TIME ZONE INTERVAL '..': there is a value, but not one to be read here.
            None => {
                if !set.is_local {
                    found.effects.insert(effects_of(&name));
                    touched(&name, found);
                }
                return;
            }
        }
    } else {
        None
    };
    if let Some(options) = transaction_setting(&name, value.as_deref()) {
        found.kind = Kind::SetTransaction;
        found.transaction = Some(TransactionVerb::Set(options));
        return;
    }
    if !set.is_local {
        touched(&name, found);
        let default = set.kind() == VariableSetKind::VarSetDefault;
        found.effects.insert(if default { Effects::RESTORE } else { effects_of(&name) });
    }
    if &*name == "search_path" && value.as_ref().is_some_and(|v| v.contains("pg_temp")) {
        found.effects.insert(Effects::TEMP);
    }
    if set.is_local {
        made_known(Some(set), found);
        if &*name == "seed" {
            found.effects.insert(Effects::SETSEED);
        }
    }
    found.setting = Some(SettingVerb::Set { name, value, local: set.is_local });
}

/// A name that users make up is known to the session from then on, though the value is set for the transaction, or elsewhere:
/// ALTER ROLE and ALTER DATABASE .. SET look at it too.
pub(super) fn made_known(set: Option<&VariableSetStmt>, found: &mut Statement) {
    let name = set.map(|set| set.name.to_ascii_lowercase()).filter(|name| name.contains('.'));
    found.local_settings.extend(name.map(Box::from));
}

/// SET TRANSACTION and SET SESSION CHARACTERISTICS.
fn multi(set: &VariableSetStmt, name: &str, found: &mut Statement) {
    if name == "session characteristics" {
        found.effects.insert(Effects::SETTING);
        let characteristics =
            ["default_transaction_deferrable", "default_transaction_isolation", "default_transaction_read_only"];
        found.settings.extend(characteristics.map(Box::from));
        return;
    }
    found.kind = Kind::SetTransaction;
    found.transaction = Some(TransactionVerb::Set(options(&set.args)));
}

/// SET SESSION AUTHORIZATION changes the role as well.
fn touched(name: &str, found: &mut Statement) {
    found.settings.push(name.into());
    if name == "session_authorization" {
        found.settings.push("role".into());
    }
}

fn effects_of(name: &str) -> Effects {
    match name {
        "role" | "session_authorization" => Effects::ROLE,
        "seed" => Effects::SETTING | Effects::SETSEED,
        _ => Effects::SETTING,
    }
}

/// SET of one of the settings that are the running transaction's.
fn transaction_setting(name: &str, value: Option<&str>) -> Option<BeginOptions> {
    let mut options = BeginOptions::default();
    match name {
        "transaction_isolation" => options.isolation = value.and_then(isolation),
        "transaction_read_only" => options.read_only = Some(!value.is_some_and(is_off)),
        "transaction_deferrable" => options.deferrable = Some(!value.is_some_and(is_off)),
        _ => return None,
    }
    Some(options)
}

fn is_off(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "off" | "of" | "false" | "f" | "fa" | "fal" | "fals" | "no" | "n" | "0")
}

/// The options of BEGIN, START TRANSACTION and SET TRANSACTION.
#[allow(clippy::wildcard_enum_match_arm, reason = "only options are looked for")]
pub(super) fn options(list: &[Node]) -> BeginOptions {
    let mut options = BeginOptions::default();
    for node in list.iter().filter_map(|node| node.node.as_ref()) {
        let NodeEnum::DefElem(option) = node else {
            continue;
        };
        let value = option.arg.as_deref().and_then(scalar);
        let on = value.as_ref().is_none_or(|value| &**value != "0");
        match option.defname.as_str() {
            "transaction_isolation" => options.isolation = value.and_then(|value| isolation(&value)),
            "transaction_read_only" => options.read_only = Some(on),
            "transaction_deferrable" => options.deferrable = Some(on),
            _ => {}
        }
    }
    options
}

fn isolation(value: &str) -> Option<Isolation> {
    match value.to_ascii_lowercase().as_str() {
        "read uncommitted" => Some(Isolation::ReadUncommitted),
        "read committed" => Some(Isolation::ReadCommitted),
        "repeatable read" => Some(Isolation::RepeatableRead),
        "serializable" => Some(Isolation::Serializable),
        _ => None,
    }
}

/// The list as Postgres stores it.
fn joined(name: &str, args: &[Node]) -> Option<Box<str>> {
    let quotes = LISTS_OF_NAMES.contains(&name);
    let parts: Option<Vec<Box<str>>> = args.iter().map(scalar).collect();
    let parts: Vec<Box<str>> = parts?.into_iter().map(|part| if quotes { quoted(&part) } else { part }).collect();
    Some(parts.join(", ").into())
}

fn quoted(name: &str) -> Box<str> {
    let plain = name.bytes().enumerate().all(|(i, b)| b.is_ascii_lowercase() || b == b'_' || (i > 0 && b.is_ascii_digit()));
    if plain && !name.is_empty() { name.into() } else { format!("\"{}\"", name.replace('"', "\"\"")).into() }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "anything but a constant has no value to be read")]
fn scalar(node: &Node) -> Option<Box<str>> {
    match node.node.as_ref()? {
        NodeEnum::AConst(AConst { val: Some(value), .. }) => Some(match value {
            Val::Ival(integer) => integer.ival.to_string().into(),
            Val::Fval(float) => float.fval.as_str().into(),
            Val::Boolval(boolean) => if boolean.boolval { "on" } else { "off" }.into(),
            Val::Sval(string) => string.sval.as_str().into(),
            Val::Bsval(bits) => bits.bsval.as_str().into(),
        }),
        _ => None,
    }
}
