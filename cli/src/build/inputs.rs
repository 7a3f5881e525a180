//! What a build reads before it begins: files, and standard input.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use isola_build::Options;
use isola_images::Store;
use isola_images::making::Lease;

use super::found::Finder;
use super::request::Request;
use crate::context::Context;
use crate::error::{Code, Failure, Result};

/// Bytes of a secret that are read.
const LONGEST: u64 = 4 << 20;

/// A build's options, and what keeps contexts that came as archives.
pub(super) struct Inputs {
    pub(super) options: Options,
    _leases: Vec<Lease>,
}

impl Inputs {
    /// Reads what the request names.
    pub(super) fn read(request: Request, context: &Context, store: &Store) -> Result<Inputs> {
        let mut args = request.args;
        let epoch = epoch(&args, &context.environment())?;
        if let Some(epoch) = epoch {
            args.insert("SOURCE_DATE_EPOCH".into(), epoch.to_string());
        }
        let finder = Finder {
            store,
            client: context.registries()?,
            agent: request.ssh.get("default").cloned(),
        };
        let mut contexts = BTreeMap::new();
        let mut leases = Vec::new();
        for (name, source) in &request.contexts {
            let (found, lease) = finder.named(name, source)?;
            contexts.insert(name.clone(), found);
            leases.extend(lease);
        }
        let found = finder.find(&request.context, request.dockerfile)?;
        leases.extend(found.lease);
        Ok(Inputs {
            options: Options {
                dockerfile: found.text,
                name: found.name,
                context: found.tree,
                contexts,
                platforms: request.platforms,
                target: request.target,
                args,
                labels: request.labels,
                secrets: request.secrets,
                ssh: request.ssh,
                network: request.network,
                hosts: request.hosts,
                shm_size: request.shm_size,
                no_cache: request.no_cache,
                no_cache_filter: request.no_cache_filter,
                epoch,
                caches: context.engine()?.paths().root().join("caches"),
            },
            _leases: leases,
        })
    }
}

/// The argument of this name, or the user's own variable.
fn epoch(
    args: &BTreeMap<String, String>,
    environment: &BTreeMap<String, String>,
) -> Result<Option<i64>> {
    let text = args
        .get("SOURCE_DATE_EPOCH")
        .or_else(|| environment.get("SOURCE_DATE_EPOCH"))
        .filter(|text| !text.is_empty());
    let Some(text) = text else {
        return Ok(None);
    };
    match text.parse::<i64>().ok().filter(|at| *at >= 0) {
        Some(epoch) => Ok(Some(epoch)),
        None => {
            let message = format!("SOURCE_DATE_EPOCH {text:?} is no number of seconds");
            Err(Failure::new(Code::Invalid, message))
        }
    }
}

/// What a secret holds.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Failure::system(format!("read the secret {}", path.display()), error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    file.take(LONGEST)
        .read_to_end(&mut content)
        .map_err(failed)?;
    Ok(content)
}
