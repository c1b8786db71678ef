//! What a VPC's resolver knows by itself. No network, no clock.
//!
//! Known are the names of private IPv4 addresses, both ways. Within the domains of
//! such names the VPC has the last word: what is not there is nowhere, and is not asked
//! elsewhere, where nobody could know it. The same holds for the reverse names of the
//! VPC's own blocks, if its addresses have names at all.

use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, PTR, SOA};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use ident::EniId;
use ipnet::Ipv4Net;
use net::names;
use net::plan::{EniUser, VpcPlan};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// How long what is said here may be remembered, in seconds; as on EC2.
pub(crate) const TTL: u32 = 60;

/// The domains whose names are private addresses', in whichever region.
const PRIVATE: [&str; 2] = ["ec2.internal", "compute.internal"];

/// Who asks, by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) eni: EniId,
    /// Whether it is the machine itself.
    pub(crate) is_host: bool,
}

/// The names of one VPC, and who may ask for them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    domain: String,
    blocks: Vec<Ipv4Net>,
    /// The addresses that have names, in order.
    named: Vec<Ipv4Addr>,
    clients: BTreeMap<IpAddr, Client>,
}

/// What becomes of a question.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The VPC knows.
    Here(Answer),
    /// The VPC does not know, others may.
    Elsewhere,
}

/// An answer, but for whom and to what.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) code: ResponseCode,
    pub(crate) is_authoritative: bool,
    pub(crate) answers: Vec<Record>,
    /// Why there is no more: the start of authority that says so.
    pub(crate) authorities: Vec<Record>,
}

impl Answer {
    /// No answer, for this reason.
    pub(crate) fn failure(code: ResponseCode) -> Self {
        Self { code, is_authoritative: false, answers: vec![], authorities: vec![] }
    }
}

impl Zone {
    /// What the plan of a VPC says.
    pub(crate) fn of(plan: &VpcPlan) -> Self {
        let clients = plan.enis.iter().flat_map(|eni| {
            let client = Client { eni: eni.eni.clone(), is_host: eni.user == EniUser::Host };
            eni.addresses().map(move |address| (address, client.clone()))
        });
        let dns = plan.dns.as_ref();
        Self {
            domain: dns.map(|dns| dns.domain.clone()).unwrap_or_default(),
            blocks: plan.cidrs.clone(),
            named: dns.map(|dns| dns.named.clone()).unwrap_or_default(),
            clients: clients.collect(),
        }
    }

    /// Whose an address is, if it is one of this node's interfaces.
    pub(crate) fn client(&self, address: IpAddr) -> Option<&Client> {
        self.clients.get(&address)
    }

    /// Whether an interface is one of this node's.
    pub(crate) fn has(&self, eni: &EniId) -> bool {
        self.clients.values().any(|client| client.eni == *eni)
    }

    /// What becomes of a question.
    pub(crate) fn judge(&self, query: &Query) -> Verdict {
        let kind = query.query_type();
        let is_transfer = matches!(kind, RecordType::AXFR | RecordType::IXFR);
        if query.query_class() != DNSClass::IN || is_transfer {
            return Verdict::Here(Answer::failure(ResponseCode::Refused));
        }
        let labels = Labels::of(query.name());
        match labels.address() {
            Some(address) if self.knows(address) => {
                let named = self.has_name(address);
                return Verdict::Here(self.reverse(query, named.then_some(address)));
            }
            Some(_) => return Verdict::Elsewhere,
            None => {}
        }
        let domains = [self.domain.as_str()].into_iter().chain(PRIVATE);
        let mut domains = domains.filter(|domain| !domain.is_empty());
        let Some(domain) = domains.find(|domain| labels.is_within(&Labels::of_text(domain))) else {
            return Verdict::Elsewhere;
        };
        let host = labels.host_in(&self.domain).and_then(names::address);
        let address = host.filter(|address| self.has_name(*address));
        // A domain is there, and so is what it is in; neither is anybody's name.
        let is_domain = Labels::of_text(&self.domain).is_within(&labels);
        let owner = Name::from_ascii(format!("{domain}.")).unwrap_or_default();
        Verdict::Here(match address {
            Some(address) if asks(kind, RecordType::A) => found(query, RData::A(A(address))),
            Some(_) => not_found(owner, ResponseCode::NoError),
            None if is_domain => not_found(owner, ResponseCode::NoError),
            None => not_found(owner, ResponseCode::NXDomain),
        })
    }

