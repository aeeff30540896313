//! Floor 2. What a session has established, followed from server to server.
//!
//! ```text
//!   a statement that may change settings, or leave a temporary table, a cursor, a lock, ..      note_effects: Aftermath
//!        |
//!   the transaction is over, nothing is outstanding                                             inquire: one SELECT
//!        |
//!   what is there now, in Postgres's own words                                                  inquired: settings, pins
//!        |
//!   a server whose settings are another's                                                       adapt: SET, RESET
//! ```
//!
//! Postgres is asked, and not modelled: what ROLLBACK, a savepoint, an error or a function has made of it is what it says.
//! While it is asked nothing of the client is sent, since that may depend on the answer. A server is only given to another
//! client when it was found without what pins.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{Error, Kind as ErrorKind};
use crate::query::{ALL_SETTINGS, Effects, Kind, Statement};
use crate::session::{Pin, Pins, Settings, is_askable, is_custom, push_literal};
use crate::wire::Header;
use crate::wire::backend::{DataRow, tag};
use crate::wire::diagnostics::{Fields, field};
use crate::wire::frontend::{Bind, Query};

use super::ledger::{Ask, Owner};
use super::route::Route;
use super::sequences::Sequences;
use super::{Engine, Server, Stall};

/// What the running transaction may leave behind.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    /// Settings that may be others.
    names: BTreeSet<Box<str>>,
    /// Pins that are to be looked for.
    checks: Pins,
    /// RESET has run: a setting at Postgres's own default is to be what the client asked for at login.
    reset: bool,
    /// The settings that are being asked for, in order.
    asked: Vec<Box<str>>,
    /// Inquiries that failed.
    failures: u8,
    /// Statements with functions of which it was not known what they do.
    pub(super) unjudged: Vec<Arc<Statement>>,
    /// Among them some that ran what this transaction itself may have made, which nobody else ever sees if it is dropped again.
    pub(super) own_code: bool,
    /// How often that was waited for.
    pub(super) patience: u8,
    /// Something has run in it.
    pub(super) completed: bool,
    /// The functions of the database have been asked for once more.
    pub(super) reread: bool,
    /// That is what the server has been asked for: some time, and nothing else.
    waits: bool,
}

/// While the functions of the database are being read: for half a second, then they count as anything. It gives no row, and a
/// cancel request of the client's that comes late may end it.
const A_MOMENT: &[u8] = b"SELECT FROM pg_catalog.pg_sleep(0.01) AS s WHERE s IS NULL";
/// So often Postgres is asked before the client keeps its server for good.
const MAX_FAILURES: u8 = 3;
/// The longest answer to an inquiry that is read; where it is longer the client keeps its server.
pub(super) const ANSWER_MAX: usize = 1024 * 1024;
/// More names than any program sets: beyond, the client keeps its server.
const MAX_NAMES: usize = 256;

