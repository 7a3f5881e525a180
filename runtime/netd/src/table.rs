//! Names and addresses of members.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use isola_net::daemon::{Limits, Registration};

/// A member: the number of its connection.
pub type Id = u64;

/// Longest name in bytes (RFC 1035, 2.3.4, as text).
const MAX_NAME: usize = 253;
/// Longest label in bytes.
const MAX_LABEL: usize = 63;

/// Who is in the network.
#[derive(Debug, Default)]
pub struct Table {
    members: HashMap<Id, Registration>,
    names: HashMap<String, Named>,
    addresses: HashMap<IpAddr, Vec<Id>>,
}

#[derive(Debug, Default)]
struct Named {
    members: Vec<Id>,
    /// Whose turn it is to be first, for each family: a resolver asks for both in
    /// turn, one counter would give each family always the same.
    turns: [Cell<usize>; 2],
}

/// The addresses behind a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4.
    pub v4: Vec<Ipv4Addr>,
    /// IPv6.
    pub v6: Vec<Ipv6Addr>,
}

/// Which family is asked for; its addresses are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Table {
    /// Puts a member in, in place of what it was before.
    ///
    /// # Errors
    /// One line: what of it can't be registered. It stays what it was.
    pub fn insert(&mut self, id: Id, mut registration: Registration) -> Result<(), String> {
        for name in &mut registration.names {
            *name = checked(name)?;
        }
        registration.names = unique(std::mem::take(&mut registration.names));
        registration.addresses = unique(std::mem::take(&mut registration.addresses));
        let counts = [
            ("names", registration.names.len(), Limits::NAMES),
            ("addresses", registration.addresses.len(), Limits::ADDRESSES),
            ("resolvers", registration.dns.len(), Limits::RESOLVERS),
            ("other servers", registration.others.len(), Limits::OTHERS),
        ];
        for (what, count, most) in counts {
            if count > most {
                return Err(format!("{count} {what} are more than {most}"));
            }
        }
        self.remove(id);
        for name in &registration.names {
            let named = self.names.entry(name.clone()).or_default();
            named.members.push(id);
        }
        for address in &registration.addresses {
            self.addresses.entry(*address).or_default().push(id);
        }
        self.members.insert(id, registration);
        Ok(())
    }

    /// Takes a member out.
    pub fn remove(&mut self, id: Id) {
        let Some(registration) = self.members.remove(&id) else {
            return;
        };
        for name in &registration.names {
            if let Some(named) = self.names.get_mut(name) {
                named.members.retain(|other| *other != id);
                if named.members.is_empty() {
                    self.names.remove(name);
                }
            }
        }
        for address in &registration.addresses {
            if let Some(ids) = self.addresses.get_mut(address) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.addresses.remove(address);
                }
            }
        }
    }

    /// The addresses behind a name in lower case; `None` when nobody has it. Those of
    /// `family` begin with another one each time.
    pub fn find(&self, name: &str, family: Option<Family>) -> Option<Addresses> {
        let named = self.names.get(name)?;
        let mut found = Addresses::default();
        let members = named.members.iter().filter_map(|id| self.members.get(id));
        for address in members.flat_map(|member| &member.addresses) {
            match address {
                IpAddr::V4(address) => found.v4.push(*address),
                IpAddr::V6(address) => found.v6.push(*address),
            }
        }
        match family {
            Some(Family::V4) => rotate(&mut found.v4, &named.turns[0]),
            Some(Family::V6) => rotate(&mut found.v6, &named.turns[1]),
            None => {}
        }
        Some(found)
    }

    /// The first names of the members at an address.
    pub fn names_at(&self, address: IpAddr) -> Vec<&str> {
        let names = self
            .at(address)
            .filter_map(|member| Some(member.names.first()?.as_str()));
        unique(names.collect())
    }

    /// Whether a member has this address.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// The resolvers of the member at an address, if it has its own.
    pub fn resolvers_of(&self, address: IpAddr) -> &[IpAddr] {
        self.at(address)
            .map(|member| member.dns.as_slice())
            .find(|dns| !dns.is_empty())
            .unwrap_or_default()
    }

    /// The name servers of the other networks of the member at an address.
    pub fn others_of(&self, address: IpAddr) -> &[IpAddr] {
        self.at(address)
            .map(|member| member.others.as_slice())
            .find(|others| !others.is_empty())
            .unwrap_or_default()
    }

    /// Whether the member at an address is in a network with a way out.
    pub fn leads_out(&self, address: IpAddr) -> bool {
        self.at(address).any(|member| member.outside)
    }

    fn at(&self, address: IpAddr) -> impl Iterator<Item = &Registration> {
        let ids = self.addresses.get(&address);
        ids.into_iter()
            .flatten()
            .filter_map(|id| self.members.get(id))
    }
}

fn rotate<T>(addresses: &mut [T], turn: &Cell<usize>) {
    if !addresses.is_empty() {
        addresses.rotate_left(turn.get() % addresses.len());
        turn.set(turn.get().wrapping_add(1));
    }
}

