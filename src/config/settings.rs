//! Floor 0. All sources as one table of settings: which keys exist, who set each, and what is wrong with it.
//!
//! The keys and their types are read off [`Raw`]'s defaults, so there is one list of them. Complaints are collected,
//! not returned one by one: a file is usually wrong in more than one place.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::Config;
use super::raw::Raw;
use super::upstream::redact;
use super::validate;
use super::value::nearest;
use crate::error::{Error, Kind, Result};

/// A config file, read by the caller.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its name, for complaints.
    pub name: &'a str,
    /// Its content.
    pub text: &'a str,
}

/// Every key (`pool.size`, `cache.rule[0].ttl`) and its value.
pub(super) type Flat = BTreeMap<String, Value>;

/// Every key with its default, arrays of tables empty.
pub fn defaults() -> Table {
    table_of(&Raw::default())
}

/// Every key with its default, arrays of tables with one element that shows their keys.
pub fn schema() -> Table {
    let mut raw = Raw::default();
    raw.auth.rule.push(super::raw::AuthRule::default());
    raw.cache.rule.push(super::raw::CacheRule::default());
    raw.database.push(super::raw::Database::default());
    raw.user.push(super::raw::User::default());
    table_of(&raw)
}

/// Raw holds only strings, numbers, lists and tables, all of which TOML has.
fn table_of(raw: &Raw) -> Table {
    Table::try_from(raw).unwrap_or_default()
}

/// What a setting must not show.
pub(super) fn redacted(key: &str, value: &Value) -> String {
    let leaf = key.rsplit('.').next().unwrap_or(key);
    match (leaf, value) {
        ("password" | "token", Value::String(text)) if !text.is_empty() => "\"***\"".into(),
        ("url", Value::String(text)) => Value::String(redact(text)).to_string(),
        _ => value.to_string(),
    }
}

/// Collects complaints; knows where each setting came from.
#[derive(Default)]
pub(super) struct Complaints {
    origins: BTreeMap<String, String>,
    texts: Vec<String>,
}

impl Complaints {
    /// `key = value: remedy`, with its origin in front.
    pub(super) fn add(&mut self, key: &str, value: &Value, remedy: &str) {
        self.about(key, &format!("{key} = {}: {remedy}", redacted(key, value)));
    }

    /// A complaint that concerns a key as a whole.
    pub(super) fn about(&mut self, key: &str, text: &str) {
        let origin = self.origins.get(key).map(|origin| format!("{origin}: ")).unwrap_or_default();
        self.texts.push(format!("{origin}{text}"));
    }

    /// All complaints as one error.
    pub(super) fn error(&self) -> Option<Error> {
        (!self.texts.is_empty()).then(|| Error::new(Kind::Config, self.texts.join("\n")))
    }
}

/// The way from sources to a [`Config`].
pub(super) fn load(
    file: Option<File<'_>>,
    upstream: Option<&str>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Config> {
    let known = schema();
    let mut complaints = Complaints::default();
    let mut table = match file {
        Some(file) => read_file(file, &known, &mut complaints)?,
        None => Table::new(),
    };
    let mut database_url = None;
    for (name, value) in env {
        match name.strip_prefix("PGDIAL_") {
            Some(key) => set_from_env(&name, key, &value, &known, &mut table, &mut complaints),
            None if name == "DATABASE_URL" => database_url = Some(value),
            None => {}
        }
    }
    set_upstream(&mut table, upstream, database_url, &mut complaints);
    // What does not fit the schema is not worth a second complaint in serde's words.
    if let Some(error) = complaints.error() {
        return Err(error);
    }
    let raw: Raw =
        Value::Table(table).try_into().map_err(|error: toml::de::Error| Error::new(Kind::Config, error.message().to_owned()))?;
    let flat = flatten(&table_of(&raw));
    validate::config(&raw, flat, complaints)
}

fn read_file(file: File<'_>, known: &Table, complaints: &mut Complaints) -> Result<Table> {
    let at = |offset: usize| {
        let before = file.text.get(..offset).unwrap_or(file.text);
        format!("{} line {}", file.name, before.matches('\n').count() + 1)
    };
    let syntax = |error: toml::de::Error| {
        let place = error.span().map_or_else(|| file.name.to_owned(), |span| at(span.start));
        Error::new(Kind::Config, format!("{place}: not TOML: {}", error.message()))
    };
    let parsed = DeTable::parse(file.text).map_err(syntax)?;
    Walk { at: &at, root: known, complaints }.table("", parsed.get_ref(), known);
    file.text.parse::<Table>().map_err(syntax)
}

/// Compares the file with the schema, key by key.
struct Walk<'a> {
    at: &'a dyn Fn(usize) -> String,
    root: &'a Table,
    complaints: &'a mut Complaints,
}

