//! Floor 2. What statements may leave behind through code that does not stand in them: functions, and what runs unnamed.

use std::sync::Arc;

use crate::query::{Effects, Kind, Statement, Traces};

use super::Engine;
use super::intake::may_change_schema;
use super::shared::{Judged, may_run_hidden};

/// So often a moment is waited while functions are being read; then they count as anything.
const MAX_PATIENCE: u8 = 50;
const MAX_UNJUDGED: usize = 64;

impl Engine {
    /// A statement that may leave something behind through functions, triggers and the like is about to run.
    pub(super) fn note_functions(&mut self, class: &Arc<Statement>) {
        if self.shared.session_mode {
            return;
        }
        match self.traces(class) {
            Judged::Known(traces) if traces.only_sequences() => self.sequences.note(traces.effects),
            Judged::Known(traces) => self.note_traces(&traces),
            Judged::Unknown | Judged::Unseen | Judged::NoSuchFunction => self.note_unjudged(class),
        }
    }

    /// What the statement may leave behind, as far as that can be told in this transaction.
    pub(super) fn traces(&self, class: &Statement) -> Judged {
        // What it has made of its functions nobody else can see yet.
        let calls_own = !class.functions.is_empty() && self.runs_own_code(class);
        let hidden = self.hides_code && may_run_hidden(class);
        if calls_own || hidden { Judged::Unknown } else { self.shared.traces(class) }
    }

    /// Whether what it calls may have been made in this transaction, by one of several statements of the same text perhaps.
    fn runs_own_code(&self, class: &Statement) -> bool {
        self.changes_schema || (class.kind == Kind::Opaque && may_change_schema(class))
    }

    /// The schema is about to change. What has run before may be gone, or another, at the end of the transaction.
    pub(super) fn note_schema_change(&mut self, class: &Statement) {
        if self.aftermath.as_ref().is_some_and(|aftermath| aftermath.own_code) {
            self.note_traces(&Traces::everything());
        }
        self.shared.schema_changed(class.hides_code);
        self.changes_schema = true;
        self.hides_code |= class.hides_code;
        self.makes_code |= class.hides_code;
    }

    fn note_unjudged(&mut self, class: &Arc<Statement>) {
        self.sequences.note(Effects::OPAQUE);
        let own_code = self.runs_own_code(class);
        let aftermath = self.aftermath.get_or_insert_default();
        aftermath.own_code |= own_code;
        if aftermath.unjudged.len() < MAX_UNJUDGED {
            aftermath.unjudged.push(Arc::clone(class));
        } else {
            self.note_traces(&Traces::everything());
        }
    }

    fn note_traces(&mut self, traces: &Traces) {
        let settings = traces.settings.clone();
        self.note_effects(&Statement { effects: traces.effects, settings, ..Statement::of_nothing() });
    }

    /// At the end of a transaction: what functions may have left that were not known when they ran. False: the catalog is
    /// still being read.
    pub(super) fn judge(&mut self) -> bool {
        let Some(aftermath) = self.aftermath.as_mut() else { return true };
        let unjudged = std::mem::take(&mut aftermath.unjudged);
        let patient = aftermath.patience < MAX_PATIENCE;
        let may_exist = aftermath.completed && !aftermath.reread;
        let mut reread = false;
        let own_code = std::mem::take(&mut aftermath.own_code);
        let mut still = Vec::new();
        for class in unjudged {
            match self.shared.traces(&class) {
                Judged::Known(traces) if traces.only_sequences() => self.sequences.note(traces.effects),
                Judged::Known(traces) => self.note_traces(&traces),
                // It has been made elsewhere, perhaps.
                Judged::NoSuchFunction if may_exist => {
                    reread = true;
                    still.push(class);
                }
                // It is not a function, or does not exist.
                Judged::NoSuchFunction if !own_code => {}
                Judged::NoSuchFunction => self.note_traces(&Traces::everything()),
                Judged::Unknown | Judged::Unseen if patient => still.push(class),
                // Hardly any has traces, and all clients come here: nobody meets what there may be, but only those who
                // may have made it are pinned for it.
                Judged::Unseen if !self.makes_code => self.spoil(),
                Judged::Unseen => self.note_traces(&Traces::everything()),
                Judged::Unknown => self.note_traces(&Traces::everything()),
            }
        }
        self.follow_judged_sequences();
        let settled = still.is_empty();
        if reread {
            self.shared.schema_changed(false);
        }
        if let Some(aftermath) = self.aftermath.as_mut() {
            aftermath.reread |= reread;
            aftermath.unjudged = still;
            aftermath.own_code = own_code;
        }
        settled
    }
}