fn unique<T: PartialEq>(items: Vec<T>) -> Vec<T> {
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

/// A name in lower case, if queries can ask for it.
fn checked(name: &str) -> Result<String, String> {
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic());
    let labels = name
        .split('.')
        .all(|label| (1..=MAX_LABEL).contains(&label.len()));
    if plain && labels && name.len() <= MAX_NAME {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(format!("{name:?} can't be a name in DNS"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(names: &[&str], addresses: &[&str]) -> Registration {
        Registration {
            instance: "x".into(),
            names: names.iter().map(|name| (*name).into()).collect(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ..Registration::default()
        }
    }

    fn v4(table: &Table, name: &str) -> Option<Vec<String>> {
        let found = table.find(name, Some(Family::V4))?;
        Some(found.v4.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn members_come_change_and_go() {
        let mut table = Table::default();
        table
            .insert(1, member(&["Web", "www", "web"], &["10.0.0.2", "fd00::2"]))
            .unwrap();
        table
            .insert(2, member(&["db", "www"], &["10.0.0.3"]))
            .unwrap();
        assert_eq!(v4(&table, "web").unwrap(), ["10.0.0.2"]);
        assert_eq!(v4(&table, "www").unwrap(), ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(v4(&table, "www").unwrap(), ["10.0.0.3", "10.0.0.2"]);
        assert_eq!(table.names_at("fd00::2".parse().unwrap()), ["web"]);
        table.insert(1, member(&["api"], &["10.0.0.9"])).unwrap();
        assert_eq!(v4(&table, "web"), None);
        assert_eq!(v4(&table, "www").unwrap(), ["10.0.0.3"]);
        assert!(!table.has("fd00::2".parse().unwrap()));
        assert!(table.has("10.0.0.9".parse().unwrap()));
        table.remove(1);
        table.remove(2);
        table.remove(2);
        assert!(table.names.is_empty() && table.addresses.is_empty() && table.members.is_empty());
    }

    #[test]
    fn families_take_turns_apart() {
        let mut table = Table::default();
        let both = ["10.0.0.2", "10.0.0.3", "fd00::2", "fd00::3"];
        table.insert(1, member(&["a"], &both)).unwrap();
        for turn in 0..4 {
            let found = table.find("a", Some(Family::V4)).unwrap();
            assert_eq!(found.v4[0].octets()[3], 2 + turn % 2);
            let found = table.find("a", Some(Family::V6)).unwrap();
            assert_eq!(found.v6[0].octets()[15], 2 + turn % 2);
        }
    }

    #[test]
    fn an_address_that_two_have_stays_with_the_other() {
        // An instance joins anew before the end of its old connection was seen.
        let mut table = Table::default();
        table.insert(1, member(&["a"], &["10.0.0.2"])).unwrap();
        table.insert(2, member(&["a"], &["10.0.0.2"])).unwrap();
        table.remove(1);
        assert_eq!(v4(&table, "a").unwrap(), ["10.0.0.2"]);
        assert_eq!(table.names_at("10.0.0.2".parse().unwrap()), ["a"]);
    }

    #[test]
    fn impossible_members_are_refused_whole() {
        let mut table = Table::default();
        table.insert(1, member(&["a"], &["10.0.0.2"])).unwrap();
        let long = "x".repeat(64);
        for name in ["", "a..b", ".a", "a.", "a b", "ü", "a\0", long.as_str()] {
            assert!(
                table.insert(1, member(&["b", name], &[])).is_err(),
                "{name:?}"
            );
        }
        let many: Vec<String> = (0..=Limits::NAMES).map(|n| format!("n{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let error = table.insert(1, member(&many, &[])).unwrap_err();
        assert_eq!(error, "257 names are more than 256");
        assert_eq!(v4(&table, "a").unwrap(), ["10.0.0.2"]);
        assert_eq!(v4(&table, "b"), None);
        table
            .insert(1, member(&["my_app-1", "db.example"], &[]))
            .unwrap();
    }

    #[test]
    fn other_networks_are_those_of_the_asker() {
        let mut table = Table::default();
        let mut both = member(&["a"], &["10.0.0.2"]);
        both.others = vec!["10.1.0.1".parse().unwrap()];
        both.outside = true;
        table.insert(1, both.clone()).unwrap();
        table.insert(2, member(&["b"], &["10.0.0.3"])).unwrap();
        for (address, count, out) in [("10.0.0.2", 1, true), ("10.0.0.3", 0, false)] {
            let address = address.parse().unwrap();
            assert_eq!(table.others_of(address).len(), count, "{address}");
            assert_eq!(table.leads_out(address), out, "{address}");
        }
        both.others = vec![both.others[0]; Limits::OTHERS + 1];
        let error = table.insert(1, both).unwrap_err();
        assert_eq!(error, "65 other servers are more than 64");
    }

    #[test]
    fn resolvers_are_those_of_the_asker() {
        let mut table = Table::default();
        let mut own = member(&["a"], &["10.0.0.2"]);
        own.dns = vec!["9.9.9.9".parse().unwrap()];
        table.insert(1, own).unwrap();
        table.insert(2, member(&["b"], &["10.0.0.3"])).unwrap();
        let of = |text: &str| table.resolvers_of(text.parse().unwrap()).len();
        assert_eq!([of("10.0.0.2"), of("10.0.0.3"), of("10.0.0.4")], [1, 0, 0]);
    }
}
