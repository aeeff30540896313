//! Floor 5. PgBouncer's configuration as it is written: sections, settings, connection strings, `%include`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// PgBouncer's own bound.
const MAX_DEPTH: usize = 10;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Ini {
    /// `[pgbouncer]`; the last of several counts.
    pub(super) settings: BTreeMap<String, String>,
    /// `[databases]`, in order.
    pub(super) databases: Vec<(String, Vec<(String, String)>)>,
    /// `[users]`, in order.
    pub(super) users: Vec<(String, Vec<(String, String)>)>,
    /// What could not be read.
    pub(super) notes: Vec<String>,
}

impl Ini {
    pub(super) fn read(path: &Path, read: &dyn Fn(&Path) -> io::Result<String>) -> Result<Self, String> {
        let mut ini = Self::default();
        let mut section = String::new();
        ini.file(path, read, &mut section, 0)?;
        if ini.settings.is_empty() && ini.databases.is_empty() {
            return Err(format!("{}: neither [databases] nor [pgbouncer] is in it", path.display()));
        }
        Ok(ini)
    }

    fn file(
        &mut self,
        path: &Path,
        read: &dyn Fn(&Path) -> io::Result<String>,
        section: &mut String,
        depth: usize,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("{}: %include is nested too deeply", path.display()));
        }
        let text = read(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let place = || format!("{} line {}", path.display(), number + 1);
            if line.is_empty() || line.starts_with([';', '#']) {
                continue;
            }
            if let Some(file) = line.strip_prefix("%include") {
                self.file(&beside(path, file.trim()), read, section, depth + 1)?;
            } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                name.trim().to_ascii_lowercase().clone_into(section);
            } else if let Some((key, value)) = line.split_once('=') {
                self.setting(section, &unquoted(key.trim()), value.trim(), &place)?;
            } else {
                return Err(format!("{}: neither a section nor key = value", place()));
            }
        }
        Ok(())
    }

    fn setting(&mut self, section: &str, key: &str, value: &str, place: &dyn Fn() -> String) -> Result<(), String> {
        let pairs = || pairs(value).ok_or_else(|| format!("{}: not a list of key=value", place()));
        match section {
            "databases" => self.databases.push((key.to_owned(), pairs()?)),
            "users" => self.users.push((key.to_owned(), pairs()?)),
            "pgbouncer" => drop(self.settings.insert(key.to_ascii_lowercase(), value.to_owned())),
            "peers" => {
                let note = "[peers]: pgdial has no peers; a cancel request must reach the process that serves the client";
                if !self.notes.iter().any(|known| known == note) {
                    self.notes.push(note.to_owned());
                }
            }
            other => self.notes.push(format!("{}: [{other}] is no section of PgBouncer", place())),
        }
        Ok(())
    }

    /// A setting of `[pgbouncer]`, unless it is empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// A name in another file: as PgBouncer started from the file's own folder would find it.
pub(super) fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
}

/// `"name"` without its quotes, `""` being one.
fn unquoted(key: &str) -> String {
    match key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => key.to_owned(),
    }
}

/// `host=a port=1 password='it''s'`
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, behind) = rest.split_once('=')?;
        let behind = behind.trim_start();
        let (value, left) = match behind.strip_prefix('\'') {
            Some(quoted) => quoted_value(quoted)?,
            None => {
                let (value, left) = behind.split_once(char::is_whitespace).unwrap_or((behind, ""));
                (value.to_owned(), left)
            }
        };
        pairs.push((key.trim().to_ascii_lowercase(), value));
        rest = left.trim_start();
    }
    Some(pairs)
}

fn quoted_value(mut text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    loop {
        let (part, behind) = text.split_once('\'')?;
        out.push_str(part);
        match behind.strip_prefix('\'') {
            Some(behind) => {
                out.push('\'');
                text = behind;
            }
            None => return Some((out, behind)),
        }
    }
}

/// The lines of auth_file: `"user" "password"`, each quote in them doubled.
pub(super) fn logins(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (user, rest) = double_quoted(line.trim())?;
        let (password, _) = double_quoted(rest.trim_start())?;
        Some((user, password))
    };
    text.lines().filter_map(line).collect()
}

fn double_quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut out = String::new();
    loop {
        let (part, behind) = rest.split_once('"')?;
        out.push_str(part);
        match behind.strip_prefix('"') {
            Some(behind) => {
                out.push('"');
                rest = behind;
            }
            None => return Some((out, behind)),
        }
    }
}