impl Engine {
    /// A statement that may leave something behind is about to run.
    pub(super) fn note_effects(&mut self, class: &Statement) {
        self.sequences.note(class.effects);
        self.changes_defaults |= class.effects.contains(Effects::DEFAULTS);
        if class.effects.contains(Effects::DEALLOCATE) {
            // Which names are left is not known.
            self.session.statements.forget_all_stale();
        }
        if class.effects.contains(Effects::OPAQUE)
            && let Some(server) = self.server.as_mut()
        {
            server.doubt();
        }
        let pins = self.without_listen(Pins::of(class.effects), class);
        let new = pins.without(self.session.pins);
        self.session.pins = self.session.pins.union(pins);
        self.tally.pins = self.tally.pins.union(new);
        if !self.session.pins.undone_by_discard_all()
            && let Some(server) = self.server.as_mut()
        {
            server.spoiled = true;
        }
        if pins.has(Pin::TempTable)
            && let Some(server) = self.server.as_mut()
        {
            server.temporary = true;
        }
        let ends = if may_end(class) { self.session.pins.that_can_be_checked() } else { Pins::default() };
        let checks = pins.that_can_be_checked().union(ends);
        let local = class.local_settings.iter();
        let heard: Vec<Box<str>> = local.filter(|name| self.session.settings.get(name).is_none()).cloned().collect();
        if class.settings.is_empty() && checks.is_empty() && heard.is_empty() {
            return;
        }
        self.forget_settings(class);
        let session = &self.session;
        let aftermath = self.aftermath.get_or_insert_default();
        aftermath.checks = aftermath.checks.union(checks);
        let room = (MAX_NAMES + 1).saturating_sub(aftermath.names.len());
        aftermath.names.extend(heard.into_iter().take(room));
        for name in class.settings.iter().take(MAX_NAMES + 1) {
            if aftermath.names.len() > MAX_NAMES {
                break;
            }
            if &**name == ALL_SETTINGS {
                aftermath.reset = true;
                aftermath.names.extend(session.settings.iter().chain(session.startup.iter()).map(|(name, _)| name.into()));
            } else {
                aftermath.names.insert(name.clone());
            }
        }
        aftermath.reset |= class.effects.contains(Effects::RESTORE);
    }

    /// set_config($1, ..): the name is a parameter.
    pub(super) fn note_bound_settings(&mut self, class: &Statement, bind: &Bind<'_>) {
        if class.setting_parameters.is_empty() {
            return;
        }
        self.forget_settings(class);
        let Ok(parameters) = bind.parameters() else {
            // Longer than what is looked at, or malformed.
            self.pin(Pin::OpaqueSettings);
            return self.spoil();
        };
        let values: Vec<Option<&[u8]>> = parameters.values.iter().collect();
        let value = |number: &u16| *values.get(usize::from(*number).checked_sub(1)?)?;
        // What is no text, or too long for a name, is kept as a name that cannot be asked for.
        let name = |value: &[u8]| std::str::from_utf8(value).ok().map(str::to_ascii_lowercase).filter(|name| is_askable(name));
        let names = class.setting_parameters.iter().filter_map(value).map(|value| name(value).unwrap_or_default());
        let aftermath = self.aftermath.get_or_insert_default();
        let mut seeds = false;
        for name in names {
            if aftermath.names.len() > MAX_NAMES {
                break;
            }
            seeds |= name == "seed";
            if name == "session_authorization" {
                aftermath.names.insert("role".into());
            }
            aftermath.names.insert(name.into());
        }
        if seeds {
            self.pin(Pin::Backend);
            self.spoil();
        }
    }

    /// Until Postgres has been asked, texts are read under settings that only this session knows.
    fn forget_settings(&mut self, class: &Statement) {
        if !class.settings.is_empty() || !class.setting_parameters.is_empty() {
            self.session.epoch = self.shared.next_epoch();
        }
    }

    /// At the end of the transaction it is to be seen whether this pin still holds.
    pub(super) fn look_for(&mut self, pin: Pin) {
        self.aftermath.get_or_insert_default().checks.add(pin);
    }

    /// Whether what the session's settings are is still to be asked.
    pub(super) fn is_doubtful(&self) -> bool {
        self.aftermath.is_some()
    }

    /// The transaction is over: asks what it has left behind. False: there is nothing to ask.
    pub(super) fn inquire(&mut self) -> bool {
        if self.aftermath.is_none() {
            return false;
        }
        let judged = self.judge();
        let Some(aftermath) = self.aftermath.as_mut() else { return false };
        let Some(server) = self.server.as_mut() else { return false };
        aftermath.waits = !judged;
        if !judged {
            aftermath.patience += 1;
            Query { text: A_MOMENT }.encode(&mut self.server_out);
            server.ledger.push(Ask::Query, Owner::Inquire, None);
            server.unnamed = None;
            self.stall = Stall::UntilAnswered;
            return true;
        }
        if aftermath.names.is_empty() && aftermath.checks.is_empty() {
            self.aftermath = None;
            self.keep_settings();
            return false;
        }
        let askable = aftermath.names.len() <= MAX_NAMES && aftermath.names.iter().all(|name| is_askable(name));
        if aftermath.failures >= MAX_FAILURES || !askable {
            // Nobody else gets this server, and what it has stays where it is.
            self.aftermath = None;
            self.pin(Pin::OpaqueSettings);
            self.spoil();
            return false;
        }
        aftermath.asked = aftermath.names.iter().cloned().collect();
        let text = inquiry(&aftermath.asked, aftermath.checks, self.shared.plans.prefix());
        Query { text: text.as_bytes() }.encode(&mut self.server_out);
        server.ledger.push(Ask::Query, Owner::Inquire, None);
        server.unnamed = None;
        self.stall = Stall::UntilAnswered;
        true
    }

