//! Floor 1. A client's prepared statements, by the client's own names.

use std::collections::HashMap;
use std::sync::Arc;

use crate::plan::Plan;
use crate::query::Statement;

/// Tells one unnamed statement of one client from every other: a server remembers whose it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnnamedId(pub u64);

/// The client's unnamed statement. It outlives the batch that parsed it, so its text is kept for another server.
#[derive(Debug)]
pub struct Unnamed {
    /// Which one.
    pub id: UnnamedId,
    /// The whole Parse message.
    pub message: Vec<u8>,
    /// What its text does.
    pub class: Arc<Statement>,
    /// The settings under which it was parsed.
    pub epoch: u64,
}

type AsOf = HashMap<Box<[u8]>, u64, foldhash::fast::RandomState>;
type Stale = HashMap<Box<[u8]>, (Arc<Plan>, u64), foldhash::fast::RandomState>;
type Aside = HashMap<Box<[u8]>, (Arc<Plan>, Option<u64>), foldhash::fast::RandomState>;
type Named = HashMap<Box<[u8]>, Arc<Plan>, foldhash::fast::RandomState>;

/// Named statements and the unnamed one.
#[derive(Debug, Default)]
pub struct Statements {
    /// What the named ones take, about.
    bytes: usize,
    // Boxed: most clients of a pooler idle, many never prepare by name, and each byte here is paid 10,000 times.
    named: Option<Box<Named>>,
    /// As of which schema Postgres described each to the client; missing = not known.
    as_of: Option<Box<AsOf>>,
    /// Names that stand, on the client's server, for statements whose columns have changed since they were described.
    stale: Option<Box<Stale>>,
    /// The client's own names on its server, and what they stood for when that was last known here.
    aside: Option<Box<Aside>>,
    /// The unnamed statement.
    pub unnamed: Option<Box<Unnamed>>,
}

impl Statements {
    /// The plan behind a name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Plan>> {
        self.named.as_ref()?.get(name)
    }

    /// Binds a name to a plan; gives back what it stood for before.
    pub fn insert(&mut self, name: &[u8], plan: Arc<Plan>) -> Option<Arc<Plan>> {
        self.forget_as_of(name);
        self.bytes += weight(name, &plan);
        let replaced = self.named.get_or_insert_default().insert(name.into(), plan);
        self.lighten(name, replaced.as_deref());
        replaced
    }

    /// These names must not be bound any more: the statements' columns are not those of that schema.
    pub fn set_stale(&mut self, names: Vec<(Box<[u8]>, Arc<Plan>, u64)>) {
        let stale: Stale = names.into_iter().map(|(name, plan, as_of)| (name, (plan, as_of))).collect();
        self.stale = (!stale.is_empty()).then(|| Box::new(stale));
    }

    /// What a name stood for before its columns changed.
    pub fn stale(&self, name: &[u8]) -> Option<&Arc<Plan>> {
        Some(&self.stale.as_ref()?.get(name)?.0)
    }

    /// All names whose columns have changed, with the schema under which they were described.
    pub fn all_stale(&self) -> impl Iterator<Item = (&[u8], &Arc<Plan>, u64)> {
        self.stale.iter().flat_map(|stale| stale.iter()).map(|(name, (plan, as_of))| (&**name, plan, *as_of))
    }

    /// The name stands for something else, or it is not known for what.
    pub fn forget_stale(&mut self, name: &[u8]) {
        if let Some(stale) = self.stale.as_mut() {
            stale.remove(name);
        }
    }

    /// The same for all names.
    pub fn forget_all_stale(&mut self) {
        self.stale = None;
    }

    /// Forgets a name.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<Plan>> {
        self.forget_stale(name);
        self.forget_as_of(name);
        let named = self.named.as_mut()?;
        let removed = named.remove(name);
        if named.is_empty() {
            self.named = None;
        }
        self.lighten(name, removed.as_deref());
        removed
    }

    /// Notes the schema under which the statement of that name was prepared for the client.
    pub fn set_as_of(&mut self, name: &[u8], generation: u64) {
        self.as_of.get_or_insert_default().insert(name.into(), generation);
    }

    /// That schema, if it is known.
    pub fn as_of(&self, name: &[u8]) -> Option<u64> {
        self.as_of.as_ref()?.get(name).copied()
    }

    fn forget_as_of(&mut self, name: &[u8]) {
        if let Some(as_of) = self.as_of.as_mut() {
            as_of.remove(name);
        }
    }

    fn lighten(&mut self, name: &[u8], gone: Option<&Plan>) {
        self.bytes = self.bytes.saturating_sub(gone.map_or(0, |plan| weight(name, plan)));
    }

    /// What the named ones take of memory, as if nobody else had the same texts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every named statement.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Arc<Plan>)> {
        self.named.iter().flat_map(|named| named.iter()).map(|(name, plan)| (&**name, plan))
    }

    /// How many named statements there are.
    pub fn len(&self) -> usize {
        self.named.as_ref().map_or(0, |named| named.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names are on a server, where SQL may drop them: what they stand for is not known here from now on.
    pub fn set_aside(&mut self) {
        let as_of = self.as_of.take().unwrap_or_default();
        let Some(named) = self.named.take() else { return };
        let known = named.into_iter().map(|(name, plan)| {
            let as_of = as_of.get(&name).copied();
            (name, (plan, as_of))
        });
        self.aside.get_or_insert_default().extend(known);
    }

    /// Just these names are on the server: they are known again. False, and nothing is done, if one never was.
    pub fn take_up(&mut self, names: &[String]) -> bool {
        let known = |name: &String| {
            let known = |aside: &Aside| aside.contains_key(name.as_bytes());
            self.get(name.as_bytes()).is_some() || self.aside.as_deref().is_some_and(known)
        };
        if !names.iter().all(known) {
            return false;
        }
        self.set_aside();
        self.bytes = 0;
        let mut aside = self.aside.take().unwrap_or_default();
        for (plan, as_of, name) in
            names.iter().filter_map(|name| aside.remove(name.as_bytes()).map(|(plan, as_of)| (plan, as_of, name)))
        {
            self.insert(name.as_bytes(), plan);
            if let Some(as_of) = as_of {
                self.set_as_of(name.as_bytes(), as_of);
            }
        }
        self.stale = None;
        true
    }

    /// Forgets the named ones.
    pub fn clear_named(&mut self) {
        self.named = None;
        self.as_of = None;
        self.bytes = 0;
    }

    /// DEALLOCATE ALL has succeeded, alone or as a part of DISCARD ALL: the unnamed statement stays, as it does in Postgres.
    pub fn deallocate_all(&mut self) {
        self.clear_named();
        self.stale = None;
        self.aside = None;
    }
}

fn weight(name: &[u8], plan: &Plan) -> usize {
    2 * name.len() + plan.text().len() + plan.types().len() + OVERHEAD
}

/// A plan, its places in three maps, its description.
const OVERHEAD: usize = 768;
