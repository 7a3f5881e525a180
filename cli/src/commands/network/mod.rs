//! `isola network`: the verbs for networks, as Docker has them.

mod connect;
mod create;
mod disconnect;
mod inspect;
mod ls;
mod prune;
mod rm;

use clap::Subcommand;
use isola_net::Network;
use isola_runtime::engine::Instance;

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::instances::is_called;

pub(super) use inspect::network_details;
pub(super) use prune::remove_unused;

/// Manage networks
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Inspect(inspect::Args),
    Connect(connect::Args),
    Disconnect(disconnect::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Prune(prune::Args),
}

const EXAMPLES: &str = "Examples:
  isola network create lan
  isola network connect --alias db lan web
  isola network inspect --format '{{json .IPAM.Config}}' lan";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    match &args.verb {
        Verb::Create(args) => create::run(args, context),
        Verb::Ls(args) => ls::run(args, context),
        Verb::Inspect(args) => inspect::run(args, context),
        Verb::Connect(args) => connect::run(args, context),
        Verb::Disconnect(args) => disconnect::run(args, context),
        Verb::Rm(args) => rm::run(args, context),
        Verb::Prune(args) => prune::run(args, context),
    }
}

/// Instances, for who asks about their networks.
struct Users {
    all: Vec<Instance>,
}

impl Users {
    fn read(context: &Context) -> Result<Users> {
        Ok(Users {
            all: context.engine()?.list()?,
        })
    }

    /// Whether the instance of an id runs.
    fn is_alive(&self, id: &str) -> bool {
        self.all
            .iter()
            .any(|instance| instance.record.id == id && instance.status.state.is_live())
    }

    /// The name of an instance, running or not, that refers to the network.
    fn of(&self, network: &Network) -> Option<String> {
        let refers = |instance: &&Instance| {
            let links = &instance.record.workload.network;
            let isola_runtime::workload::Network::Bridged(links) = links else {
                return false;
            };
            links.iter().any(|link| is_called(network, &link.network))
        };
        let found = self.all.iter().find(refers)?;
        Some(found.record.name.clone())
    }
}
