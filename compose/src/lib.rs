//! Compose files: text -> project. A pure function of the files and variables:
//! nothing is looked up on the host but what [`Files`] gives, nothing is changed.
//!
//! Each document goes through the same steps, on a tree that knows the place of
//! every value: variables are replaced (`interpolate`), values are checked and
//! written in the one long form (`forms`, with the tables of `schema`), included
//! and extended (`load`), and merged over what came before (`merge`). Then what
//! is left out is written in, profiles choose, walls are read (`walls`), parts
//! are checked against each other (`consistency`), and the tree is typed
//! (`project`) and printed (`output`).
//!
//! ```text
//! text -> tree -> variables -> long form -> include -> extends -> merge
//!      -> required keys -> walls -> profiles -> defaults -> consistency -> Model
//!      -> Project
//! ```

pub mod apply;
mod builds;
mod consistency;
mod diagnostic;
mod dotenv;
mod forms;
mod interpolate;
pub mod label;
mod load;
mod merge;
mod options;
mod output;
pub mod plan;
pub mod project;
mod schema;
mod units;
mod walls;
mod yaml;

pub use builds::{Building, builds, built_images};
pub use diagnostic::{Diagnostic, Invalid, Place, Severity, Sources};
pub use dotenv::variables_of;
pub use forms::words_of;
pub use load::{Files, Host, Model, Request, Variable, load};
pub use options::{Content, Source, Wanted, check, contents, foreign, image, keys_of, wanted};
