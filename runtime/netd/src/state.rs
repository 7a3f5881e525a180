//! What the tasks share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use isola_net::daemon::NetdConfig;
use tokio::sync::{Notify, Semaphore};

use crate::limit::Limit;
use crate::resolvers::Resolvers;
use crate::table::Table;

/// Largest packet in bytes.
pub(crate) const PACKET: usize = 65_535;

/// Queries that are forwarded at one time.
const FORWARDS: usize = 512;
/// Of which for one source.
const FORWARDS_EACH: usize = 64;
/// DNS connections.
const CONNECTIONS: usize = 128;
/// Of which from one source.
const CONNECTIONS_EACH: usize = 16;
/// Relayed connections and UDP sessions.
const RELAYED: usize = 2_048;

/// One for the process.
pub(crate) struct State {
    pub(crate) config: NetdConfig,
    pub(crate) table: RefCell<Table>,
    pub(crate) resolvers: RefCell<Resolvers>,
    pub(crate) forwards: Rc<Limit>,
    pub(crate) connections: Rc<Limit>,
    pub(crate) relayed: Arc<Semaphore>,
    /// Connections of members.
    pub(crate) live: Cell<usize>,
    /// The last of them has gone.
    pub(crate) deserted: Notify,
    /// Where packets are received before they are looked at. It is borrowed between
    /// two points of waiting only: one buffer does for all sockets.
    pub(crate) scratch: RefCell<Box<[u8]>>,
}

impl State {
    /// `descriptors`: how many this process may have.
    pub(crate) fn new(config: NetdConfig, resolvers: Resolvers, descriptors: usize) -> Rc<State> {
        // A forward has up to four sockets, a relayed connection two.
        let forwards = (descriptors / 8).clamp(8, FORWARDS);
        let relayed = (descriptors / 8).clamp(8, RELAYED);
        Rc::new(State {
            config,
            table: RefCell::default(),
            resolvers: RefCell::new(resolvers),
            forwards: Limit::new(forwards, FORWARDS_EACH),
            connections: Limit::new(CONNECTIONS, CONNECTIONS_EACH),
            relayed: Arc::new(Semaphore::new(relayed)),
            live: Cell::new(0),
            deserted: Notify::new(),
            scratch: RefCell::new(vec![0; PACKET + 1].into_boxed_slice()),
        })
    }
}
