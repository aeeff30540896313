//! Floor 2. What to take back when the server refuses or skips a message.

use std::sync::Arc;

use crate::plan::{Plan, PlanId};
use crate::session::{Unnamed, UnnamedId};

impl Undo {
    /// Whether it is about the client's statement of that name.
    pub(super) fn concerns_name(&self, wanted: &[u8]) -> bool {
        match self {
            Self::Named { name, .. } | Self::Closed { name, .. } => **name == *wanted,
            Self::Learning(..)
            | Self::Probing(..)
            | Self::StandIn { .. }
            | Self::ColumnsChanged(_)
            | Self::Injected(_)
            | Self::Evicted { .. }
            | Self::Unnamed { .. }
            | Self::UnnamedClosed { .. }
            | Self::UnnamedInjected { .. } => false,
        }
    }

    /// A name of the client's, and what it stood for before.
    pub(super) fn name_before(&self) -> Option<(&[u8], &Arc<Plan>)> {
        match self {
            Self::Named { name, previous: Some(plan), .. } | Self::Closed { name, plan } => Some((name, plan)),
            Self::Named { previous: None, .. }
            | Self::Learning(..)
            | Self::Probing(..)
            | Self::StandIn { .. }
            | Self::ColumnsChanged(_)
            | Self::Injected(_)
            | Self::Evicted { .. }
            | Self::Unnamed { .. }
            | Self::UnnamedClosed { .. }
            | Self::UnnamedInjected { .. } => None,
        }
    }

    /// The plan that may be on the server, or not, when this is taken back.
    pub(super) fn plan(&self) -> Option<PlanId> {
        match self {
            Self::Named { written, .. } => *written,
            Self::Injected(id) | Self::Evicted { id, .. } => Some(*id),
            Self::Learning(..)
            | Self::Probing(..)
            | Self::StandIn { .. }
            | Self::ColumnsChanged(_)
            | Self::Closed { .. }
            | Self::Unnamed { .. }
            | Self::UnnamedClosed { .. }
            | Self::UnnamedInjected { .. } => None,
        }
    }

    /// What is kept only for it: about the text.
    pub(super) fn weight(&self) -> usize {
        let unnamed = self.client_before().and_then(Option::as_ref).map_or(0, |unnamed| unnamed.message.len());
        unnamed + self.name_before().map_or(0, |(_, plan)| plan.text().len())
    }

    /// Whether it is about the unnamed statement.
    pub(super) fn concerns_unnamed(&self) -> bool {
        self.client_before().is_some() || self.server_before().is_some()
    }
}

impl Undo {
    /// The place that holds the client's unnamed statement as it was before.
    pub(super) fn client_before(&self) -> Option<&Option<Box<Unnamed>>> {
        match self {
            Self::Unnamed { client, .. } | Self::UnnamedClosed { client } => Some(client),
            Self::Named { .. }
            | Self::Learning(..)
            | Self::Probing(..)
            | Self::StandIn { .. }
            | Self::ColumnsChanged(_)
            | Self::Injected(_)
            | Self::Evicted { .. }
            | Self::Closed { .. }
            | Self::UnnamedInjected { .. } => None,
        }
    }

    /// The place that holds what the server's unnamed statement was before.
    pub(super) fn server_before(&self) -> Option<&Option<UnnamedId>> {
        match self {
            Self::Unnamed { server, .. } | Self::UnnamedInjected { server } => Some(server),
            Self::Named { .. }
            | Self::Learning(..)
            | Self::Probing(..)
            | Self::StandIn { .. }
            | Self::ColumnsChanged(_)
            | Self::Injected(_)
            | Self::Evicted { .. }
            | Self::Closed { .. }
            | Self::UnnamedClosed { .. } => None,
        }
    }
}

/// One change that ran ahead of the server.
#[derive(Debug)]
pub enum Undo {
    /// A client's Parse by name.
    Named {
        /// The client's name.
        name: Box<[u8]>,
        /// What it stood for before.
        previous: Option<Arc<Plan>>,
        /// The plan, when its Parse was really written.
        written: Option<PlanId>,
    },
    /// Nothing to take back: the description belongs to this plan, as of this schema.
    Learning(Arc<Plan>, u64),
    /// The same, in a transaction of its own: its failure is not the client's, and says that there is no such statement.
    Probing(Arc<Plan>, u64),
    /// Nothing to take back: a Bind of the stand-in, or of another plan than the client's, and of what its error is to speak.
    StandIn {
        /// The client's name.
        name: Box<[u8]>,
        /// How many parameters the client's statement takes, if that is known.
        requires: Option<u16>,
    },
    /// Nothing to take back: the error stands for 0A000, see `columns`, and this message goes before it.
    ColumnsChanged(Option<Arc<[u8]>>),
    /// A Parse that pgdial added.
    Injected(PlanId),
    /// A Close that pgdial added for a statement that had to make room.
    Evicted {
        /// Which plan.
        id: PlanId,
        /// Its name on the server.
        name: Box<[u8]>,
        /// It was not there after all: its Parse, in an earlier batch, has been taken back.
        absent: bool,
    },
    /// A client's Close of a named statement.
    Closed {
        /// The client's name.
        name: Box<[u8]>,
        /// What it stood for.
        plan: Arc<Plan>,
    },
    /// The unnamed statement was replaced or dropped.
    Unnamed {
        /// The client's unnamed statement before.
        client: Option<Box<Unnamed>>,
        /// Whose unnamed statement the server held before.
        server: Option<UnnamedId>,
    },
    /// The client closed its unnamed statement; what the server holds is as it was.
    UnnamedClosed {
        /// The client's unnamed statement before.
        client: Option<Box<Unnamed>>,
    },
    /// pgdial gave the server the client's unnamed statement again.
    UnnamedInjected {
        /// Whose unnamed statement the server held before.
        server: Option<UnnamedId>,
    },
}
