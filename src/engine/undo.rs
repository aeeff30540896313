//! Floor 2. What to take back when the server refuses or skips a message.

use std::sync::Arc;

use crate::plan::{Plan, PlanId};
use crate::session::{Unnamed, UnnamedId};

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
    /// A Parse that pgdial added.
    Injected(PlanId),
    /// A Close that pgdial added for a statement that had to make room.
    Evicted {
        /// Which plan.
        id: PlanId,
        /// Its name on the server.
        name: Box<[u8]>,
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
    /// pgdial gave the server the client's unnamed statement again.
    UnnamedInjected {
        /// Whose unnamed statement the server held before.
        server: Option<UnnamedId>,
    },
}
