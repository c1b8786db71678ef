//! Who knows what.

use super::*;
use ident::{SubnetId, VpcId};
use net::mac::MacAddress;
use net::plan::{DnsPlan, EniPlan};

fn plan(domain: &str, named: &[[u8; 4]]) -> VpcPlan {
    let eni = |n: u8, user| EniPlan {
        eni: EniId::mint(n.into()),
        mac: MacAddress([2, 0, 0, 0, 0, n]),
        subnet: SubnetId::mint(1),
        ipv4: Some(Ipv4Addr::new(10, 0, 1, n)),
        secondary_ipv4: vec![Ipv4Addr::new(10, 0, 1, n + 100)],
        ipv6: vec![],
        services: [].into(),
        user,
        groups: vec![],
        source_dest_check: true,
    };
    VpcPlan {
        vpc: VpcId::mint(1),
        vni: 1,
        cidrs: vec!["10.0.0.0/16".parse().expect("a block")],
        ipv6_cidrs: vec![],
        subnets: vec![],
        enis: vec![eni(5, EniUser::Task), eni(6, EniUser::Host)],
        groups: vec![],
        members: BTreeMap::new(),
        prefix_lists: BTreeMap::new(),
        dns: Some(DnsPlan {
            domain: domain.to_owned(),
            named: named.iter().copied().map(Ipv4Addr::from).collect(),
        }),
    }
}

/// What becomes of a question, in words.
fn asked(zone: &Zone, name: &str, kind: RecordType) -> String {
    let query = Query::query(Name::from_ascii(name).expect("a name"), kind);
    let answer = match zone.judge(&query) {
        Verdict::Elsewhere => return "elsewhere".to_owned(),
        Verdict::Here(answer) => answer,
    };
    let owner = answer.authorities.first().map(|record| record.name.to_string());
    match (answer.code, answer.answers.as_slice()) {
        (ResponseCode::NoError, [record]) => {
            assert_eq!((record.name.to_string(), record.ttl), (name.to_owned(), TTL));
            assert_eq!(owner, None);
            record.data.to_string()
        }
        (ResponseCode::NoError, []) => format!("nothing, says {}", owner.expect("an authority")),
        (ResponseCode::NXDomain, []) => format!("nobody, says {}", owner.expect("an authority")),
        (code, _) => code.to_string(),
    }
}

#[test]
fn a_vpc_knows_its_own_names_and_has_the_last_word_on_them() {
    use RecordType::{A, AAAA, ANY, AXFR, PTR, SOA, TXT};
    let zone = Zone::of(&plan("eu-west-1.compute.internal", &[[10, 0, 1, 5], [10, 0, 1, 105]]));
    let (domain, nobody) = ("eu-west-1.compute.internal.", "nobody, says ");
    let nothing = format!("nothing, says {domain}");
    let nobody_here = format!("{nobody}{domain}");
    for (name, kind, expected) in [
        ("ip-10-0-1-5.eu-west-1.compute.internal.", A, "10.0.1.5"),
        ("IP-10-0-1-5.EU-west-1.Compute.Internal.", A, "10.0.1.5"),
        ("ip-10-0-1-105.eu-west-1.compute.internal.", A, "10.0.1.105"),
        ("ip-10-0-1-5.eu-west-1.compute.internal.", ANY, "10.0.1.5"),
        ("ip-10-0-1-5.eu-west-1.compute.internal.", AAAA, &nothing),
        ("ip-10-0-1-5.eu-west-1.compute.internal.", TXT, &nothing),
        ("ip-10-0-1-6.eu-west-1.compute.internal.", A, &nobody_here),
        ("ip-10-0-1-05.eu-west-1.compute.internal.", A, &nobody_here),
        ("x.ip-10-0-1-5.eu-west-1.compute.internal.", A, &nobody_here),
        ("web.eu-west-1.compute.internal.", A, &nobody_here),
        ("eu-west-1.compute.internal.", SOA, &nothing),
        ("eu-west-1.compute.internal.", A, &nothing),
        ("compute.internal.", A, "nothing, says compute.internal."),
        ("ip-10-0-1-5.eu-west-2.compute.internal.", A, "nobody, says compute.internal."),
        ("ip-10-0-1-5.compute.internal.", A, "nobody, says compute.internal."),
        ("ip-10-0-1-5.ec2.internal.", A, "nobody, says ec2.internal."),
        ("ec2.internal.", A, "nobody, says ec2.internal."),
        ("internal.", A, "elsewhere"),
        ("xcompute.internal.", A, "elsewhere"),
        ("ip-10-0-1-5.", A, "elsewhere"),
        ("ec2.eu-west-1.amazonaws.com.", A, "elsewhere"),
        (".", RecordType::NS, "elsewhere"),
        ("ip-10-0-1-5.eu-west-1.compute.internal.", AXFR, "Query Refused"),
        ("5.1.0.10.in-addr.arpa.", PTR, "ip-10-0-1-5.eu-west-1.compute.internal."),
        ("5.1.0.10.IN-ADDR.ARPA.", PTR, "ip-10-0-1-5.eu-west-1.compute.internal."),
        ("5.1.0.10.in-addr.arpa.", A, "nothing, says 1.0.10.in-addr.arpa."),
        ("6.1.0.10.in-addr.arpa.", PTR, "nobody, says 1.0.10.in-addr.arpa."),
        ("5.1.1.10.in-addr.arpa.", PTR, "elsewhere"),
        ("05.1.0.10.in-addr.arpa.", PTR, "elsewhere"),
        ("1.0.10.in-addr.arpa.", PTR, "elsewhere"),
        ("5.1.0.10.x.in-addr.arpa.", PTR, "elsewhere"),
    ] {
        assert_eq!(asked(&zone, name, kind), expected, "{name} {kind}");
    }
}

#[test]
fn without_host_names_nobody_has_a_name_and_reverse_names_are_others_affair() {
    let zone = Zone::of(&plan("ec2.internal", &[]));
    for (name, kind, expected) in [
        ("ip-10-0-1-5.ec2.internal.", RecordType::A, "nobody, says ec2.internal."),
        ("ec2.internal.", RecordType::A, "nothing, says ec2.internal."),
        ("5.1.0.10.in-addr.arpa.", RecordType::PTR, "elsewhere"),
    ] {
        assert_eq!(asked(&zone, name, kind), expected, "{name}");
    }
}

#[test]
fn only_what_is_of_the_internet_is_answered() {
    let zone = Zone::of(&plan("ec2.internal", &[[10, 0, 1, 5]]));
    let mut query = Query::query("version.bind.".parse().expect("a name"), RecordType::TXT);
    query.set_query_class(DNSClass::CH);
    assert_eq!(zone.judge(&query), Verdict::Here(Answer::failure(ResponseCode::Refused)));
}

#[test]
fn an_address_tells_whose_it_is() {
    let zone = Zone::of(&plan("ec2.internal", &[]));
    let client = |last| zone.client([10, 0, 1, last].into()).map(|it| (it.eni.clone(), it.is_host));
    let (task, host) = (EniId::mint(5), EniId::mint(6));
    assert_eq!(client(5), Some((task.clone(), false)));
    assert_eq!(client(105), Some((task.clone(), false)));
    assert_eq!(client(6), Some((host, true)));
    assert_eq!(client(7), None);
    assert!(zone.has(&task) && !zone.has(&EniId::mint(7)));
}
