//! The store as its users see it. Most tests need root, since they mount what
//! they made and make devices; without it they say so and fail.

// Helpers of tests are tests too; clippy only knows the functions themselves.
#![allow(clippy::unwrap_used)]

mod archives;
mod bad_registries;
mod check;
mod evil;
mod import;
mod layers;
mod logins;
mod registry;
mod store;
mod support;
mod whole;