    /// Nothing is to be asked, as behind RESET ALL where nothing had been set: the settings are what they were.
    fn keep_settings(&mut self) {
        if !self.session.pins.has(Pin::OpaqueSettings) {
            let pending = std::mem::replace(&mut self.session.epoch, self.session.settings.epoch());
            self.settle_epoch(pending);
        }
    }

    /// The row that answers an inquiry is read whole.
    pub(super) fn is_inquiring(&self, header: Header) -> bool {
        let inquiring = self.server.as_ref().is_some_and(|server| server.ledger.owner() == Some(Owner::Inquire));
        inquiring && header.tag == tag::DATA_ROW && header.len <= ANSWER_MAX
    }

    /// The answer, which is one row.
    pub(super) fn inquired(&mut self, body: &[u8]) {
        if self.aftermath.as_ref().is_some_and(|aftermath| aftermath.waits) {
            return;
        }
        let (Some(mut aftermath), Some(server)) = (self.aftermath.take(), self.server.as_ref()) else { return };
        let Ok(row) = DataRow::decode(body) else {
            return self.inquiry_failed(aftermath);
        };
        let defaults = Arc::clone(&server.defaults);
        let mut values = row.iter();
        let mut settings: Vec<(Box<str>, Option<Box<str>>)> = Vec::new();
        for name in std::mem::take(&mut aftermath.asked) {
            let value = match values.next().flatten().map(std::str::from_utf8) {
                Some(Ok(value)) => Some(value.into()),
                // Bytes of another encoding cannot be said again.
                Some(Err(_)) => {
                    self.pin(Pin::OpaqueSettings);
                    None
                }
                None => None,
            };
            settings.push((name, value));
        }
        for pin in CHECKS.into_iter().filter(|pin| aftermath.checks.has(*pin)) {
            match values.next().flatten() {
                Some(b"f") => self.session.pins.remove(pin),
                Some(names) if pin == Pin::SqlPrepare => {
                    if let Ok(names) = serde_json::from_slice::<Vec<String>>(names) {
                        self.dematerialise(&names);
                    }
                }
                Some(_) | None => {}
            }
        }
        let said = |name: &str, value: &str| defaults.differ(name, value);
        let actual = self.merged(&settings, |name, value| value.filter(|value| said(name, value)).map(Into::into));
        let startup = Arc::clone(&self.session.startup);
        let wanted = self.merged(&settings, |name, value| {
            let restored = startup.get(name).filter(|_| aftermath.reset);
            // What a user has made up has no default: RESET leaves nothing in it.
            let emptied = |value: &str| restored.is_some() && is_custom(name) && value.is_empty();
            let changed = value.filter(|value| said(name, value) && !emptied(value));
            changed.or(restored).map(Into::into)
        });
        let pending = std::mem::replace(&mut self.session.epoch, wanted.epoch());
        self.session.settings = wanted;
        self.settle_epoch(pending);
        if let Some(server) = self.server.as_mut() {
            server.applied = actual;
        }
        self.read_under_settings();
    }

