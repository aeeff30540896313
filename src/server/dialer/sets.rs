//! Floor 3. The sorts of servers that a pool has, and which client gets servers of which.
//!
//! A set has its place among `[pool] startup_sets` as long as a client uses it, or a set derived from it. Who finds no place
//! shares the servers that were opened without startup parameters, and its own become settings of its session.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::super::dial::Login;
use super::{Account, Known, Startup};
use crate::error::{Error, Kind, Result};
use crate::pool::SetId;
use crate::session::startup_settings;

/// What tells one set of servers from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sort {
    /// What they are opened with.
    pub(super) startup: Startup,
    /// The names of settings that users made up and that they may have heard of. Such a name stays known to a server for
    /// good, so no client without it may get there.
    pub(super) names: Box<[Box<str>]>,
    /// Changes of the defaults (ALTER ROLE .. SET) that its clients have seen at login: those who come later get others.
    pub(super) born: u64,
}

/// One set of startup parameters, and what servers with it report.
pub struct Set {
    /// Which one.
    pub id: SetId,
    /// Settings that users made up and that its servers may know, sorted.
    pub names: Box<[Box<str>]>,
    pub(super) startup: Startup,
    pub(super) born: u64,
    pub(super) login: Login,
    /// The defaults of which change the newest of its servers has. Shared with the sets derived from it.
    pub(super) newest: Arc<AtomicU64>,
    /// The settings that its startup parameters set; `None`: there are some that no session can set.
    pub(super) asked: Option<Vec<Box<str>>>,
    /// It has a place of its own.
    own: AtomicBool,
    pub(super) known: Mutex<Option<Known>>,
}

/// Which servers a client gets.
pub enum Seat {
    /// Those of this set.
    Own(Arc<Set>),
    /// Those of `base`, where the startup parameters of `like` are settings of the session.
    Shared {
        /// One server of it says what the parameters are in Postgres's own words, or refuses them.
        like: Arc<Set>,
        /// Servers without startup parameters.
        base: Arc<Set>,
    },
}

/// All that there are.
#[derive(Default)]
pub(super) struct Sets {
    by_sort: HashMap<Sort, SetId, foldhash::fast::RandomState>,
    by_id: HashMap<SetId, Arc<Set>, foldhash::fast::RandomState>,
    last: u32,
}

impl Set {
    /// What is known, once a server has been dialled.
    pub fn known(&self) -> Option<Known> {
        self.known.lock().clone()
    }

    /// A server of it was dialled. Another may have been meanwhile: what both found is one and the same from here on, or a
    /// read sent through the one would not be taken for a read of the other's.
    pub(super) fn learn(&self, mut found: Known) -> Known {
        let mut known = self.known.lock();
        if let Some(before) = known.as_ref() {
            if before.reader == found.reader {
                found.reader = Arc::clone(&before.reader);
            }
            if before.defaults == found.defaults {
                found.defaults = Arc::clone(&before.defaults);
            }
        }
        *known = Some(found.clone());
        found
    }

    fn is_in_use(set: &Arc<Self>) -> bool {
        Arc::strong_count(set) > 1
    }
}

impl Sets {
    pub(super) fn by_id(&self, id: SetId) -> Option<&Arc<Set>> {
        self.by_id.get(&id)
    }

    /// A seat for a client with these startup parameters, of which at most `places` get servers of their own.
    pub(super) fn seat(&mut self, startup: Startup, born: u64, places: usize, account: &Account) -> Result<Seat> {
        let has_place = startup.is_empty() || self.has_place(&startup, places);
        let set = self.find(Sort { startup, names: Box::default(), born }, None, account)?;
        let own = has_place || set.asked.is_none();
        set.own.store(own, Relaxed);
        if own {
            return Ok(Seat::Own(set));
        }
        let base = self.find(Sort { born, ..Sort::default() }, None, account)?;
        Ok(Seat::Shared { like: set, base })
    }

    fn has_place(&self, startup: &Startup, places: usize) -> bool {
        let taken = self.by_id.values().filter(|set| set.own.load(Relaxed) && Set::is_in_use(set) && !set.startup.is_empty());
        let taken: HashSet<&Startup> = taken.map(|set| &set.startup).collect();
        taken.contains(startup) || taken.len() < places
    }

    /// The set like `set` whose servers may know these settings that users made up.
    pub(super) fn derived(&mut self, set: &Set, names: Box<[Box<str>]>, account: &Account) -> Result<Arc<Set>> {
        let derived = self.find(Sort { startup: set.startup.clone(), names, born: set.born }, Some(set), account)?;
        derived.own.store(set.own.load(Relaxed), Relaxed);
        Ok(derived)
    }

