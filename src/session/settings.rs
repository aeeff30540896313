//! Floor 1. The settings of a session that differ from those its server was opened with, and how to bring them to another.
//!
//! Nothing here is guessed from what the client wrote: the values are what Postgres said when it was asked after the
//! transaction that may have changed them. So ROLLBACK, savepoints and errors need no model of their own.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

type Pair = (Box<str>, Box<str>);

/// Name and value, sorted by name; names are lower case. `role` and `session_authorization` are among them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pairs: Box<[Pair]>,
    /// Not zero: of these settings, those that decide what a text means when it is parsed. Equal numbers, equal settings.
    epoch: u64,
}

/// What every session of a set of servers begins with: the values of all settings that a session may change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Defaults(HashMap<Box<str>, Box<str>, foldhash::fast::RandomState>);

/// Gives equal settings one address.
#[derive(Default)]
pub struct SettingsTable {
    known: Mutex<Known>,
    none: Arc<Settings>,
}

#[derive(Default)]
struct Known {
    settings: HashMap<Box<[Pair]>, Weak<Settings>, foldhash::fast::RandomState>,
    epochs: HashMap<Arc<[Pair]>, u64, foldhash::fast::RandomState>,
    /// The same, the other way round.
    by_epoch: HashMap<u64, Arc<[Pair]>, foldhash::fast::RandomState>,
    /// Epochs ever given out.
    last: u64,
    sweep_at: usize,
}

/// How a server comes from one session's settings to another's.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// To be sent first, on its own: the bytes of the rest are read as this says.
    pub encoding: Option<String>,
    /// One Query; empty when there is nothing to do.
    pub text: String,
    /// It changes nothing about how statements run: the client's own may stand right behind it.
    pub harmless: bool,
}

/// The settings under which literals and names are read when a statement is parsed.
const AT_PARSE: [&str; 16] = [
    "array_nulls",
    "backslash_quote",
    "client_encoding",
    "datestyle",
    "default_text_search_config",
    "escape_string_warning",
    "intervalstyle",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "search_path",
    "standard_conforming_strings",
    "timezone",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmloption",
];

/// Any replay may fail: a cancel request that comes late, or another session's statement_timeout, hits it like a statement. So
/// only what changes no statement is sent in one write with the client's own.
const HARMLESS: [&str; 1] = ["application_name"];

/// Lists that SET would take for one name.
const LISTS: [&str; 5] =
    ["local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries", "temp_tablespaces"];

/// The two that decide what the others may be set to.
const ROLE: &str = "role";
const AUTHORIZATION: &str = "session_authorization";

impl Settings {
    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.pairs.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.pairs.get(at).map(|(_, value)| &**value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// None differs.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Zero, or a number that all settings share under which a text is parsed alike.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What is left of them after DISCARD ALL: of the names that users made up, that there are such.
    pub fn discarded(&self) -> Arc<Self> {
        let pairs = self.custom_names().map(|name| (name.into(), Box::default())).collect();
        Arc::new(Self { pairs, epoch: 0 })
    }

    /// Those whose names a user made up. Once a server has heard such a name, it knows it for good.
    pub fn custom_names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name).filter(|name| is_custom(name))
    }

    /// What brings a server from these settings to `wanted`.
    pub fn replay(&self, wanted: &Self) -> Replay {
        let mut replay = Replay { harmless: true, ..Replay::default() };
        let differs = |name: &str| self.get(name) != wanted.get(name);
        let names = self.iter().chain(wanted.iter()).map(|(name, _)| name);
        let others = names.filter(|name| !is_identity(name) && !HARMLESS.contains(name)).any(differs);
        // What its user may set the role may not, so the role is put down meanwhile, though it stays the same.
        let acts = self.get(ROLE).is_some() || self.get(AUTHORIZATION).is_some();
        let identity = differs(ROLE) || differs(AUTHORIZATION) || (others && acts);
        if identity {
            replay.harmless = false;
            if self.get(AUTHORIZATION).is_some() {
                replay.text.push_str("RESET SESSION AUTHORIZATION;");
            }
            if self.get(ROLE).is_some() {
                replay.text.push_str("RESET ROLE;");
            }
        }
        let gone = self.iter().map(|(name, _)| name).filter(|name| wanted.get(name).is_none());
        for name in gone.filter(|name| !is_identity(name)) {
            replay.add(name, None);
        }
        for (name, value) in wanted.iter().filter(|(name, _)| !is_identity(name) && differs(name)) {
            replay.add(name, Some(value));
        }
        if identity {
            for (name, verb) in [(AUTHORIZATION, "SET SESSION AUTHORIZATION "), (ROLE, "SET ROLE ")] {
                if let Some(value) = wanted.get(name) {
                    replay.text.push_str(verb);
                    push_role(value, &mut replay.text);
                }
            }
        }
        replay
    }
}

impl Replay {
    fn add(&mut self, name: &str, value: Option<&str>) {
        self.harmless &= HARMLESS.contains(&name);
        if name == "client_encoding" {
            let mut text = String::new();
            push_setting(name, value, &mut text);
            self.encoding = Some(text);
        } else {
            push_setting(name, value, &mut self.text);
        }
    }

    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.encoding.is_none()
    }
}