    /// The session's settings with those that were asked for.
    fn merged(
        &self,
        asked: &[(Box<str>, Option<Box<str>>)],
        value: impl Fn(&str, Option<&str>) -> Option<Box<str>>,
    ) -> Arc<Settings> {
        let others = self.session.settings.iter().filter(|(name, _)| asked.iter().all(|(known, _)| **known != **name));
        let asked = asked.iter().filter_map(|(name, now)| Some((name.clone(), value(name, now.as_deref())?)));
        self.shared.settings.intern(others.map(|(name, value)| (name.into(), value.into())).chain(asked))
    }

    /// Postgres has refused the inquiry (a statement_timeout of the client's, say): what pins does so until it has answered.
    pub(super) fn inquiry_refused(&mut self) {
        if let Some(aftermath) = self.aftermath.take() {
            self.inquiry_failed(aftermath);
        }
    }

    fn inquiry_failed(&mut self, mut aftermath: Box<Aftermath>) {
        // A moment that was too long is over as well.
        aftermath.failures += u8::from(!aftermath.waits);
        self.aftermath = Some(aftermath);
    }

    /// The server's settings are another session's, or not what this one asked for at login: brings them here.
    pub(super) fn adapt(&mut self) {
        let Some(server) = self.server.as_mut() else { return };
        if server.applied == self.session.settings {
            return;
        }
        let replay = server.applied.replay(&self.session.settings);
        for text in replay.encoding.iter().chain(Some(&replay.text).filter(|text| !text.is_empty())) {
            Query { text: text.as_bytes() }.encode(&mut self.server_out);
            server.ledger.push(Ask::Query, Owner::Adapt, None);
            server.unnamed = None;
        }
        self.adapted_from = Some(std::mem::replace(&mut server.applied, Arc::clone(&self.session.settings)));
        if !replay.harmless {
            self.stall = Stall::UntilAnswered;
            self.adapting = true;
        }
    }

    /// A statement must not run under other settings, or as somebody else: the server is closed, and the client told. A
    /// cancel request that came late, or another session's statement_timeout, is no reason: it is tried again.
    pub(super) fn adapt_refused(&mut self, refusal: &[u8]) -> Result<(), Error> {
        let said = Fields::decode(refusal).ok();
        let cancelled = said.as_ref().and_then(|fields| fields.get(field::SQLSTATE)) == Some(b"57014");
        let before = self.adapted_from.take();
        if let (Some(server), Some(before)) = (self.server.as_mut(), before)
            && (!self.adapting || (cancelled && self.adapt_failures < MAX_FAILURES))
        {
            server.applied = before;
            self.adapt_failures += u8::from(self.adapting);
            return Ok(());
        }
        let said = said.as_ref().and_then(|fields| fields.get(field::MESSAGE)).map(String::from_utf8_lossy).unwrap_or_default();
        let text = format!("this session's settings could not be restored on another server: {said}");
        let hint = "Connect again. A role, or an object that a setting names, may have been dropped.";
        Err(Error::new(ErrorKind::ServerLost, text).with_hint(hint))
    }

    /// Every statement, setting, cursor and lock of the session is gone.
    pub(super) fn discarded(&mut self) {
        self.session.discard_all();
        self.sequences_discarded();
        self.forget_statements();
        let known = self.session.settings.iter().chain(self.session.startup.iter());
        let names: Vec<Box<str>> = known.map(|(name, _)| name.into()).collect();
        if let Some(aftermath) = self.aftermath.as_mut() {
            aftermath.checks = Pins::default();
        }
        if !names.is_empty() {
            let aftermath = self.aftermath.get_or_insert_default();
            aftermath.names.extend(names);
            aftermath.reset = true;
        }
    }

    /// The transaction is over, or nobody can tell any more: plans parsed while it ran are not trusted, and what it has
    /// changed of what sessions begin with, those see that are to come. After a ROLLBACK that costs some dials.
    pub(super) fn settle_changes(&mut self) {
        if std::mem::take(&mut self.changes_schema) {
            self.shared.schema_changed(std::mem::take(&mut self.hides_code));
        }
        if std::mem::take(&mut self.changes_defaults) {
            self.shared.defaults_changed();
        }
    }