    fn find(&mut self, sort: Sort, like: Option<&Set>, account: &Account) -> Result<Arc<Set>> {
        if let Some(set) = self.by_sort.get(&sort).and_then(|id| self.by_id.get(id)) {
            return Ok(Arc::clone(set));
        }
        self.sweep();
        if self.by_id.len() >= MAX_SETS {
            return Err(Error::new(Kind::Limit, "too many different sets of startup parameters are in use")
                .with_hint("Let clients share options, and the names of settings that they make up."));
        }
        self.last += 1;
        Ok(self.add(SetId(self.last), sort, like, account))
    }

    pub(super) fn add(&mut self, id: SetId, sort: Sort, like: Option<&Set>, account: &Account) -> Arc<Set> {
        let Sort { startup, names, born } = sort.clone();
        let login = Login::new(&account.user, Arc::clone(&account.credentials), &account.database, startup.clone());
        let set = Arc::new(Set {
            id,
            names,
            asked: startup_settings(startup.iter().map(|(name, value)| (&**name, &**value))),
            startup,
            born,
            login,
            newest: like.map_or_else(|| Arc::new(AtomicU64::new(born)), |like| Arc::clone(&like.newest)),
            own: AtomicBool::new(false),
            known: Mutex::new(like.and_then(Set::known)),
        });
        self.by_sort.insert(sort, id);
        self.by_id.insert(id, Arc::clone(&set));
        set
    }

    /// Sets that no client uses. Their idle servers end by their own limits.
    fn sweep(&mut self) {
        if self.by_id.len() < MAX_SETS / 2 {
            return;
        }
        self.by_id.retain(|id, set| *id == SetId::default() || Set::is_in_use(set));
        let by_id = &self.by_id;
        self.by_sort.retain(|_, id| by_id.contains_key(id));
    }
}

const MAX_SETS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;

    fn account() -> Account {
        Account { user: "u".into(), credentials: Arc::new(Credentials::configured(None)), database: "d".into() }
    }

    fn work_mem(value: usize) -> Startup {
        vec![("work_mem".into(), format!("{value}MB").into())]
    }

    fn is_own(seat: &Seat) -> bool {
        matches!(seat, Seat::Own(_))
    }

    #[test]
    fn places_are_for_those_who_came_first_and_are_freed_with_their_last_client() {
        let (mut sets, account) = (Sets::default(), account());
        let mut seat = |n| sets.seat(work_mem(n), 0, 2, &account).unwrap();
        let (first, second) = (seat(1), seat(2));
        assert!(is_own(&first) && is_own(&second) && is_own(&seat(1)));
        let third = seat(3);
        assert!(!is_own(&third) && !is_own(&seat(3)), "a seat that is shared takes no place");
        drop(first);
        assert!(is_own(&seat(2)));
        let third = seat(3);
        assert!(is_own(&third) && !is_own(&seat(1)));
    }

    #[test]
    fn a_derived_set_keeps_the_place_of_its_base() {
        let (mut sets, account) = (Sets::default(), account());
        let Seat::Own(base) = sets.seat(work_mem(1), 0, 1, &account).unwrap() else { panic!("there was a place") };
        let derived = sets.derived(&base, ["my.own".into()].into(), &account).unwrap();
        drop(base);
        assert!(!is_own(&sets.seat(work_mem(2), 0, 1, &account).unwrap()));
        drop(derived);
        assert!(is_own(&sets.seat(work_mem(2), 0, 1, &account).unwrap()));
    }

    #[test]
    fn clients_without_startup_parameters_need_no_place() {
        let (mut sets, account) = (Sets::default(), account());
        let _first = sets.seat(work_mem(1), 0, 1, &account).unwrap();
        assert!(is_own(&sets.seat(Startup::new(), 0, 1, &account).unwrap()));
    }

    #[test]
    fn what_no_session_can_set_keeps_a_set_of_its_own() {
        let (mut sets, account) = (Sets::default(), account());
        let _first = sets.seat(work_mem(1), 0, 1, &account).unwrap();
        let switch: Startup = vec![("options".into(), "-e".into())];
        assert!(is_own(&sets.seat(switch, 0, 1, &account).unwrap()));
    }

    #[test]
    fn names_that_users_make_up_are_bounded() {
        let (mut sets, account) = (Sets::default(), account());
        let Seat::Own(base) = sets.seat(Startup::new(), 0, 1, &account).unwrap() else { panic!("there was a place") };
        let mut held = Vec::new();
        let mut derive = |n: usize| sets.derived(&base, [format!("my.n{n}").into()].into(), &account);
        let refused = (0..=MAX_SETS).find_map(|n| derive(n).map(|set| held.push(set)).err());
        assert_eq!(refused.map(|error| error.kind()), Some(Kind::Limit));
        held.clear();
        assert!(derive(MAX_SETS + 1).is_ok(), "what nobody uses any more makes room");
    }
}
