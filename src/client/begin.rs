//! Floor 4. With what a session begins: its set of servers, its settings, and what Postgres says of them.

use std::sync::Arc;

use crate::engine::Parameters;
use crate::error::{Error, Kind, Result};
use crate::server::{Checkout, Dialer, Disposition, Known, Lease, Seat, ServerPool, Set, Startup};
use crate::session::is_custom;

/// What a session needs before its client can be greeted.
pub(super) struct Begun {
    /// Its servers.
    pub(super) set: Arc<Set>,
    /// What these say.
    pub(super) known: Known,
    /// ParameterStatus for the client.
    pub(super) parameters: Arc<Parameters>,
    /// NoticeResponse messages for the client.
    pub(super) notices: Arc<[u8]>,
    /// Settings that its servers do not have by themselves.
    pub(super) settings: Startup,
    /// A server that it has for good.
    pub(super) lease: Option<Lease<Dialer>>,
}

/// For a client with these startup parameters, and `own` that servers are never opened with. At most `places` others get
/// servers of their own. `keep`: the client stays on its first server.
pub(super) async fn begin(pool: &ServerPool<Dialer>, startup: Startup, own: Startup, places: usize, keep: bool) -> Result<Begun> {
    match pool.connector().seat(startup, places)? {
        Seat::Own(set) => {
            let (known, lease) = introduce(pool, &set, keep).await?;
            let parameters = told(&known.parameters, &own);
            let settings = different(own, &known);
            let notices = Arc::clone(&known.notices);
            Ok(Begun { set, known, parameters, notices, settings, lease })
        }
        Seat::Shared { like, base } => {
            let asked = ask(pool, &like).await?;
            let (known, lease) = introduce(pool, &base, keep).await?;
            let parameters = told(&asked.parameters, &own);
            let settings = different(asked.given.iter().cloned().chain(own), &known);
            let mut names: Vec<Box<str>> = settings.iter().map(|(name, _)| name.clone()).filter(|name| is_custom(name)).collect();
            names.sort_unstable();
            let set = if names.is_empty() { base } else { pool.connector().with_names(&base, names.into())? };
            Ok(Begun { set, known, parameters, notices: asked.notices, settings, lease })
        }
    }
}

/// ParameterStatus must be known before the client can be greeted: from an earlier login, or from a server dialled now.
async fn introduce(pool: &ServerPool<Dialer>, set: &Set, keep: bool) -> Result<(Known, Option<Lease<Dialer>>)> {
    if let Some(known) = set.known().filter(|_| !keep) {
        return Ok((known, None));
    }
    let lease = checkout(pool, set).await?;
    let known = known(set)?;
    if keep {
        return Ok((known, Some(lease)));
    }
    lease.release(Disposition::Reuse);
    Ok((known, None))
}

/// What startup parameters mean, in Postgres's own words: a server is opened with them, once, and closed.
async fn ask(pool: &ServerPool<Dialer>, set: &Set) -> Result<Known> {
    if let Some(known) = set.known() {
        return Ok(known);
    }
    checkout(pool, set).await?.release(Disposition::Close);
    known(set)
}

async fn checkout(pool: &ServerPool<Dialer>, set: &Set) -> Result<Lease<Dialer>> {
    match pool.try_checkout(set.id) {
        Checkout::Ready(lease) => Ok(lease),
        Checkout::Wait(ticket) => ticket.await,
    }
}

fn known(set: &Set) -> Result<Known> {
    set.known().ok_or_else(|| Error::new(Kind::Internal, "a server logged in and nothing is known of it"))
}

/// Those that sessions do not begin with anyway.
fn different(settings: impl IntoIterator<Item = (Box<str>, Box<str>)>, known: &Known) -> Startup {
    settings.into_iter().filter(|(name, value)| known.defaults.get(name) != Some(&**value)).collect()
}

/// ParameterStatus as of the client's own settings.
fn told(known: &Arc<Parameters>, own: &Startup) -> Arc<Parameters> {
    let mut parameters = Arc::clone(known);
    for (name, value) in own.iter().filter(|(name, _)| known.get(name).is_some()) {
        Arc::make_mut(&mut parameters).set(name, value);
    }
    parameters
}