    /// Nobody else is to get this server.
    pub(super) fn spoil(&mut self) {
        if let Some(server) = self.server.as_mut() {
            server.spoiled = true;
        }
    }

    /// What the client asked for at login beyond what its servers are opened with. Before anything is sent.
    pub fn start_with(&mut self, startup: Arc<Settings>) {
        self.session.epoch = startup.epoch();
        self.session.settings = Arc::clone(&startup);
        self.session.startup = startup;
        self.read_under_settings();
    }

    /// RESET ALL sets back what the client asked for at login, which its servers do not know: this is what it comes to.
    pub(super) fn reset_to_startup(&self, name: &str, value: &str) -> Option<Box<str>> {
        let name = name.to_ascii_lowercase();
        let reset = self.aftermath.as_ref().is_some_and(|aftermath| aftermath.reset && aftermath.names.contains(&*name));
        let default = self.server.as_ref().is_some_and(|server| server.defaults.get(&name) == Some(value));
        self.session.startup.get(&name).filter(|_| reset && default).map(Into::into)
    }

    /// The server's settings are the client's now. What it has not been told of them: a RESET to what it asked for at login,
    /// which was no change on the server.
    pub(super) fn tell_adapted(&mut self, route: &mut Route<'_>) {
        let Some(server) = self.server.as_ref() else { return };
        if server.ledger.owner() != Some(Owner::Adapt) && self.parameters != server.parameters {
            let now = Arc::clone(&server.parameters);
            route.settle(&mut self.client_out);
            self.tell_parameters(now);
        }
    }

    /// A statement of the client has run.
    pub(super) fn note_completed(&mut self) {
        if let Some(aftermath) = self.aftermath.as_mut() {
            aftermath.completed = true;
        }
    }
}

impl Server {
    /// DISCARD ALL has been sent: what remains of settings are the names that users made up.
    pub(super) fn discarded(&mut self) {
        self.forget_statements();
        self.unnamed = None;
        self.litter.clear();
        self.sequences = Sequences::Nobodys;
        self.applied = self.applied.discarded();
    }
}

/// The pins that an inquiry looks for, in the order of its columns.
const CHECKS: [Pin; 4] = [Pin::TempTable, Pin::HoldCursor, Pin::AdvisoryLock, Pin::SqlPrepare];

/// One SELECT of one row: the settings, then a boolean for each check. Nothing in it depends on search_path.
fn inquiry(names: &[Box<str>], checks: Pins, prefix: &str) -> String {
    let mut text = String::from("SELECT ");
    for name in names {
        text.push_str("pg_catalog.current_setting(");
        push_literal(name, &mut text);
        text.push_str(",true),");
    }
    for pin in CHECKS.into_iter().filter(|pin| checks.has(*pin)) {
        if let Some(exists) = pin.exists() {
            text.push_str(exists);
            text.push(',');
            continue;
        }
        // NULL while there are statements of SQL; then the names of the protocol's.
        text.push_str(
            "(SELECT CASE WHEN pg_catalog.count(*) FILTER (WHERE from_sql) OPERATOR(pg_catalog.>) 0 THEN NULL \
             ELSE coalesce(pg_catalog.json_agg(name), '[]') END \
             FROM pg_catalog.pg_prepared_statements WHERE NOT pg_catalog.starts_with(name,",
        );
        push_literal(prefix, &mut text);
        text.push_str(")),");
    }
    if text.ends_with(',') {
        text.pop();
    }
    text
}

/// Whether something that pins may be gone after the statement.
fn may_end(class: &Statement) -> bool {
    let harmless = matches!(
        class.kind,
        Kind::Select
            | Kind::Insert
            | Kind::Update
            | Kind::Delete
            | Kind::Merge
            | Kind::Copy
            | Kind::Show
            | Kind::Set
            | Kind::Begin
    );
    !harmless || class.effects.contains(Effects::RESTORE)
}
