//! Floor 3. Changes made elsewhere.

mod notify;

pub use notify::{Catalog, Notify, Settings};
