//! From a query's bytes to what is to be done. No I/O.
//!
//! Answers carry no SOA record, so that nobody remembers that a name is *not* there
//! (RFC 2308, 5): it may be there as soon as its instance starts. What is there may
//! be remembered for [`TTL`] seconds: asking again costs less than a millisecond, and
//! an instance that was replaced is found at its new address that soon.

use std::net::IpAddr;

pub use hickory_proto::op::ResponseCode;
use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};
use ipnet::IpNet;
use isola_net::daemon::NetdConfig;

use crate::table::{Family, Table};

/// How long an answer may be remembered, in seconds.
pub const TTL: u32 = 5;
/// Bytes of a header (RFC 1035, 4.1.1).
pub const HEADER: usize = 12;
/// Largest answer over UDP in bytes, whatever the asker says: it passes every link
/// in one piece (RFC 9715).
const UDP: u16 = 1232;
/// Largest answer over UDP to askers without EDNS (RFC 1035, 4.2.1).
const PLAIN_UDP: u16 = 512;
/// Bytes of an OPT record without options.
const OPT: usize = 11;
/// An OPT and a TSIG record are all that a query has behind its question.
const MAX_ADDITIONALS: u16 = 4;

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a packet: the answer's size is limited.
    Udp,
    /// Over a connection.
    Tcp,
}

/// What is to be done with a query.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is no query.
    Drop,
    /// Send this.
    Reply(Vec<u8>),
    /// Ask others: the asker's other networks, then resolvers.
    Forward {
        /// Where the question ends in the query's bytes.
        question_end: usize,
        /// Largest answer in bytes that the asker takes.
        limit: usize,
        /// Resolvers are asked, too.
        outside: bool,
    },
}

/// Decides on a query that came from `source`.
pub fn answer(
    bytes: &[u8],
    source: IpAddr,
    transport: Transport,
    table: &Table,
    config: &NetdConfig,
) -> Step {
    let Ok(header) = Header::read(&mut BinDecoder::new(bytes)) else {
        return Step::Drop;
    };
    // An answer to an answer could go back and forth for ever.
    if header.message_type == MessageType::Response {
        return Step::Drop;
    }
    if header.op_code != OpCode::Query {
        return plain(&header.metadata, ResponseCode::NotImp);
    }
    let Some((request, question_end)) = decode(bytes, &header) else {
        return plain(&header.metadata, ResponseCode::FormErr);
    };
    let reply = Reply::to(&request, transport);
    if request.version() > 0 {
        return reply.code(ResponseCode::BADVERS);
    }
    let query = &request.queries[0];
    if query.query_class != DNSClass::IN {
        return reply.code(ResponseCode::Refused);
    }
    if matches!(query.query_type, RecordType::AXFR | RecordType::IXFR) {
        return reply.code(ResponseCode::Refused);
    }
    let outside = match look_up(query, table, config, reply.room(query)) {
        Found::Records { records, all } => return reply.records(records, all),
        Found::Nothing => return reply.code(ResponseCode::NXDomain),
        // So another network's server asks: it is passed on to nobody, and so never
        // goes round.
        _ if !request.metadata.recursion_desired => return reply.code(ResponseCode::Refused),
        Found::Inside => false,
        Found::Elsewhere => !config.internal || table.leads_out(source),
    };
    if !outside && table.others_of(source).is_empty() {
        return reply.code(ResponseCode::NXDomain);
    }
    Step::Forward {
        question_end,
        limit: match transport {
            Transport::Udp => usize::from(request.max_payload()),
            Transport::Tcp => usize::from(u16::MAX),
        },
        outside,
    }
}

/// The answer to a query that was to be forwarded and could not be.
pub fn failure(bytes: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let request = Message::from_vec(bytes).ok()?;
    match Reply::to(&request, Transport::Udp).code(code) {
        Step::Reply(bytes) => Some(bytes),
        _ => None,
    }
}

/// The whole message and where its question ends, if it is a query as there are.
/// The counts are looked at before anything is made room for.
fn decode(bytes: &[u8], header: &Header) -> Option<(Message, usize)> {
    let counts = header.counts;
    if counts.queries != 1
        || counts.answers != 0
        || counts.authorities != 0
        || counts.additionals > MAX_ADDITIONALS
    {
        return None;
    }
    let mut decoder = BinDecoder::new(bytes);
    Header::read(&mut decoder).ok()?;
    Query::read(&mut decoder).ok()?;
    let question_end = decoder.index();
    Some((Message::from_vec(bytes).ok()?, question_end))
}

enum Found {
    /// The name is there; maybe no record of the type that was asked for is.
    Records {
        records: Vec<Record>,
        /// They are all that there are.
        all: bool,
    },
    /// There is no such name, and nobody else is to be asked.
    Nothing,
    /// Another network may know it, but no resolver.
    Inside,
    /// Others may know.
    Elsewhere,
}

fn look_up(query: &Query, table: &Table, config: &NetdConfig, room: usize) -> Found {
    if let Some(name) = text(&query.name)
        && let Some(found) = member(&name, query, table, config, room)
    {
        return found;
    }
    if let Some(address) = reverse(&query.name) {
        let names = table.names_at(address);
        if !names.is_empty() {
            return pointers(query, &names, config);
        }
        if config.subnets.iter().any(|net| net.contains(&address)) {
            return Found::Nothing;
        }
    }
    // A validating resolver asks for these of the root and of top-level domains.
    let zone = matches!(
        query.query_type,
        RecordType::NS | RecordType::SOA | RecordType::DS | RecordType::DNSKEY
    );
    match query.name.num_labels() < 2 && !zone {
        true => Found::Inside,
        false => Found::Elsewhere,
    }
}

