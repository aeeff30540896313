//! Floor 2. What is known of one server connection; it moves with the connection from client to client.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::pg::BackendKey;
use crate::plan::{PlanId, ServerPlans};
use crate::session::{Defaults, Settings, UnnamedId};

use super::ledger::Ledger;
use super::listen::ServerSender;
use super::sequences::Sequences;
use super::shared::Reader;

/// The protocol-level state of a server connection.
pub struct Server {
    /// Needed to cancel its query.
    pub key: Option<BackendKey>,
    /// What ParameterStatus has said last, in the order of first appearance.
    /// Servers and clients of one kind share them.
    pub parameters: Arc<Parameters>,
    /// With which settings it reads.
    pub reader: Arc<Reader>,
    /// The settings it was opened with.
    pub defaults: Arc<Defaults>,
    /// The session settings that were given to it since.
    pub applied: Arc<Settings>,
    /// Statements that pgdial prepared on it.
    pub plans: ServerPlans,
    /// Whose unnamed statement it holds.
    pub unnamed: Option<UnnamedId>,
    /// Replies owed.
    pub ledger: Ledger,
    /// It has the statement that stands in for others in a failed transaction, see `failed`.
    pub stand_in: StandIn,
    /// It may have a temporary schema. The schema stays when all in it is gone, and a session that has one is not quite like
    /// one that has none.
    pub temporary: bool,
    /// Session state was left behind: DISCARD ALL before anybody else gets it.
    pub dirty: bool,
    /// Something ran that DISCARD ALL does not undo: nobody else gets it.
    pub spoiled: bool,
    /// Whose values its sequences may show.
    pub(super) sequences: Sequences,
    /// It listens on channels of the client that has it.
    pub(super) listens: bool,
    /// Notifications of its client may be on their way to those who listen.
    pub(super) notified: bool,
    /// Whose notifications those of this server are.
    pub(super) sender: ServerSender,
    /// Something ran that may have dropped prepared statements unseen (DO, CALL): none is taken for present from before.
    pub(super) doubtful: bool,
    /// Those that were there before, and may be still, with their names.
    pub(super) doubted: BTreeMap<PlanId, Box<[u8]>>,
    /// Statements under a client's own name that were needed to make Postgres refuse that name.
    pub(super) litter: Vec<Box<[u8]>>,
}

/// Whether a server has the statement that stands in for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StandIn {
    /// It was never given one.
    #[default]
    None,
    /// Yes.
    Ready,
    /// Not any more: all its statements were dropped.
    Lost,
}

impl StandIn {
    /// All statements have been dropped.
    pub(super) fn lose(&mut self) {
        if *self == Self::Ready {
            *self = Self::Lost;
        }
    }
}

impl Server {
    /// A connection that has just logged in.
    pub fn new(key: Option<BackendKey>, parameters: Arc<Parameters>, reader: Arc<Reader>, plans_limit: usize) -> Self {
        Self {
            key,
            parameters,
            reader,
            defaults: Arc::default(),
            applied: Arc::default(),
            plans: ServerPlans::new(plans_limit),
            unnamed: None,
            ledger: Ledger::default(),
            stand_in: StandIn::None,
            temporary: false,
            dirty: false,
            spoiled: false,
            sequences: Sequences::Nobodys,
            listens: false,
            notified: false,
            sender: None,
            doubtful: false,
            doubted: BTreeMap::new(),
            litter: Vec::new(),
        }
    }
}

impl Server {
    /// What runs next may drop prepared statements without a word. If it drops the stand-in too, it drops the client's own,
    /// and the error that speaks of one speaks of the other.
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
        self.doubted.extend(self.plans.iter().map(|(id, name)| (id, name.into())));
        self.plans.clear();
    }

    /// A statement that goes before another one comes, as there may be more of them than the server is to have.
    pub(super) fn one_doubted_too_many(&mut self) -> Option<(PlanId, Box<[u8]>)> {
        if self.doubted.len() >= self.plans.limit() { self.doubted.pop_first() } else { None }
    }

    /// All named statements have been dropped.
    pub(super) fn forget_statements(&mut self) {
        self.doubtful = false;
        self.doubted.clear();
        self.plans.clear();
        self.stand_in.lose();
    }
}

/// Name-value pairs of ParameterStatus. A dozen: a list is faster than a map, and keeps Postgres's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(Box<str>, Box<str>)>);

impl Parameters {
    /// Sets one; true when its value is new.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        match self.0.iter_mut().find(|(known, _)| &**known == name) {
            Some((_, known)) if &**known == value => false,
            Some((_, known)) => {
                *known = value.into();
                true
            }
            None => {
                self.0.push((name.into(), value.into()));
                true
            }
        }
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Those of `other` that differ from ours.
    pub fn changed_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a str, &'a str)> {
        other.iter().filter(|(name, value)| self.get(name) != Some(value))
    }
}

impl FromIterator<(Box<str>, Box<str>)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Box<str>)>>(pairs: I) -> Self {
        let mut parameters = Self::default();
        for (name, value) in pairs {
            parameters.set(&name, &value);
        }
        parameters
    }
}