impl Walk<'_> {
    fn table(&mut self, path: &str, given: &DeTable<'_>, known: &Table) {
        for (name, value) in given {
            let key = join(path, name.get_ref());
            self.complaints.origins.insert(key.clone(), (self.at)(name.span().start));
            match known.get(name.get_ref().as_ref()) {
                Some(sample) => self.value(&key, value, sample),
                None => self.unknown(&key, name.get_ref(), path, known),
            }
        }
    }

    fn value(&mut self, key: &str, given: &Spanned<DeValue<'_>>, sample: &Value) {
        match (given.get_ref(), sample) {
            (DeValue::Table(given), Value::Table(known)) => self.table(key, given, known),
            (DeValue::Array(items), Value::Array(samples)) => match samples.first() {
                Some(Value::Table(known)) => self.tables(key, items.iter(), known),
                _ if items.iter().all(|item| item.get_ref().is_str()) => {}
                _ => self.wrong_type(key, sample),
            },
            (DeValue::String(_), Value::String(_))
            | (DeValue::Integer(_), Value::Integer(_) | Value::Float(_))
            | (DeValue::Float(_), Value::Float(_))
            | (DeValue::Boolean(_), Value::Boolean(_)) => {}
            _ => self.wrong_type(key, sample),
        }
    }

    fn tables<'i>(&mut self, key: &str, items: impl Iterator<Item = &'i Spanned<DeValue<'i>>>, known: &Table) {
        for (nth, item) in items.enumerate() {
            let key = format!("{key}[{nth}]");
            self.complaints.origins.insert(key.clone(), (self.at)(item.span().start));
            if let DeValue::Table(given) = item.get_ref() {
                self.table(&key, given, known);
            } else {
                self.complaints.about(&key, &format!("{key} must be a table of keys and values"));
            }
        }
    }

    fn unknown(&mut self, key: &str, name: &str, path: &str, known: &Table) {
        let elsewhere = leaves(self.root).into_iter().find(|leaf| leaf.rsplit('.').next() == Some(name));
        let place = if path.is_empty() { "a section or top-level key".into() } else { format!("a key of [{path}]") };
        let near = elsewhere.or_else(|| nearest(name, known.keys().map(String::as_str)).map(|near| join(path, near)));
        let hint = near.map(|near| format!("; the nearest is {near}")).unwrap_or_default();
        self.complaints.about(key, &format!("{key}: {name} is not {place}{hint}"));
    }

    fn wrong_type(&mut self, key: &str, sample: &Value) {
        self.complaints.about(key, &format!("{key}: {}", expected(sample)));
    }
}

/// Says the type by way of the default.
fn expected(sample: &Value) -> String {
    let article = match sample {
        Value::String(_) | Value::Datetime(_) => "must be a text in quotes",
        Value::Integer(_) => "must be a whole number",
        Value::Float(_) => "must be a number",
        Value::Boolean(_) => "must be true or false",
        Value::Array(items) if matches!(items.first(), Some(Value::Table(_))) => {
            return "must be an array of tables, written [[...]]".into();
        }
        Value::Array(_) => return r#"must be a list of texts, such as ["a", "b"]"#.into(),
        Value::Table(_) => return "must be a section, written [...]".into(),
    };
    format!("{article}; the default is {sample}")
}

fn set_from_env(name: &str, key: &str, text: &str, known: &Table, table: &mut Table, complaints: &mut Complaints) {
    // Kubernetes sets these in every pod beside a service called pgdial.
    if key == "PORT" || key.starts_with("PORT_") || key.starts_with("SERVICE_") {
        return;
    }
    let leaves = leaves(known);
    let Some(path) = leaves.iter().find(|leaf| env_key(leaf) == key) else {
        let names: Vec<_> = leaves.iter().map(|leaf| format!("PGDIAL_{}", env_key(leaf))).collect();
        let near = nearest(name, names.iter().map(String::as_str)).unwrap_or_default();
        complaints.texts.push(format!("environment: {name} is not a setting; the nearest is {near}"));
        return;
    };
    complaints.origins.insert(path.clone(), format!("environment {name}"));
    let Some(sample) = lookup(known, path) else {
        return;
    };
    let value = match sample {
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Float(_) => text.parse().ok().map(Value::Float),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        Value::String(_) | Value::Datetime(_) | Value::Table(_) => Some(Value::String(text.to_owned())),
    };
    match value {
        Some(value) => insert(table, path, value),
        None => complaints.add(path, &Value::String(text.to_owned()), &expected(sample)),
    }
}

/// `DATABASE_URL` counts only where nothing else names an upstream: an application's own variable may be
/// in the environment, and that one points at pgdial.
fn set_upstream(table: &mut Table, flag: Option<&str>, database_url: Option<String>, complaints: &mut Complaints) {
    let key = "upstream.url";
    let have = lookup(table, key).and_then(Value::as_str).is_some_and(|url| !url.is_empty());
    let (origin, url) = match (flag, database_url) {
        (Some(url), _) => ("--upstream", url.to_owned()),
        (None, Some(url)) if !have => ("environment DATABASE_URL", url),
        _ => return,
    };
    complaints.origins.insert(key.to_owned(), origin.to_owned());
    insert(table, key, Value::String(url));
}

fn env_key(path: &str) -> String {
    path.replace('.', "_").to_ascii_uppercase()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn lookup<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    let mut parts = path.split('.');
    let first = table.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn insert(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// The keys that are not in an array of tables: those that the environment can set.
fn leaves(known: &Table) -> Vec<String> {
    let is_tables = |value: &Value| matches!(value, Value::Array(items) if items.iter().any(Value::is_table));
    flatten_where(known, |value| !is_tables(value)).into_keys().collect()
}

pub(super) fn flatten(table: &Table) -> Flat {
    flatten_where(table, |_| true)
}

fn flatten_where(table: &Table, keep: impl Fn(&Value) -> bool) -> Flat {
    fn visit(path: &str, value: &Value, keep: &dyn Fn(&Value) -> bool, flat: &mut Flat) {
        if !keep(value) {
            return;
        }
        if let Value::Table(table) = value {
            table.iter().for_each(|(name, value)| visit(&join(path, name), value, keep, flat));
        } else if let Value::Array(items) = value
            && items.iter().any(Value::is_table)
        {
            items.iter().enumerate().for_each(|(nth, item)| visit(&format!("{path}[{nth}]"), item, keep, flat));
        } else {
            flat.insert(path.to_owned(), value.clone());
        }
    }
    let mut flat = Flat::new();
    table.iter().for_each(|(name, value)| visit(name, value, &keep, &mut flat));
    // An empty array of tables is no setting.
    flat.retain(|key, _| !["auth.rule", "cache.rule", "database", "user"].contains(&key.as_str()));
    flat
}