/// The records of members with this name, as `NAME` or as `NAME.NETWORK`. Unknown
/// names under the network's are not ours: a network may be called `com`.
fn member(
    name: &str,
    query: &Query,
    table: &Table,
    config: &NetdConfig,
    room: usize,
) -> Option<Found> {
    let family = match query.query_type {
        RecordType::A => Some(Family::V4),
        RecordType::AAAA => Some(Family::V6),
        _ => None,
    };
    let found = table.find(name, family).or_else(|| {
        let network = config.network.to_ascii_lowercase();
        let bare = name.strip_suffix(&network)?.strip_suffix('.')?;
        table.find(bare, family)
    })?;
    let any = query.query_type == RecordType::ANY;
    let mut data: Vec<RData> = Vec::new();
    if any || family == Some(Family::V4) {
        data.extend(found.v4.into_iter().map(|address| RData::A(A(address))));
    }
    if any || family == Some(Family::V6) {
        data.extend(found.v6.into_iter().map(|one| RData::AAAA(AAAA(one))));
    }
    let all = data.len();
    let mut left = room;
    data.retain(|data| {
        // The owner is a pointer to the question: 2 bytes, then type, class, TTL and
        // length: 10.
        let size = 12 + if matches!(data, RData::A(_)) { 4 } else { 16 };
        let fits = left >= size;
        left = if fits { left - size } else { 0 };
        fits
    });
    Some(Found::Records {
        all: data.len() == all,
        records: data
            .into_iter()
            .map(|data| Record::from_rdata(query.name.clone(), TTL, data))
            .collect(),
    })
}

fn pointers(query: &Query, names: &[&str], config: &NetdConfig) -> Found {
    let wanted = matches!(query.query_type, RecordType::PTR | RecordType::ANY);
    let records = names
        .iter()
        .filter(|_| wanted)
        .filter_map(|name| {
            let labels = name.split('.').chain(config.network.split('.'));
            let name = Name::from_labels(labels.map(str::as_bytes)).ok()?;
            let data = RData::PTR(PTR(name));
            Some(Record::from_rdata(query.name.clone(), TTL, data))
        })
        // A handful: they fit whatever the asker takes.
        .take(1)
        .collect();
    Found::Records { records, all: true }
}

/// A name as members register it: in lower case, without the dot at its end. `None`
/// when nobody can have registered it.
fn text(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !label
            .iter()
            .all(|byte| byte.is_ascii_graphic() && *byte != b'.')
        {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(
            label
                .iter()
                .map(|byte| char::from(byte.to_ascii_lowercase())),
        );
    }
    Some(text)
}

/// The address of a reverse look-up.
fn reverse(name: &Name) -> Option<IpAddr> {
    let mut name = name.clone();
    name.set_fqdn(true);
    match name.parse_arpa_name().ok()? {
        IpNet::V4(net) if net.prefix_len() == 32 => Some(net.addr().into()),
        IpNet::V6(net) if net.prefix_len() == 128 => Some(net.addr().into()),
        _ => None,
    }
}

/// A reply without a question: that could not be read.
fn plain(request: &Metadata, code: ResponseCode) -> Step {
    let mut message = Message::error_msg(request.id, request.op_code, code);
    message.metadata.recursion_desired = request.recursion_desired;
    encoded(&message, PLAIN_UDP)
}

fn encoded(message: &Message, limit: u16) -> Step {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit);
    match message.emit(&mut encoder) {
        Ok(()) => Step::Reply(bytes),
        // What came in as a question goes out again; there is nothing else.
        Err(_) => Step::Drop,
    }
}

/// A reply in the making.
struct Reply {
    message: Message,
    limit: u16,
}

impl Reply {
    fn to(request: &Message, transport: Transport) -> Reply {
        let mut message = Message::response(request.id, request.op_code);
        message.metadata = Metadata::response_from_request(&request.metadata);
        // Resolvers complain when they asked for recursion and get less.
        message.metadata.recursion_available = true;
        message.add_queries(request.queries.iter().cloned());
        if request.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP);
            message.set_edns(edns);
        }
        let limit = match transport {
            Transport::Udp => request.max_payload().clamp(PLAIN_UDP, UDP),
            Transport::Tcp => u16::MAX,
        };
        Reply { message, limit }
    }

    /// Bytes that are left for records. The question's name is written as it came,
    /// one byte longer than its text, and four bytes follow.
    fn room(&self, query: &Query) -> usize {
        usize::from(self.limit).saturating_sub(HEADER + query.name.len() + 2 + 4 + OPT)
    }

    fn code(mut self, code: ResponseCode) -> Step {
        self.message.metadata.response_code = code;
        self.message.metadata.authoritative = code == ResponseCode::NXDomain;
        encoded(&self.message, self.limit)
    }

    fn records(mut self, records: Vec<Record>, all: bool) -> Step {
        self.message.metadata.authoritative = true;
        self.message.metadata.truncation = !all;
        self.message.add_answers(records);
        encoded(&self.message, self.limit)
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