/// A SET, or a RESET, with its semicolon.
fn push_setting(name: &str, value: Option<&str>, out: &mut String) {
    match value {
        None => {
            out.push_str("RESET ");
            push_name(name, out);
        }
        // As it is: SET would take the whole list for one name.
        Some(value) if LISTS.contains(&name) => {
            out.push_str("SELECT pg_catalog.set_config('");
            out.push_str(name);
            out.push_str("',");
            push_literal(value, out);
            out.push_str(",false)");
        }
        Some(value) => {
            out.push_str("SET ");
            push_name(name, out);
            out.push_str(" TO ");
            push_literal(value, out);
        }
    }
    out.push(';');
}

fn push_role(value: &str, out: &mut String) {
    if value == "none" || value == "default" {
        out.push_str(value);
    } else {
        push_literal(value, out);
    }
    out.push(';');
}

fn push_name(name: &str, out: &mut String) {
    for (at, part) in name.split('.').enumerate() {
        out.push_str(if at == 0 { "\"" } else { ".\"" });
        out.push_str(&part.replace('"', "\"\""));
        out.push('"');
    }
}

/// A string constant that means the same whatever standard_conforming_strings is.
pub fn push_literal(value: &str, out: &mut String) {
    out.push_str(if value.contains('\\') { " E'" } else { "'" });
    for c in value.chars() {
        if c == '\'' || c == '\\' {
            out.push(c);
        }
        out.push(c);
    }
    out.push('\'');
}

fn is_identity(name: &str) -> bool {
    name == ROLE || name == AUTHORIZATION
}

/// A name with a dot: one that a user, or an extension, has made up.
pub fn is_custom(name: &str) -> bool {
    name.contains('.')
}

/// Whether a setting of that name can be asked for by it.
pub fn is_askable(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
    !name.is_empty() && name.len() < 64 * 2 && name.chars().all(plain)
}

impl Defaults {
    /// The value with which every session begins.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    /// Whether the session has set it: a parameter that no session can change has no default here, what users make up neither.
    pub fn differ(&self, name: &str, value: &str) -> bool {
        let settable = self.is_empty() || is_custom(name);
        self.get(name).map_or(settable, |default| default != value)
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, String)> for Defaults {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase().into(), value.into())).collect())
    }
}

impl SettingsTable {
    /// No setting differs.
    pub fn none(&self) -> Arc<Settings> {
        Arc::clone(&self.none)
    }

    /// The settings that decide what a text means, of all that share this epoch. None: it is one session's own, or forgotten.
    pub fn at_parse(&self, epoch: u64) -> Option<Arc<[Pair]>> {
        if epoch == 0 { Some(Arc::default()) } else { self.known.lock().by_epoch.get(&epoch).cloned() }
    }

    /// The settings with these values. Names must be lower case; the last of equal names counts.
    pub fn intern(&self, pairs: impl IntoIterator<Item = (Box<str>, Box<str>)>) -> Arc<Settings> {
        let mut sorted = std::collections::BTreeMap::new();
        sorted.extend(pairs);
        if sorted.is_empty() {
            return self.none();
        }
        let pairs: Box<[Pair]> = sorted.into_iter().collect();
        let mut known = self.known.lock();
        if let Some(settings) = known.settings.get(&pairs).and_then(Weak::upgrade) {
            return settings;
        }
        known.sweep();
        let at_parse: Arc<[Pair]> = pairs.iter().filter(|(name, _)| AT_PARSE.binary_search(&&**name).is_ok()).cloned().collect();
        let epoch = if at_parse.is_empty() { 0 } else { known.epoch(at_parse) };
        let settings = Arc::new(Settings { pairs: pairs.clone(), epoch });
        known.settings.insert(pairs, Arc::downgrade(&settings));
        settings
    }
}

impl Known {
    fn epoch(&mut self, at_parse: Arc<[Pair]>) -> u64 {
        if let Some(epoch) = self.epochs.get(&at_parse) {
            return *epoch;
        }
        // A number is never given twice, so what is forgotten costs a statement prepared once more.
        if self.epochs.len() >= MAX_EPOCHS {
            self.epochs.clear();
            self.by_epoch.clear();
        }
        let epoch = EPOCHS + self.last;
        self.last += 1;
        self.epochs.insert(Arc::clone(&at_parse), epoch);
        self.by_epoch.insert(epoch, at_parse);
        epoch
    }

    fn sweep(&mut self) {
        if self.settings.len() < self.sweep_at.max(1024) {
            return;
        }
        self.settings.retain(|_, settings| settings.strong_count() > 0);
        self.sweep_at = self.settings.len() * 2;
    }
}

/// Far above the numbers of single sessions, which count up from 1.
const EPOCHS: u64 = 1 << 62;
/// Search paths of many tenants are the most that there is in practice.
const MAX_EPOCHS: usize = 16 * 1024;
