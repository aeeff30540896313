//! Floor 5. `pgdial import pgbouncer.ini`: the same set-up as a config file of pgdial, and what of it has no equivalent.
//!
//! PgBouncer's own defaults are written out where ours differ: whoever never set `pool_mode` has been running in session mode.
//! Nothing is dropped in silence: each setting is carried over, or named in a note with the reason.

mod ini;
mod keys;
mod logins;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use toml::{Table, Value};

use crate::config::{Config, File};

use self::ini::Ini;

/// What came of an import.
#[derive(Debug)]
pub struct Imported {
    /// The config file.
    pub toml: String,
    /// What is different or missing, one line each.
    pub notes: Vec<String>,
    /// What `pgdial check` says of the file, if that is not good.
    pub complaint: Option<String>,
}

/// The file in the making.
#[derive(Default)]
struct Draft {
    sections: Table,
    databases: Vec<Table>,
    users: Vec<Table>,
    notes: Vec<String>,
}

impl Draft {
    fn set(&mut self, section: &str, key: &str, value: impl Into<Value>) {
        let section = self.sections.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(key.to_owned(), value.into());
        }
    }

    fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    fn render(&self) -> String {
        let mut table = self.sections.clone();
        let list = |tables: &[Table]| Value::Array(tables.iter().cloned().map(Value::Table).collect());
        if !self.databases.is_empty() {
            table.insert("database".into(), list(&self.databases));
        }
        if !self.users.is_empty() {
            table.insert("user".into(), list(&self.users));
        }
        let head = "# Made from a PgBouncer configuration by `pgdial import`. It holds what was set there, and PgBouncer's defaults\n\
                    # where pgdial's differ. Every key and its reason: config/pgdial.toml.\n\n";
        head.to_owned() + &table.to_string()
    }
}

/// Reads the file, and those that it names, through `read`.
///
/// # Errors
/// When the file itself cannot be read or is no ini file.
pub fn import(path: &Path, read: &dyn Fn(&Path) -> io::Result<String>) -> Result<Imported, String> {
    let ini = Ini::read(path, read)?;
    let mut draft = Draft::default();
    draft.notes.extend(ini.notes.iter().cloned());
    keys::pgbouncer(&ini, &mut draft);
    logins::add(&ini, path, read, &mut draft);
    let complaint = settle(&mut draft);
    Ok(Imported { toml: draft.render(), notes: draft.notes, complaint })
}

/// Takes out what this version does not have yet, and gives what else `pgdial check` would say. What guards the entrance is
/// never taken out: a file that cannot be served is better than one that lets too many in.
fn settle(draft: &mut Draft) -> Option<String> {
    loop {
        let text = draft.render();
        let error = Config::load(Some(File { name: "the imported file", text: &text }), None, []).err()?;
        let missing = error.message().lines().find_map(|line| {
            let (key, _) = line.split_once(" = ").filter(|(_, rest)| rest.contains("not supported yet"))?;
            let (section, key) = key.rsplit(' ').next()?.split_once('.')?;
            Some((section.to_owned(), key.to_owned()))
                .filter(|(section, key)| !GUARDS.contains(&(section.as_str(), key.as_str())))
        });
        let removed = missing.and_then(|(section, key)| {
            let table = draft.sections.get_mut(&section)?.as_table_mut()?;
            table.remove(&key).map(|_| format!("[{section}] {key}: this version of pgdial does not have it yet"))
        });
        match removed {
            Some(note) => draft.note(note),
            None => return Some(error.message().to_owned()),
        }
    }
}

const GUARDS: &[(&str, &str)] = &[("listen", "tls"), ("listen", "tls_client_ca"), ("auth", "method"), ("auth", "rule")];
