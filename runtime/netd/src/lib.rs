//! Answers the DNS queries of one network's members and relays published ports
//! that the kernel can't translate. `isola_net::daemon` says how it is started, how
//! members join it, and when it goes.
//!
//! One thread. What is known is answered in the loop that reads a socket; what is
//! forwarded is a task, of which there is a bounded number.
//!
//! | file | what |
//! | --- | --- |
//! | `start` | from the arguments to a process in its sandbox |
//! | `members` | connections of members |
//! | `table` | names and addresses; no I/O |
//! | `answer` | a query's bytes -> what to do; no I/O |
//! | `serve` | the sockets on port 53 |
//! | `forward`, `resolvers` | asking others |
//! | `relay` | connections and packets of published ports |

pub mod answer;
mod forward;
mod limit;
mod members;
mod relay;
pub mod resolvers;
mod sandbox;
mod serve;
mod start;
mod state;
pub mod table;
mod watch;

pub use start::run;