    fn reverse(&self, query: &Query, named: Option<Ipv4Addr>) -> Answer {
        let owner = query.name().base_name();
        let Some(address) = named else { return not_found(owner, ResponseCode::NXDomain) };
        let name = Name::from_ascii(format!("{}.{}.", names::host(address), self.domain));
        match name {
            Ok(name) if asks(query.query_type(), RecordType::PTR) => {
                found(query, RData::PTR(PTR(name)))
            }
            Ok(_) => not_found(owner, ResponseCode::NoError),
            Err(_) => Answer::failure(ResponseCode::ServFail),
        }
    }

    /// Whether nobody but the VPC knows the name of an address.
    fn knows(&self, address: Ipv4Addr) -> bool {
        !self.named.is_empty() && self.blocks.iter().any(|block| block.contains(&address))
    }

    fn has_name(&self, address: Ipv4Addr) -> bool {
        self.named.binary_search(&address).is_ok()
    }
}

fn found(query: &Query, data: RData) -> Answer {
    // The name as it was asked for, whatever its case.
    let record = Record::from_rdata(query.name().clone(), TTL, data);
    Answer {
        code: ResponseCode::NoError,
        is_authoritative: true,
        answers: vec![record],
        authorities: vec![],
    }
}

/// That there is nothing, and what says so: the start of authority of `owner`.
fn not_found(owner: Name, code: ResponseCode) -> Answer {
    let in_owner = |label: &str| owner.prepend_label(label).unwrap_or_default();
    let (server, person) = (in_owner("ns0"), in_owner("hostmaster"));
    let soa = SOA::new(server, person, 1, 7200, 900, 1_209_600, TTL);
    Answer {
        code,
        is_authoritative: true,
        answers: vec![],
        authorities: vec![Record::from_rdata(owner, TTL, RData::SOA(soa))],
    }
}

fn asks(asked: RecordType, has: RecordType) -> bool {
    asked == has || asked == RecordType::ANY
}

/// A name's labels in lower case, the last one first.
#[derive(Debug, PartialEq)]
struct Labels(Vec<String>);

impl Labels {
    fn of(name: &Name) -> Self {
        let lossy = |label: &[u8]| String::from_utf8_lossy(label).to_ascii_lowercase();
        let mut labels: Vec<String> = name.iter().map(lossy).collect();
        labels.reverse();
        Self(labels)
    }

    fn of_text(name: &str) -> Self {
        Self(name.rsplit('.').map(str::to_ascii_lowercase).collect())
    }

    fn is_within(&self, domain: &Self) -> bool {
        self.0.starts_with(&domain.0)
    }

    /// The one label that the name has more than the domain.
    fn host_in(&self, domain: &str) -> Option<&str> {
        let rest = self.0.strip_prefix(Self::of_text(domain).0.as_slice())?;
        match rest {
            [host] => Some(host),
            [] | [_, ..] => None,
        }
    }

    /// The IPv4 address whose reverse name it is.
    fn address(&self) -> Option<Ipv4Addr> {
        let [arpa, in_addr, octets @ ..] = self.0.as_slice() else { return None };
        if (arpa.as_str(), in_addr.as_str()) != ("arpa", "in-addr") {
            return None;
        }
        let [a, b, c, d] = octets else { return None };
        let host = format!("ip-{a}-{b}-{c}-{d}");
        names::address(&host)
    }
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
