//! Which instances of a service stay, go, are made anew, or come.

use std::collections::BTreeSet;

use super::Here;

/// What becomes of a service's instances.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice<'a> {
    /// They stay.
    pub(super) keep: Vec<&'a Here>,
    /// They are made anew.
    pub(super) renew: Vec<&'a Here>,
    /// They go.
    pub(super) remove: Vec<&'a Here>,
    /// Numbers of new ones.
    pub(super) create: Vec<u32>,
}

/// Chooses among `here`, ordered by number, so that `count` are left. Those that
/// are outdated go before others, then those with the highest numbers.
pub(super) fn choose<'a>(
    here: &[&'a Here],
    count: u32,
    outdated: impl Fn(&Here) -> bool,
) -> Choice<'a> {
    let count = count as usize;
    let mut order: Vec<&Here> = here.to_vec();
    // Those that are to stay come first.
    order.sort_by_key(|it| (outdated(it), it.number));
    let remove = order.split_off(count.min(order.len()));
    let mut stay = order;
    stay.sort_by_key(|it| it.number);
    let taken: BTreeSet<u32> = stay.iter().map(|it| it.number).collect();
    let free = (1..).filter(|number| !taken.contains(number));
    let create = free.take(count - stay.len()).collect();
    let (renew, keep) = stay.into_iter().partition(|it| outdated(it));
    Choice {
        keep,
        renew,
        remove,
        create,
    }
}
