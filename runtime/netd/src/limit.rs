//! Bounded numbers of things, in all and for each source.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

/// Counts what is under way.
#[derive(Debug)]
pub(crate) struct Limit {
    most: usize,
    most_each: usize,
    counts: RefCell<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// One thing under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    limit: Rc<Limit>,
    source: IpAddr,
}

impl Limit {
    pub(crate) fn new(most: usize, most_each: usize) -> Rc<Limit> {
        Rc::new(Limit {
            most,
            most_each,
            counts: RefCell::default(),
        })
    }

    /// One more for `source`; `None` when there are too many.
    pub(crate) fn take(self: &Rc<Limit>, source: IpAddr) -> Option<Permit> {
        let mut counts = self.counts.borrow_mut();
        let each = counts.each.get(&source).copied().unwrap_or(0);
        if counts.all >= self.most || each >= self.most_each {
            return None;
        }
        counts.all += 1;
        counts.each.insert(source, each + 1);
        Some(Permit {
            limit: Rc::clone(self),
            source,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.limit.counts.borrow_mut();
        counts.all -= 1;
        match counts.each.get_mut(&self.source) {
            Some(each) if *each > 1 => *each -= 1,
            _ => {
                counts.each.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all() {
        let [a, b, c] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|text| text.parse().unwrap());
        let limit = Limit::new(3, 2);
        let first = limit.take(a).unwrap();
        let _second = limit.take(a).unwrap();
        assert!(limit.take(a).is_none());
        let third = limit.take(b).unwrap();
        assert!(limit.take(c).is_none());
        drop(first);
        assert!(limit.take(a).is_some());
        drop(third);
        assert!(!limit.counts.borrow().each.contains_key(&b));
    }
}
