//! Names of entries: what they may look like, and where in the tree they lead.

use super::tree::{Kind, NodeId, ROOT, Slot, Tree};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// Links that one path may lead through, as many as the kernel follows.
const MAX_LINKS: usize = 40;

impl Tree {
    /// Finds the place for an entry named `path`, making folders that are
    /// missing. `None` is the root.
    pub(crate) fn slot(&mut self, path: &[u8], limits: &Limits) -> Result<Option<Slot>> {
        let mut components = split(path, limits)?;
        let Some(name) = components.pop() else {
            return Ok(None);
        };
        let dir = self.walk(path, components)?;
        Ok(Some(Slot {
            dir,
            name: name.into(),
        }))
    }

    /// Goes down `components` from the root. Relative links of this layer that
    /// stay inside are followed: they are how archives with a merged /usr look.
    pub(super) fn walk(&mut self, path: &[u8], components: Vec<&[u8]>) -> Result<NodeId> {
        let mut todo: Vec<Vec<u8>> = components.into_iter().rev().map(<[u8]>::to_vec).collect();
        let mut at = ROOT;
        let mut links = 0;
        while let Some(name) = todo.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." if at == ROOT => {
                    return Err(Error::entry(path, "it leaves the root through a link"));
                }
                b".." => {
                    at = self.parent(at);
                    continue;
                }
                _ => {}
            }
            let child = self
                .dir(at)
                .and_then(|dir| dir.children.get(name.as_slice()))
                .copied();
            let Some(child) = child else {
                at = self.make_dir(at, name.into(), false);
                continue;
            };
            match &self.node(child).kind {
                Kind::Dir(_) => at = child,
                Kind::Whiteout => at = self.make_dir(at, name.into(), true),
                Kind::Symlink(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Error::entry(path, "it leads through too many links"));
                    }
                    if target.starts_with(b"/") {
                        let link = name.escape_ascii();
                        let reason = format!(
                            "it would be written through `{link}`, a link to an absolute path"
                        );
                        return Err(Error::entry(path, reason));
                    }
                    todo.extend(target.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
                }
                _ => {
                    let reason = format!("`{}` on its way is not a folder", name.escape_ascii());
                    return Err(Error::entry(path, reason));
                }
            }
        }
        Ok(at)
    }
}

/// The components of an entry's name; one that points outside is refused.
pub(super) fn split<'a>(path: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>> {
    if path.starts_with(b"/") {
        return Err(Error::entry(path, "its name is absolute"));
    }
    if path.is_empty() {
        return Err(Error::entry(path, "it has no name"));
    }
    if path.len() > limits.path {
        return Err(Error::limit(
            "the length of a path",
            format!("{} bytes", limits.path),
        ));
    }
    if path.contains(&0) {
        return Err(Error::entry(path, "its name has a NUL byte"));
    }
    let mut out = Vec::new();
    for component in path.split(|&b| b == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err(Error::entry(path, "its name leads upwards (`..`)")),
            _ if component.len() > limits.name => {
                return Err(Error::limit(
                    "the length of a name",
                    format!("{} bytes", limits.name),
                ));
            }
            _ => out.push(component),
        }
    }
    if out.len() > limits.depth {
        return Err(Error::limit(
            "the depth of a path",
            format!("{} folders", limits.depth),
        ));
    }
    Ok(out)
}
